from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nodebench.data import DensityData
from nodebench.data.energies import u3
from nodebench.data.toy_densities import two_circles
from nodebench.models.flows import CNF, FFJORD, ContinuousFlow, Flow
from nodebench.models.flows.planar_nf import PlanarNF
from nodebench.ode.settings import SolverSettings
from nodebench.tasks import flow_pictures as module
from nodebench.tasks.density import Density
from nodebench.tasks.density_matching import DensityMatching
from nodebench.tasks.flow_pictures import flow_pictures, grid_points, histogram

WINDOW = 4.0
CELL = 2 * WINDOW / 100
STD = 0.3
RK4 = SolverSettings(method="rk4", dt=0.25)


class Drift(nn.Module):
    """dz/dt = c, not a number where |z_1| is beyond `edge`."""

    def __init__(self, velocity: tuple[float, float], edge: float = math.inf) -> None:
        super().__init__()
        self.velocity = nn.Parameter(torch.tensor(velocity))
        self.edge = edge

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        change = torch.cat([self.velocity, torch.zeros(1)])[:, None].expand_as(y)
        return change.masked_fill(y[0].abs() > self.edge, math.nan)


def drifting(edge: float = math.inf, solver: SolverSettings = RK4) -> ContinuousFlow:
    """A narrow Gaussian on its way from the origin to (1, -2)."""
    return ContinuousFlow(Drift((1.0, -2.0), edge), solver, "direct", base_std=STD)


def cell_of(z1: float, z2: float) -> tuple[int, int]:
    """(row, column) of a point in the pictures: the row is z2's."""
    return int((z2 + WINDOW) / CELL), int((z1 + WINDOW) / CELL)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NUM_SAMPLES", 2000)


def test_rows_of_the_grid_are_z2_and_columns_z1_at_the_cells_centres() -> None:
    points = grid_points(WINDOW).view(100, 100, 2)
    centres = torch.linspace(-WINDOW + CELL / 2, WINDOW - CELL / 2, 100)
    for i in range(100):
        torch.testing.assert_close(points[i, :, 0], centres)
        torch.testing.assert_close(points[:, i, 1], centres)


def test_a_histogram_counts_points_in_their_cells_and_leaves_out_those_outside() -> None:
    inside = torch.tensor([[1.01, -2.01], [1.03, -2.03], [-3.99, 3.99], [3.99, -3.99]])
    outside = torch.tensor([[4.01, 0.0], [0.0, -4.01], [1e30, 0.0], [-math.inf, 0.0], [0.0, math.nan]])
    counts = histogram(torch.cat([inside, outside]), WINDOW)
    assert (counts.dtype, counts.shape) == (np.uint16, (100, 100))
    assert counts[cell_of(1.02, -2.02)] == 2
    assert counts[99, 0] == 1
    assert counts[0, 99] == 1
    assert counts.sum() == 4


def test_a_histogram_of_the_grid_has_one_point_in_every_cell() -> None:
    assert (histogram(grid_points(WINDOW), WINDOW) == 1).all()


def test_a_cell_too_full_for_its_type_is_full() -> None:
    assert histogram(torch.zeros(70_000, 2), WINDOW).max() == 65_535


def test_density_and_samples_are_drawn_where_the_flow_is_at_each_time() -> None:
    fractions = [0.25, 0.5, 1.0]
    with torch.no_grad():
        pictures = flow_pictures(drifting(), WINDOW, fractions)
    assert set(pictures) == {"window", "fractions", "density", "samples"}
    assert float(pictures["window"]) == WINDOW
    np.testing.assert_allclose(pictures["fractions"], fractions)
    density, samples = pictures["density"], pictures["samples"]
    assert (density.shape, density.dtype) == ((3, 100, 100), np.float16)
    assert (samples.shape, samples.dtype) == ((3, 100, 100), np.uint16)
    points = grid_points(WINDOW)
    for i, fraction in enumerate(fractions):
        centre = torch.tensor([fraction, -2 * fraction])
        expected = torch.distributions.Normal(centre, STD).log_prob(points).sum(1).exp().view(100, 100)
        np.testing.assert_allclose(density[i], expected, rtol=2e-3, atol=1e-5)
        assert density[i].astype(float).sum() * CELL**2 == pytest.approx(1, abs=1e-3)
        assert samples[i].sum() == 2000
        rows, columns = np.indices((100, 100))
        mean = [float((axis * samples[i]).sum()) / 2000 for axis in (rows, columns)]
        assert mean[0] * CELL + CELL / 2 - WINDOW == pytest.approx(
            -2 * fraction, abs=5 * STD / math.sqrt(2000)
        )
        assert mean[1] * CELL + CELL / 2 - WINDOW == pytest.approx(fraction, abs=5 * STD / math.sqrt(2000))
    assert np.unravel_index(density[2].argmax(), (100, 100)) in [
        (row, column) for row in (24, 25) for column in (62, 63)
    ]  # (1, -2) is a corner of cells


@pytest.mark.parametrize(
    "make",
    [
        lambda: CNF(width=4, solver=RK4, base_std=0.7),
        lambda: FFJORD(hidden_dims=(4,), solver=RK4, base_std=0.7),
        lambda: PlanarNF(num_layers=4, base_std=0.7),
    ],
    ids=["cnf", "ffjord", "planar_nf"],
)
@torch.no_grad()
def test_every_flow_has_pictures_with_the_whole_mass(make: type[Flow]) -> None:
    torch.manual_seed(0)
    pictures = flow_pictures(make().eval(), 6.0, [0.5, 1.0])
    for density, samples in zip(pictures["density"], pictures["samples"], strict=True):
        assert density.astype(float).sum() * 0.12**2 == pytest.approx(1, abs=5e-3)
        assert samples.sum() == 2000


@torch.no_grad()
def test_pictures_are_the_same_every_time() -> None:
    torch.manual_seed(0)
    flow = CNF(width=2, solver=RK4)
    one = flow_pictures(flow, WINDOW, [1.0])
    torch.manual_seed(1)
    other = flow_pictures(flow, WINDOW, [1.0])
    np.testing.assert_array_equal(one["samples"], other["samples"])
    np.testing.assert_array_equal(one["density"], other["density"])


@torch.no_grad()
def test_where_the_solve_back_fails_the_density_is_nan_and_the_samples_are_there() -> None:
    pictures = flow_pictures(drifting(edge=3.5), WINDOW, [0.5, 1.0])
    assert np.isnan(pictures["density"]).all()
    assert (pictures["density"].dtype, pictures["density"].shape) == (np.float16, (2, 100, 100))
    assert (pictures["samples"].sum((1, 2)) == 2000).all()


@torch.no_grad()
def test_a_density_too_high_for_its_type_is_as_high_as_that_goes() -> None:
    flow = ContinuousFlow(Drift((0.04, 0.04)), RK4, "direct", base_std=1e-3)
    peak = flow_pictures(flow, WINDOW, [1.0])["density"].max()
    assert peak == np.finfo(np.float16).max


def test_a_flow_that_is_not_on_the_plane_has_no_pictures() -> None:
    assert flow_pictures(CNF(width=2, dim=3), WINDOW, [1.0]) == {}

    def draw(split: str, n: int, generator: torch.Generator) -> Tensor:
        return torch.zeros(n, 3)

    task = Density(DensityData("space", 3, 4, WINDOW, draw), 0, "cpu")
    assert task.pictures(CNF(width=2, dim=3), is_final=True) == {}


def test_the_last_pictures_show_all_times_and_the_earlier_ones_the_end() -> None:
    task = Density(two_circles(), 0, "cpu", num_frames=4)
    final, early = (task.pictures(drifting(), is_final=is_final) for is_final in (True, False))
    np.testing.assert_allclose(final["fractions"], [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(early["fractions"], [1.0])
    assert (len(final["density"]), len(final["samples"])) == (4, 4)
    assert (len(early["density"]), len(early["samples"])) == (1, 1)
    np.testing.assert_array_equal(final["density"][3], early["density"][0])
    np.testing.assert_array_equal(final["samples"][3], early["samples"][0])
    assert float(final["window"]) == 1.5


@pytest.mark.parametrize(
    ("task", "num_frames"),
    [(Density(two_circles(), 0, "cpu", num_frames=20), 20), (DensityMatching(u3(), 0, "cpu"), 1)],
    ids=["density", "density_matching"],
)
def test_tasks_add_their_target_on_the_same_grid(task: Density | DensityMatching, num_frames: int) -> None:
    flow = drifting(solver=SolverSettings(method="euler", dt=1.0))
    pictures = task.pictures(flow.train(), is_final=True)
    assert flow.training
    target = pictures["target"]
    assert (target.shape, target.dtype) == ((100, 100), np.float32)
    assert target.sum() * (2 * task.data.window / 100) ** 2 == pytest.approx(1, abs=0.03)
    fractions = np.arange(1, num_frames + 1) / num_frames
    np.testing.assert_allclose(pictures["fractions"], fractions, rtol=1e-6)
    assert pictures["density"].shape == (num_frames, 100, 100)


@pytest.fixture
def out_of_budget() -> CNF:
    """A flow that solves backwards and runs out of evaluations forwards."""
    torch.manual_seed(0)
    flow = CNF(width=4, solver=SolverSettings(rtol=1e-5, atol=1e-5, max_nfe=30))
    with torch.no_grad():
        flow.ode_block.vector_field.hypernetwork[-1].weight.mul_(10)  # type: ignore[union-attr, index, operator]
    return flow


def test_a_solve_forwards_that_fails_shows_no_samples_and_ends_no_run(out_of_budget: CNF) -> None:
    pictures = Density(two_circles(), 0, "cpu", num_frames=2).pictures(out_of_budget, is_final=True)
    assert pictures["samples"].shape == (2, 100, 100)
    assert not pictures["samples"].any()


def test_a_solve_forwards_that_fails_is_no_reconstruction(out_of_budget: CNF) -> None:
    assert out_of_budget.reconstruction_error(torch.randn(50, 2)) == math.inf
