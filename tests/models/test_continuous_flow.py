"""Continuous flows with a linear field, whose distributions are Gaussians in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from nodebench.models.flows import ContinuousFlow
from nodebench.models.ode_block import recorded_solves
from nodebench.ode.settings import SolverSettings

TIGHT = SolverSettings(rtol=1e-11, atol=1e-11)
T1, BASE_STD = 0.7, 1.5
MATRIX = [[0.5, -1.0, 0.3], [0.8, -0.2, 0.0], [0.1, 0.4, 0.6]]
OFFSET = [0.3, -0.5, 0.2]


class Affine(nn.Module):
    """dz/dt = A z + c, whose solution is exp(t A) z0 + A^-1 (exp(t A) - 1) c."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor(MATRIX, dtype=torch.float64))
        self.offset = nn.Parameter(torch.tensor(OFFSET, dtype=torch.float64))
        self.states: list[Tensor] = []

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.states.append(y)
        trace = self.matrix.trace().expand(1, y.shape[1])
        return torch.cat([self.matrix @ y[:-1] + self.offset[:, None], trace])

    def at(self, t: float) -> MultivariateNormal:
        """What N(0, BASE_STD^2) has become at time t."""
        growth = torch.matrix_exp(t * self.matrix)
        mean = torch.linalg.solve(self.matrix, (growth - torch.eye(3)) @ self.offset)
        return MultivariateNormal(mean, BASE_STD**2 * growth @ growth.T)


class Accelerating(Affine):
    """dz/dt = 2 t A z, whose solution is exp(t^2 A) z0: it matters at which end of time a solve starts."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        trace = self.matrix.trace().expand(1, y.shape[1])
        return 2 * t * torch.cat([self.matrix @ y[:-1], trace])

    def at(self, t: float) -> MultivariateNormal:
        growth = torch.matrix_exp(t**2 * self.matrix)
        return MultivariateNormal(torch.zeros(3, dtype=torch.float64), BASE_STD**2 * growth @ growth.T)


def linear_flow(
    field: Affine | None = None, gradient: str = "direct", solver: SolverSettings = TIGHT
) -> ContinuousFlow:
    return ContinuousFlow(field or Affine(), solver, gradient, t1=T1, dim=3, base_std=BASE_STD)


def some_points() -> Tensor:
    return torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


FIELDS = pytest.mark.parametrize("field_type", [Affine, Accelerating])
FRACTIONS = pytest.mark.parametrize("fraction", [0.3, 1.0])


@FIELDS
@FRACTIONS
@torch.no_grad()
def test_a_linear_flow_has_the_mean_and_covariance_of_the_gaussian(
    field_type: type[Affine], fraction: float
) -> None:
    field = field_type()
    corners = torch.cat([torch.zeros(1, 3), torch.eye(3)]).double()
    pushed = linear_flow(field).push(corners, fraction)[0]
    expected = field.at(fraction * T1)
    mean, columns = pushed[0], (pushed[1:] - pushed[0]).T
    torch.testing.assert_close(mean, expected.mean, rtol=0, atol=1e-9)
    covariance = BASE_STD**2 * columns @ columns.T
    torch.testing.assert_close(covariance, expected.covariance_matrix, rtol=0, atol=1e-9)


@FIELDS
@FRACTIONS
@torch.no_grad()
def test_a_linear_flow_has_the_density_of_the_gaussian(field_type: type[Affine], fraction: float) -> None:
    field, x = field_type(), some_points()
    flow, expected = linear_flow(field), field.at(fraction * T1)
    torch.testing.assert_close(flow.log_prob(x, fraction), expected.log_prob(x), rtol=0, atol=1e-9)
    samples, log_prob = flow.sample_and_log_prob(6, fraction=fraction)
    torch.testing.assert_close(log_prob, expected.log_prob(samples), rtol=0, atol=1e-9)


@torch.no_grad()
def test_the_log_determinant_is_the_trace_times_time_from_base_to_data() -> None:
    field = Affine()
    expected = (field.matrix.trace() * T1).expand(6)
    assert expected[0] > 0
    torch.testing.assert_close(linear_flow(field).push(some_points())[1], expected)
    torch.testing.assert_close(linear_flow(field).pull(some_points())[1], expected)


@torch.no_grad()
def test_samples_have_the_moments_of_the_gaussian() -> None:
    field, n = Affine(), 20_000
    samples = linear_flow(field).sample(n, torch.Generator().manual_seed(2))
    expected = field.at(T1)
    std = expected.variance.sqrt()
    assert ((samples.mean(0) - expected.mean).abs() < 5 * std / math.sqrt(n)).all()
    error = (samples.T.cov() - expected.covariance_matrix).abs() / torch.outer(std, std)
    assert (error < 5 * math.sqrt(2 / n)).all()


@FIELDS
@pytest.mark.parametrize("gradient", ["direct", "checkpointed", "adjoint"])
def test_likelihoods_and_samples_have_the_gradients_of_the_closed_form(
    field_type: type[Affine], gradient: str
) -> None:
    field, x = field_type(), some_points()
    flow, leaves = linear_flow(field, gradient), [field.matrix, x.requires_grad_()]
    expected = torch.autograd.grad(field.at(T1).log_prob(x).sum(), leaves)
    for actual, of_gaussian in zip(
        torch.autograd.grad(flow.log_prob(x).sum(), leaves), expected, strict=True
    ):
        torch.testing.assert_close(actual, of_gaussian, rtol=0, atol=1e-7)
    # The entropy of q falls by its log-determinant, the trace of A times the length of time.
    samples, log_q = flow.push_with_log_prob(x)
    (actual,) = torch.autograd.grad(log_q.mean(), field.matrix)
    length = T1 if field_type is Affine else T1**2
    torch.testing.assert_close(actual, -length * torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-9)
    assert samples.requires_grad


def test_the_solvers_state_has_contiguous_rows_of_coordinates_and_the_log_determinant_last() -> None:
    field, points = Affine(), some_points()
    linear_flow(field).push(points)
    first = field.states[0]
    assert torch.equal(first, torch.cat([points.T, torch.zeros(1, 6)]))
    assert all(state.shape == (4, 6) and state.is_contiguous() for state in field.states)


def test_a_trajectory_is_one_solve() -> None:
    flow = linear_flow(solver=SolverSettings(method="rk4", dt=0.1))
    with recorded_solves(flow) as solves:
        flow.trajectory(some_points(), [0.0, 2 / 7, 1.0])
    assert [stats.forward.nfe for stats in solves] == [7 * 4]


@pytest.mark.parametrize("t1", [0.0, -1.0, math.inf, math.nan])
def test_a_time_that_does_not_run_forwards_is_refused(t1: float) -> None:
    with pytest.raises(ValueError, match=f"`model.t1` is {t1}; allowed: a finite time above 0"):
        ContinuousFlow(Affine(), TIGHT, "direct", t1=t1, dim=3)


def test_points_return_from_a_good_solve_and_not_from_a_bad_one() -> None:
    flow, points = linear_flow(), some_points()
    assert flow.reconstruction_error(points) < 1e-9
    flow.ode_block.solver = SolverSettings(method="euler", dt=T1)
    assert flow.reconstruction_error(points) > 0.1
    with pytest.raises(ValueError, match="`z0` has shape"):
        flow.reconstruction_error(points[:0])


def test_a_reference_copy_is_solved_to_its_tolerance_by_a_solver_of_its_own() -> None:
    field = Affine()
    flow = linear_flow(field, solver=SolverSettings(method="euler", dt=T1, max_nfe=1))
    reference = flow.reference_copy(1e-9)
    x = some_points()
    torch.testing.assert_close(reference.log_prob(x), field.at(T1).log_prob(x), rtol=0, atol=1e-7)
    assert flow.ode_block.solver == SolverSettings(method="euler", dt=T1, max_nfe=1)
    assert reference.ode_block.solver == SolverSettings(method="dopri8", rtol=1e-9, atol=1e-9)
