"""From a method and its settings to a Solver."""

from __future__ import annotations

from functools import partial

from nodebench.ode.budget import Limits
from nodebench.ode.drive.control import StepControl
from nodebench.ode.drive.controllers import CONTROLLERS, Controller
from nodebench.ode.drive.grid import uniform_grid
from nodebench.ode.drive.solver import AdaptiveSolver, GridSolver, SelfDrivenSolver, Solver
from nodebench.ode.methods.method import Method, SelfDriven
from nodebench.ode.methods.traits import Traits, adaptive_methods
from nodebench.ode.norms import Accuracy
from nodebench.ode.options import SolverOptions


def make_solver(
    method: Method | SelfDriven, accuracy: Accuracy, options: SolverOptions, *, dense: bool = False
) -> Solver:
    """The solver of a method; ValueError for one that these options do not fit."""
    if isinstance(method, SelfDriven):
        return SelfDrivenSolver(method, _own_control(method.traits, accuracy, options))
    traits = method.traits
    if options.dt is not None:
        options.refuse_step_choice(traits.name)
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
    return AdaptiveSolver(method, _step_control(accuracy, options), dense)


def _step_control(accuracy: Accuracy, options: SolverOptions) -> StepControl:
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


def _own_control(traits: Traits, accuracy: Accuracy, options: SolverOptions) -> StepControl:
    """The settings of a method that chooses its steps itself."""
    for name in ("dt", "step_ts", "jump_ts"):
        if getattr(options, name):
            raise ValueError(
                f"`{traits.name}` chooses its own steps and takes no `{name}`; drop it, or use dopri5"
            )
    if options.min_step and not traits.keeps_min_step:
        raise ValueError(f"SciPy's `{traits.name}` does not keep to a `min_step`; drop it, or use vode_adams")
    return _step_control(accuracy, options)
