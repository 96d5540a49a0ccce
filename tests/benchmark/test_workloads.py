"""Every workload at sizes that say nothing, to see that its numbers and pages come out."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch

from nodebench.benchmark import libraries
from nodebench.benchmark.comparison import Effort, Setup
from nodebench.benchmark.report import Report, left_out, write
from nodebench.benchmark.rows import COLUMNS
from nodebench.benchmark.workloads import (
    cnf,
    ddp,
    epoch,
    latent,
    mixed,
    mlp,
    odenet,
    run_workload,
    scaling,
    scaling_flows,
    vdp,
    with_parts,
    workload_names,
)
from nodebench.ode.settings import SolverSettings

CPU = torch.device("cpu")
SETUP = Setup(CPU, quick=True)
OURS = ["direct", "checkpointed", "adjoint-full", "adjoint-seminorm", "adjoint-state"]
THEIRS = ["direct", "adjoint-full", "adjoint-seminorm"]

needs_torchdiffeq = pytest.mark.skipif(
    "torchdiffeq" in libraries.missing_baselines(), reason="torchdiffeq is not installed"
)


def without_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)


def modes(rows: pd.DataFrame, library: str, field: str, tol: float) -> list[str]:
    found = rows[(rows["library"] == library) & (rows["field"] == field) & (rows["tol"] == tol)]
    return found["gradient"].tolist()


def test_the_folder_is_the_list() -> None:
    assert workload_names() == [
        "cnf",
        "ddp",
        "epoch",
        "latent",
        "mixed",
        "mlp",
        "odenet",
        "scaling",
        "scaling_flows",
        "vdp",
    ]


def test_a_workload_is_run_with_the_parts_that_go_on_from_it() -> None:
    assert with_parts("scaling") == ["scaling", "scaling_flows"]
    assert with_parts("scaling_flows") == ["scaling_flows"]
    assert with_parts("scal") == with_parts("cnf_") == []


@needs_torchdiffeq
@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "sizes"),
    [(odenet, (1, Effort(1, (1e-1,), 1))), (cnf, (6, Effort(1, (1e-2,), 1)))],
    ids=["odenet", "cnf"],
)
def test_both_comparisons_are_made_at_every_tolerance(
    module: ModuleType, sizes: tuple[int, Effort], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUICK", sizes)
    name = module.__name__.rpartition(".")[2]
    report = run_workload(name, SETUP)
    rows = report.tables[name]
    assert list(rows.columns) == list(COLUMNS)
    for tol in (module.TOL, *sizes[1].curve_tols):
        assert modes(rows, "nodebench", "nodebench", tol) == OURS
        assert modes(rows, "torchdiffeq", "nodebench", tol) == THEIRS
        assert modes(rows, "torchdiffeq", "torchdiffeq", tol) == THEIRS
    contenders = rows[rows["library"] != "bare"]
    assert contenders["error_gradient"].notna().all()
    assert contenders["nfe_backward"].notna().all()
    contenders = contenders[contenders["library"] != "diffrax"]  # JAX tells no memory that autograd keeps
    assert (contenders["memory_saved_mib"].notna() == (contenders["tol"] == module.TOL)).all()
    assert set(report.tables["ratios"]["comparison"]) == {"same field", "published fields"}
    assert report.figure is not None
    assert "Quick: " in report.page
    assert "adjoint-full at " in report.page


@pytest.mark.parametrize(
    ("module", "sizes"),
    [(vdp, (3, 0.1, Effort(1))), (mlp, (3, 0.5, Effort(1)))],
    ids=["vdp", "mlp"],
)
def test_forward_workloads_have_one_comparison_and_no_gradient(
    module: ModuleType, sizes: tuple[int, float, Effort], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUICK", sizes)
    name = module.__name__.rpartition(".")[2]
    told: list[str] = []
    report = run_workload(name, Setup(CPU, quick=True, tell=told.append))
    rows = report.tables[name]
    assert modes(rows, "nodebench", "nodebench", module.TOL) == ["forward", "forward-per-sample"]
    contenders = rows[rows["library"] != "bare"]
    assert (contenders["error_solution"] < 1e-2).all()
    assert contenders["error_gradient"].isna().all()
    assert report.figure is None
    race = f"{name}, tolerance {module.TOL:g}"
    assert told[0].startswith(f"{race}: warming up 1 of ")
    assert told[-2:] == [f"{race}: round 1 of 1", f"{name}: gradient errors and memory"]


def test_without_baselines_they_are_named_and_ours_alone_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    without_baselines(monkeypatch)
    monkeypatch.setattr(vdp, "QUICK", (3, 0.1, Effort(1)))
    report = run_workload("vdp", SETUP)
    assert set(report.tables["vdp"]["library"]) == {"bare", "nodebench"}
    assert report.tables["ratios"].empty
    assert "## Ratios" not in report.page
    for name in ("torchdiffeq", "torchode", "diffrax"):
        assert f"{name} is not installed and is left out; `pip install 'nodebench[baselines]'`" in report.page


def test_nothing_is_left_out_where_all_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: object())
    assert left_out() == []


class TestMixed:
    def test_shared_and_own_steps_are_raced_forward_and_with_a_gradient(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mixed, "QUICK", (4, 0.02, 0.01, Effort(1)))
        report = run_workload("mixed", SETUP)
        rows, gradient = report.tables["mixed"], report.tables["gradient"]
        assert modes(rows, "nodebench", "nodebench", mixed.TOL) == ["forward", "forward-per-sample"]
        assert modes(gradient, "nodebench", "nodebench", mixed.TOL) == [
            *("direct", "checkpointed", "direct-per-sample", "checkpointed-per-sample")
        ]
        assert (rows[rows["library"] != "bare"]["error_solution"] < 1e-3).all()
        assert (gradient[gradient["library"] != "bare"]["error_gradient"] < 1e-3).all()
        assert "own steps take" in report.page.replace("\n", " ")

    def test_mu_goes_over_its_range_and_stays_what_it_is(self) -> None:
        problem = mixed.problem(256, 1.0, CPU)
        (y0,) = problem.parts
        mu = y0[:, 2].exp()
        assert 0.1 <= mu.min() < 0.11
        assert 90 < mu.max() <= 100
        t, dy = torch.zeros(()), problem.field(torch.zeros(()), y0)
        alike = vdp.VanDerPol(float(mu[3]))(t, y0[3:4, :2])
        torch.testing.assert_close(dy[3:4, :2], alike)
        assert not dy[:, 2].any()


class TestLatent:
    @needs_torchdiffeq
    @pytest.mark.slow
    def test_the_solve_alone_and_the_whole_model_are_raced_in_every_mode(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(latent, "QUICK", (2, 4, Effort(1, (1e-2,))))
        report = run_workload("latent", SETUP)
        assert set(report.tables) == {"latent", "ratios", "start", "model"}
        for name in ("latent", "start", "model"):
            rows = report.tables[name]
            assert modes(rows, "nodebench", "nodebench", latent.TOL) == OURS
            assert modes(rows, "torchdiffeq", "nodebench", latent.TOL) == THEIRS
        errors = report.tables["latent"].set_index(["library", "gradient", "tol"])["error_gradient"]
        assert errors["nodebench", "direct", latent.TOL] < 1e-3
        assert modes(report.tables["model"], "torchdiffeq", "torchdiffeq", latent.TOL) == THEIRS
        after_start, whole_model = report.page.split("## At the random start")[1].split("## The whole model")
        assert "| same field " in after_start
        assert "| published fields " in whole_model
        assert "Quick: " in report.page

    @pytest.mark.parametrize(
        ("library", "field"),
        [
            (libraries.NODEBENCH, "nodebench"),
            (libraries.TORCHDIFFEQ, "nodebench"),
            (libraries.TORCHDIFFEQ, "torchdiffeq"),
        ],
        ids=["ours", "solved by torchdiffeq", "encoded as in its example"],
    )
    @pytest.mark.parametrize("gradient", ["direct", "adjoint-full"])
    def test_a_raced_model_is_the_latent_ode_that_is_trained(
        self, library: libraries.Library, field: str, gradient: str
    ) -> None:
        if not libraries.installed(library):
            pytest.skip(f"{library.name} is not installed")
        seen = latent.spirals(num_observed=6, num_points=6, num_train=4, num_test=1, horizon=1).train
        with latent.seeded():
            trained = latent.LatentODE(
                gradient=gradient.partition("-")[0], solver=SolverSettings(rtol=latent.TOL, atol=latent.TOL)
            )
        latent.scaled(trained, latent.SCALE)
        raced = latent.make_net(library, gradient, field)
        losses = trained.losses(seen, 0.0, latent.NOISE_STD, torch.Generator().manual_seed(0))
        loss, solved = losses.negative_elbo.mean(), raced.negative_elbo(seen)
        assert isinstance(solved.outputs, torch.Tensor)
        for value in (loss, solved.outputs):
            value.backward()
        torch.testing.assert_close(solved.outputs, loss, rtol=1e-4, atol=0)
        for name in ("ode_block", "decoder", "to_posterior"):
            for ours, theirs in zip(
                trained.get_submodule(name).parameters(), raced.get_submodule(name).parameters(), strict=True
            ):
                torch.testing.assert_close(theirs.grad, ours.grad, rtol=1e-3, atol=1e-2)
        assert (solved.nfe_backward() == 0) == (gradient == "direct")


class TestScaling:
    def axes(self) -> scaling.Axes:
        base = scaling.Shape(depth=4, batch_size=2, channels=8, height=4, width=4)
        axes = scaling.axes_around(base, (4, 8, 16), (2, 4), (4, 6))
        axes["params"] = [scaling.replace(base, channels=c) for c in (8, 16)]
        return axes

    def test_columns_rows_and_slopes_are_those_that_table_1_reads(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scaling, "QUICK", (self.axes(), 1))
        report = run_workload("scaling", SETUP)
        points, slopes = report.tables["scaling"], report.tables["slopes"]
        assert list(points.columns) == [
            *("model", "gradient", "axis", "value", "nfe", "time_ms", "memory_saved_mib", "memory_peak_mib")
        ]
        assert list(slopes.columns) == ["model", "gradient", "axis", "quantity", "exponent", "stderr"]
        assert len(points) == 4 * (3 + 2 + 2 + 2)
        assert len(slopes) == 4 * 4 * 3
        depth = points[points["axis"] == "depth"]
        assert depth[depth["model"] == "resnet"]["nfe"].isna().all()
        assert depth[depth["model"] != "resnet"]["nfe"].tolist() == [4, 8, 16] * 3
        assert depth["value"].tolist() == [4, 8, 16] * 4

    def test_saved_memory_grows_with_depth_as_the_paper_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        axes = {"depth": self.axes()["depth"]}
        monkeypatch.setattr(scaling, "QUICK", (axes, 1))
        slopes = run_workload("scaling", SETUP).tables["slopes"]
        saved = slopes[slopes["quantity"] == "memory_saved_mib"].set_index(["model", "gradient"])["exponent"]
        assert saved["resnet", ""] == pytest.approx(1, abs=0.1)
        assert saved["rknet", "direct"] == pytest.approx(1, abs=0.1)
        assert saved["odenet", "adjoint"] == pytest.approx(0, abs=0.02)

    def test_one_size_changes_on_an_axis_and_the_state_does_not_with_the_parameters(self) -> None:
        for axes in (scaling.FULL[0], scaling.QUICK[0]):
            assert len({shape.batch_size for shape in axes["batch"]}) == len(axes["batch"])
            assert len({shape.depth for axis in ("batch", "state", "params") for shape in axes[axis]}) == 1
            assert {s.channels * s.height * s.width for s in axes["params"]} == {64 * 6 * 6}
            assert {s.channels for s in axes["state"]} == {64}

    @pytest.mark.parametrize("depth", [0, 3])
    def test_evaluations_that_no_steps_make_are_refused(self, depth: int) -> None:
        with pytest.raises(ValueError, match="rk4 makes 4 a step"):
            scaling.make_middle("rknet", "direct", scaling.Shape(depth=depth))


class TestScalingFlows:
    def test_every_cost_has_a_time_at_every_size_and_an_exponent_over_the_largest(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scaling_flows, "QUICK", ((2, 3, 4, 5, 6), 1, 8, 1))
        report = run_workload("scaling_flows", SETUP)
        points, slopes = report.tables["scaling_flows"], report.tables["slopes"]
        assert (
            points.groupby(["cost", "axis"], sort=False)["value"].agg(list).tolist() == [[2, 3, 4, 5, 6]] * 8
        )
        assert (points["time_ms"] > 0).all()
        assert slopes[["from", "to"]].drop_duplicates().to_numpy().tolist() == [[3, 6]]
        assert slopes[["exponent_time", "half_interval"]].notna().all(axis=None)
        assert "Quick: " in report.page

    def test_both_directions_of_both_flows_are_compared_with_samples(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scaling_flows, "QUICK", ((2, 3), 1, 8, 1))
        directions = (
            run_workload("scaling_flows", SETUP).tables["directions"].set_index(["model", "direction"])
        )
        assert directions["nfe"].notna().tolist() == [True, True, False, False]
        for model in ("cnf", "planar_nf"):
            times = directions.loc[model]["time_ms"]
            assert directions.loc[model, "sample"]["ratio"] == 1.0
            assert directions.loc[model, "density"]["ratio"] == times["density"] / times["sample"]


class TestEpoch:
    @needs_torchdiffeq
    @pytest.mark.slow
    def test_whole_nets_are_trained_on_the_same_batches_from_the_same_weights(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("NODEBENCH_DATA", str(tmp_path))
        monkeypatch.setattr(epoch, "QUICK", (2, 1, 1e-4))
        report = run_workload("epoch", SETUP)
        rows = report.tables["epoch"]
        assert modes(rows, "nodebench", "nodebench", epoch.TOL) == list(epoch.OWN_GRADIENTS)
        assert modes(rows, "torchdiffeq", "torchdiffeq", epoch.TOL) == list(epoch.EXAMPLE_GRADIENTS)
        assert rows["time_epoch_s"].tolist() == pytest.approx((rows["time_ms"] * 0.468).tolist())
        direct = rows[rows["gradient"] == "direct"]["error_gradient"].tolist()
        assert direct[0] == pytest.approx(direct[1], rel=0.2)
        assert set(report.tables["ratios"]["comparison"]) == {"published fields"}
        assert "noise, as MNIST's files are not there" in report.page

    @needs_torchdiffeq
    def test_the_examples_net_gives_our_nets_logits(self) -> None:
        images = torch.rand(2, 1, 28, 28)
        by_library = {}
        for net, library, gradient, _ in epoch.make_nets(CPU):
            if gradient == "direct":
                with torch.no_grad():
                    by_library[library] = epoch.forward_of(net, gradient)(images).outputs
                assert sum(p.numel() for p in net.parameters()) == 208_266
        torch.testing.assert_close(by_library["torchdiffeq"], by_library["nodebench"], rtol=1e-2, atol=1e-2)

    def test_images_of_mnists_shape_stand_in_where_there_are_none(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("NODEBENCH_DATA", str(tmp_path))
        batches, _ = epoch.load_batches(3, 4, CPU)
        assert [(tuple(images.shape), tuple(labels.shape)) for images, labels in batches] == [
            ((4, 1, 28, 28), (4,))
        ] * 3
        assert not list(tmp_path.iterdir()), "nothing is downloaded"


def test_a_report_is_written_whole_into_a_folder_of_its_name(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    table = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    report = Report("work", "# page\n", {"work": table, "ratios": table.head(0)}, Figure(figsize=(1, 1)))
    written = write(report, tmp_path / "new")
    folder = tmp_path / "new" / "work"
    assert written == [folder / name for name in ("work.md", "work.csv", "ratios.csv", "work.png")]
    assert sorted(folder.iterdir()) == sorted(written)
    assert (folder / "work.csv").read_text() == "a,b\n1,x\n2,\n"
    assert (folder / "ratios.csv").read_text() == "a,b\n"
    assert (folder / "work.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_ddp_tells_what_two_processes_gain_and_what_they_exchange() -> None:
    report = ddp.ddp(SETUP)
    rows = report.tables["ddp"]
    assert list(zip(rows["net"], rows["gradient"], strict=True)) == [
        *(("ODE-Net", "direct"), ("ODE-Net", "adjoint"), ("CNF, width 64", "direct")),
    ]
    assert (rows["gain"] > 0).all()
    assert (rows["meetings"] > 4).all()
    assert rows["exchange_percent"].between(0, 100).all()
    assert "## An exchange" in report.page
