"""SciPy's solvers behind nodebench's front door: VODE's Adams methods, which the paper used, and LSODA.

The other solvers of solve_ivp (RK45, RK23, DOP853, Radau, BDF) are for the adapter of torchdiffeq's interface.

SciPy computes on the CPU in float64 and knows no autograd, so gradients are by the adjoint. It is given the parts of a
complex state as real numbers. What differs from nodebench's own methods:

- The error norm is the solver's: one RMS over the whole state (LSODA: the largest entry). `norm` and `adjoint_norm`
  have no effect.
- VODE steps over an output and interpolates back, so it evaluates f a little beyond the last one (the others do not).
- A step that fails at VODE's `min_step` ends the solve; none is forced. LSODA would ignore a `min_step`: refused.
- Rejected steps are not told: num_rejected is None.
- A vector field must not solve with the same method inside: before SciPy 1.17 these solvers keep global state.

Source: Brown, Byrne & Hindmarsh, "VODE", SIAM J. Sci. Stat. Comput. 10 (1989); Petzold, "LSODA", ibid. 4 (1983).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nodebench.ode.clock import Clock
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.state import LoopResult
from nodebench.ode.methods.method import Course
from nodebench.ode.methods.traits import OF_OTHERS, Traits
from nodebench.ode.norms import Tolerance
from nodebench.ode.status import SolverError

Array = np.ndarray[Any, np.dtype[np.float64]]

# Solvers of solve_ivp that have no name of ours; orders as published.
UNLISTED: dict[str, Traits] = {
    name: Traits(
        name,
        order,
        has_error=True,
        is_one_step=False,
        is_self_driven=True,
        keeps_min_step=False,
        max_state=max_state,
    )
    for name, order, max_state in (
        ("RK45", 5, None),
        ("RK23", 3, None),
        ("DOP853", 8, None),
        ("Radau", 5, OF_OTHERS["lsoda"].max_state),
        ("BDF", 1, OF_OTHERS["lsoda"].max_state),  # of varying order, 1 at the start
    )
}

_SMALLEST_RTOL = 100 * np.finfo(np.float64).eps  # SciPy raises smaller ones to this, with a warning


@dataclass(frozen=True)
class Scipy:
    """`vode_adams`, `lsoda` or an unlisted one, a step at a time so that budgets and failures are ours to tell."""

    name: str

    @property
    def traits(self) -> Traits:
        """See Method."""
        return OF_OTHERS.get(self.name) or UNLISTED[self.name]

    def drive(self, course: Course) -> LoopResult:
        """See SelfDriven; a restart finds its own first step, of order 1.

        Raises ValueError for a state too large for a dense Jacobian, or one that autograd is to follow.
        """
        clock, f, control = course.clock, course.f, course.control
        assert control is not None, "a method that drives itself is told how"
        self._check(course)
        f.counts.num_rejected = None
        callback = _Callback(self.name, course)
        outputs = [course.y0]
        if not np.isfinite(callback.y).all():
            return LoopResult(outputs, callback.non_finite(), None)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="(vode|lsoda): ")  # what they say is raised as errors
            make = (
                _Vode
                if self.name == "vode_adams"
                else partial(_OfSolveIvp, self.name.replace("lsoda", "LSODA"))
            )
            stepper: _Stepper = make(control, callback, callback.y.copy(), clock)
            for t1 in clock.ts[1:]:
                while (t1 - callback.t0) * clock.direction > 0:
                    error = _step(stepper, callback, course)
                    if error is not None:
                        return LoopResult(outputs, error, None)
                outputs.append(callback.state(stepper.value(t1)))
        return LoopResult(outputs, None, None)

    def _check(self, course: Course) -> None:
        y0 = course.y0
        if course.autograd and (y0.requires_grad or course.clock.tensor is not None):
            raise ValueError(_no_autograd(self.name))
        max_state = self.traits.max_state
        size = y0.numel() * (1 + y0.is_complex())
        if max_state is not None and size > max_state:
            raise ValueError(
                f"`{self.name}` would allocate a dense Jacobian of {8 * size**2:,} bytes for a state of {size:,} "
                f"numbers (of the adjoint: y, adj_y and all parameters); it takes up to {max_state:,}, so use "
                + ("RK45" if self.name in UNLISTED else "vode_adams, or RK45 in torchdiffeq's interface")
            )


def _step(stepper: _Stepper, callback: _Callback, course: Course) -> SolverError | None:
    """One step of SciPy's, and what became of it."""
    t0 = callback.t0
    error = course.failure.if_spent(course.budget, 0, t0)
    if error is not None:
        return error
    succeeded = stepper.step()
    if callback.exception is not None:
        raise callback.exception
    if callback.error is not None:
        return callback.error
    if not succeeded or stepper.t == t0:
        return course.failure.underflow(t0, callback.t - t0, callback.state(callback.y))
    callback.t0 = stepper.t
    course.f.counts.accept(t0, stepper.t - t0)
    return None


class _Callback:
    """f between NumPy and torch; t0 is where the step being tried starts, (t, y) where f was called last.

    SciPy 1.17 does not stop at an exception in its callback: it goes on calling it, and fails with another error. So
    what ends the solve is kept here, f is called no more, and the step comes to its end on slopes of zero.
    """

    def __init__(self, method: str, course: Course) -> None:
        self._method, self._course, self._like = method, course, course.y0
        self.t0 = self.t = course.clock.ts[0]
        self.y = _array(course.y0).copy()  # SciPy would write to the caller's memory
        self.error: SolverError | None = None
        self.exception: BaseException | None = None

    def state(self, y: Array) -> Tensor:
        """A copy of y like the state: SciPy reuses its arrays."""
        like, state = self._like, torch.from_numpy(y.copy())
        if like.is_complex():
            state = torch.view_as_complex(state.view(-1, 2))
        return state.to(like.dtype).to(like.device).view(like.shape)

    def non_finite(self) -> SolverError:
        """f or its state is NaN or infinite where f was called last."""
        what = "the vector field or the state became NaN or Inf"
        return self._course.failure.non_finite(self.t0, self.t - self.t0, self.state(self.y), what)

    def __call__(self, t: float, y: Array) -> Array:
        if self.error is None and self.exception is None:
            self.t, self.y = t, y.copy()
            try:
                return self._evaluate()
            except BaseException as exception:
                self.exception = exception
        return np.zeros_like(y)

    def _evaluate(self) -> Array:
        course = self._course
        self.error = course.failure.if_spent(course.budget, 1, self.t0)
        if self.error is not None:
            return np.zeros_like(self.y)
        y = self.state(self.y)
        dy = course.f(self.t, y)
        if course.autograd and dy.requires_grad:
            raise ValueError(_no_autograd(self._method))
        slope = _array(dy)
        if not (np.isfinite(slope).all() and bool(torch.isfinite(y).all())):
            self.error = self.non_finite()
        return slope


class _Stepper(Protocol):
    """One of SciPy's solvers in the middle of a solve; `t` is where its last step ended."""

    t: float

    def step(self) -> bool:
        """Take one step; False if it failed."""
        ...

    def value(self, t: float) -> Array:
        """y at a time inside the last step."""
        ...


class _Vode:
    """scipy.integrate.ode with integrator vode, method adams: functional iteration, no Jacobian."""

    def __init__(
        self, control: StepControl, f: Callable[[float, Array], Array], y0: Array, clock: Clock
    ) -> None:
        from scipy.integrate import ode  # 0.4 s, which only those pay who use it

        self._first_output = clock.ts[1]  # bounds the first step; later ones depend on no output
        self._ode = ode(f).set_integrator(
            "vode",
            method="adams",
            rtol=_tolerance(control.accuracy.rtol, len(y0)),
            atol=_tolerance(control.accuracy.atol, len(y0)),
            first_step=clock.direction * min(control.first_step or 0.0, clock.span),
            min_step=control.min_step,
            max_step=0.0 if math.isinf(control.max_step) else control.max_step,  # 0: no limit
        )
        self._ode.set_initial_value(y0, clock.ts[0])
        self.t = clock.ts[0]

    def step(self) -> bool:
        self._ode.integrate(self._first_output, step=True)
        self.t = self._ode.t
        return bool(self._ode.successful())

    def value(self, t: float) -> Array:
        return np.asarray(self._ode.integrate(t))  # the step is past t: VODE interpolates


class _OfSolveIvp:
    """A solver of solve_ivp, by its name there: `lsoda`, Radau and BDF take their Jacobian by finite differences."""

    def __init__(
        self, name: str, control: StepControl, f: Callable[[float, Array], Array], y0: Array, clock: Clock
    ) -> None:
        from scipy import integrate

        least = {"min_step": control.min_step} if name == "LSODA" else {}
        self._solver = getattr(integrate, name)(
            f,
            clock.ts[0],
            y0,
            clock.ts[-1],
            first_step=None if control.first_step is None else min(control.first_step, clock.span),
            max_step=control.max_step,
            rtol=np.maximum(_tolerance(control.accuracy.rtol, len(y0)), _SMALLEST_RTOL),
            atol=_tolerance(control.accuracy.atol, len(y0)),
            **least,
        )
        self.t = clock.ts[0]
        self._inside: Callable[[float], Array] | None = (
            None  # of the last step; DOP853 pays evaluations for it
        )

    def step(self) -> bool:
        self._solver.step()
        self.t, self._inside = float(self._solver.t), None
        return bool(self._solver.status != "failed")

    def value(self, t: float) -> Array:
        if t == self.t:
            return np.asarray(self._solver.y)
        if self._inside is None:
            self._inside = self._solver.dense_output()
        return np.asarray(self._inside(t))


def _no_autograd(method: str) -> str:
    return f"gradient=`direct` records every step, which `{method}` cannot; use gradient=`adjoint`, or dopri5"


def _array(y: Tensor) -> Array:
    """y as a flat float64 array, complex numbers as pairs; float64 on the host, since not every device has it."""
    parts = torch.view_as_real(y.detach().resolve_conj()) if y.is_complex() else y.detach()
    return parts.cpu().double().reshape(-1).numpy()


def _tolerance(tolerance: Tolerance, size: int) -> float | Array:
    """One for all, or one for each of `size` numbers: both parts of a complex entry have the entry's."""
    if not isinstance(tolerance, Tensor):
        return tolerance
    entries = _array(tolerance)
    return np.repeat(entries, size // len(entries))
