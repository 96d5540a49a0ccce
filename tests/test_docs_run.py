"""README and docs: commands can be given as they stand, code runs, and what is shown is what comes out.

That every command runs, in a variant that takes seconds, is test_docs_commands.py's.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from pages import BLOCKS, COMMANDS, DOCS, PAGES, TEACHING, forget_own, forget_own_modules, name_of, write_own

from nodebench import cli
from nodebench.benchmark.workloads import workload_names
from nodebench.commands.arguments import Parser
from nodebench.commands.artefacts import ARTEFACTS
from nodebench.commands.evaluate import evaluated_as
from nodebench.commands.new import KINDS, written
from nodebench.config.build import Builder
from nodebench.config.check import check as check_config
from nodebench.config.compose import compose
from nodebench.config.files import config_folders, shipped_targets
from nodebench.config.launch import expand
from nodebench.config.saved import read_config
from nodebench.reporting.figures import figure_names

WITH_TESTS_OF_THEIR_OWN = {"architecture.md", "python.md", "loggers.md"}
NEED_WEIGHTS = ("training.from=", "training.extend=")  # which a committed run has not
TRAINED = {
    "outputs/classification/RUN": "table1/runs/classification/mnist-odenet-dopri5-1e-3-adjoint-e149bfe5",
    "outputs/classification/OTHER": "table1/runs/classification/mnist-rknet-dopri5-1e-3-direct-cd1f0145",
    "outputs/time_series/RUN": "table2/runs/time_series/spirals-latent_ode-dopri5-1e-5-direct-3698fbfa",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the commands speak of: committed runs by the names in the pages, and everybody's `own`."""
    folder = tmp_path_factory.mktemp("workplace")
    for name, run in TRAINED.items():
        shutil.copytree(DOCS / "results" / run / "seed0", folder / name / "seed0")
    (folder / "docs").symlink_to(DOCS)
    write_own(folder)
    yield folder
    forget_own()


@pytest.fixture
def own(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(sys, "path", [*sys.path, str(workplace / "own")])
    yield workplace
    forget_own_modules()


class Parsed(BaseException):
    """Carries the arguments out of a command that would go on."""


def parsed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """The arguments of a command as its parser reads them; nothing more is done."""
    with monkeypatch.context() as patch:
        for name in ("parse_args", "parse_intermixed_args"):
            original: Callable[..., object] = getattr(Parser, name)

            def stop(self: Parser, *given: object, original: Callable[..., object] = original) -> None:
                raise Parsed(original(self, *given))

            patch.setattr(Parser, name, stop)
        try:
            code = cli.main(words)
        except Parsed as found:
            return found.args[0]
    raise AssertionError(f"nodebench {' '.join(words)} ended with {code} before it was read")


@cache
def can_be_trained(overrides: tuple[str, ...], config_dir: str | None) -> None:
    """Raises ConfigError for a run that cannot be."""
    composed = compose(overrides, config_dir)
    check_config(composed.config)
    Builder(composed.config, shipped_targets(config_folders(config_dir))).check_fit()


def check(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Raises for a command that cannot be given; the cheap ones are run."""
    command, *rest = words
    if command == "--help":
        return
    assert command in cli.COMMANDS
    if command in ("list", "show", "compare"):
        assert cli.main(words) == 0
        return
    if command == "table" and "--runs" not in rest:
        assert cli.main([*words, "--runs", "docs/results/table1/runs"]) == 0
        return
    args: dict[str, object] = vars(parsed(words, monkeypatch))
    if command == "train":
        lists, _ = expand(args["overrides"], args["config_dir"])
        assert args["multirun"] or len(lists) == 1
        for overrides in lists[:: max(1, len(lists) - 1)]:  # the first and the last
            kept = (override for override in overrides if not override.startswith(NEED_WEIGHTS))
            can_be_trained(tuple(kept), args["config_dir"])
    elif command == "evaluate":
        evaluated_as(read_config(Path(str(args["run"]))), args["overrides"], args["config_dir"])
    elif command == "plot":
        assert args["figure"] in figure_names()
        assert Path(str(args["runs"])).is_dir()
    elif command == "reproduce":
        assert args["artefact"] in ARTEFACTS
    elif command == "bench":
        assert set(args["workloads"]) <= set(workload_names())


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(words[0] == "nodebench" for where, words in COMMANDS if where == page)],
    ids=name_of,
)
def test_every_command_can_be_given(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in [words for where, words in COMMANDS if where == page and words[0] == "nodebench"]:
        with contextlib.ExitStack() as told:
            told.callback(lambda words=words: print("nodebench", *words[1:]))  # seen where the test fails
            check(words[1:], monkeypatch)


def is_shown(shown: str, printed: str) -> bool:
    """Whether a text is what was printed; `...` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in re.sub(r"\.\.\.\n\.\.\.", "...", shown).split("..."))
    return re.fullmatch(pattern, printed, re.S) is not None


def test_dots_stand_for_anything_and_nothing_else_does() -> None:
    assert is_shown("a ... d\n...e\n", "a b c d\n\nf e\n")
    assert not is_shown("a ... d\n", "a b c e\n")
    assert not is_shown("a.b\n", "a+b\n")


def test_what_new_prints_is_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = BLOCKS[DOCS / "own.md"]
    (number,) = [i for i, block in enumerate(blocks) if block.text.startswith("nodebench new")]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert cli.main(shlex.split(blocks[number].text)[1:]) == 0
    assert is_shown(blocks[number + 1].text, printed.getvalue())


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_of_ones_own_are_those_that_new_writes(kind: str) -> None:
    shown = {block.caption: block.text for block in BLOCKS[DOCS / "own.md"]}
    for file, text in written(kind, "gated").items():
        assert shown[f"`own/{file}`:"] == text


@pytest.mark.usefixtures("own")
def test_the_flow_of_ones_own_trains() -> None:
    (words,) = [words[1:] for _, words in COMMANDS if "model=linear_flow" in words]
    assert cli.main([*words, "data.batch_size=8"]) == 0


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    "page",
    [
        page
        for page in TEACHING
        if page.name not in WITH_TESTS_OF_THEIR_OWN
        and any(block.language == "python" and "own/" not in block.caption for block in BLOCKS[page])
    ],
    ids=name_of,
)
def test_code_runs_and_prints_what_is_shown(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nodebench.ode.front_door import GRADIENTS

    monkeypatch.setattr("nodebench.ode.front_door.GRADIENTS", dict(GRADIENTS))
    names: dict[str, object] = {}
    blocks = [block for block in BLOCKS[page] if "own/" not in block.caption]
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block.text, name_of(page), "exec"), names)
        if following is not None and following.language == "text":
            assert is_shown(following.text, printed.getvalue()), printed.getvalue()


def test_what_training_prints_has_the_lines_that_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (shown,) = [block.text for block in BLOCKS[DOCS / "start.md"] if block.text.startswith("run  ")]
    fewer = [
        "data.batch_size=8",
        "data.limit_train=32",
        "data.limit_val=8",
        "data.limit_test=8",
        "solver.tol=1",
    ]
    quick = ["training.epochs=null", "training.num_steps=2", *fewer]
    assert cli.main(["train", "experiment=digits", *quick]) == 0
    printed = capsys.readouterr().out
    named = re.findall(r"^([a-z_]+) {2,}\S", shown, re.M)
    assert named == re.findall(r"^([a-z_]+) {2,}\S", printed, re.M)
    for text in (shown, printed):
        assert "\n\nUnits: errors in percent, nfe in evaluations a batch.\n" in text
