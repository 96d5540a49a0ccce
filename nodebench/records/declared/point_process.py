"""Columns of point processes: likelihoods in nats an event, and how far the learned rate is from the true one.

nll_event is of the events given their latent state; of a model that reads a sequence to find that state, `elbo_event`
beside is a lower bound of the log-likelihood, KL(q(z0) || p(z0)) and all. Each has the numbers beside it that say what
it means: of the true rate (`_true`, where it is known) and of the training events' mean rate (`_constant`).

ks is the Kolmogorov-Smirnov distance from Exp(1) of the rate's integrals between events; of the true rate it is about
0.87 over the root of their number. rate_error is the RMS error of the rate over a grid, relative to the rate's RMS.
"""

from __future__ import annotations

from functools import partial

from nodebench.records.column import Column, Shown
from nodebench.records.declared.time_series import KL_Z0

_nats = partial(
    Column, format=".4f", unit="nll_event in nats an event", chart="nll_event", shown=Shown.NOWHERE
)
_distance = partial(Column, format=".4f", chart="rate", shown=Shown.NOWHERE)

COLUMNS = (
    _nats("nll_event_train", screen="NLL"),
    _nats("nll_event_val", screen="NLL"),
    _nats("elbo_event_val", unit="elbo_event in nats an event"),
    _nats("nll_event", has_interval=True, shown=Shown.EVERYWHERE),
    _nats("nll_event_true", shown=Shown.TABLE | Shown.AFTER_TRAINING),
    _nats("nll_event_constant", shown=Shown.TABLE | Shown.AFTER_TRAINING),
    _nats("elbo_event", unit="elbo_event in nats an event", has_interval=True, shown=Shown.EVERYWHERE),
    KL_Z0,
    _distance("ks", unit="ks from 0 to 1", has_interval=True, shown=Shown.EVERYWHERE),
    _distance("ks_true", chart=""),
    _distance("ks_constant", chart=""),
    _distance(
        "rate_error", unit="rate_error relative to the true rate", has_interval=True, shown=Shown.EVERYWHERE
    ),
    _distance("rate_error_constant", chart=""),
)
