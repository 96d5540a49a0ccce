"""Columns of density matching: KL(q || p) in nats; kl_tight is solved to 1e-7 in float64."""

from __future__ import annotations

from functools import partial

from nodebench.records.column import Column, Shown

_kl = partial(Column, format=".4f", unit="kl in nats", chart="kl")

COLUMNS = (
    _kl("kl_train", screen="KL", shown=Shown.NOWHERE),
    _kl("kl_val", screen="KL", shown=Shown.NOWHERE),
    _kl("kl", has_interval=True),
    _kl("kl_stderr", shown=Shown.NOWHERE),
    _kl("kl_tight", has_interval=True, shown=Shown.AFTER_TRAINING | Shown.HPARAMS),
    Column("mass_in_box", ".3f", "mass_in_box as a share", has_interval=True, chart="mass", rank=12),
)
