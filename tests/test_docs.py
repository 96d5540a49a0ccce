"""README and docs: links lead to files and headings, every page can be found, and numbers are those measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import BLOCKS, COMMANDS, DOCS, PAGES, ROOT, blocks_of, name_of

import nodebench.ode
import nodebench.ode.compat
from nodebench.config.check import check
from nodebench.config.compose import compose


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


def test_every_decision_has_a_number_of_its_own_which_its_heading_says() -> None:
    pages = sorted((DOCS / "decisions").glob("0*.md"))
    numbers = [page.name[:4] for page in pages]
    assert numbers == [f"{number:04}" for number in range(1, len(pages) + 1)]
    for page, number in zip(pages, numbers, strict=True):
        assert page.read_text(encoding="utf-8").startswith(f"# {number}: ")


@pytest.mark.parametrize("page", [page for page in PAGES if page.is_relative_to(DOCS)], ids=name_of)
def test_what_is_included_is_there(page: Path) -> None:
    for block in BLOCKS[page]:
        if block.language.startswith("{include}"):
            source = (page.parent / block.language.removeprefix("{include} ")).read_text(encoding="utf-8")
            for marker in re.findall(r'^:(?:start-after|end-before): "(.*)"$', block.text, re.M):
                assert marker.replace("\\n", "\n") in source, marker


@pytest.mark.parametrize(
    ("page", "words"),
    [(page, words) for page, words in COMMANDS if words[0] != "nodebench"],
    ids=lambda value: " ".join(value) if isinstance(value, list) else name_of(value),
)
def test_what_is_no_command_of_nodebench_is_a_script_a_target_or_pip(page: Path, words: list[str]) -> None:
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        assert words[1] in targets
    elif words[0] == "torchrun":  # which several processes train by: tests/training/test_several.py
        start = words.index("-m")
        assert words[start : start + 3] == ["-m", "nodebench", "train"]
        check(compose(words[start + 3 :]).config)
    elif words[0] not in ("pip", "source"):
        (script,) = [word for word in words[:2] if word.startswith("scripts/")]
        assert (ROOT / script).is_file()


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


def test_the_table_in_the_readme_is_that_of_the_records() -> None:
    table1 = (DOCS / "results/table1/table1.md").read_text(encoding="utf-8")
    errors = re.findall(
        r"\| (\d\.\d\d ± \d\.\d\d) % \| 3 \|", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    assert len(errors) == 6
    for error in errors:
        assert f" {error} |" in table1
