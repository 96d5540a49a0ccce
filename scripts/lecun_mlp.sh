#!/usr/bin/env bash
# docs/results/lecun_mlp: the 784-300-10 perceptron on MNIST without augmentation, deskewed and as it is, three seeds each,
# and their table. Some minutes.
# Runs that are finished are skipped, so after an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"
runs=outputs/lecun_mlp/runs

nodebench train -m experiment=lecun_mlp data.deskew=true,false seed=0,1,2 num_threads=1 "output_dir=$runs"
columns=model,data.deskew,data.augment,training.epochs,seeds,error_train,error_test,num_params
nodebench table "$columns" --runs "$runs" --format markdown --out outputs/lecun_mlp/table.md
