"""Columns of density estimation: negative log-likelihoods in nats; nll_tight is solved to 1e-7 in float64."""

from __future__ import annotations

from functools import partial

from nodebench.records.column import Column, Shown

_nll = partial(Column, format=".3f", unit="nll in nats", chart="nll")

COLUMNS = (
    _nll("nll_train", screen="NLL", shown=Shown.NOWHERE),
    _nll("nll_val", screen="NLL", shown=Shown.NOWHERE),
    _nll("nll", has_interval=True),
    _nll("nll_stderr", shown=Shown.NOWHERE),
    _nll("nll_tight", has_interval=True, shown=Shown.AFTER_TRAINING | Shown.HPARAMS),
)
