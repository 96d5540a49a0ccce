"""From a method and its settings to a Solver."""

from __future__ import annotations

from functools import partial
from typing import cast

from nodebench.ode.budget import Limits
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.controllers import CONTROLLERS, Controller
from nodebench.ode.drive.grid import uniform_grid
from nodebench.ode.drive.solver import AdaptiveSolver, GridSolver, SelfDrivenSolver, Solver
from nodebench.ode.methods.method import Method, SelfDriven
from nodebench.ode.methods.traits import adaptive_methods
from nodebench.ode.norms import Accuracy
from nodebench.ode.options import SolverOptions


def make_solver(
    method: Method | SelfDriven, accuracy: Accuracy, options: SolverOptions, *, dense: bool = False
) -> Solver:
    """The solver of a method; ValueError for one that these options do not fit."""
    traits = method.traits
    options.check_effect(traits)
    if (
        traits.is_self_driven
    ):  # find_method has seen to it; to ask isinstance of a protocol costs as much as a step
        return SelfDrivenSolver(cast(SelfDriven, method), step_control(accuracy, options))
    method = cast(Method, method)
    if options.dt is not None:
        return GridSolver(
            method,
            partial(uniform_grid, dt=options.dt),
            Limits(options.max_steps, options.max_nfe),
            accuracy if traits.iterates else None,
            dense,
        )
    if not traits.has_error:
        reason = "has no embedded error estimate" if traits.is_one_step else "steps on a grid"
        raise ValueError(
            f"`{traits.name}` {reason}, so it needs fixed steps: pass dt=..., "
            f"or use one of: {', '.join(adaptive_methods())}"
        )
    return AdaptiveSolver(method, step_control(accuracy, options), dense)


def step_control(accuracy: Accuracy, options: SolverOptions) -> StepControl:
    """How the options have an adaptive loop choose its steps."""
    controller: Controller | str = options.controller
    return StepControl(
        accuracy=accuracy,
        controller=CONTROLLERS[controller] if isinstance(controller, str) else controller,
        first_step=options.first_step,
        min_step=options.min_step,
        max_step=options.max_step,
        budget=Limits(options.max_steps, options.max_nfe),
        step_ts=options.step_ts,
        jump_ts=options.jump_ts,
    )
