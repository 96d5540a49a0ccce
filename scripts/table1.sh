#!/usr/bin/env bash
# docs/results/table1: the six conv-stem rows of Table 1 with three seeds, every row with one seed first, then two rows
# with the res stem and one seed, growth with depth, and the table. Many hours on 2 cores.
# Runs that are finished are skipped, so after an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"
runs=outputs/table1/runs

nodebench reproduce table1 --recipe fast --runs "$runs"
nodebench train experiment=table1_resnet model.stem=res seed=0 "output_dir=$runs"
nodebench train experiment=table1_odenet model.stem=res seed=0 compile=true "output_dir=$runs"
nodebench table table1 --runs "$runs"
for format in markdown latex csv; do
    nodebench table table1 --runs "$runs" --format "$format" --out "outputs/table1/table1.$format"
done
