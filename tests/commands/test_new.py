"""`nodebench new`: what it writes trains as it is, by the command that it prints, and can be evaluated."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from nodebench import cli
from nodebench.commands.new import KINDS
from nodebench.config import own_solvers
from nodebench.config.own_code import own_code
from nodebench.ode.methods.own import OWN

FEWER = ("data.batch_size=8",)


@pytest.fixture(autouse=True)
def nothing_stays_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods and modules of the user's are forgotten after each test."""
    for known in (OWN, own_solvers.FILES):
        monkeypatch.setitem(known, "gated", None)
        monkeypatch.delitem(known, "gated")
    monkeypatch.setattr(sys, "path", [*sys.path])
    for kind in KINDS:
        monkeypatch.setitem(sys.modules, f"gated_{kind}", None)  # type: ignore[arg-type]
        monkeypatch.delitem(sys.modules, f"gated_{kind}")


def new(*argv: str) -> int:
    return cli.main(["new", *argv])


def printed_command(printed: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arguments after `nodebench`, the folder before it on Python's path."""
    (line,) = [line for line in printed.splitlines() if line.startswith("try it")]
    _, _, *words = shlex.split(line)
    if words[0].startswith("PYTHONPATH="):
        monkeypatch.syspath_prepend(words.pop(0).partition("=")[2])
    assert words.pop(0) == "nodebench"
    return words


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_writes_trains_at_once(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert new(kind, "gated", "--to", "my own") == 0
    words = printed_command(capsys.readouterr().out, monkeypatch)
    looser = () if kind == "task" else ("solver.tol=1",)
    assert cli.main([*words, *FEWER, *looser]) == 0
    assert "warning" not in capsys.readouterr().err
    (summary,) = Path("outputs").rglob("summary.json")
    assert json.loads(summary.read_text())["status"] == "finished"
    assert f"{kind}=gated" in json.loads((summary.parent / "environment.json").read_text())["own_code"]


def test_a_run_with_a_method_of_ones_own_is_evaluated_where_its_folder_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    new("solver", "gated")
    train = ["train", "task=density", "data=two_moons", "model=cnf", "solver=gated", "training=smoke"]
    assert cli.main([*train, "solver.tol=0.1", *FEWER, "--config-dir", "own"]) == 0
    (run,) = Path("outputs").rglob("seed0")
    assert "-gated-" in run.parent.name
    assert cli.main(["evaluate", str(run), "--config-dir", "own"]) == 0
    OWN.clear()
    capsys.readouterr()
    assert cli.main(["evaluate", str(run)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nodebench: unknown solver.method `gated`.")
    assert error.endswith("One of your own is known with --config-dir.\n")


METHOD = """
from nodebench.ode import OneStep, Step, Traits

class Euler(OneStep):
    traits = Traits("gated", order=1)
    cost = 0

    def step(self, f, t, dt, y0, f0):
        return Step(y0 + dt * f0)

METHOD = Euler()
"""


def test_a_method_that_is_no_tableau_trains() -> None:
    new("solver", "gated")
    Path("own/solver/gated.py").write_text(METHOD)
    train = ["train", "task=density", "data=two_moons", "model=cnf", "solver=gated", "training=smoke"]
    assert cli.main([*train, "solver.dt=0.25", *FEWER, "--config-dir", "own"]) == 0
    (summary,) = Path("outputs").rglob("summary.json")
    assert json.loads(summary.read_text())["nfe_forward"] == 4


def test_a_changed_method_is_other_code() -> None:
    new("solver", "gated")
    config = {"solver": {"name": "gated", "method": "gated"}}
    own_solvers.add_own_solvers(Path("own"))
    before = own_code(config)
    path = Path("own/solver/gated.py")
    path.write_text(path.read_text() + "\n")
    assert before.keys() == own_code(config).keys() == {"solver=gated"}
    assert own_code(config) != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere_at_all", "cannot be imported: ModuleNotFoundError"),
        ("TABLEAU = 3", "needs one method: TABLEAU"),
        ("METHOD = int", "needs one method: TABLEAU"),
        (METHOD.replace("METHOD = Euler()", "METHOD = Euler"), "needs one method: TABLEAU"),
        (
            "from nodebench.ode import Traits\nclass A: traits = Traits('gated', 1)\nMETHOD = A()",
            "needs one method",
        ),
        ("{text}\nMETHOD = TABLEAU", "needs one method: TABLEAU"),
        (
            "{text}".replace("{text}", "{renamed}"),
            "holds a method named `other`; one is found by its file's name",
        ),
        ("{unbalanced}", "cannot be imported: ValueError: tableau `gated`: b sums to"),
    ],
)
def test_a_file_that_is_no_method_is_named(
    text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    new("solver", "gated")
    path = Path("own/solver/gated.py")
    good = path.read_text()
    renamed, unbalanced = good.replace('"gated"', '"other"'), good.replace("b=(1 / 4,", "b=(1 / 2,")
    path.write_text(text.format(text=good, renamed=renamed, unbalanced=unbalanced))
    assert cli.main(["list", "solvers", "--config-dir", "own"]) == 2
    error = capsys.readouterr().err
    assert f"{path}" in error
    assert message in error


def test_a_method_may_not_have_the_name_of_a_shipped_one(capsys: pytest.CaptureFixture[str]) -> None:
    new("solver", "gated")
    path = Path("own/solver/gated.py")
    path.write_text(path.read_text().replace('"gated"', '"lsoda"'))
    path.rename(path.with_name("lsoda.py"))
    assert cli.main(["list", "--config-dir", "own"]) == 2
    assert "lsoda.py has the name of a shipped method; rename it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["solvr", "gated"], "nothing is made of the kind `solvr`. Did you mean `solver`?"),
        (["model", "My-Net"], "`My-Net` cannot be a name"),
        (["data", "class"], "`class` cannot be a name"),
        (["model", "odenet"], "model=odenet is a shipped one"),
        (["solver", "fehlberg2"], "solver=fehlberg2 is a shipped one"),
        (["model", "gated", "--to", "a.csv"], "is the name of a file; name the folder"),
        (["model", "gated", "--to", "taken/own"], "cannot write to `taken/own/gated_model.py`"),
        (["model"], "the following arguments are required: NAME"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("taken").write_text("a file")
    assert new(*argv) == 2
    assert message in capsys.readouterr().err
    assert not Path("own").exists()


@pytest.mark.parametrize("existing", ["own/gated_model.py", "own/model/gated.yaml"])
def test_nothing_is_overwritten(existing: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(existing)
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert new("model", "gated") == 2
    assert f"{path} is there already" in capsys.readouterr().err
    assert [file for file in Path("own").rglob("*") if file.is_file()] == [path]
    assert path.read_text() == "mine"
