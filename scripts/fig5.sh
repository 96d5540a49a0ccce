#!/usr/bin/env bash
# docs/results/fig5: the runs of Figure 5 (planar NF and CNF on two circles and two moons), their table and the figure.
# Runs that are finished are skipped, so after an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"

nodebench reproduce fig5 --recipe fast --seeds 0,1,2 --jobs 2 --runs outputs/fig5

# What Figure 5's NLL is compared with: torchdiffeq's example with as many steps, and two more seeds of each.
nodebench train -m experiment=fig5_example seed=0,1,2 output_dir=outputs/fig5_nll
nodebench train -m experiment=fig5_cnf seed=1,2 output_dir=outputs/fig5_nll
