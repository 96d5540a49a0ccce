from __future__ import annotations

import pytest
import torch

from nodebench.data import ImageData, ImageSet
from nodebench.measurement import evaluate
from nodebench.models.classifiers import MLP, ODENet
from nodebench.models.ode_block import SolverSettings
from nodebench.ode import BudgetExhaustedError
from nodebench.tasks.classification import Classification

EULER = SolverSettings(method="euler", dt=0.5)
RK4 = SolverSettings(method="rk4", dt=0.5)


@pytest.fixture
def task() -> Classification:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 1, 28, 28), dtype=torch.uint8, generator=generator)
    image_set = ImageSet(images, torch.arange(12) % 10)
    return Classification(ImageData("noise", image_set, image_set, image_set, 10, "none", 4), 0, "cpu")


def test_another_solver_is_used_and_the_nets_own_put_back(task: Classification) -> None:
    net = ODENet(solver=EULER)
    own = evaluate(net, task, "test")
    other = evaluate(net, task, "test", RK4)
    assert (own["nfe_eval"], other["nfe_eval"]) == (2, 8)
    assert set(other) == {"error_test", "nfe_eval"}
    assert net.ode_block.solver is EULER
    assert evaluate(net, task, "test") == own


def test_the_nets_own_solver_is_put_back_when_the_other_fails(task: Classification) -> None:
    net = ODENet(solver=EULER)
    with pytest.raises(BudgetExhaustedError):
        evaluate(net, task, "test", SolverSettings(rtol=1e-6, atol=1e-6, max_nfe=5))
    assert net.ode_block.solver is EULER


def test_a_solver_for_a_net_without_an_ode_is_an_error(task: Classification) -> None:
    with pytest.raises(ValueError, match="MLP has no ODE block"):
        evaluate(MLP(), task, "test", RK4)
    assert set(evaluate(MLP(), task, "val")) == {"error_val"}
