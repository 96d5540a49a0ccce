"""States of a batch as rows: (B, n), one sample a row, whatever shape the field's states have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.field import CountedField, Time, checked
from nodebench.ode.packing import State

_HOW = (
    'with steps="per_sample" f is called with times of shape ({b},) beside a state of {b} rows, those under way of '
    "{num_samples} samples: give t the state's axes, t.view(-1, *[1] * (y.dim() - 1)), and pass what has a row for "
    "each sample in `args`, with which the batch stays whole"
)


@dataclass(frozen=True)
class Rows:
    """`shapes` are those of one sample's entries; a single tensor has one."""

    shapes: tuple[torch.Size, ...]
    is_tuple: bool

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers a sample, of each entry."""
        return tuple(shape.numel() for shape in self.shapes)

    @property
    def are_states(self) -> bool:
        """Whether rows are states as they are."""
        return not self.is_tuple and len(self.shapes[0]) == 1

    def pack(self, state: State) -> Tensor:
        """(B, n): each sample's entries, flattened, side by side."""
        if isinstance(state, Tensor):
            return state.reshape(len(state), self.sizes[0]).contiguous()
        flat = [entry.reshape(len(entry), size) for entry, size in zip(state, self.sizes, strict=True)]
        return torch.cat(flat, dim=1)

    def unpack(self, rows: Tensor) -> State:
        """The state of rows (..., n), its entries (..., *shape)."""
        if not self.is_tuple:
            return rows.view(*rows.shape[:-1], *self.shapes[0])
        entries = rows.split(list(self.sizes), dim=-1)
        return tuple(e.reshape(*e.shape[:-1], *s) for e, s in zip(entries, self.shapes, strict=True))


def rows_of(y0: State) -> Rows:
    """How states like y0 are rows; ValueError where y0, or an entry of it, has no leading axis of samples."""
    entries = y0 if isinstance(y0, tuple) else (y0,)
    shapes = [tuple(entry.shape) for entry in entries]
    if any(not shape or shape[0] != shapes[0][0] for shape in shapes if shapes[0]) or not shapes[0]:
        what = f"entries of shapes {shapes}" if isinstance(y0, tuple) else f"shape {shapes[0]}"
        raise ValueError(
            f'`y0` has {what}; with steps="per_sample" its first axis counts the samples, in every entry alike'
        )
    return Rows(tuple(entry.shape[1:] for entry in entries), isinstance(y0, tuple))


class RowFunction:
    """f(t, y, *args) as a function of rows: t (b,), y (b, n) -> dy (b, n), as CountedField takes it.

    It does not pass on `at_times`, which says what the field is at single times.
    """

    def __init__(self, f: Callable[..., Any], rows: Rows, num_samples: int) -> None:
        self._f, self._rows, self._num_samples = f, rows, num_samples

    def __call__(self, t: Tensor, y: Tensor, *args: Any) -> Tensor:
        try:
            return on_rows(self._f, self._rows, t, y, args)
        except (RuntimeError, ValueError, IndexError) as error:
            if any(word in str(error) for word in ("size", "shape", "dimension", "index")):
                error.add_note(_HOW.format(b=len(y), num_samples=self._num_samples))
            raise


def on_rows(f: Callable[..., Any], rows: Rows, t: Tensor, y: Tensor, args: tuple[Any, ...]) -> Tensor:
    """f(t, y, *args) of rows, as rows; ValueError where it returned no slope of such states."""
    if rows.are_states:
        return checked(f(t, y, *args), y)
    state = rows.unpack(y)
    dy = f(t, state, *args)
    if isinstance(state, Tensor):
        return checked(dy, state).reshape(len(state), -1)
    if not isinstance(dy, (tuple, list)) or len(dy) != len(state):
        what = f"{len(dy)} entries" if isinstance(dy, (tuple, list)) else f"a {type(dy).__name__}"
        raise ValueError(
            f"the vector field returned {what} for a state of {len(state)}; "
            "f(t, y) must return a tuple of tensors with the state's shapes"
        )
    flat = [checked(d, y).reshape(len(y), -1) for d, y in zip(dy, state, strict=True)]
    return torch.cat(flat, dim=1)


class RowField(CountedField):
    """A RowFunction with its arguments, counted: t is (b,), in the state's real dtype, on its device."""

    def __call__(self, t: Time, y: Tensor, integrand: bool = True) -> Tensor:
        """See Field."""
        assert isinstance(t, Tensor), "the times of rows"
        if self._inspect is not None:
            return self._inspected(partial(self._raw, self.f, t, y), (t, y))
        dy: Tensor = self._raw(self.f, t, y)  # a RowFunction checks what it returns
        return dy
