"""The work that libraries are compared on: a field, a start, a loss, and how it ends to many digits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nodebench.benchmark.contestants import State, flat, flat_gradient
from nodebench.ode import odeint

PUBLISHED_BY = "torchdiffeq"  # whose published fields ours are compared with
OWN = "nodebench"


class Reference(NamedTuple):
    """The outputs and the gradient of the continuous problem, flat, in float64."""

    solution: Tensor
    gradient: Tensor | None


@dataclass(frozen=True)
class Twin:
    """A problem in JAX: field(t, y, params) with the parameters in the order of the torch field's, and loss(ys)."""

    field: Callable[[Any, Any, Sequence[Any]], Any]
    loss: Callable[[Any], Any] | None = None


@dataclass(frozen=True, eq=False)
class Problem:
    """dy/dt = field(t, y) from y0 at ts[0], the outputs at the times behind it, and the gradient of loss(outputs).

    Outputs have the shape (len(ts) - 1, *shape), for each part of a tuple state. Without a loss they alone are wanted.
    The gradient is of the field's parameters and of y0 where it requires one.
    `field_name` says whose field it is. The reference is solved by `reference_method` at `reference_tol`, with the
    gradient mode `reference_gradient`: `checkpointed` where the graph of the whole solve would be too large.
    `twin` makes the same field and loss in JAX, where they have been written; called only to race diffrax.
    """

    field: nn.Module
    field_name: str
    y0: State
    ts: tuple[float, ...]
    loss: Callable[[State], Tensor] | None = None
    reference_method: str = "dopri8"
    reference_tol: float = 1e-9
    reference_gradient: str = "direct"
    twin: Callable[[], Twin] | None = None

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """The tensors of the start: one, or those of a tuple."""
        return self.y0 if isinstance(self.y0, tuple) else (self.y0,)

    @property
    def device(self) -> torch.device:
        return self.parts[0].device

    @property
    def leaves(self) -> list[Tensor]:
        """What gets a gradient: the start, where it requires one, and the field's parameters."""
        return [*(part for part in self.parts if part.requires_grad), *self.field.parameters()]

    @cached_property
    def reference(self) -> Reference:
        """Computed once, when it is first asked for; the gradient is that of the discrete solve at that tolerance."""
        field = copy.deepcopy(self.field).double()
        parts = tuple(part.detach().double().requires_grad_(part.requires_grad) for part in self.parts)
        y0: State = parts if isinstance(self.y0, tuple) else parts[0]
        with torch.set_grad_enabled(self.loss is not None):
            ys = odeint(
                field,
                y0,
                self.ts,
                method=self.reference_method,
                rtol=self.reference_tol,
                atol=self.reference_tol,
                gradient=self.reference_gradient,
                step_ts=self.ts[1:-1],  # no output is left to an interpolant, whose error no tolerance bounds
            ).ys
            outputs = behind_start(ys)
        if self.loss is None:
            return Reference(flat(outputs), None)
        self.loss(outputs).backward()
        leaves = [*(part for part in parts if part.requires_grad), *field.parameters()]
        return Reference(flat(outputs), flat_gradient(leaves))


def behind_start(ys: State) -> State:
    """The outputs without the start, which a solve hands back as the first of them."""
    return tuple(part[1:] for part in ys) if isinstance(ys, tuple) else ys[1:]


def last(ys: State) -> State:
    """The state at the last output time."""
    return tuple(part[-1] for part in ys) if isinstance(ys, tuple) else ys[-1]


def relative_error(value: Tensor, reference: Tensor) -> float:
    """||value - reference|| / ||reference||, in float64."""
    return float((value.double() - reference).norm() / reference.norm())


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """What is drawn inside is the same every time, and nothing outside notices."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
