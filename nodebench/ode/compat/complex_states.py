"""Complex states for methods that solve with the Jacobian of a real one: solved as their parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nodebench.ode.compat.options import IMPLICIT
from nodebench.ode.field import checked
from nodebench.ode.packing import Packing, State, check_state


def packing_of(y0: Any, methods: Sequence[str]) -> Packing:
    """How a state is packed that is solved by these methods. Raises TypeError and ValueError as check_state."""
    packing = check_state(y0)
    entries = (y0,) if isinstance(y0, Tensor) else y0
    if not entries[0].is_complex() or not any(method in IMPLICIT for method in methods):
        return packing
    return RealParts(packing.shapes, torch.Size([sum(packing.sizes)]) if packing.sizes else y0.shape)


@dataclass(frozen=True)
class RealParts(Packing):
    """Packed states of complex `shape`, kept as real and imaginary parts: side by side, behind the axis of a batch."""

    shape: torch.Size

    @property
    def sizes(self) -> tuple[int, ...]:
        """See Packing: both parts count."""
        return tuple(2 * size for size in super().sizes)

    def pack(self, state: State) -> Tensor:
        """See Packing."""
        return self._parts(super().pack(state))

    def unpack(self, packed: Tensor, leading: Sequence[int] = ()) -> State:
        """See Packing."""
        whole = torch.view_as_complex(packed.reshape(*leading, *self.shape, 2))
        return Packing(self.shapes).unpack(whole, leading)

    def wrap(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """See Packing."""
        packed = Packing(self.shapes).wrap(f)

        def parts(t: Tensor, y: Tensor, *args: Any) -> Tensor:
            state = torch.view_as_complex(y.reshape(*self.shape, 2))
            return self._parts(checked(packed(t, state, *args), state))

        return parts

    def spread(self, tolerance: Tensor) -> Tensor:
        """A tolerance for each element of a complex tensor, for both of its parts."""
        return self._parts(torch.complex(*[tolerance.expand(self.shape)] * 2))

    def _parts(self, packed: Tensor) -> Tensor:
        parts = torch.view_as_real(packed.resolve_conj())
        return parts if packed.dim() > 1 else parts.reshape(-1)
