#!/usr/bin/env bash
# docs/results/per_image: what each of the 10,000 test images needs by the first ODE-Net of Table 1 (trained if it is not
# there) with a step size of its own, at training's tolerance and two tighter ones. What is trained or measured is
# skipped, so after an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"
runs=outputs/table1/runs

nodebench train experiment=table1_odenet seed=0 "output_dir=$runs"
run=$(nodebench reproduce fig3 --recipe fast --runs "$runs" --dry-run | sed -n 's/.* nodebench measure //p')
nodebench measure "$run" --per-sample solver.tol=1e-3,1e-4,1e-5
nodebench plot per_image --runs "$runs" --out outputs/per_image
nodebench table per_image --runs "$runs" --format markdown --out outputs/per_image/per_image.md
