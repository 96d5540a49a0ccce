"""Columns that a run of any task has: how far it is, what it minimises, how large it is and what it costs."""

from __future__ import annotations

from functools import partial

from nodebench.records.column import Column, Shown

_time = partial(Column, format=".1f", chart="time", shown=Shown.NOWHERE)
_memory = partial(
    Column, format=".1f", unit="memory in MiB", chart="memory", shown=Shown.TABLE | Shown.HPARAMS
)

# step_best: the step of the lowest score on the validation split, whose weights are checkpoints/best.pt.
PROGRESS = (
    Column("epoch", ".0f", chart="", shown=Shown.NOWHERE),
    Column("step", ".0f", chart="", shown=Shown.NOWHERE),
    Column("step_best", ".0f", chart="", shown=Shown.NOWHERE),
)
LOSS = (Column("loss_train", ".4f", chart="loss", shown=Shown.NOWHERE),)
SIZE = (
    Column("num_params", ",.0f", rank=9),
    Column("flops_forward", ".3g", "flops an image", shown=Shown.NOWHERE),
)
COSTS = (
    _memory("memory_saved_mib", rank=10),
    _memory("memory_peak_mib", rank=11),
    _time("time_forward_ms"),
    _time("time_forward_ms_iqr"),
    _time("time_backward_ms"),
    _time("time_backward_ms_iqr"),
    _time("time_step_ms", shown=Shown.EVERYWHERE, rank=8),
    _time("time_step_ms_iqr"),
    _time("time_epoch_s"),
    _time("time_epoch_s_iqr"),
)
"""Times are medians over steps, `_iqr` the distance between their quartiles."""
