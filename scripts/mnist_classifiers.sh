#!/usr/bin/env bash
# docs/results/mnist_classifiers: the six classifiers on MNIST, conv stem, one seed, 4 epochs each, and their table.
# Runs that are finished are skipped, so after an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"
runs=outputs/mnist_classifiers

for row in odenet rknet mlp noblock resnet1 resnet; do
    nodebench train "experiment=table1_$row" training.epochs=4 seed=0 "output_dir=$runs"
done
columns=model,gradient,error_test,num_params,nfe_forward,nfe_backward,memory_saved_mib,memory_peak_mib
nodebench table "$columns,time_step_ms,time_epoch_s,recon_ok" --runs "$runs"
nodebench table "$columns,time_step_ms,time_epoch_s,recon_ok" --runs "$runs" --format markdown --out "$runs/table.md"
