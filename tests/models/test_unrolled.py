"""Unrolled steps are those of the solver on the same grid."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from nodebench.models.ode_block import ODEBlock
from nodebench.models.unrolled import Grid, UnrolledSteps, unrolled
from nodebench.ode.methods.tableaus import load_tableaus
from nodebench.ode.settings import SolverSettings


class Field(nn.Module):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.sin(3 * t) * y.roll(1, -1) - y**2


@pytest.mark.parametrize("method", sorted(load_tableaus()))
@pytest.mark.parametrize("num_steps", [1, 3])
def test_unrolled_steps_are_those_of_the_solver(method: str, num_steps: int) -> None:
    y0 = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t1 = 0.7
    block = ODEBlock(Field(), SolverSettings(method, dt=t1 / num_steps), "direct", t1)
    steps = UnrolledSteps(Field(), Grid(load_tableaus()[method], num_steps), t1)
    torch.testing.assert_close(steps(y0), block(y0), rtol=1e-12, atol=1e-12)


def test_the_net_that_is_unrolled_stays_as_it_was() -> None:
    block = ODEBlock(Field(), SolverSettings("rk4", dt=0.5), "direct")
    net = nn.Sequential(nn.Linear(3, 3), block).train()
    copy = unrolled(net, {"1": Grid(load_tableaus()["rk4"], 2)})
    assert net[1] is block
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert not any(parameter.requires_grad for parameter in copy.parameters())
    y = torch.rand(2, 3)
    torch.testing.assert_close(copy(y), net(y), rtol=1e-5, atol=1e-6)
    assert replace(block.solver, dt=0.5) == block.solver
