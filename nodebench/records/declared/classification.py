"""Columns of classification: errors in percent."""

from __future__ import annotations

from functools import partial

from nodebench.records.column import Column, Shown

_error = partial(Column, format=".2f", unit="errors in percent", has_interval=True, chart="error")
_on_screen = partial(_error, screen="error", sign=" %")

COLUMNS = (
    _on_screen("error_train", shown=Shown.NOWHERE),
    _on_screen("error_val", shown=Shown.AFTER_TRAINING | Shown.HPARAMS),
    _error("error_test"),
)
