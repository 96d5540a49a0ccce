"""Loops made of one turn.

A turn is a pure function (goes on, *following) of its inputs: whether the loop takes a turn from here at all, and what
takes the place of the inputs that it carries. torch.compile captures the turn, which may differentiate inside, as the
body of torch's own while_loop may not; the loop is put around what is left of it, products and sums of tensors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

_OUTSIDE = "it changes something outside of itself, such as a count of its calls"

Turn = Callable[..., Sequence[Any]]


def carried_inputs(graph: Any, names: Sequence[str]) -> tuple[int, ...]:
    """Which inputs of a turn, as torch.compile hands it to a backend, are the arguments of these names.

    Raises ValueError where one is none, and where the turn changes something of Python's: the loop would but once.
    """
    if names and _has_side_effects():
        raise ValueError(_OUTSIDE)
    inputs = [node.target for node in graph.graph.nodes if node.op == "placeholder"]
    return tuple(inputs.index(f"L_{name}_") for name in names)


def _has_side_effects() -> bool:
    """Whether what torch.compile is capturing changes objects that it did not make; asked while a backend is called."""
    from torch._dynamo.symbolic_convert import InstructionTranslator
    from torch._dynamo.variables.base import AttributeMutationNew, ValueMutationNew

    effects: Any = InstructionTranslator.current_tx().output.side_effects
    found = list(effects.id_to_variable.values())
    outside = (v for v in found if not isinstance(v.mutation_type, (AttributeMutationNew, ValueMutationNew)))
    return any(map(effects.is_modified, outside))


def loop_of(turn: Turn, carried: Sequence[int]) -> Callable[..., tuple[Tensor, ...]]:
    """The loop in Python, for backends that make no loops: (False, *carried) behind the last turn."""

    def loop(*inputs: Tensor) -> tuple[Tensor, ...]:
        now = list(inputs)
        while True:
            goes_on, *following = turn(*now)
            if not goes_on:
                return goes_on, *(now[i] for i in carried)
            for i, tensor in zip(carried, following, strict=True):
                now[i] = tensor

    return loop


def compile_loop(turn: Any, inputs: Sequence[Any], *, carried: Sequence[int], **settings: Any) -> Any:
    """Inductor's compile_fx_inner for the loop around a turn, a graph of ATen operations without side effects."""
    from torch._inductor.compile_fx import compile_fx_inner

    _check_changes(turn)
    return compile_fx_inner(_around(turn, carried), inputs, **settings)


def _check_changes(turn: Any) -> None:
    """Raises ValueError if a turn changes a tensor from outside that it reads, such as a count of its calls.

    One that it only writes is memory that the field hands its slope out by: the loop leaves that as it is.
    """
    for node in turn.graph.nodes:
        if isinstance(node.target, OpOverload) and node.target._schema.is_mutable:
            target = node.args[0]
            if node.target is not torch.ops.aten.copy_.default or set(target.users) != {node}:
                raise ValueError(_OUTSIDE)


def _around(turn: Any, carried: Sequence[int]) -> Any:
    """The graph of the loop: inputs and outputs are the turn's."""
    from torch._higher_order_ops.while_loop import while_loop_op

    inputs = [node for node in turn.graph.nodes if node.op == "placeholder"]
    (outputs,) = next(node for node in turn.graph.nodes if node.op == "output").args
    goes_on, *following = outputs
    order = [*carried, *(i for i in range(len(inputs)) if i not in carried)]
    parts = nn.Module()
    parts.goes_on = _part(turn, [goes_on], order)
    parts.turn = _part(turn, following, order)

    graph = torch.fx.Graph()
    given = [_copied(graph, node) for node in inputs]
    in_order = [given[i] for i in order]
    values = tuple(inputs[i].meta["val"] for i in carried)
    loop = _call(
        graph,
        while_loop_op,
        (
            graph.get_attr("goes_on"),
            graph.get_attr("turn"),
            tuple(in_order[: len(carried)]),
            tuple(in_order[len(carried) :]),
        ),
        values,
    )
    ends = [_call(graph, operator.getitem, (loop, i), value) for i, value in enumerate(values)]
    like = goes_on.meta["val"]
    over = _call(graph, torch.ops.aten.full.default, ([], False), like)
    over.kwargs = {"dtype": like.dtype, "device": like.device}
    graph.output((over, *ends))
    return torch.fx.GraphModule(parts, graph)


def _part(turn: Any, outputs: Sequence[Any], order: Sequence[int]) -> Any:
    """What of a turn these outputs need, as a graph of all inputs in another order; no output is an input."""
    needed, pending = set(outputs), list(outputs)
    while pending:
        new = set(pending.pop().all_input_nodes) - needed
        needed |= new
        pending.extend(new)
    graph = torch.fx.Graph()
    inputs = [node for node in turn.graph.nodes if node.op == "placeholder"]
    copies = {inputs[i]: _copied(graph, inputs[i]) for i in order}
    for node in turn.graph.nodes:
        if node in needed and node not in copies:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    results = []
    for output in outputs:
        copy = copies[output]
        if copy.op == "placeholder":
            copy = _call(graph, torch.ops.aten.clone.default, (copy,), output.meta["val"])
        results.append(copy)
    graph.output(tuple(results))
    return torch.fx.GraphModule(turn, graph)


def _copied(graph: torch.fx.Graph, node: Any) -> torch.fx.Node:
    """A placeholder of another graph in this one."""
    copy = graph.placeholder(node.name)
    copy.meta = dict(node.meta)
    return copy


def _call(graph: torch.fx.Graph, function: Any, args: tuple[Any, ...], value: Any) -> torch.fx.Node:
    """A call in a graph, with the fake tensor or tensors that inductor knows its result by."""
    node = graph.call_function(function, args)
    node.meta["val"] = value
    return node
