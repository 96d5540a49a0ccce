"""One batch in the hands of several processes: each solves some of its rows, and all take the steps of the whole.

What a step is measured by is then a number of all processes. Each makes its own, the host exchanges them (`Together`,
which whoever trains provides), and every process decides by the same bits. Where an adjoint's norm counts the integrals
of the parameters too, these are sums over the rows: what one process would have is the sum of what each has, which is
exchanged whole, for each step that is tried.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from nodebench.ode.norms import (
    Accuracy,
    LeadingNorm,
    MaxBlockNorm,
    Norm,
    error_ratio,
    max_sample_norm,
    rms_norm,
)


class Together(Protocol):
    """The processes that solve the rows of one batch, all of which make the same calls in the same order."""

    def gather(self, numbers: Sequence[float], /) -> list[list[float]]:
        """Such numbers of every process, in the order of the processes."""

    def total(self, x: Tensor, /) -> Tensor:
        """The sum over the processes of such a vector of each, the same bits in all of them."""


class _Piece(NamedTuple):
    """Consecutive entries. A group of pieces has one RMS; a common piece is the same in all processes."""

    size: int
    group: int = 0
    is_common: bool = False


@dataclass(frozen=True)
class SharedAccuracy(Accuracy):
    """What is asked of the steps of all rows of a batch. Raises ValueError for a norm that is not one of ours.

    What `error_ratio` gives is of this process's rows, one number a piece, until `of_all` makes one of all rows of it.
    `size` and `riding` are of the entries that count: how many there are, and how many of them, the last ones, are sums
    over the rows.
    """

    together: Together = field(kw_only=True)
    size: int = 0
    riding: int = 0
    is_shared: ClassVar[bool] = True

    def __post_init__(self) -> None:
        norm = self._inner
        if norm not in (rms_norm, max_sample_norm) and not isinstance(norm, MaxBlockNorm):
            raise ValueError("a norm of your own is of one process's rows; solve with `rms` or `max_sample`")

    @property
    def _inner(self) -> Norm:
        """The norm of the entries that count."""
        return self.norm.norm if isinstance(self.norm, LeadingNorm) else self.norm

    def for_states(self, y: Tensor, riding: int) -> SharedAccuracy:
        """See Accuracy."""
        rtol, atol = self.tolerances(y)
        counted = 0 if isinstance(self.norm, LeadingNorm) else riding
        return replace(self, rtol=rtol, atol=atol, size=self.part(y).numel(), riding=counted)

    def whole(self, *ys: Tensor) -> tuple[Tensor, ...]:
        """See Accuracy: with the integrals over all rows."""
        parts = super().whole(*ys)
        if not self.riding:
            return parts
        sums = self.together.total(torch.cat([part[-self.riding :] for part in parts])).split(self.riding)
        return tuple(torch.cat([part[: -self.riding], tail]) for part, tail in zip(parts, sums, strict=True))

    def norms(self, *xs: Tensor) -> tuple[Tensor, ...]:
        """See Accuracy: of all rows."""
        values = torch.stack([self._of_pieces(x) for x in xs])
        return tuple(values.new_tensor(self._of_all(values.tolist())))

    def error_ratio(self, y_error: Tensor, y0: Tensor, y1: Tensor) -> Tensor:
        """See Accuracy: of this process's rows, (pieces,)."""
        y_error, y0, y1 = self.whole(y_error, y0, y1)
        return error_ratio(y_error, y0, y1, self.rtol, self.atol, self._of_pieces)

    def of_all(self, ratio: Tensor) -> float:
        """See Accuracy; a ratio that is one number is of one piece."""
        (whole,) = self._of_all([ratio.reshape(-1).tolist()])
        return whole

    def alone(self) -> Accuracy:
        """See Accuracy."""
        return Accuracy(self.rtol, self.atol, self.norm)

    @property
    def is_one_number(self) -> bool:
        """Whether an error is known by one number of each process, which is then its norm of its rows."""
        return not self.riding and not isinstance(self._inner, MaxBlockNorm)

    @cached_property
    def _pieces(self) -> tuple[_Piece, ...]:
        norm, own = self._inner, self.size - self.riding
        if not isinstance(norm, MaxBlockNorm):
            pieces = [_Piece(own), _Piece(self.riding, is_common=True)]
            return tuple(pieces if self.riding else pieces[:1])
        pieces, end = [], 0
        for group, size in enumerate(size for size in norm.sizes if size):
            end += size
            pieces.append(_Piece(size, group, is_common=end > own))
        return tuple(pieces)

    def _of_pieces(self, x: Tensor) -> Tensor:
        """The norm of each piece of the entries that count, (pieces,)."""
        if len(self._pieces) == 1:
            return self._inner(x).reshape(1)
        parts = x.split([piece.size for piece in self._pieces])
        return torch.stack([rms_norm(part) for part in parts])

    def _of_all(self, values: Sequence[Sequence[float]]) -> list[float]:
        """For each of several lists of a value a piece, the norm of all rows."""
        own = [i for i, piece in enumerate(self._pieces) if not piece.is_common]
        sizes = [float(self._pieces[i].size) for i in own]
        told = self.together.gather([*sizes, *(of_one[i] for of_one in values for i in own)])
        return [self._joined(number, of_one, own, told) for number, of_one in enumerate(values)]

    def _joined(
        self, number: int, values: Sequence[float], own: Sequence[int], told: Sequence[Sequence[float]]
    ) -> float:
        """The norm of all rows, from what every process told of its own and what is common."""
        squares: defaultdict[int, float] = defaultdict(float)
        counts: defaultdict[int, float] = defaultdict(float)
        begin = len(own) * (1 + number)
        parts = [(self._pieces[i].group, row[k], row[begin + k]) for row in told for k, i in enumerate(own)]
        parts += [
            (piece.group, piece.size, value)
            for piece, value in zip(self._pieces, values, strict=True)
            if piece.is_common
        ]
        if not all(math.isfinite(value) for _, _, value in parts):
            return math.nan
        if self._inner is max_sample_norm:
            return max(value for _, _, value in parts)
        for group, size, value in parts:
            squares[group] += size * value * value
            counts[group] += size
        return max(math.sqrt(squares[group] / counts[group]) for group in squares)
