from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from nodebench.data import EnergyData
from nodebench.data.energies import u1, u3
from nodebench.models.flows import CNF, FFJORD, ContinuousFlow
from nodebench.models.flows.planar_nf import PlanarNF
from nodebench.ode.settings import SolverSettings
from nodebench.tasks import density_matching
from nodebench.tasks.density_matching import DensityMatching

ODE_COLUMNS = {"nfe_eval"}
STD = 0.5


class Affine(nn.Module):
    """dz/dt = A z + c, which makes N(0, s^2) a Gaussian."""

    def __init__(self, matrix: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.matrix, self.offset = nn.Parameter(matrix), nn.Parameter(offset)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        trace = self.matrix.trace().expand(1, y.shape[1])
        return torch.cat([self.matrix @ y[:-1] + self.offset[:, None], trace])


def gaussian_flow(
    matrix: Tensor | None = None, offset: Tensor | None = None, tol: float = 1e-6
) -> ContinuousFlow:
    """The identity of N(0, STD^2), or what the affine field makes of it."""
    field = Affine(
        torch.zeros(2, 2) if matrix is None else matrix, torch.zeros(2) if offset is None else offset
    )
    return ContinuousFlow(field, SolverSettings(rtol=tol, atol=tol), "direct", base_std=STD)


def gaussian_data(target: MultivariateNormal, batch_size: int = 64) -> EnergyData:
    """The target as an energy without its normaliser, the factor e^5 too large; its wall is too far to matter."""

    def energy(z: Tensor) -> Tensor:
        offset = z - target.mean.to(z)
        return 0.5 * torch.einsum("ni,ij,nj->n", offset, target.precision_matrix.to(z), offset) - 5

    return EnergyData("gaussian", energy, batch_size)


def isotropic(std: float, mean: tuple[float, float] = (0.0, 0.0)) -> MultivariateNormal:
    return MultivariateNormal(torch.tensor(mean), std**2 * torch.eye(2))


def make_task(data: EnergyData | None = None, seed: int = 0, **settings: int) -> DensityMatching:
    return DensityMatching(data or u1(batch_size=16), seed, "cpu", **settings)


@pytest.fixture(autouse=True)
def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density_matching, "EVAL_BATCH_SIZE", 1000)
    monkeypatch.setattr(density_matching, "NUM_SAMPLES", {"val": 1000, "test": 4000})


def test_a_flow_that_is_the_target_has_a_divergence_of_0_without_error() -> None:
    metrics = make_task(gaussian_data(isotropic(STD))).evaluate(gaussian_flow(), "test")
    assert metrics["kl"] == pytest.approx(0, abs=1e-5)
    assert metrics["kl_stderr"] < 1e-6
    assert metrics["kl_tight"] == pytest.approx(0, abs=1e-7)
    assert metrics["mass_in_box"] == 1


def test_the_divergence_between_gaussians_is_the_closed_form() -> None:
    matrix, offset = torch.tensor([[0.3, -0.8], [0.5, -0.2]]), torch.tensor([0.2, -0.3])
    growth = torch.matrix_exp(matrix)
    mean = torch.linalg.solve(matrix, (growth - torch.eye(2)) @ offset)
    q = MultivariateNormal(mean, STD**2 * growth @ growth.T)
    p = MultivariateNormal(torch.tensor([0.1, 0.2]), torch.tensor([[0.3, 0.1], [0.1, 0.4]]))
    expected = float(kl_divergence(q, p))
    task, flow = make_task(gaussian_data(p)), gaussian_flow(matrix, offset)

    metrics = task.evaluate(flow, "test")

    samples = q.sample((100_000,))
    stderr = float((q.log_prob(samples) - p.log_prob(samples)).std()) / math.sqrt(4000)
    assert expected > 0.1
    assert metrics["kl_stderr"] == pytest.approx(stderr, rel=0.1)
    assert metrics["kl"] == pytest.approx(expected, abs=5 * stderr)
    assert metrics["kl_tight"] == pytest.approx(expected, abs=5 * 2 * stderr)
    assert task.evaluate(flow, "val")["kl_val"] == pytest.approx(expected, abs=5 * 2 * stderr)
    losses = torch.stack([task.loss(flow, task.batch(step)).loss.detach() for step in range(20)])
    assert float(losses.mean()) == pytest.approx(expected, abs=5 * stderr * math.sqrt(4000 / (20 * 64)))


def test_the_divergence_counts_what_lies_beyond_the_wall() -> None:
    # On the box's edge, with no energy inside: E[wall] = 100 STD^2 / 2, and Z = (8 + sqrt(pi / 100))^2.
    flat = EnergyData("flat", lambda z: torch.zeros_like(z[:, 0]), batch_size=4)
    metrics = make_task(flat).evaluate(gaussian_flow(offset=torch.tensor([4.0, 0.0])), "test")
    entropy = 1 + math.log(2 * math.pi * STD**2)
    expected = -entropy + 50 * STD**2 + 2 * math.log(8 + math.sqrt(math.pi / 100))
    assert metrics["kl_stderr"] < 1
    assert metrics["kl"] == pytest.approx(expected, abs=5 * metrics["kl_stderr"])
    assert metrics["kl_tight"] == pytest.approx(expected, abs=10 * metrics["kl_stderr"])


def test_the_tight_divergence_tells_a_bad_solve_from_a_good_one(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(u3(batch_size=16))
    torch.manual_seed(0)
    flow = CNF(width=4, solver=SolverSettings(rtol=1e-5, atol=1e-5))
    # The first thousand of the test's samples are the tight ones, so the two differ by the solve alone.
    monkeypatch.setitem(density_matching.NUM_SAMPLES, "test", 1000)
    metrics = task.evaluate(flow, "test")
    assert metrics["kl"] == pytest.approx(metrics["kl_tight"], abs=1e-3)
    flow.ode_block.solver = SolverSettings(method="euler", dt=1.0)
    loose = task.evaluate(flow, "test")
    assert loose["kl_tight"] == pytest.approx(metrics["kl_tight"], abs=1e-9)
    assert abs(loose["kl"] - loose["kl_tight"]) > 1e-2


def test_mass_in_box_is_the_share_of_samples_in_both_bounds() -> None:
    flow = gaussian_flow(offset=torch.tensor([4.0, 0.0]))  # centred on the box's right edge
    share = make_task().evaluate(flow, "test")["mass_in_box"]
    assert share == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(4000))
    flow = gaussian_flow(offset=torch.tensor([-4.0, 4.0]))  # on a corner
    share = make_task().evaluate(flow, "test")["mass_in_box"]
    assert share == pytest.approx(0.25, abs=5 * 0.44 / math.sqrt(4000))


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    noises = [make_task(seed=3).batch(step).noise for step in range(3)]
    again = [make_task(seed=3).batch(step).noise for step in reversed(range(3))][::-1]
    for noise, same in zip(noises, again, strict=True):
        assert noise.shape == (16, 2)
        assert torch.equal(noise, same)
    assert not torch.equal(noises[0], noises[1])
    assert not torch.equal(noises[0], make_task(seed=4).batch(0).noise)
    many = torch.cat([make_task().batch(step).noise for step in range(100)])
    assert abs(float(many.mean())) < 5 / math.sqrt(3200)
    assert float(many.std()) == pytest.approx(1, abs=5 / math.sqrt(2 * 3200))


def test_a_split_has_the_same_samples_in_every_run_and_other_ones_than_training() -> None:
    seen: list[Tensor] = []

    class Spy(ContinuousFlow):
        def push(self, z0: Tensor, fraction: float = 1.0) -> tuple[Tensor, Tensor]:
            seen.append(z0)
            return super().push(z0, fraction)

    flow = Spy(Affine(torch.zeros(2, 2), torch.zeros(2)), SolverSettings(), "direct", base_std=STD)
    for seed in (0, 1):
        torch.manual_seed(seed)
        task = make_task(u1(batch_size=1000), seed=seed)
        task.loss(flow, task.batch(0))
        task.evaluate(flow, "val")
        task.evaluate(flow, "test")
    one, other = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert [len(points) for points in one] == [
        1000
    ] * 10  # training, val, four of the test, the same four tight
    assert not torch.equal(one[0], other[0])
    assert all(torch.equal(a, b) for a, b in zip(one[1:], other[1:], strict=True))
    assert all(torch.equal(a, b.double()) for a, b in zip(one[6:], one[2:6], strict=True))
    assert float(one[1].std()) == pytest.approx(STD, rel=0.1)
    distinct = one[:6]
    assert not any(torch.equal(a, b) for i, a in enumerate(distinct) for b in distinct[:i])


def test_the_weight_of_the_energy_rises_to_1_in_as_many_steps_as_asked() -> None:
    task = make_task(anneal_steps=10)
    weights = [task.batch(step).beta for step in range(12)]
    assert weights[0] == 0.01
    assert weights[1:10] == pytest.approx([0.01 + step / 10 for step in range(1, 10)])
    assert weights[10:] == [1.0, 1.0]
    assert [make_task().batch(step).beta for step in range(3)] == [1.0] * 3


def test_a_lighter_energy_changes_the_loss_but_not_the_reported_divergence() -> None:
    data, flow = u1(batch_size=16), gaussian_flow()
    batch = make_task(data, anneal_steps=2).batch(0)
    output = make_task(data).loss(flow, batch)
    z = STD * batch.noise
    log_q = isotropic(STD).log_prob(z)
    expected = (log_q + 0.01 * data.potential(z)).mean() + data.log_normaliser
    torch.testing.assert_close(output.loss, expected)
    kl = output.metrics["kl_train"]
    assert isinstance(kl, Tensor)
    torch.testing.assert_close(kl, (log_q + data.potential(z)).mean() + data.log_normaliser)
    assert not kl.requires_grad
    assert output.num_samples == 16
    full = make_task(data).loss(flow, batch._replace(beta=1.0))
    torch.testing.assert_close(full.loss, kl)
    (gradient, _) = torch.autograd.grad(full.loss, list(flow.parameters()))
    assert float(gradient.abs().max()) > 0


@pytest.mark.parametrize(
    ("flow", "ode_columns"),
    [
        (CNF(width=2, solver=SolverSettings(method="rk4", dt=0.5)), ODE_COLUMNS),
        (PlanarNF(num_layers=2), set()),
    ],
    ids=["cnf", "planar_nf"],
)
def test_each_split_has_its_columns(flow: CNF | PlanarNF, ode_columns: set[str]) -> None:
    task = make_task()
    val, test = task.evaluate(flow, "val"), task.evaluate(flow, "test")
    assert set(val) == {"kl_val", *ode_columns}
    assert set(test) == {"kl", "kl_stderr", "kl_tight", "mass_in_box", *ode_columns}
    assert all(math.isfinite(value) for value in (*val.values(), *test.values()))
    if ode_columns:
        assert (val["nfe_eval"], test["nfe_eval"]) == (8, 8)


def test_an_unknown_split_is_an_error() -> None:
    with pytest.raises(ValueError, match="`split` is 'train'; allowed: val, test"):
        make_task().evaluate(gaussian_flow(), "train")


def test_evaluation_is_exact_needs_no_graph_and_puts_the_mode_back() -> None:
    torch.manual_seed(0)
    flow = FFJORD(hidden_dims=(4,), divergence="hutchinson", solver=SolverSettings(method="rk4", dt=0.5))
    before = torch.get_rng_state()
    metrics = make_task().evaluate(flow.train(), "test")
    assert flow.training
    assert torch.equal(torch.get_rng_state(), before)
    assert metrics == make_task().evaluate(flow.eval(), "test")
    assert not flow.training


def test_the_target_is_the_density_on_the_grid_which_is_almost_all_inside() -> None:
    for data in (u1(), u3()):
        task = make_task(data)
        target = task.target()
        assert target.shape == (100, 100)
        inside = math.exp(data.log_box_normaliser - data.log_normaliser)
        assert float(target.sum()) * 0.08**2 == pytest.approx(inside, rel=1e-3)
    # Axis 1 is z2: the cell around (1, -2).
    z = torch.tensor([[-4 + 62.5 * 0.08, -4 + 25.5 * 0.08]], dtype=torch.float64)
    expected = (-task.data.potential(z) - task.data.log_normaliser).exp()
    torch.testing.assert_close(target[25, 62], expected[0])
