"""Columns of what an ODE's solves do: evaluations and steps, means a batch, and the way there and back."""

from __future__ import annotations

from functools import partial

from nodebench.records.column import YES_NO, Column, Shown

_nfe = partial(Column, format=".1f", unit="nfe in evaluations a batch", chart="nfe")
_sample = partial(Column, format=".1f", unit="nfe_sample in evaluations a sample", chart="nfe")
# nfe_..._max: of several processes the most of one, where the others are means over them.
_steps = partial(Column, format=".1f", shown=Shown.NOWHERE)

COUNTS = (
    _nfe("nfe_forward", rank=6),
    _nfe("nfe_backward", rank=7),
    _nfe("nfe_forward_max", shown=Shown.NOWHERE),
    _nfe("nfe_backward_max", shown=Shown.NOWHERE),
    _nfe("nfe_eval", shown=Shown.HPARAMS),
    _sample("nfe_sample_mean", rank=8),
    _sample("nfe_sample_median", rank=9),
    _sample("nfe_sample_worst", rank=10),
    _steps("num_accepted_forward", chart="steps/accepted_forward"),
    _steps("num_rejected_forward", chart="steps/rejected_forward"),
    _steps("num_accepted_backward", chart="steps/accepted_backward"),
    _steps("num_rejected_backward", chart="steps/rejected_backward"),
)
RECONSTRUCTION = (
    Column("recon_error", ".1e", shown=Shown.HPARAMS),
    Column("recon_ok", YES_NO, shown=Shown.TABLE, rank=13),
)
