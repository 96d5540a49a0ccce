#!/usr/bin/env bash
# docs/results/fig3: Figure 3 from the first ODE-Net of Table 1 (trained if it is not there), measured at six tolerances,
# with the library's other adaptive solvers and torchdiffeq's (extra `baselines`), the figures of speed, memory,
# evaluations and gradients, and the test error under other solvers. All solvers are measured in one go, so that they take
# turns and their times compare. What is trained or measured is skipped, so after an interruption the same
# command goes on; the evaluations under other solvers are made again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"
runs=outputs/table1/runs

nodebench train experiment=table1_odenet seed=0 "output_dir=$runs"
run=$(nodebench reproduce fig3 --recipe fast --runs "$runs" --dry-run | sed -n 's/.* nodebench measure //p')
nodebench measure "$run" solver=dopri5,dopri8,tsit5,bosh3,adaptive_heun,fehlberg2,vode_adams --baselines
nodebench reproduce fig3 --recipe fast --runs "$runs"
for figure in fig3 speed_accuracy memory nfe gradients; do
    nodebench plot "$figure" --runs "$runs" --out outputs/fig3
done
nodebench evaluate "$run" --swap # of several records of a solver the latest counts
for table in gradients swap; do
    nodebench table "$table" --runs "$runs" --format markdown --out "outputs/fig3/$table.md"
done
