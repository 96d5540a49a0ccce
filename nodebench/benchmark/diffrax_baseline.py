"""diffrax, a library of JAX: Dopri5 under PIDController(rtol=tol, atol=tol), everything else as it comes, jitted.

Value and gradient are one compiled program, on the CPU, in float32, on as many threads as JAX finds cores; the
tolerance is an argument of it, so that it is compiled once for all tolerances. It is timed until its results are
there. What a program does inside cannot be timed: `time_forward_ms` is that of a second program, of the outputs alone,
which keeps nothing for a gradient, and `time_backward_ms` what is left of the whole.

As in nodebench, the norm is the RMS over the whole state, the controller integral with safety 0.9 and factors 0.2
and 10, the last step ends on the last time, and no gradient flows through the choice of the steps. What differs:

- The first step is 0.01, whatever the problem. diffrax documents Hairer's rule, but its 0.7.2 wraps the field before
  it asks for the rule, which then does not know the field. So the rule's two evaluations are spared, and a step or two
  may be spent on growing. A first step of our choosing (`dt0`) would be no longer what its users get.
- Time is float32, and evaluations are those of the whole field, hypernetwork included.
- Dopri5 evaluates six times a step tried, and once more at the start, or after each rejected first step. Rows under
  `jax.vmap` are evaluated together, as often as the slowest needs.

The counts are those of a further program, run once at each tolerance and not timed, in which every evaluation calls
back; they are the evaluations that diffrax asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from nodebench.benchmark.contestants import Contestant, Measured, Stopwatch
from nodebench.benchmark.libraries import DIFFRAX, FORWARD, PER_SAMPLE, missing_baselines
from nodebench.benchmark.problems import Problem

GRADIENTS = ("checkpointed", "backsolve", "backsolve-seminorm")

Array = Any  # jax.Array, and pytrees of them


def diffrax_contestants(problem: Problem, tol: float) -> list[Contestant]:
    """diffrax's gradient modes on `problem`, or its forward pass where there is no loss; none where it cannot run.

    The forward pass comes a second time, under `jax.vmap` over the rows of the state, which gives each its own steps.

    - `checkpointed`: RecursiveCheckpointAdjoint, diffrax's default, the gradient of the discrete solve. Steps are
      computed again from a few that are kept, and their stages once more.
    - `backsolve`: BacksolveAdjoint as it comes, the continuous adjoint; its norm is one RMS over the state, its
      adjoint and the parameters' gradients. y is solved backwards with them, as in our adjoint.
    - `backsolve-seminorm`: the same, with one RMS over the state and its adjoint (`adjoint_rms_seminorm`).
    """
    if DIFFRAX in missing_baselines() or _reason_against(problem) is not None:
        return []
    return [
        Contestant(
            name=f"{DIFFRAX} {gradient} on {problem.field_name}'s field at {tol:g}",
            library_name=DIFFRAX,
            field=problem.field_name,
            gradient=gradient,
            run=partial(run_diffrax, problem, tol, gradient),
            tol=tol,
            execution="compiled",
        )
        for gradient in (GRADIENTS if problem.loss is not None else (FORWARD, PER_SAMPLE))
    ]


def diffrax_notes(problem: Problem) -> list[str]:
    """What a page says where diffrax is installed: how it was run, or why it was not."""
    if DIFFRAX in missing_baselines():
        return []
    reason = _reason_against(problem)
    if reason is not None:
        return [f"{DIFFRAX} is left out here: {reason}."]
    return [
        f"{DIFFRAX} runs compiled, value and gradient as one program, on as many threads as JAX finds cores. Its time "
        "forward is that of a program of its own, which keeps nothing for a gradient, and backward is what is left of "
        "the whole."
    ]


def run_diffrax(problem: Problem, tol: float, gradient: str) -> Measured:
    """One run, and at the first one of a tolerance the count of its evaluations, outside the times.

    Raises ValueError for a state that is not one float32 tensor.
    """
    if isinstance(problem.y0, tuple):
        raise ValueError("diffrax is raced on one tensor; pack the state first")
    if problem.y0.dtype != torch.float32:
        raise ValueError(f"`y0` is {problem.y0.dtype}; diffrax is raced in float32, JAX's own default")
    inputs = (tol, _to_jax(problem.y0), [_to_jax(param) for param in problem.field.parameters()])
    forward = _program(problem, gradient if problem.loss is None else FORWARD)
    watch = Stopwatch(problem.device)
    outputs, _ = forward.run(*inputs)
    time_forward_ms = watch.lap()
    nfe_forward = forward.count(*inputs)
    if problem.loss is None:
        return Measured(time_forward_ms, None, nfe_forward, None, _to_torch([outputs]), None)
    step = _program(problem, gradient)
    watch.lap()
    outputs, gradients = step.run(*inputs)
    time_backward_ms = watch.lap() - time_forward_ms
    nfe_backward = step.count(*inputs) - nfe_forward
    return Measured(
        time_forward_ms,
        time_backward_ms,
        nfe_forward,
        nfe_backward,
        _to_torch([outputs]),
        _to_torch(gradients),
    )


class _Program:
    """One jitted function, (tol, y0, params) -> (outputs, gradients), and another one that counts its evaluations."""

    def __init__(self, problem: Problem, gradient: str) -> None:
        self._calls: list[None] = []
        self._counts: dict[float, int] = {}
        self._function = _jitted(problem, gradient, None)
        self._counted = _jitted(problem, gradient, lambda: self._calls.append(None))

    def run(self, tol: float, y0: Array, params: list[Array]) -> tuple[Array, list[Array]]:
        """The outputs and the gradients in the order of the problem's leaves, once they are there."""
        import jax

        outputs, gradients = jax.block_until_ready(self._function(tol, y0, params))
        return outputs, jax.tree_util.tree_leaves(gradients)

    def count(self, tol: float, y0: Array, params: list[Array]) -> int:
        """The evaluations that a run at this tolerance makes."""
        import jax

        if tol not in self._counts:
            self._calls.clear()
            jax.block_until_ready(self._counted(tol, y0, params))
            jax.effects_barrier()
            self._counts[tol] = len(self._calls)
        return self._counts[tol]


@lru_cache(maxsize=8)
def _program(problem: Problem, gradient: str) -> _Program:
    return _Program(problem, gradient)


def _jitted(problem: Problem, gradient: str, on_call: Callable[[], object] | None) -> Callable[..., Any]:
    """The function of _Program; `on_call` is called in every evaluation. FORWARD and PER_SAMPLE have no gradients."""
    import diffrax
    import jax

    assert problem.twin is not None, "only problems with a twin are raced"
    twin = problem.twin()

    def field(t: Array, y: Array, params: Sequence[Array]) -> Array:
        if on_call is not None:
            jax.debug.callback(on_call)
        return twin.field(t, y, params)

    def solve(tol: float, y0: Array, params: list[Array]) -> tuple[Array, Sequence[Array]]:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Dopri5(),
            problem.ts[0],
            problem.ts[-1],
            None,
            y0,
            params,
            saveat=diffrax.SaveAt(t1=True) if len(problem.ts) == 2 else diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(rtol=tol, atol=tol),
            adjoint=_adjoint(gradient, tol),
        )
        return solution.ys, ()

    def solve_by_rows(tol: float, y0: Array, params: list[Array]) -> tuple[Array, Sequence[Array]]:
        return jax.vmap(lambda row: solve(tol, row[None], params)[0][:, 0], out_axes=1)(y0), ()

    def value(tol: float, y0: Array, params: list[Array]) -> tuple[Array, Array]:
        assert twin.loss is not None, "a problem with a loss has a twin with one"
        outputs, _ = solve(tol, y0, params)
        return twin.loss(outputs), outputs

    def step(tol: float, y0: Array, params: list[Array]) -> tuple[Array, Sequence[Array]]:
        (_, outputs), gradients = jax.value_and_grad(value, argnums=wanted, has_aux=True)(tol, y0, params)
        return outputs, gradients

    times = jax.numpy.asarray(problem.ts[1:])
    wanted = (1, 2) if problem.parts[0].requires_grad else (2,)
    return jax.jit({FORWARD: solve, PER_SAMPLE: solve_by_rows}.get(gradient, step))


def _adjoint(gradient: str, tol: float) -> Any:
    import diffrax

    if gradient == "backsolve":
        return diffrax.BacksolveAdjoint()
    if gradient == "backsolve-seminorm":
        controller = diffrax.PIDController(rtol=tol, atol=tol, norm=diffrax.adjoint_rms_seminorm)
        return diffrax.BacksolveAdjoint(stepsize_controller=controller)
    return diffrax.RecursiveCheckpointAdjoint()


def _reason_against(problem: Problem) -> str | None:
    """Why `problem` is not raced, the end of a sentence; None where it is."""
    if problem.device.type != "cpu":
        return f"it is raced on the CPU alone, and this is {problem.device.type}"
    return "this field has not been written in JAX" if problem.twin is None else None


def _to_jax(tensor: Tensor) -> Array:
    import jax

    return jax.device_put(tensor.detach().numpy(), jax.devices("cpu")[0])


def _to_torch(arrays: Sequence[Array]) -> Tensor:
    """All numbers in one vector."""
    import numpy as np

    return torch.cat([torch.from_numpy(np.array(array)).reshape(-1) for array in arrays])
