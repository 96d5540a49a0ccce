"""`nodebench show`: a run by its folder, whatever state it is in, and the commands that go on from it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nodebench.cli import main
from nodebench.commands.train import run as train
from nodebench.config.compose import compose
from nodebench.config.identity import run_folder
from nodebench.training import RunFolder

ODENET = ("experiment=table1_odenet",)
EPOCHS = [{"error_train": error, "loss_train": error / 10, "nfe_backward": 0.0} for error in (20.0, 4.0, 1.0)]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """shown(path, ...) is what the command prints, line by line."""

    def show(*arguments: str | Path) -> list[str]:
        capsys.readouterr()
        assert main(["show", *map(str, arguments)]) == 0
        return capsys.readouterr().out.splitlines()

    return show


def line_of(lines: list[str], word: str) -> str:
    """What is said behind a line's first word."""
    (found,) = (line for line in lines if line.split()[:1] == [word])
    return found.removeprefix(word).strip()


def test_a_finished_run_is_told_with_the_papers_numbers_curves_and_what_next(
    leave_run: Callable[..., Path], shown: Callable[..., list[str]]
) -> None:
    folder = leave_run(*ODENET, epochs=EPOCHS, error_test=0.44, num_params=208266)
    lines = shown(folder)
    assert lines[0] == f"run       {folder}"
    assert line_of(lines, "net") == "odenet on mnist, 208,266 parameters, gradient adjoint"
    assert line_of(lines, "claim").startswith("Chen et al. 2018, Table 1: 0.42 % test error")
    assert line_of(lines, "status") == "finished; 3 epochs, 300 steps, 6 min of training"
    assert line_of(lines, "error_test").split() == ["0.44", "0.42"]
    assert line_of(lines, "num_params").split() == ["208,266", "0.22", "M"]
    assert line_of(lines, "error_train").split() == ["20.00", "█▂▁", "1.00"]
    assert not any(line.startswith("nfe_backward") for line in lines)  # which was 0 throughout
    assert line_of(lines, "again") == "nodebench train experiment=table1_odenet training.force=true seed=0"
    assert not any(line.startswith(("evaluate", "measure ")) for line in lines)  # there is no checkpoint


def test_evaluate_and_measure_are_named_where_there_are_weights_to_do_it_with(
    leave_run: Callable[..., Path], shown: Callable[..., list[str]]
) -> None:
    folder = leave_run(*ODENET, "output_dir='o ut'", error_test=0.44)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "step-1.pt").touch()
    lines = shown(folder)
    assert shlex.split(line_of(lines, "evaluate"))[:3] == ["nodebench", "evaluate", str(folder)]
    assert shlex.split(line_of(lines, "measure")) == ["nodebench", "measure", str(folder)]
    assert line_of(lines, "again") == "nodebench train experiment=table1_odenet seed=0"


def test_the_folder_of_all_seeds_is_told_with_intervals_and_each_seeds_number(
    leave_run: Callable[..., Path], shown: Callable[..., list[str]]
) -> None:
    for seed, error in enumerate((0.4, 0.5, 0.6)):
        folder = leave_run(*ODENET, f"seed={seed}", epochs=EPOCHS, error_test=error)
    lines = shown(folder.parent)
    assert lines[0] == f"run       {folder.parent}"
    assert line_of(lines, "error_test").split() == ["0.50", "±", "0.25", "0.42", "0.40", "0.50", "0.60"]
    assert [line.split(";")[0] for line in lines if line.startswith("seed ")] == [
        f"seed {seed}    finished" for seed in range(3)
    ]
    assert (
        line_of(lines, "again")
        == "nodebench train -m experiment=table1_odenet training.force=true seed=0,1,2"
    )


def test_the_command_that_continues_an_unfinished_run_finds_its_folder(
    leave_run: Callable[..., Path], shown: Callable[..., list[str]]
) -> None:
    folder = leave_run(*ODENET, "seed=4", "output_dir=else/where", epochs=EPOCHS[:2], status=None)
    lines = shown(folder)
    assert line_of(lines, "status") == "unfinished; epoch 2 of 8, 200 steps, 4 min of training"
    command = shlex.split(line_of(lines, "continue"))
    assert command[:2] == ["nodebench", "train"]
    assert run_folder(compose(command[2:]).config) == folder


def test_a_run_that_is_being_trained_says_by_which_process(
    leave_run: Callable[..., Path], shown: Callable[..., list[str]]
) -> None:
    folder = leave_run(*ODENET, status=None)
    with RunFolder(folder):
        assert line_of(shown(folder), "status").endswith("trains it now")
    assert line_of(shown(folder), "status") == "unfinished"


def test_a_failed_run_says_why_and_where_more_is_written(
    leave_run: Callable[..., Path], shown: Callable[..., list[str]]
) -> None:
    folder = leave_run(*ODENET, epochs=EPOCHS[:1], status="diverged", reason="the loss is nan at step 7")
    (folder / "log.txt").touch()
    lines = shown(folder)
    told = line_of(lines, "status")
    assert told.startswith("diverged: the loss is nan at step 7; epoch 1 of 8")
    assert told.endswith(f"more in {folder / 'log.txt'}")
    assert line_of(lines, "continue").startswith("nodebench train experiment=table1_odenet")


@pytest.mark.parametrize("damage", ["{", "", "seed: ${oc.env:HOME}", "model: {name: '\x1b[2J'}"])
def test_a_damaged_run_is_shown_as_far_as_it_can_be_read(
    leave_run: Callable[..., Path], shown: Callable[..., list[str]], damage: str
) -> None:
    folder = leave_run(*ODENET, error_test=0.4)
    (folder / "config.yaml").write_bytes(damage.encode())
    lines = shown(folder)
    assert line_of(lines, "status").startswith("damaged: config.yaml")
    assert not any(line.startswith("plot") for line in lines)  # there is no epoch to draw
    assert "not known: " in line_of(lines, "continue")
    assert "\x1b" not in "".join(lines)


def test_what_was_measured_since_is_counted_by_its_kind_where_there_are_several(
    leave_run: Callable[..., Path], shown: Callable[..., list[str]]
) -> None:
    folder = leave_run(*ODENET)
    for kinds, told in (
        (["evaluation"] * 2, "2 times"),
        (["evaluation", "swap", "swap"], "3 times: evaluation 1, swap 2"),
    ):
        (folder / "evaluations.jsonl").write_text("".join(f'{{"kind": "{kind}"}}\n' for kind in kinds))
        assert line_of(shown(folder), "evaluated") == told


def test_what_is_not_known_of_a_run_is_not_shown(
    leave_run: Callable[..., Path], shown: Callable[..., list[str]]
) -> None:
    folder = leave_run(*ODENET)
    (folder / "config.yaml").write_text("{")
    lines = shown(folder.parent.rename("copied"))
    assert line_of(lines, "status").startswith("damaged: config.yaml")
    assert not any(line.startswith("net") for line in lines)


def test_a_line_that_is_cut_off_and_nested_records_are_no_numbers(
    leave_run: Callable[..., Path], shown: Callable[..., list[str]]
) -> None:
    folder = leave_run(*ODENET, epochs=[*EPOCHS, {"error_train": [1], "loss_train": "x"}], error_test=None)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"kind": "epo')
    lines = shown(folder)
    assert "the last line is cut off" in line_of(lines, "status")
    assert line_of(lines, "error_train").split()[0] == "20.00"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("outputs/classification/{group}/seed7", "Did you mean `outputs/classification/{group}/seed0`?"),
        ("outputs/classification/{group}/seed0/config.yaml", "the run that it lies in is `{run}`"),
        ("outputs/clasification", "Did you mean `outputs/classification/"),
        (
            "nowhere/at/all",
            "there is no folder `nowhere/at/all`; `nodebench table --runs .` shows what is there",
        ),
        ("outputs", "`outputs` holds 2 experiments; name one of them, such as `outputs/classification/"),
        ("", "`` is no name of a file or folder"),
    ],
)
def test_a_path_without_a_run_is_one_sentence_with_the_nearest(
    leave_run: Callable[..., Path], capsys: pytest.CaptureFixture[str], asked: str, told: str
) -> None:
    folder = leave_run(*ODENET)
    leave_run("model=mlp")
    names = {"group": folder.parent.name, "run": folder}
    assert main(["show", asked.format(**names)]) == 2
    message = capsys.readouterr().err
    assert told.format(**names) in message
    assert message.count("\n") == 1


def test_without_any_run_it_is_said_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "outputs/x"]) == 2
    assert "train one with `nodebench train`" in capsys.readouterr().err


def test_a_run_that_training_left_is_shown_with_the_command_that_trains_it(
    smoke: tuple[str, ...], shown: Callable[..., list[str]]
) -> None:
    assert train(smoke) == 0
    folder = run_folder(compose(smoke).config)
    lines = shown(folder)
    assert line_of(lines, "status").startswith("finished; 2 steps")
    command = shlex.split(line_of(lines, "again"))[2:]
    assert run_folder(compose(command).config) == folder
    assert f"{json.loads((folder / 'summary.json').read_text())['error_test']:.2f}" in line_of(
        lines, "error_test"
    )


def test_what_the_command_leaves_open_is_said_behind_it(
    leave_run: Callable[..., Path], shown: Callable[..., list[str]]
) -> None:
    Path("points.csv").write_text("x,y\n" + "1,2\n" * 10)
    folder = leave_run("task=density", "data=points", "data.path=points.csv", "model=cnf")
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("optimizer:", "optimizer:\n  of_old: 1"))
    command, _, said = line_of(shown(folder), "again").partition("  # ")
    assert "data.path=points.csv" in command
    assert said.split("; ") == [
        "as near as this version comes, but for another key",
        "data.path is the file's name alone: give its place",
    ]


def test_showing_imports_no_torch_and_writes_nothing(leave_run: Callable[..., Path]) -> None:
    folder = leave_run(*ODENET, epochs=EPOCHS, error_test=0.4)
    before = sorted(Path().rglob("*"))
    code = (
        f"import sys; from nodebench.cli import main; main(['show', {str(folder)!r}]); "
        "print(sorted({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert sorted(Path().rglob("*")) == before
