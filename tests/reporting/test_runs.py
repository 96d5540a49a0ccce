from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nodebench.reporting.recipes import Recipe, differing_keys
from nodebench.reporting.runs import Run, find_runs

ALIAS_BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
WriteRun = Callable[..., Path]


def test_runs_are_found_at_any_depth_and_from_their_own_folder(tmp_path: Path, write_run: WriteRun) -> None:
    folders = [write_run(seed=seed) for seed in (0, 1)]
    assert [run.folder for run in find_runs(tmp_path)] == folders
    assert [run.folder for run in find_runs(folders[1])] == [folders[1]]
    assert find_runs(tmp_path / "nowhere") == []


def test_hidden_folders_such_as_hydras_are_no_runs(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").touch()
    assert find_runs(tmp_path) == []


def test_a_run_reads_its_names_seed_and_version_from_its_files(write_run: WriteRun) -> None:
    environment = {"version": "0.1.0", "git_commit": "0123456789abcdef", "git_dirty": True}
    folder = write_run(seed=7, environment=environment)
    (run,) = find_runs(folder)
    assert run.names == ("mnist", "odenet")
    assert run.seed == "7"
    assert run.hash == "0a1b2c3d"
    assert run.version == "0.1.0 at 0123456789ab with uncommitted changes"
    assert run.setting("solver.method") == "dopri5"
    assert run.setting("solver.method.name") is None


def test_a_run_from_before_a_setting_means_its_default_and_differs_from_others_in_another(
    write_run: WriteRun,
) -> None:
    (old,) = find_runs(write_run())
    solver = old.config["solver"]
    assert "steps" not in solver

    def run(name: str, steps: str) -> Run:
        config = {**old.config, "solver": {**solver, "steps": steps}}
        (found,) = find_runs(write_run(f"mnist-odenet-dopri5-1e-3-adjoint-{name}", config=config))
        return found

    shared, own = run("0a1b2c3e", "shared"), run("0a1b2c3f", "per_sample")
    assert old.setting("solver.steps") == "shared"
    assert differing_keys([old, shared]) == []
    assert differing_keys([old, own]) == ["solver.steps"]
    assert Recipe("elsewhere", dict(shared.settings)).differences(old) == []


def test_runs_of_other_code_of_ones_own_are_of_another_version(write_run: WriteRun) -> None:
    environment = {"version": "0.1.0", "own_code": {"model=mine": "0123456789abcdef"}}
    (run,) = find_runs(write_run(environment=environment))
    assert run.version == "0.1.0 and model=mine 01234567"


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("summary.json", "{", "summary.json cannot be read"),
        ("summary.json", "[]", "summary.json cannot be read (a list, not a mapping)"),
        ("summary.json", "{}", "summary.json has no status"),
        ("config.yaml", "a: [", "config.yaml cannot be read"),
        ("config.yaml", "", "config.yaml cannot be read (a NoneType, not a mapping)"),
        ("config.yaml", b"\xff\xfe\x00", "config.yaml cannot be read"),
        ("config.yaml", None, "config.yaml is missing"),
        ("config.yaml", "{}", "config.yaml has no `task`, so it is cut off or not a run's"),
        (
            "config.yaml",
            "{task: {}, data: {}, model: {}, training: {epochs: 8}}",
            "config.yaml has no `optimizer`, so it is",
        ),
        ("environment.json", "{", "environment.json cannot be read"),
        ("summary.json", "[" * 100_000, "summary.json cannot be read (it is nested over 50 deep)"),
        ("summary.json", b"\xff{}", "summary.json cannot be read"),
        ("config.yaml", ALIAS_BOMB, "config.yaml cannot be read (it unfolds to over"),
        (
            "environment.json",
            '{"a":' * 100_000,
            "environment.json cannot be read (it is nested over 50 deep)",
        ),
    ],
)
def test_a_damaged_file_makes_a_damaged_run_that_says_which(
    write_run: WriteRun, file: str, content: str | bytes | None, problem: str
) -> None:
    folder = write_run()
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())

    (run,) = find_runs(folder)

    assert run.status == "damaged"
    assert run.problem.startswith(problem)
    assert run.names == ("mnist", "odenet")


def test_a_run_without_a_summary_is_unfinished(write_run: WriteRun) -> None:
    folder = write_run()
    (folder / "summary.json").unlink()
    (run,) = find_runs(folder)
    assert (run.status, run.problem) == ("unfinished", "no summary.json yet")


def test_runs_outside_a_hashed_folder_are_not_taken_for_seeds_of_one_experiment(
    tmp_path: Path, write_run: WriteRun
) -> None:
    for seed in (0, 1):
        write_run().rename(tmp_path / f"copied{seed}")
    first, second = find_runs(tmp_path)
    assert first.hash == second.hash == ""
    assert first.group != second.group
