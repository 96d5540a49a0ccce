"""What holds for every flow, whatever carries its points."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nodebench.models.flows import CNF, FFJORD, ContinuousFlow, Flow
from nodebench.models.flows.planar_nf import PlanarNF
from nodebench.ode.settings import SolverSettings

TIGHT = SolverSettings(method="dopri8", rtol=1e-10, atol=1e-10)
BASE_STD = 0.8

MAKERS: dict[str, Callable[[], Flow]] = {
    "cnf_paper": lambda: CNF(width=4, hidden_dim=8, base_std=BASE_STD, solver=TIGHT),
    "cnf_example": lambda: CNF(width=4, variant="example", hidden_dim=8, base_std=BASE_STD, solver=TIGHT),
    "ffjord": lambda: FFJORD(hidden_dims=(8, 8), base_std=BASE_STD, solver=TIGHT),
    "planar_nf": lambda: PlanarNF(num_layers=6, base_std=BASE_STD),
}
EVERY_FLOW = pytest.mark.parametrize("name", MAKERS)


def make_flow(name: str) -> Flow:
    """A flow in float64 that moves its points by about as much as they are spread."""
    torch.manual_seed(0)
    flow = MAKERS[name]().double()
    if isinstance(flow, ContinuousFlow):
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter.mul_(2.0)
    return flow


def some_points(n: int = 7, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, 2, dtype=dtype, generator=torch.Generator().manual_seed(1))


def grid(half_width: float, cells: int) -> tuple[Tensor, float]:
    """The centres of the cells (cells^2, 2) of a square, and the area of a cell."""
    side = 2 * half_width / cells
    centres = (torch.arange(cells, dtype=torch.float64) + 0.5) * side - half_width
    return torch.cartesian_prod(centres, centres), side**2


@EVERY_FLOW
@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_pull_is_the_inverse_of_push_with_the_same_log_determinant(name: str, fraction: float) -> None:
    flow, points = make_flow(name), some_points()
    x, log_det = flow.push(points, fraction)
    returned, log_det_back = flow.pull(x, fraction)
    torch.testing.assert_close(returned, points, rtol=0, atol=1e-8)
    torch.testing.assert_close(log_det_back, log_det, rtol=0, atol=1e-8)
    z0, log_det_back = flow.pull(points, fraction)
    returned, log_det = flow.push(z0, fraction)
    torch.testing.assert_close(returned, points, rtol=0, atol=1e-8)
    torch.testing.assert_close(log_det_back, log_det, rtol=0, atol=1e-8)
    assert (x - points).abs().max() > 0.05


@EVERY_FLOW
@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_log_determinant_is_that_of_the_jacobian_from_base_to_data(name: str, fraction: float) -> None:
    flow = make_flow(name)
    for point in some_points(2):
        jacobian = torch.autograd.functional.jacobian(lambda z: flow.push(z[None], fraction)[0][0], point)
        expected = torch.linalg.slogdet(jacobian).logabsdet
        assert expected.abs() > 0.01
        torch.testing.assert_close(flow.push(point[None], fraction)[1][0], expected, rtol=0, atol=1e-8)


@EVERY_FLOW
@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_log_prob_of_samples_is_the_one_they_came_with(name: str, fraction: float) -> None:
    flow = make_flow(name)
    x, log_prob = flow.sample_and_log_prob(50, torch.Generator().manual_seed(3), fraction)
    assert x.shape == (50, 2)
    torch.testing.assert_close(flow.log_prob(x, fraction), log_prob, rtol=0, atol=1e-7)
    torch.testing.assert_close(flow.sample(50, torch.Generator().manual_seed(3), fraction), x)


@EVERY_FLOW
@pytest.mark.parametrize("fraction", [0.5, 1.0])
@torch.no_grad()
def test_the_density_integrates_to_1(name: str, fraction: float) -> None:
    flow = make_flow(name)
    if isinstance(flow, ContinuousFlow):
        flow.ode_block.solver = SolverSettings(rtol=1e-6, atol=1e-6)
    points, area = grid(8.0, 120)
    assert float(flow.log_prob(points, fraction).exp().sum()) * area == pytest.approx(1, abs=1e-4)


@EVERY_FLOW
def test_samples_are_spread_as_the_density_says(name: str) -> None:
    flow = make_flow(name)
    if isinstance(flow, ContinuousFlow):
        flow.ode_block.solver = SolverSettings(rtol=1e-6, atol=1e-6)
    points, area = grid(8.0, 120)
    with torch.no_grad():
        mass = flow.log_prob(points).exp() * area
        samples = flow.sample(4000, torch.Generator().manual_seed(4))
    for moment in (
        lambda z: z[:, 0],
        lambda z: z[:, 1],
        lambda z: z[:, 0] * z[:, 1],
        lambda z: (z**2).sum(1),
    ):
        values = moment(samples)
        error = float(values.std()) / math.sqrt(len(values))
        assert float(values.mean()) == pytest.approx(float((moment(points) * mass).sum()), abs=5 * error)


@EVERY_FLOW
def test_at_the_start_of_time_a_flow_is_its_base(name: str) -> None:
    flow, points = make_flow(name), some_points()
    x, log_det = flow.push(points, 0.0)
    torch.testing.assert_close(x, points)
    torch.testing.assert_close(log_det, torch.zeros(7, dtype=torch.float64))
    base = torch.distributions.Normal(torch.zeros(2, dtype=torch.float64), BASE_STD)
    torch.testing.assert_close(flow.log_prob(points, 0.0), base.log_prob(points).sum(1))
    torch.testing.assert_close(flow.base_log_prob(points), base.log_prob(points).sum(1))


@EVERY_FLOW
def test_a_trajectory_is_where_push_gets_at_each_fraction(name: str) -> None:
    flow, points, fractions = make_flow(name), some_points(), [0.0, 0.5, 2 / 3, 1.0]
    trajectory = flow.trajectory(points, fractions)
    assert trajectory.shape == (4, 7, 2)
    for at, fraction in zip(trajectory, fractions, strict=True):
        torch.testing.assert_close(at, flow.push(points, fraction)[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(flow.trajectory(points, fractions[1:]), trajectory[1:], rtol=0, atol=1e-6)


@EVERY_FLOW
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_of_one_point_is_treated_like_a_larger_one(name: str, dtype: torch.dtype) -> None:
    flow, points = make_flow(name).to(dtype), some_points(5, dtype)
    if dtype == torch.float32 and isinstance(flow, ContinuousFlow):
        flow.ode_block.solver = SolverSettings(rtol=1e-5, atol=1e-5)
    tolerance = {torch.float32: 1e-3, torch.float64: 1e-8}[dtype]
    for whole, one in (
        (flow.push(points), flow.push(points[:1])),
        (flow.pull(points), flow.pull(points[:1])),
        ((flow.log_prob(points),), (flow.log_prob(points[:1]),)),
    ):
        for of_all, of_one in zip(whole, one, strict=True):
            assert of_all.dtype == dtype
            torch.testing.assert_close(of_one, of_all[:1], rtol=0, atol=tolerance)
    x, log_prob = flow.sample_and_log_prob(1)
    assert (x.shape, log_prob.shape, x.dtype) == ((1, 2), (1,), dtype)


@EVERY_FLOW
def test_both_directions_give_every_parameter_the_gradient_of_finite_differences(name: str) -> None:
    flow, points = make_flow(name), some_points()

    def losses() -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(5)
        return flow.log_prob(points).mean(), flow.sample_and_log_prob(7, generator)[1].mean()

    parameters, step = list(flow.parameters()), 1e-5
    gradients = [torch.autograd.grad(loss, parameters) for loss in losses()]
    directions = [torch.randn_like(parameter) for parameter in parameters]
    sides = []
    with torch.no_grad():
        for sign in (1, -2):
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(direction, alpha=sign * step)
            sides.append(losses())
    for gradient, above, below in zip(gradients, *sides, strict=True):
        slope = sum((g * direction).sum() for g, direction in zip(gradient, directions, strict=True))
        torch.testing.assert_close(slope, (above - below) / (2 * step), rtol=1e-4, atol=1e-6)
        assert all(bool(g.abs().max() > 0) for g in gradient)


@EVERY_FLOW
@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.zeros(0, 2), r"has shape \(0, 2\); this flow takes \(N, 2\) with N of at least 1"),
        (torch.zeros(2), r"has shape \(2,\)"),
        (torch.zeros(4, 3), r"has shape \(4, 3\)"),
        (torch.zeros(1, 4, 2), r"has shape \(1, 4, 2\)"),
        (torch.tensor([[0.0, 1.0], [2.0, math.nan]]), r"\[1, 1\] is nan; every coordinate must be finite"),
        (torch.tensor([[-math.inf, 1.0]]), r"\[0, 0\] is -inf"),
    ],
    ids=["empty", "flat", "three_columns", "three_axes", "nan", "inf"],
)
def test_points_that_no_density_has_are_refused_by_name(name: str, points: Tensor, message: str) -> None:
    flow = make_flow(name)
    points = points.double()
    for call, argument in (
        (flow.push, "z0"),
        (flow.push_with_log_prob, "z0"),
        (lambda z0: flow.trajectory(z0, [0.5, 1.0]), "z0"),
        (flow.pull, "x"),
        (flow.log_prob, "x"),
    ):
        with pytest.raises(ValueError, match=f"^`{argument}`.*{message}"):
            call(points)


@EVERY_FLOW
@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_a_fraction_beyond_the_flow_is_refused(name: str, fraction: float) -> None:
    flow, points = make_flow(name), some_points()
    for call in (
        lambda: flow.push(points, fraction),
        lambda: flow.log_prob(points, fraction),
        lambda: flow.sample(3, fraction=fraction),
        lambda: flow.trajectory(points, [fraction]),
    ):
        with pytest.raises(ValueError, match=f"`fraction` is {fraction}; allowed: from 0"):
            call()


@EVERY_FLOW
@pytest.mark.parametrize("fractions", [[], [0.5, 0.5], [1.0, 0.5]])
def test_fractions_that_do_not_increase_are_refused(name: str, fractions: list[float]) -> None:
    with pytest.raises(ValueError, match=r"`fractions` is \[.*\]; allowed: increasing numbers, at least one"):
        make_flow(name).trajectory(some_points(), fractions)


@EVERY_FLOW
def test_fewer_than_one_sample_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="`n` is 0; allowed: 1 or more samples"):
        make_flow(name).sample(0)


@pytest.mark.parametrize("flow_type", [CNF, FFJORD, PlanarNF])
def test_a_base_that_is_no_gaussian_is_refused(flow_type: Callable[..., Flow]) -> None:
    for base_std in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(
            ValueError, match=f"`model.base_std` is {base_std}; allowed: a finite number above"
        ):
            flow_type(base_std=base_std)
    with pytest.raises(ValueError, match="`dim` is 0; a flow needs at least one dimension"):
        CNF(dim=0)


@EVERY_FLOW
def test_a_reference_copy_is_the_flow_in_float64_and_leaves_the_flow_alone(name: str) -> None:
    flow = make_flow(name).float()
    reference = flow.reference_copy(1e-9)
    assert {parameter.dtype for parameter in flow.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in reference.parameters()} == {torch.float64}
    if isinstance(flow, ContinuousFlow):
        assert flow.ode_block.solver == TIGHT
        flow.ode_block.solver = SolverSettings(rtol=1e-5, atol=1e-5)
    x = some_points()
    torch.testing.assert_close(reference.log_prob(x).float(), flow.log_prob(x.float()), rtol=0, atol=1e-3)
    expected = flow.double()
    if isinstance(expected, ContinuousFlow):
        expected.ode_block.solver = TIGHT
    torch.testing.assert_close(reference.log_prob(x), expected.log_prob(x), rtol=0, atol=1e-7)
