from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nodebench.models.flows import CNF, PlanarField
from nodebench.models.ode_block import recorded_solves
from nodebench.ode.settings import SolverSettings

VARIANTS = pytest.mark.parametrize("variant", ["paper", "example"])


def make_field(variant: str, width: int = 5, dim: int = 2) -> PlanarField:
    torch.manual_seed(0)
    return PlanarField(width, hidden_dim=8, dim=dim, variant=variant).double()


def some_points(n: int = 6, dim: int = 2) -> Tensor:
    return torch.randn(n, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def state(points: Tensor) -> Tensor:
    """The solver's state of points (N, D), with something in the log-determinant, which no field depends on."""
    return torch.cat([points.T, torch.full((1, len(points)), 3.0, dtype=points.dtype)])


def jacobian_trace(field: Callable[..., Tensor], t: Tensor, points: Tensor) -> Tensor:
    """tr(df/dz) at each of the points, by autograd."""

    def velocity(z: Tensor) -> Tensor:
        return field(t, state(z[None]))[:-1, 0]

    return torch.stack([torch.autograd.functional.jacobian(velocity, z).trace() for z in points])


@VARIANTS
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_closed_form_trace_is_that_of_the_jacobian(variant: str, dim: int) -> None:
    field, points = make_field(variant, dim=dim), some_points(dim=dim)
    for t in torch.tensor([0.0, 0.6], dtype=torch.float64):
        trace = field(t, state(points))[-1]
        torch.testing.assert_close(trace, jacobian_trace(field, t, points), rtol=0, atol=1e-13)
        assert trace.abs().max() > 1e-3


@VARIANTS
def test_the_field_is_the_sum_or_the_mean_of_gated_planar_units(variant: str) -> None:
    m, d, t = 5, 2, torch.tensor(0.6, dtype=torch.float64)
    field, points = make_field(variant), some_points()
    flat = field.hypernetwork(t.reshape(1, 1))[0]
    w, u, b = flat[: m * d].view(m, d), flat[m * d : 2 * m * d].view(d, m), flat[2 * m * d :][:m]
    gates = torch.sigmoid(flat[2 * m * d + m :]).view(-1, m)
    assert gates.numel() == (m if variant == "paper" else m * d)
    velocity = torch.zeros_like(points)
    for n in range(m):
        gate = gates[:, n]  # one number, or one for each dimension
        velocity += gate * u[:, n] * torch.tanh(points @ w[n] + b[n])[:, None]
    if variant == "example":
        velocity /= m
    torch.testing.assert_close(field(t, state(points))[:-1].T, velocity)


@VARIANTS
def test_all_times_at_once_are_the_field_at_each_time(variant: str) -> None:
    field, y = make_field(variant), state(some_points())
    times = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    stage_fields = field.at_times(times)
    assert len(stage_fields) == 3
    for t, stage_field in zip(times, stage_fields, strict=True):
        torch.testing.assert_close(stage_field(y), field(t, y))
    assert not torch.allclose(stage_fields[0](y), stage_fields[2](y))


@pytest.mark.parametrize(
    ("method", "settings", "calls_a_step"),
    [
        ("dopri5", {"rtol": 1e-6, "atol": 1e-6}, 1),
        ("rk4", {"dt": 0.25}, 2),  # its first stage is no stage of the step before
        ("euler", {"dt": 0.25}, 1),
    ],
)
def test_the_hypernetwork_is_evaluated_once_a_step_for_all_stages(
    method: str, settings: dict[str, Any], calls_a_step: int
) -> None:
    torch.manual_seed(0)
    flow = CNF(width=8, solver=SolverSettings(method=method, **settings)).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.mul_(4)
    field = flow.ode_block.vector_field
    assert isinstance(field, PlanarField)
    num_times: list[int] = []
    field.hypernetwork.register_forward_hook(lambda net, args, result: num_times.append(len(args[0])))
    for solve in (flow.push, flow.pull):
        num_times.clear()
        with recorded_solves(flow) as solves:
            solve(some_points())
        counts = solves[0].forward
        assert counts.num_accepted is not None
        if method == "dopri5":
            assert counts.num_rejected, "the problem should have rejected steps"
        before = 2 if method == "dopri5" else 0  # the first stage, and the trial of the initial step
        assert len(num_times) == before + calls_a_step * counts.num_steps
        assert sum(num_times) == counts.nfe


@pytest.mark.parametrize(("width", "num_params"), [(2, 1582), (8, 2968), (32, 8512), (64, 15_904)])
def test_the_example_variant_has_the_parameters_of_the_published_example(width: int, num_params: int) -> None:
    flow = CNF(width=width, variant="example", hidden_dim=32)
    assert sum(parameter.numel() for parameter in flow.parameters()) == num_params


@pytest.mark.parametrize("width", [2, 8, 32, 64])
def test_the_paper_variant_has_one_gate_a_unit_fewer(width: int) -> None:
    example, paper = (CNF(width=width, variant=variant) for variant in ("example", "paper"))
    counts = [sum(parameter.numel() for parameter in flow.parameters()) for flow in (example, paper)]
    assert counts[0] - counts[1] == width * (32 + 1)


class ExampleField(nn.Module):
    """dz/dt of torchdiffeq's examples/cnf.py and -tr(df/dz), the trace by autograd, one coordinate at a time.

    z: (N, D). The last layer gives W, U and gates as (width, D) each, then B as (width,).
    """

    def __init__(self, width: int, hidden_dim: int, dim: int) -> None:
        super().__init__()
        self.width, self.dim = width, dim
        self.first, self.second = nn.Linear(1, hidden_dim), nn.Linear(hidden_dim, hidden_dim)
        self.last = nn.Linear(hidden_dim, 3 * width * dim + width)

    def forward(self, t: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = states[0] if states[0].requires_grad else states[0].detach().requires_grad_()
            velocity = self.velocity(t, z)
            trace = torch.zeros(len(z), dtype=z.dtype)
            for i in range(self.dim):
                rows = torch.autograd.grad(velocity[:, i].sum(), z, create_graph=True)[0]
                trace = trace + rows[:, i]
        return velocity, -trace

    def velocity(self, t: Tensor, z: Tensor) -> Tensor:
        hidden = torch.tanh(self.second(torch.tanh(self.first(t.reshape(1)))))
        *blocks, b = self.last(hidden).split([self.width * self.dim] * 3 + [self.width])
        w, u, gates = (block.view(self.width, self.dim) for block in blocks)
        units = torch.tanh(z @ w.T + b)  # (N, width)
        return (units[:, :, None] * (u * torch.sigmoid(gates))).mean(1)


def linear_layers(field: PlanarField) -> list[nn.Linear]:
    return [layer for layer in field.hypernetwork if isinstance(layer, nn.Linear)]


def example_with_the_weights_of(field: PlanarField) -> tuple[ExampleField, Tensor]:
    """The example's field, and which rows of the flow's last layer are those of the example's."""
    m, d = field.width, field.dim
    first, second, last = linear_layers(field)
    example = ExampleField(m, first.out_features, d).double()
    transposed = torch.arange(m * d).view(d, m).T.reshape(-1)
    blocks = [
        torch.arange(m * d),
        m * d + transposed,
        2 * m * d + m + transposed,
        2 * m * d + torch.arange(m),
    ]
    rows = torch.cat(blocks)
    with torch.no_grad():
        for own, theirs in ((first, example.first), (second, example.second)):
            theirs.load_state_dict(own.state_dict())
        example.last.weight.copy_(last.weight[rows])
        example.last.bias.copy_(last.bias[rows])
    return example, rows


@pytest.mark.parametrize("method", ["dopri5", "dopri8"])
def test_the_example_variant_is_torchdiffeqs_example_with_the_same_weights(method: str) -> None:
    torchdiffeq = pytest.importorskip("torchdiffeq")
    torch.manual_seed(0)
    t1, base_std, x = 2.0, math.sqrt(0.1), some_points(8)
    tight = SolverSettings(method=method, rtol=1e-9, atol=1e-9)
    flow = CNF(width=6, variant="example", hidden_dim=8, t1=t1, base_std=base_std, solver=tight).double()
    field = flow.ode_block.vector_field
    assert isinstance(field, PlanarField)
    example, rows = example_with_the_weights_of(field)

    zs, changes = torchdiffeq.odeint(
        example,
        (x, torch.zeros(8, dtype=torch.float64)),
        torch.tensor([t1, 0.0], dtype=torch.float64),
        rtol=1e-9,
        atol=1e-9,
        method="dopri5",
    )
    base = torch.distributions.MultivariateNormal(torch.zeros(2).double(), 0.1 * torch.eye(2).double())
    expected = base.log_prob(zs[-1]) - changes[-1]
    log_prob = flow.log_prob(x)
    torch.testing.assert_close(log_prob, expected, rtol=0, atol=1e-7)

    own, theirs = (
        [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
        for layers in (linear_layers(field), [example.first, example.second, example.last])
    )
    *own_grads, weight_grad, bias_grad = torch.autograd.grad(-log_prob.mean(), own)
    their_grads = torch.autograd.grad(-expected.mean(), theirs)
    for own_grad, their_grad in zip(
        [*own_grads, weight_grad[rows], bias_grad[rows]], their_grads, strict=True
    ):
        torch.testing.assert_close(own_grad, their_grad, rtol=0, atol=1e-7)
        assert own_grad.abs().max() > 1e-4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "`model.width` is 0, `model.hidden_dim` 32; allowed: 1 or above"),
        ({"hidden_dim": 0}, "`model.width` is 64, `model.hidden_dim` 0; allowed: 1 or above"),
        ({"variant": "gist"}, "`model.variant` is 'gist'; allowed: paper, example"),
    ],
)
def test_what_no_cnf_can_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CNF(**arguments)
