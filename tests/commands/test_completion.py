"""Shell completion: the words that are offered, and the scripts driven by the shells that are here."""

from __future__ import annotations

import importlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nodebench.cli import COMMANDS, HELP, main
from nodebench.commands.arguments import parser_of
from nodebench.commands.completion import SCRIPTS
from nodebench.commands.offered_words import words_for
from nodebench.config.files import GROUPS, options, shipped_folder
from nodebench.ode.ranges import names_in, number, one_of


def offered(line: str) -> list[str]:
    return [word for word, _ in words_for(line, COMMANDS, HELP)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tr", ["train"]),
        ("--v", ["--version"]),
        ("trian ", []),
        ("train mod", ["model=", "model."]),
        ("train model=rk", ["model=rknet"]),
        ("train -m model=odenet,rk", ["model=odenet,rknet"]),
        ("train experiment=digits model=ml", ["model=mlp"]),
        ("train model=mlp solver", ["solver="]),  # it has no ODE, and so no settings of a solver
        ("train solver.adj", ["solver.adjoint."]),
        ("train solver.adjoint.me", ["solver.adjoint.method="]),
        ("train solver.controller=p", ["solver.controller=pi", "solver.controller=pid"]),
        ("train compile=", ["compile=true", "compile=false"]),
        ("train solver.method=dop", ["solver.method=dopri5", "solver.method=dopri8"]),
        ("train task=density data=two_moons model=cnf model.w", ["model.width="]),
        ("train seed=0 see", []),  # which is given
        ("train model=nothing mod", ["model."]),  # a choice that is not there
        ("train --print", ["--print-config"]),
        ("train --dry-run --dry", []),
        ("evaluate RUN data.n", []),
        ("evaluate RUN solver.tol=1 solver.a", ["solver.atol=", "solver.adjoint."]),
        ("list mo", ["models"]),
        ("plot fig1", ["fig10"]),
        ("plot curves --x ", ["epoch", "step"]),
        ("plot curves ", []),
        ("table --format m", ["markdown"]),
        ("reproduce fig3 --recipe ", ["fast", "paper"]),
        ("bench cnf od", ["odenet"]),
        ("new mo", ["model"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("train 'model=od", ["model=odenet"]),
    ],
)
def test_what_may_come_next_is_offered(line: str, words: list[str]) -> None:
    assert offered(line) == words


def test_every_command_group_and_choice_is_offered() -> None:
    assert offered("") == list(COMMANDS)
    assert {f"{group}=" for group in GROUPS} <= set(offered("train "))
    for group in GROUPS:
        assert offered(f"train {group}=") == [
            f"{group}={name}" for name in options(group, (shipped_folder(),))
        ]


def test_commands_and_choices_are_offered_with_what_they_are() -> None:
    assert dict(words_for("sho", COMMANDS, HELP))["show"].startswith("one run, or all seeds of one")
    assert "adjoint" in dict(words_for("train model=odenet", COMMANDS, HELP))["model=odenet"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_options_of_a_command_are_those_of_its_parser(command: str) -> None:
    parser = parser_of(importlib.import_module(f"nodebench.commands.{command}").run)
    longest = [argument.names[-1] for argument in parser.arguments if argument.names]
    assert offered(f"{command} --") == longest
    assert "--help" in longest


def test_the_names_of_a_range_are_read_back() -> None:
    assert names_in(one_of("tanh", "elu")) == ["tanh", "elu"]
    assert names_in(number(0, 1)) == []


def test_run_folders_are_offered_down_to_where_there_is_a_choice(leave_run: Callable[..., Path]) -> None:
    one = leave_run("model=mlp")
    Path("other").mkdir()
    assert offered("show ") == [str(one)]
    other = leave_run("model=mlp", "seed=1")
    assert offered("show out") == [str(one), str(other)]
    assert offered(f"compare {one} outputs/classification/") == [str(one), str(other)]
    assert offered("train --config-dir o") == ["other/", "outputs/"]
    assert offered("train output_dir=ot") == ["output_dir=other/"]
    leave_run("model=mlp", "output_dir='a b'")
    assert offered(r"show a\ ")[0].startswith("a b/classification/")


def test_choices_of_ones_own_are_offered_and_a_damaged_folder_is_passed_over() -> None:
    Path("own/model").mkdir(parents=True)
    Path("own/model/mine.yaml").write_text("# My own\n_target_: nodebench.models.classifiers.MLP\n")
    assert offered("train --config-dir own model=mi") == ["model=mine"]
    Path("own/model/mine.yaml").write_text("{")
    assert offered("train --config-dir own model=odenet mod") == ["model."]
    assert offered("train --config-dir nowhere model=ml") == ["model=mlp"]


def test_neither_torch_nor_pandas_is_imported_for_a_word() -> None:
    lines = ["", "train model=", "train solver.", "show ", *(f"{command} --" for command in COMMANDS)]
    code = (
        "import sys\nfrom nodebench.cli import main\n"
        f"for line in {lines!r}: assert main(['completion', 'words', line]) == 0\n"
        "print(sorted({'torch', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_bug_writes_no_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("nodebench.commands.offered_words.parser_of", lambda _: 1 / 0)
    assert main(["completion", "words", "train "]) == 2
    assert capsys.readouterr().out == ""
    assert not Path("outputs").exists()


def test_a_shell_without_a_script_is_told_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fihs"]) == 2
    assert "there is no script for `fihs`. Did you mean `fish`?" in capsys.readouterr().err


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., list[str]]:
    """shell(name, script) is what a shell prints, line by line, with `nodebench` on its path."""
    program = tmp_path / "bin" / "nodebench"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nodebench "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    environment = {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HOME": str(tmp_path),
    }

    def run(name: str, *arguments: str) -> list[str]:
        if shutil.which(name) is None:
            pytest.skip(f"no {name} here")
        done = subprocess.run(
            [name, *arguments], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


BASH = """
source <(nodebench completion bash)
press_tab() {  # the line, and its words as readline splits them
    COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2)) COMPREPLY=()
    _nodebench
    echo "${COMPREPLY[*]}"
}
press_tab "nodebench tr" nodebench tr
press_tab "nodebench train model=" nodebench train model =
press_tab "nodebench train -m model=odenet,rk" nodebench train -m model = odenet,rk
press_tab "nodebench train solver.c" nodebench train solver.c
press_tab "nodebench show run\\\\ s" nodebench show 'run\\ s'
COMP_WORDBREAKS=" "
press_tab "nodebench train model=od" nodebench train model=od
complete -p nodebench
"""


def test_bash_completes_behind_the_equals_sign_that_it_takes_for_the_end_of_a_word(
    shell: Callable[..., list[str]], tmp_path: Path
) -> None:
    (tmp_path / "run s").mkdir()
    (tmp_path / "run s" / "config.yaml").touch()
    train, models, second, key, run, whole, registered = shell("bash", "--norc", "-c", BASH)
    assert train == "train"
    assert models.split() == list(options("model", (shipped_folder(),)))
    assert second == "odenet,rknet"
    assert key == "solver.controller="
    assert run == r"run\ s"
    assert whole == "model=odenet"
    assert registered == "complete -F _nodebench nodebench"


ZSH = """
compdef() { }
compadd() { local -a flags; zparseopts -D -E -a flags l S: d: a:; print -r -- "$flags[(r)-S*]" ${(P)${flags[-1]}} }
source <(nodebench completion zsh)
press_tab() { words=("$@"); CURRENT=$#; PREFIX=$words[-1]; _nodebench }
press_tab nodebench tr
press_tab nodebench train model=od
press_tab nodebench train solver.c
"""


def test_zsh_is_given_whole_words_and_no_space_behind_those_that_go_on(
    shell: Callable[..., list[str]],
) -> None:
    lines = shell("zsh", "-f", "-c", ZSH)
    assert [line.split()[-1] for line in lines] == ["train", "model=odenet", "solver.controller="]
    assert ["-S" in line for line in lines] == [False, False, True]


def test_fish_shows_what_a_word_is_beside_it(shell: Callable[..., list[str]]) -> None:
    script = "nodebench completion fish | source; complete -C 'nodebench train model=od'"
    (line,) = shell("fish", "--no-config", "-c", script)
    assert line.split("\t")[0] == "model=odenet"
    assert "adjoint" in line.split("\t")[1]


def test_there_is_a_script_for_each_shell_that_names_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    for name, script in SCRIPTS.items():
        assert main(["completion", name]) == 0
        assert capsys.readouterr().out == script
        assert "completion words" in script
