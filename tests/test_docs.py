"""README and docs: links lead somewhere, commands can be given, code runs, and what is shown is what comes out."""

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
from typing import NamedTuple

import pytest

import nodebench.ode
import nodebench.ode.compat
from nodebench import cli
from nodebench.benchmark.workloads import workload_names
from nodebench.commands.arguments import Parser
from nodebench.commands.artefacts import ARTEFACTS
from nodebench.commands.evaluate import evaluated_as
from nodebench.commands.new import KINDS, written
from nodebench.config import own_solvers
from nodebench.config.build import Builder
from nodebench.config.check import check as check_config
from nodebench.config.compose import compose
from nodebench.config.files import config_folders, shipped_targets
from nodebench.config.launch import expand
from nodebench.config.saved import read_config
from nodebench.ode.methods.own import OWN
from nodebench.reporting.figures import figure_names

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        ROOT / "nodebench/ode/README.md",
        *(p for p in DOCS.rglob("*.md") if "runs" not in p.parts),
    ]
)
TEACHING = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("paper/*.md"))]
WITH_TESTS_OF_THEIR_OWN = {"architecture.md", "python.md", "loggers.md"}
NEED_WEIGHTS = ("training.from=", "training.extend=")  # which a committed run has not
TRAINED = {
    "outputs/classification/RUN": "table1/runs/classification/mnist-odenet-dopri5-1e-3-adjoint-e149bfe5",
    "outputs/classification/OTHER": "table1/runs/classification/mnist-rknet-dopri5-1e-3-direct-cd1f0145",
    "outputs/time_series/RUN": "table2/runs/time_series/spirals-latent_ode-dopri5-1e-5-direct-3698fbfa",
}


class Block(NamedTuple):
    """A fenced block, and the line above it."""

    page: Path
    language: str
    text: str
    caption: str


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks_of(page: Path) -> list[Block]:
    found, before, lines = [], "", iter(page.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith("```"):
            inside = []
            for inner in lines:
                if inner == "```":
                    break
                inside.append(inner)
            found.append(Block(page, line[3:], "\n".join(inside) + "\n", before))
        before = line or before
    return found


BLOCKS = {page: blocks_of(page) for page in PAGES}


def slugs_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = (re.sub(r"\]\([^)]*\)", "]", heading) for heading in re.findall(r"^#+ (.*)$", text, re.M))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not page.is_relative_to(DOCS) or file.resolve().is_relative_to(DOCS), (
            f"{target} is not in the site"
        )
        assert not anchor or anchor in slugs_of(file), target


def test_every_page_is_in_the_table_of_contents() -> None:
    reached, pending = set(), [DOCS / "index.md"]
    while pending:
        page = pending.pop()
        reached.add(page)
        for block in blocks_of(page):
            if block.language == "{toctree}":
                lines = [line for line in block.text.splitlines() if line and not line.startswith(":")]
                names = [re.sub(r".*<(.*)>", r"\1", line) for line in lines]
                found = [path for name in names for path in page.parent.glob(f"{name}.md")]
                assert len(found) >= len(names), page
                pending += [path for path in found if path not in reached]
    assert {page for page in PAGES if page.is_relative_to(DOCS)} == reached | {DOCS / "package_index.md"}


@pytest.mark.parametrize("page", [page for page in PAGES if page.is_relative_to(DOCS)], ids=name_of)
def test_what_is_included_is_there(page: Path) -> None:
    for block in BLOCKS[page]:
        if block.language.startswith("{include}"):
            source = (page.parent / block.language.removeprefix("{include} ")).read_text(encoding="utf-8")
            for marker in re.findall(r'^:(?:start-after|end-before): "(.*)"$', block.text, re.M):
                assert marker.replace("\\n", "\n") in source, marker


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of every command of a block of shell, without comments and variables set in front; others are 0."""
    for line in re.sub(r"\$[A-Z_]+", "0", text.replace("\\\n", " ")).splitlines():
        words = shlex.split(line, comments=True)
        while words and (re.match(r"[A-Z_]+=", words[0]) or words[0] in ("exec", "sbatch")):
            words.pop(0)
        if words:
            yield words


COMMANDS = [
    (page, words)
    for page in PAGES
    for block in BLOCKS[page]
    if block.language == "sh"
    for words in commands_in(block.text)
]


@pytest.mark.parametrize(
    ("page", "words"),
    [(page, words) for page, words in COMMANDS if words[0] != "nodebench"],
    ids=lambda value: " ".join(value) if isinstance(value, list) else name_of(value),
)
def test_what_is_no_command_of_nodebench_is_a_script_a_target_or_pip(page: Path, words: list[str]) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert words[1] in targets
    elif words[0] not in ("pip", "source"):
        (script,) = [word for word in words[:2] if word.startswith("scripts/")]
        assert (ROOT / script).is_file()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the commands speak of: committed runs by the names in the pages, and everybody's `own`."""
    folder = tmp_path_factory.mktemp("workplace")
    for name, run in TRAINED.items():
        shutil.copytree(DOCS / "results" / run / "seed0", folder / name / "seed0")
    (folder / "docs").symlink_to(DOCS)
    for kind in KINDS:
        for file, text in written(kind, "gated").items():
            write(folder / "own" / file, text)
    for block in (block for page in TEACHING for block in BLOCKS[page]):
        if found := re.fullmatch(r".*`(own/.*)`:", block.caption):
            write(folder / found[1], block.text)
    yield folder
    for known in (OWN, own_solvers.FILES):
        known.pop("gated", None)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def own(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(sys, "path", [*sys.path, str(workplace / "own")])
    yield workplace
    for name in [name for name in sys.modules if name.startswith(("gated_", "linear_flow"))]:
        del sys.modules[name]


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
@pytest.mark.parametrize("page", TEACHING, ids=name_of)
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


def test_the_numbers_of_the_gradients_are_those_that_were_measured() -> None:
    measured = (DOCS / "results/fig3/gradients.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (DOCS / "choosing.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(("| direct |", "| checkpointed |", "| adjoint |"))
    ]
    assert len(rows) == 3
    for gradient, nfe, times, kept, error in rows:
        (line,) = [
            line for line in measured.splitlines() if re.match(rf"\| {gradient} .*\|\s+1e-3 \|\s+2", line)
        ]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert [nfe, *times.split(" + "), kept, error] == cells[3:8]


def test_the_reference_has_all_that_is_public() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^\.\. auto\w+:: (\w+)$", page, re.M)
    assert {*nodebench.ode.__all__, *nodebench.ode.compat.__all__} <= set(named)
