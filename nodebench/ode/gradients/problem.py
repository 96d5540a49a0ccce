"""What every gradient mode receives, and what the modes without a graph have in common."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from nodebench.ode.clock import Clock
from nodebench.ode.counts import SolveStats
from nodebench.ode.drive.outputs import Observer
from nodebench.ode.drive.solver import Solver
from nodebench.ode.drive.state import LoopResult
from nodebench.ode.drive.watch import Crossing, EventWatch
from nodebench.ode.field import Inspect
from nodebench.ode.norms import Norm
from nodebench.ode.status import SolverError

# Builds the norm of an augmented state from the sizes of y's blocks and of the parameters' blocks.
AdjointNorm = Callable[[Sequence[int], Sequence[int]], Norm]


@dataclass(frozen=True)
class AdjointSolve:
    """How the adjoint is solved backwards: the solver under a norm of the augmented state, and that norm."""

    make_solver: Callable[[Norm], Solver]
    make_norm: AdjointNorm


@dataclass(frozen=True)
class Problem:
    """An initial value problem with packed state y0, its solver, and the tensors that gradients are wanted for."""

    f: Callable[..., Any]
    y0: Tensor
    clock: Clock
    solver: Solver
    args: tuple[Any, ...] = ()
    params: tuple[Tensor, ...] = ()
    block_sizes: tuple[int, ...] = ()
    stats: SolveStats = field(default_factory=SolveStats)
    observers: Sequence[Observer] = ()
    adjoint: AdjointSolve | None = None
    raise_on_failure: bool = True
    watch: EventWatch | None = None

    def without_tensors(self) -> Problem:
        """What a backward pass may hold on to: its tensors come from save_for_backward alone."""
        empty = self.y0.new_empty(0)
        return replace(self, y0=empty, clock=self.clock.as_constants(), args=(), params=(), watch=None)

    @property
    def found(self) -> list[Crossing]:
        """The events that the solve met."""
        return [] if self.watch is None else self.watch.found

    def with_events(self, ys: Tensor) -> Tensor:
        """The outputs and, behind them, the states at the events: what a gradient without a graph hands out."""
        states = [crossing.y for crossing in self.found]
        return torch.cat([ys, torch.stack(states)]) if states else ys

    def without_events(self, ys: Tensor) -> Tensor:
        """The outputs alone of `with_events`; the events take the states that now have a graph."""
        if self.watch is None or not self.watch.found:
            return ys
        num_outputs = len(self.clock.ts)
        states = ys[num_outputs:].unbind()
        self.watch.found = [
            crossing._replace(y=y) for crossing, y in zip(self.watch.found, states, strict=True)
        ]
        return ys[:num_outputs]

    def stops(self, num_reached: int) -> list[Stop]:
        """Where gradients enter, in the order of the solve: the outputs that were reached, and the events."""
        clock, rows = self.clock, len(self.clock.ts)
        stops = [Stop(row, t) for row, t in enumerate(clock.ts[:num_reached])]
        events = [Stop(row, crossing.t) for row, crossing in enumerate(self.found, start=rows)]
        return sorted([*stops, *events], key=lambda stop: clock.direction * stop.t) if events else stops

    def outputs(self, result: LoopResult) -> Outputs:
        """Stacked outputs; those not reached are NaN where failures are returned, not raised."""
        if result.error is not None and self.raise_on_failure:
            raise result.error
        outputs, missing = result.outputs, len(self.clock.ts) - len(result.outputs)
        if missing:
            outputs = [*outputs, *[torch.full_like(self.y0, torch.nan)] * missing]
        return Outputs(torch.stack(outputs), result.error)


class Stop(NamedTuple):
    """A time at which the state is handed out, and in which row."""

    row: int
    t: float


class Outputs(NamedTuple):
    """ys of shape (len(ts), *y0.shape) and the error that ended the solve early, if one did."""

    ys: Tensor
    error: SolverError | None


class Watched(NamedTuple):
    """The tensors beside y0 that receive gradients, and how to put them back among the arguments."""

    tensors: tuple[Tensor, ...]
    args: tuple[Any, ...]
    slots: tuple[int, ...]  # tensors[i] is args[slots[i]] for i < len(slots); the rest are parameters

    def without_tensors(self) -> Watched:
        """The same slots, empty."""
        return self._replace(tensors=())

    def rebuild_args(self, tensors: Sequence[Tensor]) -> tuple[Any, ...]:
        """The arguments with their tensors replaced by `tensors`."""
        args = list(self.args)
        for slot, tensor in zip(self.slots, tensors, strict=False):
            args[slot] = tensor
        return tuple(args)

    def leaves(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """`tensors` as f is to see them where it is differentiated.

        Arguments become leaves of their own: autograd takes their gradient on to what they were computed from, so
        one that is passed twice, or that depends on a parameter, must not count that dependence here as well.
        """
        cut = len(self.slots)
        return (*(t.detach().requires_grad_(t.requires_grad) for t in tensors[:cut]), *tensors[cut:])


class WithTensors(Protocol):
    """A problem, as far as gradients beside y0's are concerned."""

    @property
    def args(self) -> tuple[Any, ...]: ...

    @property
    def params(self) -> tuple[Tensor, ...]: ...


def watch(problem: WithTensors) -> Watched:
    """Tensor arguments first, then parameters that require grad."""
    slots = tuple(i for i, arg in enumerate(problem.args) if isinstance(arg, Tensor))
    params = tuple(dict.fromkeys(p for p in problem.params if p.requires_grad))
    bare = tuple(None if i in slots else arg for i, arg in enumerate(problem.args))
    return Watched((*(problem.args[i] for i in slots), *params), bare, slots)


def inspecting(known: Sequence[Tensor], gradient: str) -> Inspect:
    """Makes an evaluation; ValueError if f uses a tensor from outside that requires grad and is not `known`.

    The modes without a graph would give such a tensor no gradient at all, silently. A leaf that f makes in the call,
    to differentiate by it, is not from outside: it goes with the call's graph, or, where f keeps it, is another one
    in a second evaluation, which is made (and counted) for such a field alone.
    """

    def evaluate(call: Callable[[], Tensor], inputs: tuple[Tensor, Tensor]) -> Tensor:
        ours = (*known, *inputs)
        dy = call()
        suspects = [weakref.ref(leaf) for leaf in _other_leaves(dy, ours)]
        dy = dy.detach()  # nobody holds the graph any more
        outlived = [leaf for suspect in suspects if (leaf := suspect()) is not None]
        again = {id(leaf) for leaf in _other_leaves(call(), ours)} if outlived else set()
        for leaf in outlived:
            if id(leaf) in again:
                raise ValueError(_hidden_tensor(leaf, gradient))
        return dy

    return evaluate


def _other_leaves(dy: Tensor, known: Sequence[Tensor]) -> list[Tensor]:
    """The leaves that dy was computed from, but for the known tensors and what those were computed from."""
    known_ids = {id(tensor) for tensor in known}
    known_nodes = {tensor.grad_fn for tensor in known if tensor.grad_fn is not None}
    pending = [torch.autograd.graph.get_gradient_edge(dy).node if dy.requires_grad else None]
    leaves, seen = [], set()
    while pending:
        node = pending.pop()
        if node is None or node in seen or node in known_nodes:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)  # only the node of a leaf has one
        if variable is not None and id(variable) not in known_ids:
            leaves.append(variable)
        pending.extend(following for following, _ in node.next_functions)
    return leaves


def _hidden_tensor(leaf: Tensor, gradient: str) -> str:
    return (
        f"the vector field uses a tensor of shape {tuple(leaf.shape)} that requires grad but is neither "
        f"in `params` nor in `args`, so gradient=`{gradient}` would give it none; pass it in `params=` or "
        "`args=`, make f an nn.Module that holds it, or use gradient=`direct`"
    )


def refuse_double_backward(gradient: str) -> None:
    """Raise RuntimeError where backward() itself is being recorded (create_graph=True)."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"gradient=`{gradient}` has no second derivative (backward with create_graph=True); use gradient=`direct`"
        )


def inner(adj_y: Tensor, dy: Tensor) -> Tensor:
    """Re <adj_y, dy>: how the loss changes along dy."""
    return (adj_y.conj() * dy).real.sum() if adj_y.is_complex() else (adj_y * dy).sum()
