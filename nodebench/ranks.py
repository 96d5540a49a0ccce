"""Which rows of a batch are this process's, where several train one net: what is random is drawn for all of them.

Read by whoever trains, which opens `of_batch`, and by nets, which draw by `drawn` and solve `together`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

_SAID_BY_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class Place(NamedTuple):
    """The number of this process among those that train one net, on its machine among those there, and how many."""

    rank: int
    local_rank: int
    number: int


def place_here(environ: Mapping[str, str] = os.environ) -> Place | None:
    """Where torchrun, or what sets the same variables, has put this process; None where it is the only one."""
    try:
        rank, number, local_rank = (int(environ[name]) for name in _SAID_BY_TORCHRUN[:3])
    except (KeyError, ValueError):
        return None
    is_told = all(environ.get(name) for name in _SAID_BY_TORCHRUN)
    return Place(rank, local_rank, number) if is_told and number > 1 else None


@dataclass(frozen=True)
class Share:
    """Rows `start` to `stop` of a batch of `total`. `together`: what their solves exchange with the others' by."""

    start: int
    stop: int
    total: int
    together: Any = None


_current: ContextVar[Share | None] = ContextVar("share", default=None)


@contextmanager
def of_batch(share: Share) -> Iterator[None]:
    """Within, the rows at hand are a share of a batch."""
    token = _current.set(share)
    try:
        yield
    finally:
        _current.reset(token)


def together() -> Any:
    """What the solves of the rows at hand exchange with the others' by; None where there are no others."""
    share = _current.get()
    return None if share is None else share.together


def drawn(draw: Callable[[int], Tensor], num_rows: int, dim: int = 0) -> Tensor:
    """What `draw` gives for so many rows, along `dim`: of a share, its rows of what it gives for the whole batch."""
    share = _current.get()
    if share is None or num_rows != share.stop - share.start:
        return draw(num_rows)
    return draw(share.total).narrow(dim, share.start, num_rows).contiguous()
