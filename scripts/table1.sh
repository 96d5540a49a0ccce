#!/usr/bin/env bash
# The MNIST rows of docs/results/: the paper's Table 1 with two controls, one seed each, and the table made from them.
# Runs that are finished are skipped, so after an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"

for row in mlp noblock resnet1 resnet rknet; do
    nodebench train "experiment=table1_$row" seed=0 output_dir=outputs/table1
done
nodebench train experiment=table1_odenet training.epochs=4 seed=0 output_dir=outputs/table1

nodebench table --runs outputs/table1
nodebench table --runs outputs/table1 --format markdown --out outputs/table1/table1.md
