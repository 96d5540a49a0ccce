from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from nodebench.models.flows.planar_nf import PlanarNF

ADVERSARIAL_WU = [-800.0, -50.0, -1.0, 0.0, 50.0, 800.0]


def planar_nf(num_layers: int = 6, dim: int = 2, seed: int = 0) -> PlanarNF:
    """A flow in float64 far from the identity."""
    torch.manual_seed(seed)
    flow = PlanarNF(num_layers, dim).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return flow


def flow_with(wu: float, num_layers: int = 1) -> PlanarNF:
    """A flow in float64 each of whose layers has w.u = wu."""
    flow = planar_nf(num_layers)
    with torch.no_grad():
        along_w = (wu - (flow.w * flow.u).sum(1)) / flow.w.square().sum(1)
        flow.u.add_(along_w[:, None] * flow.w)
    return flow


def points(n: int, dim: int = 2, scale: float = 1.0, seed: int = 1) -> Tensor:
    return scale * torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_log_det_is_that_of_the_jacobian(flow: PlanarNF, z0: Tensor) -> None:
    _, log_det = flow.push(z0)
    for z, value in zip(z0, log_det, strict=True):
        jac = jacobian(lambda z: flow.push(z[None])[0][0], z)
        sign, expected = torch.linalg.slogdet(jac)
        assert sign == 1
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_push_applies_one_layer_after_another(dim: int) -> None:
    flow, z0 = planar_nf(4, dim), points(5, dim)
    z = z0
    for u, w, b in zip(flow.u, flow.w, flow.b, strict=True):
        c = torch.nn.functional.softplus(w @ u) - 1
        u_hat = u + (c - w @ u) * w / w.square().sum()
        z = z + torch.outer(torch.tanh(z @ w + b), u_hat)
    torch.testing.assert_close(flow.push(z0)[0], z)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_log_det_is_that_of_the_jacobian(dim: int) -> None:
    assert_log_det_is_that_of_the_jacobian(planar_nf(6, dim), points(5, dim))


@pytest.mark.parametrize("wu", [-5.0, -1.0, 0.0, 50.0])
def test_log_det_of_an_extreme_layer_is_that_of_the_jacobian(wu: float) -> None:
    assert_log_det_is_that_of_the_jacobian(flow_with(wu), points(5))


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_pull_undoes_push(dim: int, scale: float) -> None:
    flow, z0 = planar_nf(8, dim), points(200, dim, scale)
    x, log_det = flow.push(z0)
    returned, log_det_back = flow.pull(x)
    torch.testing.assert_close(returned, z0, rtol=0, atol=1e-9)
    torch.testing.assert_close(log_det_back, log_det, rtol=0, atol=1e-8)


# A chain is put to the test in its well-conditioned direction: layers with w.û near -1 are flat in their middle, where
# z is not to be had from x, and layers with a large w.û are so steep that x is not to be had from z.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-3)])
@pytest.mark.parametrize("wu", [wu for wu in ADVERSARIAL_WU if wu <= 0])
def test_push_undoes_pull_of_flat_layers(wu: float, dtype: torch.dtype, tolerance: float) -> None:
    flow, x = flow_with(wu, num_layers=4).to(dtype), points(300, scale=3.0).to(dtype)
    z0, log_det = flow.pull(x)
    assert log_det.isfinite().all()
    torch.testing.assert_close(flow.push(z0)[0], x, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-3)])
@pytest.mark.parametrize("wu", [wu for wu in ADVERSARIAL_WU if wu >= 0])
def test_pull_undoes_push_of_steep_layers(wu: float, dtype: torch.dtype, tolerance: float) -> None:
    flow, z0 = flow_with(wu, num_layers=4).to(dtype), points(300, scale=3.0).to(dtype)
    x, log_det = flow.push(z0)
    assert log_det.isfinite().all()
    torch.testing.assert_close(flow.pull(x)[0], z0, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("wu", ADVERSARIAL_WU)
def test_pull_undoes_push_of_an_extreme_layer_where_it_is_not_flat(wu: float) -> None:
    flow, z0 = flow_with(wu), points(300, scale=3.0)
    x, log_det = flow.push(z0)
    assert log_det.isfinite().all()
    clear = log_det > math.log(1e-3)
    assert clear.sum() > 100
    torch.testing.assert_close(flow.pull(x)[0][clear], z0[clear], rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("wu", [-800.0, -35.0, -25.0, -14.0, -5.0, 0.5, 5.0, 100.0])
def test_the_inverse_is_as_exact_as_the_dtype_near_the_bend_and_far_from_it(
    wu: float, dtype: torch.dtype
) -> None:
    flow = PlanarNF(1, dim=1)
    with torch.no_grad():
        flow.w.fill_(1.0)
        flow.u.fill_(wu)
        flow.b.zero_()
    flow.to(dtype)
    x = torch.logspace(-12, 3, 3001, dtype=dtype)
    x = torch.cat([-x, x, torch.linspace(-20, 20, 3001, dtype=dtype)])[:, None]
    z0, _ = flow.pull(x)
    error = (flow.push(z0)[0] - x).abs()
    scale = max(wu, 1.0) * x.abs().maximum(z0.abs())  # z0 has the rounding of x, and a push multiplies it
    # Some roundings; how many of them is a machine's tanh, exp and log.
    assert (error <= 50 * torch.finfo(dtype).eps * scale).all()


@pytest.mark.parametrize("b", [-1e6, 30.0])
def test_a_layer_with_a_huge_bias_shifts_by_plus_or_minus_u_hat(b: float) -> None:
    flow, z0 = planar_nf(1), points(50)
    with torch.no_grad():
        flow.b.fill_(b)
    x, log_det = flow.push(z0)
    assert (x - z0).std(0).max() < 1e-9
    assert (x - z0).abs().max() > 0.1
    torch.testing.assert_close(log_det, torch.zeros_like(log_det))
    torch.testing.assert_close(flow.pull(x)[0], z0)


@pytest.mark.parametrize("w", [0.0, 1e-200])
def test_a_layer_without_w_shifts_by_u_tanh_b(w: float) -> None:
    flow, z0 = planar_nf(1), points(50)
    with torch.no_grad():
        flow.w.fill_(w)
    x, log_det = flow.push(z0)
    torch.testing.assert_close(x, z0 + flow.u * flow.b.tanh())
    assert torch.equal(log_det, torch.zeros_like(log_det))
    torch.testing.assert_close(flow.pull(x)[0], z0)
    (x.sum() + flow.log_prob(z0).sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in flow.parameters())


@pytest.mark.parametrize("wu", [-800.0, -50.0, -1.0, 50.0])
def test_points_on_the_bend_of_a_layer_have_a_finite_log_det(wu: float) -> None:
    flow = flow_with(wu)
    with torch.no_grad():
        flow.b.zero_()
    z0 = torch.zeros(1, 2, dtype=torch.float64)
    s = max(math.log1p(math.exp(wu)), torch.finfo(torch.float64).tiny)
    for x, log_det in (flow.push(z0), flow.pull(z0)):
        assert torch.equal(x, z0)
        assert log_det.item() == pytest.approx(math.log(s))  # det = s where h = 0


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_log_prob_has_the_gradients_of_finite_differences(dim: int) -> None:
    flow, x = planar_nf(3, dim), points(4, dim).requires_grad_()
    assert torch.autograd.gradcheck(lambda *_: flow.log_prob(x), (x, *flow.parameters()))


@pytest.mark.parametrize("wu", [-3.0, 0.0, 50.0])
def test_gradients_of_extreme_layers_are_those_of_finite_differences(wu: float) -> None:
    flow, x = flow_with(wu, num_layers=2), points(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda *_: flow.pull(x), (x, *flow.parameters()))


def test_push_has_the_gradients_of_finite_differences() -> None:
    flow, z0 = planar_nf(3), points(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda *_: flow.push(z0), (z0, *flow.parameters()))


def test_a_second_derivative_is_refused() -> None:
    flow, x = planar_nf(2), points(3).requires_grad_()
    (first,) = torch.autograd.grad(flow.log_prob(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_density_integrates_to_one(fraction: float) -> None:
    flow, side = planar_nf(4), torch.linspace(-14, 14, 561, dtype=torch.float64)
    with torch.no_grad():
        log_prob = flow.log_prob(torch.cartesian_prod(side, side), fraction)
    cell = (side[1] - side[0]).square()
    assert float(log_prob.exp().sum() * cell) == pytest.approx(1, abs=1e-4)


def test_samples_have_the_log_prob_that_comes_with_them() -> None:
    flow = planar_nf(8)
    x, log_prob = flow.sample_and_log_prob(100, torch.Generator().manual_seed(0))
    torch.testing.assert_close(flow.log_prob(x), log_prob, rtol=0, atol=1e-8)


@pytest.mark.parametrize(("fraction", "count"), [(0.0, 0), (0.05, 0), (0.3, 2), (0.5, 4), (1.0, 8)])
def test_a_fraction_is_the_first_layers(fraction: float, count: int) -> None:
    flow, z0 = planar_nf(8), points(5)
    first = PlanarNF(max(count, 1)).double()
    with torch.no_grad():
        for part, whole in zip(first.parameters(), flow.parameters(), strict=True):
            part.copy_(whole[: max(count, 1)])
    expected = first.push(z0) if count else (z0, torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(flow.push(z0, fraction), expected)
    torch.testing.assert_close(flow.pull(expected[0], fraction)[0], z0)
    torch.testing.assert_close(flow.trajectory(z0, [fraction])[0], expected[0])
    flow.log_prob(z0, fraction).sum().backward()


def test_a_trajectory_holds_the_push_to_each_fraction() -> None:
    flow, z0, fractions = planar_nf(8), points(5), [0.0, 0.25, 0.5, 1.0]
    expected = torch.stack([flow.push(z0, fraction)[0] for fraction in fractions])
    torch.testing.assert_close(flow.trajectory(z0, fractions), expected)


@pytest.mark.parametrize("fractions", [[], [0.5, 0.5], [1.0, 0.5]])
def test_a_trajectory_without_increasing_fractions_is_refused(fractions: list[float]) -> None:
    with pytest.raises(ValueError, match="`fractions` is"):
        planar_nf().trajectory(points(5), fractions)


def test_one_point_is_treated_as_it_is_among_others() -> None:
    flow, x = planar_nf(), points(5)
    torch.testing.assert_close(flow.log_prob(x[:1]), flow.log_prob(x)[:1])
    torch.testing.assert_close(flow.push(x[:1])[0], flow.push(x)[0][:1])


@pytest.mark.parametrize(("num_layers", "count"), [(2, 10), (8, 40), (32, 160), (64, 320)])
def test_a_layer_in_the_plane_has_five_parameters(num_layers: int, count: int) -> None:
    assert sum(p.numel() for p in PlanarNF(num_layers).parameters()) == count


def test_a_long_chain_starts_near_the_identity() -> None:
    torch.manual_seed(0)
    z0 = torch.randn(1000, 2)
    x, log_det = PlanarNF(64).push(z0)
    assert 0.5 < x.std() / z0.std() < 2
    assert log_det.abs().mean() < 1


def test_the_same_seed_starts_the_same_flow() -> None:
    starts = []
    for _ in range(2):
        torch.manual_seed(3)
        starts.append(torch.nn.utils.parameters_to_vector(PlanarNF(4).parameters()))
    assert torch.equal(*starts)


@pytest.mark.parametrize("num_layers", [0, -1])
def test_fewer_than_one_layer_is_refused(num_layers: int) -> None:
    with pytest.raises(ValueError, match=f"`model.num_layers` is {num_layers}"):
        PlanarNF(num_layers)


@pytest.mark.parametrize("way", ["push", "pull", "log_prob"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(0, 2), "has shape"),
        (torch.zeros(3, 3), "has shape"),
        (torch.tensor([[0.0, math.nan]]), "nan"),
    ],
)
def test_points_that_are_none_are_refused(way: str, bad: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(PlanarNF(2), way)(bad)
