#!/usr/bin/env bash
# docs/results/fig3: Figure 3 from the first ODE-Net of Table 1 (trained if it is not there), measured at six tolerances,
# with the library's other adaptive solvers and the figures of speed, memory, evaluations and gradients.
# What is trained or measured is skipped, so after an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"
runs=outputs/table1/runs

nodebench reproduce fig3 --recipe fast --runs "$runs"
for run in "$runs"/classification/mnist-odenet-*/seed0; do
    if [ -f "$run/measure.csv" ]; then
        nodebench measure "$run" solver=dopri8,tsit5,bosh3,adaptive_heun,fehlberg2,vode_adams,lsoda
    fi
done
for figure in fig3 speed_accuracy memory nfe gradients; do
    nodebench plot "$figure" --runs "$runs" --out outputs/fig3
done
nodebench table gradients --runs "$runs" --format markdown --out outputs/fig3/gradients.md
