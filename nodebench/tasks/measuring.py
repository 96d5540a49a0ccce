"""What every task measures the same way: counts of solves, FLOPs, and a module in evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nodebench.models.ode_block import ode_blocks
from nodebench.training.protocols import SolveCounts

RECON_LIMIT = 1e-2


def solve_counts(module: nn.Module) -> SolveCounts | None:
    """Counts of the latest solve, summed over the net's ODE blocks; None for a net without one."""
    stats = [block.stats for block in ode_blocks(module) if block.stats is not None]
    if not stats:
        return None
    forward, backward = [s.forward for s in stats], [s.backward for s in stats]
    return SolveCounts(
        nfe_forward=sum(counts.nfe for counts in forward),
        nfe_backward=sum(counts.nfe for counts in backward),
        num_accepted_forward=_sum(counts.num_accepted for counts in forward),
        num_rejected_forward=_sum(counts.num_rejected for counts in forward),
        num_accepted_backward=_sum(counts.num_accepted for counts in backward),
        num_rejected_backward=_sum(counts.num_rejected for counts in backward),
    )


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
    eager = torch.compiler.set_stance("force_eager")
    with evaluating(module), eager, FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def recon_columns(errors: Iterable[float]) -> dict[str, float | bool | None]:
    """`recon_error`, the worst of `errors`, and `recon_ok`; both None where there are none."""
    worst = max(errors, default=None)
    return {"recon_error": worst, "recon_ok": None if worst is None else worst < RECON_LIMIT}


def _sum(counts: Iterable[int | None]) -> int | None:
    """The sum, None if a count is not known."""
    known = list(counts)
    return None if None in known else sum(count for count in known if count is not None)
