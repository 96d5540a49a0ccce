#!/usr/bin/env bash
# docs/results/table2 and fig8, fig9, fig10: latent ODE and RNNs on spirals, three seeds of each cell, the table and the figures.
# docs/results/periodic: the toy series of Rubanova et al. (2019), an RNN and an ODE-RNN as encoder.
# Runs that are finished are skipped, so after an interruption the same command goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/.venv/bin:$PATH"

nodebench reproduce table2 --recipe fast --runs outputs/table2
for figure in fig8 fig9 fig10; do nodebench plot "$figure" --runs outputs/table2; done

# The same with tanh cells, as the paper's RNNs may have been.
nodebench train -m experiment=table2_latent_ode model.encoder=rnn data.num_observed=30,50,100 seed=0,1,2 output_dir=outputs/table2_tanh
for model in rnn rnn_dt; do
    nodebench train -m "experiment=table2_$model" model.cell=rnn data.num_observed=30,50,100 seed=0,1,2 output_dir=outputs/table2_tanh
done

nodebench train -m experiment=periodic_gru output_dir=outputs/periodic
nodebench train -m experiment=periodic_ode_rnn output_dir=outputs/periodic
