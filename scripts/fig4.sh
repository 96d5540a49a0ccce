#!/usr/bin/env bash
# docs/results/fig4: the 90 runs of Figure 4 (planar NF and CNF on u1, u3, u4, three seeds), their table and the figure.
# Runs that are finished are skipped, so after an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"

nodebench reproduce fig4 --recipe fast --seeds 0,1,2 --jobs 2 --runs outputs/fig4
