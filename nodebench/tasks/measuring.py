"""What every task measures the same way: counts of solves, FLOPs, and a module in evaluation."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from nodebench.models.ode_block import ode_blocks, recorded_solves
from nodebench.ode import Counts
from nodebench.training.protocols import ReadCounts, SolveCounts

RECON_LIMIT = 1e-2


@contextmanager
def counting(module: nn.Module) -> Iterator[ReadCounts]:
    """See Task.counting: sums over every solve of every ODE block of the net; None for a net without one."""
    has_ode = bool(ode_blocks(module))
    with recorded_solves(module) as solves:

        def read() -> SolveCounts | None:
            if not has_ode:
                return None
            forward = sum((stats.forward for stats in solves), Counts())
            backward = sum((stats.backward for stats in solves), Counts())
            return SolveCounts(
                nfe_forward=forward.nfe,
                nfe_backward=backward.nfe,
                num_accepted_forward=forward.num_accepted,
                num_rejected_forward=forward.num_rejected,
                num_accepted_backward=backward.num_accepted,
                num_rejected_backward=backward.num_rejected,
                nfe_of_samples=None if forward.samples is None else forward.samples.nfe.tolist(),
            )

        yield read


def nfe_column(counts: SolveCounts | None, num_batches: int) -> dict[str, float]:
    """`nfe_eval`, the mean over evaluation batches; nothing for a net without an ODE.

    Where samples have steps of their own beside it the mean, the median and the most of a sample, over all of them;
    over all solves too, for a net that solves several times.
    """
    if counts is None:
        return {}
    columns: dict[str, float] = {"nfe_eval": counts.nfe_forward / num_batches}
    if counts.nfe_of_samples:
        columns["nfe_sample_mean"] = statistics.fmean(counts.nfe_of_samples)
        columns["nfe_sample_median"] = statistics.median(counts.nfe_of_samples)
        columns["nfe_sample_worst"] = max(counts.nfe_of_samples)
    return columns


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without autograd; the mode is put back afterwards."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)


def flops_of(module: nn.Module, call: Callable[[], object]) -> int:
    """FLOPs of `call`, which evaluates `module`: two for a multiplication and an addition.

    Convolutions and matrix products alone are counted; compiled code would hide them, so the module runs eagerly.
    """
    from torch.utils.flop_counter import (
        FlopCounterMode,
    )  # here: it imports triton, and an end of training has time

    eager = torch.compiler.set_stance("force_eager")
    with evaluating(module), eager, FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def recon_columns(errors: Iterable[float]) -> dict[str, float | bool | None]:
    """`recon_error`, the worst of `errors`, and `recon_ok`; both None where there are none."""
    worst = max(errors, default=None)
    return {"recon_error": worst, "recon_ok": None if worst is None else worst < RECON_LIMIT}
