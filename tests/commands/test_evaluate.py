"""`nodebench evaluate`: a trained net with its own solver, and with others."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nodebench import cli, load
from nodebench.commands.evaluate import with_changes
from nodebench.commands.swap import swapped, verdict
from nodebench.config.compose import compose
from nodebench.config.errors import ConfigError
from nodebench.config.identity import run_folder
from nodebench.config.saved import config_text
from nodebench.ode.settings import SolverSettings


def evaluate(*arguments: str | Path) -> int:
    return cli.main(["evaluate", *map(str, arguments)])


def trained(*overrides: str) -> Path:
    assert cli.main(["train", *overrides]) == 0
    return run_folder(compose(overrides).config)


def evaluations(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]


def solver_after(run: list[str], *overrides: str) -> dict[str, Any]:
    solver: dict[str, Any] = with_changes(compose(run).config, overrides)["solver"]
    return {key: solver[key] for key in ("method", "tol", "rtol", "atol", "dt")}


def test_a_run_is_evaluated_with_its_own_and_with_another_solver(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(*smoke)
    capsys.readouterr()
    assert evaluate(run) == 0
    assert evaluate(run, "solver=rk4", "solver.dt=0.25") == 0
    printed = capsys.readouterr().out
    assert "solver      dopri5, tol 1\n" in printed
    assert "solver      rk4, dt 0.25\n" in printed
    assert "nfe_eval    16.0\nunits       errors in percent, nfe in evaluations a batch\n" in printed

    own, other = evaluations(run)
    summary = json.loads((run / "summary.json").read_text())
    assert own["error_test"] == pytest.approx(summary["error_test"])
    assert own["nfe_eval"] == pytest.approx(summary["nfe_eval"])
    assert (other["nfe_eval"], other["solver"]["method"], other["step"]) == (16, "rk4", 2)


def test_a_record_that_was_cut_off_takes_no_later_one_with_it(smoke: tuple[str, ...]) -> None:
    run = trained("model=mlp", *smoke[:-1])
    assert evaluate(run) == 0
    path = run / "evaluations.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"kind": "evaluation", "ti')
    assert evaluate(run) == 0
    first, cut_off, later = path.read_text().splitlines()
    assert f"{first}\n" == whole
    assert cut_off == '{"kind": "evaluation", "ti'
    assert json.loads(later)["error_test"] == json.loads(first)["error_test"]


def test_a_net_without_an_ode_is_evaluated_and_takes_no_solver(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("model=mlp", *smoke[:-1])
    assert evaluate(run) == 0
    assert evaluate(run, "solver=rk4") == 2
    assert "mlp has no ODE to solve" in capsys.readouterr().err


def test_a_solve_that_fails_is_a_sentence(smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(*smoke)
    assert evaluate(run, "solver.tol=1e-4", "solver.max_steps=1") == 1
    assert "the solve failed: solver.max_steps=1 reached at t=" in capsys.readouterr().err


def test_what_cannot_be_recorded_is_shown_first_and_is_a_failure(
    smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [SolverSettings(rtol=1.0, atol=1.0), SolverSettings("rk4", dt=1.0)]
    monkeypatch.setattr("nodebench.commands.swap.swapped", lambda *_, **__: few)
    run = trained(*smoke)
    (run / "evaluations.jsonl").mkdir()  # as permission bits would not stop the superuser
    capsys.readouterr()
    for options, shown in (([], "error_test  "), (["--swap"], "verdict     ")):
        assert evaluate(run, *options) == 1
        printed = capsys.readouterr()
        assert f"\n{shown}" in printed.out
        assert (
            f"not recorded: `{run / 'evaluations.jsonl'}` cannot be written (Is a directory)" in printed.err
        )


def test_link_in_the_place_of_a_record_is_shown_with_one_advice(
    smoke: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, outside = trained("model=mlp", *smoke[:-1]), tmp_path / "outside"
    outside.touch()
    (run / "evaluations.jsonl").symlink_to(outside)
    assert evaluate(run) == 1
    assert capsys.readouterr().err.endswith("nothing outside a run folder is written; remove the link\n")
    assert outside.read_text() == ""


def test_that_nothing_can_be_recorded_is_said_before_it_is_computed(
    smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(folder: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    run = trained("model=mlp", *smoke[:-1])
    monkeypatch.setattr("nodebench.commands.trained.check_folder", refuse)
    monkeypatch.setattr("nodebench.commands.evaluate.evaluate", lambda *_: pytest.fail("it is computed"))
    with pytest.raises(pytest.fail.Exception):
        evaluate(run)
    assert f"nothing can be written into `{run}` (Read-only file system)" in capsys.readouterr().err


def test_a_net_whose_weights_are_nan_is_a_failure_that_names_them_and_leaves_no_record(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(*smoke)
    for path in (run / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        content["model"]["head.4.bias"][2] = torch.nan
        content["averaged"] = None
        torch.save(content, path)
    capsys.readouterr()
    for command in (["evaluate"], ["evaluate", "--swap"], ["measure"]):
        assert cli.main([*command, str(run)]) == 1
        printed = capsys.readouterr()
        assert "are not finite: head.4.bias is NaN or infinite in 1 of 10 entries" in printed.err
        assert printed.out == ""
    assert not (run / "evaluations.jsonl").exists()
    assert not (run / "measure.csv").exists()


def test_what_is_no_run_or_has_no_checkpoint_is_said(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("nowhere") == 2
    assert "nowhere is no run folder" in capsys.readouterr().err
    run = trained("model=mlp", *smoke[:-1])
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    assert evaluate(run) == 2
    assert "no readable checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["os.system", "torch.hub.load", "torch.utils.collect_env.run"])
def test_a_run_folder_from_somebody_else_builds_nothing_new(
    smoke: tuple[str, ...], target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("model=mlp", *smoke[:-1])
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("nodebench.models.classifiers.MLP", target))
    assert evaluate(run) == 2
    assert f"model._target_={target} is refused" in capsys.readouterr().err


class TestSwap:
    def test_a_quick_look_shows_every_solver_and_records_nothing(
        self, smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("nodebench.commands.swap.TIGHT", 1e-1)
        run = trained(*smoke)
        capsys.readouterr()
        assert evaluate(run, "--swap", "--limit", "4") == 0
        printed = capsys.readouterr().out
        assert ", step 2\ndata        the first 4 of 357 test images\n" in printed
        assert "dopri5         tol 1 (training)" in printed
        assert printed.count("\nrk4 ") == printed.count("\neuler ") == 4
        assert "one of 4 test images is 25 points" in printed.partition("\nverdict     ")[2]
        assert "rule        a flow if every solve with at least training's NFE" in printed
        assert not (run / "evaluations.jsonl").exists()

    def test_a_limit_above_the_test_set_is_all_of_it(
        self, smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        own = [SolverSettings(rtol=1.0, atol=1.0)]
        monkeypatch.setattr("nodebench.commands.swap.swapped", lambda *_, **__: own)
        assert evaluate(trained(*smoke, "data.limit_test=null"), "--swap", "--limit", "999999") == 0
        assert ", step 2\ndata        all 357 test images\n" in capsys.readouterr().out

    def test_a_run_that_is_evaluated_on_part_of_the_images_says_so_again(
        self, smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        own = [SolverSettings(rtol=1.0, atol=1.0)]
        monkeypatch.setattr("nodebench.commands.swap.swapped", lambda *_, **__: own)
        run = trained(*smoke)
        assert (
            "errors of the first images, so many at most: data.limit_val=100, data.limit_test=100"
            in capsys.readouterr().out
        )
        assert evaluate(run, "--swap") == 0
        assert ", step 2\ndata        the first 100 of 357 test images\n" in capsys.readouterr().out
        assert evaluate(run) == 0
        assert " training, 100 of 160 validation, 100 of 357 test images; " in capsys.readouterr().out

    def test_every_solve_is_a_record_and_one_that_fails_is_too(
        self, smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        few = [
            SolverSettings(rtol=1.0, atol=1.0),
            SolverSettings("euler", dt=1.0),
            SolverSettings(rtol=1e-6, atol=1e-6, max_steps=1),
        ]
        monkeypatch.setattr("nodebench.commands.swap.swapped", lambda *_, **__: few)
        run = trained(*smoke)
        assert evaluate(run, "--swap") == 0
        own, euler, failed = evaluations(run)
        assert {record["kind"] for record in (own, euler, failed)} == {"swap"}
        assert own["solver"] == {"method": "dopri5", "rtol": 1.0, "atol": 1.0, "dt": None}
        assert own["error_test"] == pytest.approx(
            json.loads((run / "summary.json").read_text())["error_test"]
        )
        assert {record["num_images"] for record in (own, euler, failed)} == {100}
        assert (euler["solver"]["rtol"], euler["solver"]["dt"], euler["nfe_eval"]) == (None, 1.0, 1)
        assert failed["status"] == "failed"
        assert "max_steps=1 reached" in failed["reason"]
        assert "error_test" not in failed
        assert f"next        nodebench table swap --runs {run}" in capsys.readouterr().out

    def test_what_cannot_be_swapped_is_said(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "config.yaml").write_text(config_text(compose(["data=digits"]).config))
        assert evaluate(tmp_path, "--swap", "solver=rk4") == 2
        assert "--swap chooses the solvers itself" in capsys.readouterr().err
        assert evaluate(tmp_path, "--limit", "4") == 2
        assert "--limit 4 goes with --swap alone; drop it" in capsys.readouterr().err
        for limit in ("0", "-1", "few"):
            assert evaluate(tmp_path, "--swap", "--limit", limit) == 2
            assert f"--limit: {limit} is not possible; it must be a whole number" in capsys.readouterr().err
        (tmp_path / "config.yaml").write_text(config_text(compose(["data=digits", "model=mlp"]).config))
        assert evaluate(tmp_path, "--swap") == 2
        assert (
            "mlp has no ODE to solve, which `nodebench evaluate --swap` is about" in capsys.readouterr().err
        )

    def test_the_solvers_are_trainings_own_coarser_and_finer_ones_each_once(self) -> None:
        own = SolverSettings("dopri5", rtol=1e-3, atol=1e-3)
        found = [(s.method, s.dt or s.rtol) for s in swapped(own, uses_tolerance=True)]
        assert found[0] == ("dopri5", 1e-3)
        assert [tol for _, tol in found[1:3]] == pytest.approx([1e-2, 1e-4])
        assert found.count(("dopri5", 1e-3)) == 1
        for method in ("euler", "midpoint", "rk4"):
            assert [dt for name, dt in found if name == method] == [1, 0.5, 0.25, 0.125]
        for method in ("dopri5", "bosh3", "dopri8"):
            assert {(method, 1e-3), (method, 1e-5)} <= set(found)

    def test_a_net_of_fixed_steps_is_swapped_for_steps_around_its_own(self) -> None:
        found = [(s.method, s.dt) for s in swapped(SolverSettings("heun", dt=0.2), uses_tolerance=False)]
        assert found[:3] == [("heun", 0.2), ("heun", 0.4), ("heun", 0.1)]
        assert ("dopri5", None) in found

    @pytest.mark.parametrize(
        ("flips", "nfe", "num_images", "words"),
        [
            (0.09, 26, 10_000, "a flow"),
            (0.1, 26, 10_000, "a discretisation"),
            (5.0, 400, 10_000, "a discretisation"),
            (5.0, 8, 10_000, "none: no other solve spends training's 26 evaluations"),
            (0.0, 26, 50, "undecided: 1 solve with at least"),
            (2.0, 26, 50, "undecided: 1 solve with at least"),
            (4.0, 26, 50, "a discretisation"),
            (0.0, 26, 1000, "a flow"),
            (0.1, 26, 1000, "undecided: 1 solve with at least"),
        ],
    )
    def test_the_verdict_heeds_solves_that_spend_at_least_what_training_did_and_its_resolution(
        self, flips: float, nfe: int, num_images: int, words: str
    ) -> None:
        solver = {"method": "rk4", "rtol": None, "atol": None, "dt": 0.1}
        own = {"error_test": 0.5, "nfe_eval": 26.0, "solver": solver, "num_images": num_images}
        other = {"error_test": 0.5, "flips_test": flips, "nfe_eval": nfe, "solver": solver}
        assert verdict([own, other]).startswith(f"verdict     {words}")

    def test_predictions_that_flip_count_where_the_error_stays(
        self, smoke: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        few = [
            SolverSettings(rtol=1.0, atol=1.0),
            SolverSettings("euler", dt=1.0),
            SolverSettings("rk4", dt=0.1),
        ]
        monkeypatch.setattr("nodebench.commands.swap.swapped", lambda *_, **__: few)
        run = trained(*smoke)
        assert evaluate(run, "--swap") == 0
        loaded = load(run)
        classes = [
            loaded.predictions(*settings, **more).predicted
            for settings, more in (((), {}), (("euler",), {"dt": 1.0}), (("rk4",), {"dt": 0.1}))
        ]
        own, *others = evaluations(run)
        assert "flips_test" not in own
        assert [record["flips_test"] for record in others] == pytest.approx(
            [100 * float((found != classes[0]).mean()) for found in classes[1:]]
        )

    def test_there_is_no_verdict_without_trainings_own_solve(self) -> None:
        assert "the solve with training's own solver failed (why)" in verdict([{"reason": "why"}])


class TestWhichSolver:
    def test_nothing_given_is_the_runs_own(self) -> None:
        own = {"method": "tsit5", "tol": 1e-2, "rtol": None, "atol": None, "dt": None}
        assert solver_after(["solver=tsit5", "solver.tol=1e-2"]) == own

    def test_another_adaptive_method_keeps_the_tolerance(self) -> None:
        after = solver_after(["solver.tol=1e-2", "solver.atol=1e-6"], "solver=bosh3")
        assert after == {"method": "bosh3", "tol": 1e-2, "rtol": None, "atol": 1e-6, "dt": None}

    def test_a_fixed_step_method_drops_the_tolerance(self) -> None:
        after = solver_after(["solver.tol=1e-2"], "solver=rk4", "solver.dt=0.25")
        assert after == {"method": "rk4", "tol": None, "rtol": None, "atol": None, "dt": 0.25}

    def test_a_step_makes_the_runs_method_fixed(self) -> None:
        after = solver_after(["solver.tol=1e-2"], "solver.dt=0.1")
        assert after == {"method": "dopri5", "tol": None, "rtol": None, "atol": None, "dt": 0.1}

    def test_a_tolerance_replaces_every_tolerance_of_the_run(self) -> None:
        after = solver_after(["solver.rtol=1e-2", "solver.atol=1e-6"], "solver.tol=1e-5")
        assert after == {"method": "dopri5", "tol": 1e-5, "rtol": None, "atol": None, "dt": None}

    def test_a_fixed_step_run_gets_the_recommended_tolerance_with_an_adaptive_method(self) -> None:
        after = solver_after(["solver=rk4"], "solver=dopri5")
        assert after == {"method": "dopri5", "tol": 1e-3, "rtol": None, "atol": None, "dt": None}

    def test_the_adjoints_settings_are_changed_one_by_one(self) -> None:
        run = compose(["solver.adjoint.rtol=1e-5", "solver.adjoint.atol=1e-6"]).config
        adjoint = with_changes(run, ["solver.adjoint.norm=full", "solver.adjoint.atol=1e-4"])["solver"][
            "adjoint"
        ]
        assert adjoint == {"method": None, "rtol": 1e-5, "atol": 1e-4, "norm": "full"}

    def test_a_tolerance_for_a_method_without_an_error_estimate_is_an_error(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from nodebench.config.check import check_solver

        solver = with_changes(compose(["solver=rk4"]).config, ["solver.tol=1e-3"])["solver"]
        with pytest.raises(ConfigError, match="rk4 has no error estimate"):
            check_solver(solver, None)

    @pytest.mark.parametrize("override", ["model=mlp", "seed=1", "data.batch_size=3", "training.epochs=2"])
    def test_everything_else_is_the_runs_own(self, override: str) -> None:
        with pytest.raises(ConfigError, match="is the run's own and cannot be changed here"):
            with_changes(compose(["data=digits"]).config, [override])

    def test_data_root_and_device_can_be_changed(self) -> None:
        changed = with_changes(compose(["seed=3"]).config, ["data.root=there", "device=cpu"])
        assert (changed["data"]["root"], changed["device"], changed["seed"]) == ("there", "cpu", 3)

    def test_a_value_out_of_range_is_an_error(self) -> None:
        with pytest.raises(ConfigError, match=r"solver\.tol=0 is not possible"):
            with_changes(compose().config, ["solver.tol=0"])

    def test_a_value_of_the_run_that_cannot_be_is_an_error_too(self) -> None:
        run = compose(["solver=rk4"]).config
        run["solver"]["dt"] = "small"
        with pytest.raises(ConfigError, match=r"solver\.dt=small is not possible"):
            with_changes(run, [])


def test_the_best_checkpoint_is_evaluated_and_recorded_with_its_step(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(*smoke, "training.num_steps=16")  # two epochs
    best = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    summary = json.loads((run / "summary.json").read_text())
    capsys.readouterr()
    assert evaluate(run, "--checkpoint", "best") == 0
    assert f"step {best['step']}, the best on the validation split\n" in capsys.readouterr().out
    (record,) = evaluations(run)
    assert record["step"] == best["step"] == summary["step_best"]
    assert load(run, checkpoint="best").evaluate()["error_test"] == record["error_test"]


def test_a_run_without_a_best_checkpoint_says_what_there_is(
    smoke: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(*smoke, "data.val_size=0")
    assert evaluate(run, "--checkpoint", "best") == 2
    assert "nothing was held out for validation" in capsys.readouterr().err
    assert evaluate(run, "--swap", "--checkpoint", "best") == 2
    assert "drop --checkpoint" in capsys.readouterr().err


def test_predictions_are_written_beside_the_evaluation(
    smoke: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(*smoke)
    capsys.readouterr()
    assert evaluate(run, "--predictions", "test.csv", "solver=rk4", "solver.dt=0.5") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "wrote test.csv: 100 rows of image, label, predicted, probability, nll" in said
    header, *lines = (tmp_path / "test.csv").read_text().splitlines()
    assert header == "image,label,predicted,probability,nll"
    wrong = sum(line.split(",")[1] != line.split(",")[2] for line in lines)
    (record,) = evaluations(run)
    assert record["error_test"] == pytest.approx(100 * wrong / len(lines))


def test_predictions_that_cannot_be_written_are_refused_before_anything_is_solved(
    smoke: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(*smoke)
    assert evaluate(run, "--predictions", tmp_path) == 2
    assert "choose another place with --predictions" in capsys.readouterr().err
    assert evaluate(run, "--predictions", "nowhere/test.csv") == 2
    assert evaluate(run, "--swap", "--predictions", "test.csv") == 2
    assert not (run / "evaluations.jsonl").exists()
