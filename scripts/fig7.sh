#!/usr/bin/env bash
# docs/results/fig7: the runs of Figure 7 (rates of Poisson processes from toy events, three seeds of each) and the figure.
# Runs that are finished are skipped, so after an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"

nodebench reproduce fig7 --recipe fast --runs outputs/fig7
