"""The fields of torchdiffeq's examples compute what ours compute."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nodebench.benchmark.problems import relative_error
from nodebench.benchmark.published import AutogradTraceField, ConcatConvField
from nodebench.benchmark.workloads import cnf, odenet
from nodebench.models import ConvVectorField
from nodebench.models.flows import PlanarField
from nodebench.ode import odeint

CPU = torch.device("cpu")


def num_params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_a_concatenated_time_channel_is_a_time_map() -> None:
    ours = ConvVectorField(8).double()
    theirs = ConcatConvField(ours).double()
    y = torch.randn(3, 8, 5, 4, dtype=torch.float64)
    t = torch.tensor(0.7, dtype=torch.float64)
    torch.testing.assert_close(theirs(t, y), ours(t, y), rtol=1e-6, atol=1e-6)
    assert num_params(theirs) == num_params(ours)
    assert num_params(ConcatConvField(ConvVectorField(64))) == 75_392


def test_a_trace_by_autograd_is_the_closed_form_with_the_other_sign() -> None:
    ours = PlanarField(width=6, hidden_dim=5, dim=2, variant="example").double()
    theirs = AutogradTraceField(ours).double()
    z = torch.randn(7, 2, dtype=torch.float64)
    t = torch.tensor(3.1, dtype=torch.float64)
    dy = ours(t, torch.cat([z.t(), torch.zeros(1, 7, dtype=torch.float64)]))
    dz, dlog_p = theirs(t, (z, torch.zeros(7, 1, dtype=torch.float64)))
    torch.testing.assert_close(dz, dy[:2].t())
    torch.testing.assert_close(dlog_p.view(-1), -dy[2])
    assert not z.requires_grad
    assert num_params(theirs) == num_params(ours)


@pytest.mark.parametrize("gradient", ["checkpointed", "adjoint"])
def test_a_trace_by_autograd_is_solved_with_the_gradients_of_direct(gradient: str) -> None:
    field = AutogradTraceField(PlanarField(width=4, hidden_dim=5, dim=2, variant="example")).double()
    state = (torch.randn(3, 2, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64))
    grads = []
    for mode in ("direct", gradient):
        z, log_p = odeint(field, state, [1.0, 0.0], gradient=mode, rtol=1e-7, atol=1e-7).ys
        loss = z[-1].square().sum() - log_p[-1].sum()
        grads.append(torch.autograd.grad(loss, list(field.parameters())))
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-6)


def test_both_odenet_problems_have_one_solution_and_one_gradient_of_the_state() -> None:
    own, published = odenet.problems(4, 2, CPU, 1e-7)
    ours, theirs = own.reference, published.reference
    assert relative_error(theirs.solution, ours.solution) < 1e-5
    assert ours.gradient is not None
    assert theirs.gradient is not None
    num_state = own.parts[0].numel()
    assert relative_error(theirs.gradient[:num_state], ours.gradient[:num_state]) < 1e-4
    assert (
        abs(theirs.gradient.norm() / ours.gradient.norm() - 1) < 1e-4
    )  # the same weights, laid out otherwise


def test_both_cnf_problems_have_one_loss_and_one_gradient() -> None:
    own, published = cnf.problems(4, 6, CPU)
    ours, theirs = own.reference, published.reference
    torch.testing.assert_close(theirs.solution[:12].view(6, 2).t(), ours.solution[:12].view(2, 6))
    torch.testing.assert_close(theirs.solution[12:], -ours.solution[12:], rtol=1e-5, atol=1e-8)
    assert ours.gradient is not None
    assert theirs.gradient is not None
    torch.testing.assert_close(
        theirs.gradient.sort().values, ours.gradient.sort().values, rtol=1e-5, atol=1e-7
    )
