#!/usr/bin/env bash
# docs/results/bench: solvers on the same work, eager and compiled, and how a training step grows. Under an hour on 2 quiet
# CPU cores; the baselines (torchdiffeq, torchode, diffrax) are raced where they are installed:
# .venv/bin/pip install 'nodebench[baselines]'
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"

nodebench bench cnf odenet vdp mixed mlp epoch --out outputs/bench
OMP_NUM_THREADS=1 taskset -c 1 nodebench bench cnf --out outputs/bench/one_thread # of one core, as JAX takes those it finds
OMP_NUM_THREADS=1 nodebench bench latent --out outputs/bench
OMP_NUM_THREADS=1 nodebench bench ddp --out outputs/bench
nodebench bench scaling --out outputs/bench
OMP_NUM_THREADS=1 nodebench bench scaling_flows --out outputs/bench
