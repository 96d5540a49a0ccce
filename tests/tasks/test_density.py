from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from nodebench.data import DensityData
from nodebench.data.densities import endless
from nodebench.data.toy_densities import two_circles, two_moons
from nodebench.models.flows import CNF, FFJORD, ContinuousFlow
from nodebench.models.flows.planar_nf import PlanarNF
from nodebench.models.ode_block import EAGER_EVALUATIONS
from nodebench.ode import missing_compiler
from nodebench.ode.compiled.compiler import FULL_TORCH
from nodebench.ode.settings import SolverSettings
from nodebench.tasks import density
from nodebench.tasks.density import Density
from nodebench.tasks.measuring import counting, evaluating
from nodebench.training.protocols import NonFiniteValuesError

RK4 = SolverSettings(method="rk4", dt=0.5)
STD = 0.5
NEEDS_COMPILER = pytest.mark.skipif(
    missing_compiler(torch.device("cpu")) is not None, reason="there is no C++ compiler here"
)


class Still(nn.Module):
    """dz/dt = 0."""

    def __init__(self) -> None:
        super().__init__()
        self.speed = nn.Parameter(torch.zeros(()))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.speed * y


def identity(base_std: float = 1.0, dim: int = 2) -> ContinuousFlow:
    return ContinuousFlow(Still(), RK4, "direct", base_std=base_std, dim=dim)


def gaussian_data(dim: int = 2, batch_size: int = 32) -> DensityData:
    """Samples of N(0, STD^2), fresh whatever the split."""

    def draw(split: str, n: int, generator: torch.Generator) -> Tensor:
        return STD * torch.randn(n, dim, generator=generator)

    return DensityData("gaussian", dim, batch_size, 2.0, draw)


def make_task(data: DensityData | None = None, seed: int = 0, **settings: int) -> Density:
    return Density(data or gaussian_data(), seed, "cpu", **settings)


@pytest.fixture(autouse=True)
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density, "EVAL_BATCH_SIZE", 2000)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_log_density_that_is_not_finite_has_no_nll(split: str) -> None:
    def draw(split: str, n: int, generator: torch.Generator) -> Tensor:
        return torch.full((n, 2), 1e30)  # whose square float32 does not hold

    data = DensityData("far", 2, 4, 2.0, draw)
    with pytest.raises(NonFiniteValuesError, match=r"NaN or infinity at 2,000 of 2,000 points"):
        make_task(data).evaluate(identity(), split)


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("base_std", [STD, 1.5])
def test_the_nll_of_a_gaussian_under_another_is_the_closed_form(base_std: float, dim: int) -> None:
    # E[|x|^2] / (2 sigma^2) has mean dim r / 2 and variance dim r^2 / 2 with r = (STD / sigma)^2.
    ratio = (STD / base_std) ** 2
    expected = dim / 2 * (math.log(2 * math.pi * base_std**2) + ratio)
    stderr = ratio * math.sqrt(dim / 2 / 2000)
    task, flow = make_task(gaussian_data(dim)), identity(base_std, dim)
    metrics = task.evaluate(flow, "test")
    assert metrics["nll"] == pytest.approx(expected, abs=5 * stderr)
    assert metrics["nll_stderr"] == pytest.approx(stderr, rel=0.2)
    assert metrics["nll_tight"] == pytest.approx(metrics["nll"], abs=1e-5)
    assert task.evaluate(flow, "val")["nll_val"] == pytest.approx(expected, abs=5 * stderr)


def test_the_loss_is_the_mean_negative_log_likelihood_of_the_batch() -> None:
    task, flow = make_task(), identity(1.5)
    batch = task.batch(0)
    output = task.loss(flow, batch)
    expected = -torch.distributions.Normal(0, 1.5).log_prob(batch).sum(1).mean()
    torch.testing.assert_close(output.loss, expected)
    nll = output.metrics["nll_train"]
    assert isinstance(nll, Tensor)
    torch.testing.assert_close(nll, expected)
    assert not nll.requires_grad
    assert output.num_samples == 32
    output.loss.backward()
    assert flow.ode_block.vector_field.speed.grad != 0


def test_the_tight_nll_tells_a_bad_solve_from_a_good_one() -> None:
    torch.manual_seed(0)
    flow = CNF(width=4, solver=SolverSettings(rtol=1e-5, atol=1e-5))
    metrics = make_task(two_moons()).evaluate(flow, "test")
    assert metrics["nll"] == pytest.approx(metrics["nll_tight"], abs=1e-4)
    flow.ode_block.solver = SolverSettings(method="euler", dt=1.0)
    loose = make_task(two_moons()).evaluate(flow, "test")
    assert loose["nll_tight"] == pytest.approx(metrics["nll_tight"], abs=1e-9)
    assert abs(loose["nll"] - loose["nll_tight"]) > 1e-2


@pytest.mark.parametrize("data", [gaussian_data(batch_size=512), two_circles()], ids=["torch", "sklearn"])
def test_a_batch_depends_on_seed_and_step_alone(data: DensityData) -> None:
    batches = [make_task(data, seed=3).batch(step) for step in range(3)]
    again = [make_task(data, seed=3).batch(step) for step in reversed(range(3))][::-1]
    for batch, same in zip(batches, again, strict=True):
        assert batch.shape == (512, 2)
        assert torch.equal(batch, same)
    assert not torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], make_task(data, seed=4).batch(0))


def test_held_out_points_are_the_same_in_every_run_and_others_than_training() -> None:
    drawn: list[tuple[str, Tensor]] = []

    def points(n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, 2, generator=generator)

    data = endless("spied", points, batch_size=2000, window=2.0)

    def draw(split: str, n: int, generator: torch.Generator) -> Tensor:
        drawn.append((split, data.draw(split, n, generator)))
        return drawn[-1][1]

    spied = DensityData("spied", 2, 2000, 2.0, draw)
    for seed in (0, 1):
        torch.manual_seed(seed)
        task = make_task(spied, seed=seed)
        task.batch(0)
        task.evaluate(identity(), "val")
        task.evaluate(identity(), "test")
    assert [split for split, _ in drawn] == ["train", "val", "test"] * 2
    train, val, test, *others = [values for _, values in drawn]
    assert not torch.equal(train, others[0])
    assert torch.equal(val, others[1])
    assert torch.equal(test, others[2])
    distinct = [train, val, test, others[0]]
    assert not any(torch.equal(a, b) for i, a in enumerate(distinct) for b in distinct[:i])


def test_a_split_with_fewer_points_is_evaluated_over_all_of_them() -> None:
    held_out = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])

    def draw(split: str, n: int, generator: torch.Generator) -> Tensor:
        return held_out[:n]

    metrics = make_task(DensityData("three", 2, 2, 2.0, draw)).evaluate(identity(), "test")
    nll = math.log(2 * math.pi) + held_out.square().sum(1) / 2
    assert metrics["nll"] == pytest.approx(float(nll.mean()))
    assert metrics["nll_stderr"] == pytest.approx(float(nll.std()) / math.sqrt(3))


def test_of_a_single_held_out_point_the_error_is_0() -> None:
    single = DensityData("single", 2, 1, 2.0, lambda split, n, generator: torch.zeros(1, 2))
    metrics = make_task(single).evaluate(identity(), "test")
    assert (metrics["nll"], metrics["nll_stderr"]) == (pytest.approx(math.log(2 * math.pi)), 0)


@pytest.mark.parametrize(
    ("flow", "ode_columns"),
    [(CNF(width=2, solver=RK4), {"nfe_eval"}), (PlanarNF(num_layers=2), set())],
    ids=["cnf", "planar_nf"],
)
def test_each_split_has_its_columns(flow: CNF | PlanarNF, ode_columns: set[str]) -> None:
    val, test = make_task().evaluate(flow, "val"), make_task().evaluate(flow, "test")
    assert set(val) == {"nll_val", *ode_columns}
    assert set(test) == {"nll", "nll_stderr", "nll_tight", *ode_columns}
    if ode_columns:
        assert (val["nfe_eval"], test["nfe_eval"]) == (8, 8)  # not that of the tight solve


def test_an_unknown_split_is_an_error() -> None:
    with pytest.raises(ValueError, match="`split` is 'train'; allowed: val, test"):
        make_task().evaluate(identity(), "train")


def test_data_of_another_dimension_than_the_flows_are_refused() -> None:
    task = make_task(gaussian_data(dim=3))
    with pytest.raises(ValueError, match=r"`x` has shape \(32, 3\); this flow takes \(N, 2\)"):
        task.loss(identity(), task.batch(0))


def test_evaluation_is_exact_needs_no_graph_and_puts_the_mode_back() -> None:
    torch.manual_seed(0)
    flow = FFJORD(hidden_dims=(4,), divergence="hutchinson", solver=RK4)
    before = torch.get_rng_state()
    metrics = make_task().evaluate(flow.train(), "test")
    assert flow.training
    assert torch.equal(torch.get_rng_state(), before)
    assert metrics == make_task().evaluate(flow.eval(), "test")
    assert not flow.training


def test_a_training_step_is_counted_forward_and_backward() -> None:
    task, flow = make_task(), CNF(width=2, gradient="checkpointed", solver=RK4)
    with task.counting(flow) as counts:
        task.loss(flow, task.batch(0)).loss.backward()
    counted = counts()
    assert counted is not None
    assert (counted.nfe_forward, counted.nfe_backward, counted.num_accepted_forward) == (8, 8, 2)
    planar = PlanarNF(num_layers=2)
    with task.counting(planar) as counts:
        task.loss(planar, task.batch(0)).loss.backward()
    assert counts() is None
    assert "nfe_eval" not in task.evaluate(planar, "val")


def test_final_metrics_tell_size_cost_and_whether_the_flow_can_be_inverted() -> None:
    torch.manual_seed(0)
    task, flow = make_task(), CNF(width=8, variant="example", solver=SolverSettings(rtol=1e-5, atol=1e-5))
    metrics = task.final_metrics(flow)
    assert metrics["num_params"] == 2968
    assert 0 < metrics["recon_error"] < 1e-3
    assert metrics["recon_ok"] is True
    flow.ode_block.solver = SolverSettings(method="euler", dt=1.0)
    metrics = task.final_metrics(flow)
    assert metrics["recon_error"] > 1e-2
    assert metrics["recon_ok"] is False


def test_flops_of_a_cnf_are_a_point_s_share_of_each_evaluation_and_of_the_hypernetwork() -> None:
    task, width = make_task(), 8
    flops = [
        task.final_metrics(CNF(width, solver=SolverSettings(method="euler", dt=1 / steps)))["flops_forward"]
        for steps in (1, 2, 3)
    ]
    units = 2 * (2 * width + 2 * width + width)  # w.z, u h and the trace
    hypernetwork = 2 * (32 + 32 * 32 + 32 * (2 * 2 * width + width + width)) / 32  # once for the batch of 32
    assert flops[1] - flops[0] == pytest.approx(units + hypernetwork, abs=1)
    assert flops[2] - flops[1] == pytest.approx(units + hypernetwork, abs=1)


def test_a_flow_without_an_ode_has_nothing_to_reconstruct() -> None:
    metrics = make_task().final_metrics(PlanarNF(num_layers=3))
    assert metrics["num_params"] == 15
    assert metrics["flops_forward"] > 0
    assert (metrics["recon_error"], metrics["recon_ok"]) == (None, None)


def test_a_record_is_written_every_so_many_steps() -> None:
    assert make_task(steps_per_record=7).steps_per_epoch == 7


def test_the_target_is_a_histogram_of_points_as_a_density(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density, "NUM_SAMPLES", 1000)
    cell = (2 * 2.0 / 100) ** 2

    def draw(split: str, n: int, generator: torch.Generator) -> Tensor:
        points = torch.tensor([[1.0, -1.0]]).repeat(n, 1)
        points[: n // 4] = 9.0  # outside the window
        return points

    kwargs: dict[str, Any] = {"name": "one", "dim": 2, "batch_size": 2, "window": 2.0, "draw": draw}
    target = make_task(DensityData(**kwargs)).target()
    assert target.shape == (100, 100)
    assert float(target[25, 75]) == pytest.approx(0.75 / cell)
    assert float(target.sum()) == pytest.approx(0.75 / cell)


@pytest.mark.skipif(torch.__version__ < FULL_TORCH, reason="an early torch, which compiles no march")
@pytest.mark.parametrize(
    "backend",
    ["eager", pytest.param(True, marks=[pytest.mark.slow, NEEDS_COMPILER])],  # captured, or compiled
)
def test_compiled_evaluation_takes_the_steps_and_gives_the_nll_of_the_eager_one(backend: bool | str) -> None:
    torch.manual_seed(0)
    flow = CNF(width=8, solver=SolverSettings(rtol=1e-5, atol=1e-5)).double().eval()
    task = make_task()
    points = task.data.draw("val", 500, torch.Generator().manual_seed(0)).double()

    def nll(module: CNF, points: Tensor) -> tuple[Tensor, int]:
        with evaluating(module), counting(module) as counts:
            value = -module.log_prob(points).mean()
        solves = counts()
        assert solves is not None
        return value, solves.nfe_forward

    eager = nll(flow, points), nll(flow, points[:123])
    flow.ode_block.solver = replace(flow.ode_block.solver, compile=backend)
    flow.ode_block.compiles_evaluation = True
    graphs = counters["stats"]["unique_graphs"]
    for _ in range(EAGER_EVALUATIONS):
        assert nll(flow, points) == eager[0]
    assert nll(flow, points[:123]) == eager[1]  # an odd last batch
    assert counters["stats"]["unique_graphs"] == graphs

    compiled = []
    for _ in range(2):
        value, nfe = nll(flow, points)
        torch.testing.assert_close(value, eager[0][0], rtol=1e-10, atol=1e-10)
        assert nfe == eager[0][1]
        compiled.append(counters["stats"]["unique_graphs"])
    assert nll(flow, points[:123]) == eager[1]
    assert graphs < compiled[0] == compiled[1] == counters["stats"]["unique_graphs"]
