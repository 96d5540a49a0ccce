#!/usr/bin/env bash
# docs/results/report.html: one page about every committed run, with the figures and tables that there is data for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"

nodebench report --runs docs/results --out docs/results/report.html --title "nodebench: every committed run"
