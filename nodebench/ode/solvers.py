"""What the gradient modes need to know of a method: a solver is anything with these two members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor

from nodebench.ode.clock import Clock
from nodebench.ode.counting import Field
from nodebench.ode.fixed_grid import solve_fixed
from nodebench.ode.loop import solve_adaptive
from nodebench.ode.seams import LoopResult, Observer, Quadrature
from nodebench.ode.step_control import StepControl
from nodebench.ode.steppers import EagerStepper, MakeStepper
from nodebench.ode.tableau import ButcherTableau


class Solver(Protocol):
    """A method with its settings, ready to solve.

    `tableau` is the Runge-Kutta tableau of its steps: with one, steps can be taken again and integrals can ride
    along; None says that neither is possible.
    """

    @property
    def tableau(self) -> ButcherTableau | None: ...

    def solve(
        self,
        f: Field,
        y0: Tensor,
        clock: Clock,
        *,
        autograd: bool,
        observers: Sequence[Observer] = (),
        quadrature: Quadrature | None = None,
        first_step: float | None = None,
        make_stepper: MakeStepper = EagerStepper,
    ) -> LoopResult:
        """Solve from clock.ts[0] on; `first_step` is a guess that replaces the initial-step rule.

        `make_stepper` makes what takes the steps of a method with a tableau.
        """
        ...


@dataclass(frozen=True)
class AdaptiveRungeKutta:
    """Error-controlled steps of an embedded pair."""

    tableau: ButcherTableau
    control: StepControl

    def solve(
        self,
        f: Field,
        y0: Tensor,
        clock: Clock,
        *,
        autograd: bool,
        observers: Sequence[Observer] = (),
        quadrature: Quadrature | None = None,
        first_step: float | None = None,
        make_stepper: MakeStepper = EagerStepper,
    ) -> LoopResult:
        """See Solver.solve; a first step in the control stands above the guess."""
        control = self.control
        if first_step is not None and control.first_step is None:
            control = replace(control, first_step=first_step)
        return solve_adaptive(
            f,
            y0,
            clock,
            self.tableau,
            control,
            autograd=autograd,
            observers=observers,
            quadrature=quadrature,
            make_stepper=make_stepper,
        )


@dataclass(frozen=True)
class FixedRungeKutta:
    """Steps on the grid that `make_grid` lays over the output times."""

    tableau: ButcherTableau
    make_grid: Callable[[Clock], Sequence[float]]
    max_steps: int | None = None
    max_nfe: int | None = None
    perturb: bool = False
    keep_stages: bool = False

    def solve(
        self,
        f: Field,
        y0: Tensor,
        clock: Clock,
        *,
        autograd: bool,
        observers: Sequence[Observer] = (),
        quadrature: Quadrature | None = None,
        first_step: float | None = None,
        make_stepper: MakeStepper = EagerStepper,
    ) -> LoopResult:
        """See Solver.solve; the grid leaves nothing to a guess."""
        return solve_fixed(
            f,
            y0,
            clock,
            self.tableau,
            self.make_grid(clock),
            autograd=autograd,
            perturb=self.perturb,
            keep_stages=self.keep_stages,
            max_steps=self.max_steps,
            max_nfe=self.max_nfe,
            observers=observers,
            quadrature=quadrature,
            make_stepper=make_stepper,
        )
