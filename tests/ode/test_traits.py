"""What methods are said to be able to do is what they do."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from nodebench.ode import odeint
from nodebench.ode.assembly import ADJOINT_NORMS
from nodebench.ode.drive.controllers import CONTROLLERS
from nodebench.ode.drive.state import LoopResult
from nodebench.ode.front_door import GRADIENTS as SOLVES
from nodebench.ode.methods.method import Course, SelfDriven
from nodebench.ode.methods.registry import find_method
from nodebench.ode.methods.traits import GRADIENTS, Traits, known_methods, needs_tolerance
from nodebench.ode.norms import NORMS
from nodebench.ode.options import OptionKeywords, SolverOptions
from nodebench.ode.settings import AdjointSettings, SolverSettings, StepKeywords, StepSettings, settings_of

METHODS = pytest.mark.parametrize("method", list(known_methods()))


def y1(method: str, **options: object) -> Tensor:
    traits = known_methods()[method]
    options = {"dt": None if traits.has_error else 0.25, "gradient": "adjoint", **options}
    y0 = torch.tensor([1.0, 0.5], dtype=torch.float64, requires_grad=options["gradient"] != "adjoint")
    return odeint(lambda t, y: torch.cos(3 * t) * y, y0, [0.0, 1.0], method=method, **options).ys


@METHODS
def test_a_method_has_the_traits_of_its_name(method: str) -> None:
    made = find_method(method)
    assert made.traits == known_methods()[method]
    assert made.traits.name == method
    assert isinstance(made, SelfDriven) is made.traits.is_self_driven


@METHODS
def test_a_method_allows_the_gradients_that_it_is_said_to(method: str) -> None:
    for gradient in GRADIENTS:
        if gradient in known_methods()[method].gradients:
            assert y1(method, gradient=gradient, params=()).isfinite().all()
        else:
            with pytest.raises(ValueError, match=method):
                y1(method, gradient=gradient, params=())


@METHODS
def test_a_method_chooses_its_steps_and_heeds_their_limits_as_it_is_said_to(method: str) -> None:
    traits = known_methods()[method]
    for options, is_allowed in (
        ({"dt": None}, traits.has_error),
        ({"dt": 0.25}, not traits.is_self_driven),
        ({"min_step": 1e-3}, traits.has_error and traits.keeps_min_step),
    ):
        if is_allowed:
            assert y1(method, **options).isfinite().all()
        else:
            with pytest.raises(ValueError, match=method):
                y1(method, **options)


@pytest.mark.parametrize(
    "method", [name for name, traits in known_methods().items() if not traits.is_self_driven]
)
def test_a_fixed_step_heeds_a_tolerance_where_it_is_said_to(method: str) -> None:
    loose, tight = (y1(method, dt=0.1, rtol=tol, atol=tol) for tol in (1.0, 1e-4))
    assert torch.equal(loose, tight) is not needs_tolerance(method, 0.1)


def test_a_method_of_ones_own_says_whether_it_drives_itself() -> None:
    class Unsaid:
        traits = Traits("unsaid", order=1, has_error=True)

        def drive(self, course: Course) -> LoopResult:
            raise AssertionError("it is not asked")

    with pytest.raises(TypeError, match="its traits say is_self_driven where it has `drive`"):
        odeint(lambda t, y: y, torch.ones(1), [0.0, 1.0], method=Unsaid(), gradient="adjoint", params=())


def test_the_options_of_odeint_are_typed_as_they_stand_among_the_settings() -> None:
    for keywords, kind in ((StepKeywords, StepSettings), (OptionKeywords, SolverOptions)):
        assert list(keywords.__annotations__) == [each.name for each in fields(kind)]


def test_the_names_that_a_setting_allows_are_those_that_odeint_knows() -> None:
    assert tuple(SOLVES) == GRADIENTS
    solver, adjoint = settings_of(SolverSettings), settings_of(AdjointSettings)
    for setting, known in (
        (solver["norm"], NORMS),
        (solver["controller"], CONTROLLERS),
        (adjoint["norm"], ADJOINT_NORMS),
    ):
        assert setting.usual is not None
        assert setting.usual[0] == f"one of {', '.join(known)}"
