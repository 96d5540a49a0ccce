"""States of several tensors as one vector: packed at the front door, unpacked where f is called and at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeVar

import torch
from torch import Tensor

from nodebench.ode.field import is_castable

State = Tensor | tuple[Tensor, ...]
S = TypeVar("S", Tensor, tuple[Tensor, ...], State)  # a state, and what is made of it, of one kind


@dataclass(frozen=True)
class Packing:
    """Shapes of a tuple state's entries, or None for a single tensor, which stays as it is."""

    shapes: tuple[torch.Size, ...] | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of elements of each entry of a tuple state."""
        return () if self.shapes is None else tuple(shape.numel() for shape in self.shapes)

    def pack(self, state: State) -> Tensor:
        """The state as one tensor: a tuple's entries flattened and concatenated."""
        if isinstance(state, Tensor):
            return state.contiguous()
        return torch.cat([entry.reshape(-1) for entry in state])

    def unpack(self, packed: Tensor, leading: Sequence[int] = ()) -> State:
        """The state of a packed tensor, its entries preceded by the axes `leading`."""
        if self.shapes is None:
            return packed
        entries = packed.split(list(self.sizes), dim=-1)
        return tuple(e.reshape((*leading, *s)) for e, s in zip(entries, self.shapes, strict=True))

    def wrap(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """f on packed states."""
        return f if self.shapes is None else _PackedField(f, self)

    def tolerance(self, name: str, value: float | Sequence[float], like: Tensor) -> float | Tensor:
        """One tolerance for all, or one an entry of a tuple state, spread over the packed state.

        Raises TypeError if it is neither a number nor a sequence, ValueError unless all are finite and positive and
        a sequence has one an entry.
        """
        is_number = isinstance(value, Real) or (isinstance(value, Tensor) and value.dim() == 0)
        if not is_number and (isinstance(value, str) or not isinstance(value, Iterable)):
            raise TypeError(f"`{name}` is {value!r}; a tolerance is a positive number, such as 1e-3")
        values = [float(v) for v in ([value] if is_number else value)]  # type: ignore[arg-type, union-attr]
        for v in values:
            if not 0 < v < float("inf"):
                raise ValueError(f"`{name}` is {v}; tolerances must be positive and finite, such as 1e-3")
        if is_number:
            return values[0]
        if len(values) != len(self.sizes):
            raise ValueError(
                f"`{name}` has {len(values)} entries for a state of {len(self.sizes) or 1}; "
                "give one number, or one an entry of a tuple state"
            )
        real = like.real if like.is_complex() else like
        return torch.cat([real.new_full((n,), v) for n, v in zip(self.sizes, values, strict=True)])


class _PackedField:
    """f(t, tuple, *args) as a function of the packed state."""

    def __init__(self, f: Callable[..., Any], packing: Packing) -> None:
        self._f, self._packing = f, packing
        if getattr(f, "at_times", None) is not None:
            self.at_times = self._at_times

    def __call__(self, t: Tensor, y: Tensor, *args: Any) -> Tensor:
        return self._pack(self._f(t, self._packing.unpack(y), *args), y)

    def _at_times(self, ts: Tensor) -> list[Callable[..., Tensor]]:
        return [self._stage(stage_field) for stage_field in self._f.at_times(ts)]  # type: ignore[attr-defined]

    def _stage(self, stage_field: Callable[..., Any]) -> Callable[..., Tensor]:
        return lambda y, *args: self._pack(stage_field(self._packing.unpack(y), *args), y)

    def _pack(self, dy: Any, y: Tensor) -> Tensor:
        shapes = self._packing.shapes
        assert shapes is not None
        expected = [tuple(shape) for shape in shapes]
        returned = [_describe(e) for e in dy] if isinstance(dy, (tuple, list)) else f"a {type(dy).__name__}"
        if returned != expected:
            raise ValueError(
                f"the vector field returned {returned} for a state of {expected}; "
                "f(t, y) must return a tuple of tensors with the state's shapes"
            )
        for entry in dy:  # said here, as the entries' common dtype would not tell
            if not is_castable(entry.dtype, y.dtype):
                raise ValueError(
                    f"the vector field returned an entry of {entry.dtype} for a state of {y.dtype}; "
                    "its entries may differ from the state in precision alone"
                )
        return torch.cat([entry.reshape(-1) for entry in dy])


def _describe(entry: Any) -> tuple[int, ...] | str:
    return tuple(entry.shape) if isinstance(entry, Tensor) else f"a {type(entry).__name__}"


_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def check_state(y0: Any) -> Packing:
    """The packing of an initial state.

    Raises TypeError if y0 is no tensor or tuple of tensors or not of a single or double precision dtype, ValueError if
    its entries disagree in dtype or device or if it has no elements.
    """
    entries = (y0,) if isinstance(y0, Tensor) else y0
    if not isinstance(entries, tuple) or not entries or not all(isinstance(e, Tensor) for e in entries):
        raise TypeError(f"`y0` is a {type(y0).__name__}; it must be a tensor or a non-empty tuple of tensors")
    first = entries[0]
    if not (first.is_floating_point() or first.is_complex()):
        raise TypeError(
            f"`y0` is {first.dtype}; states are floating-point or complex, so convert it: y0.float()"
        )
    if first.dtype not in _DTYPES:
        raise TypeError(
            f"`y0` is {first.dtype}, whose few digits the sums and errors of a solve would lose; keep the state in "
            "float32 (y0.float()) and compute in half precision inside f alone (torch.autocast)"
        )
    for entry in entries:
        if entry.dtype != first.dtype or entry.device != first.device:
            raise ValueError(
                f"the entries of `y0` are {first.dtype} on {first.device} and {entry.dtype} on {entry.device}; "
                "all entries of a state share dtype and device"
            )
    if not any(entry.numel() for entry in entries):
        raise ValueError(
            f"`y0` of shape {[tuple(e.shape) for e in entries]} has no elements; nothing to solve"
        )
    return Packing(None if isinstance(y0, Tensor) else tuple(entry.shape for entry in entries))
