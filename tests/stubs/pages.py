"""The pages of README and docs: their fenced blocks, and the commands in those of shell."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from nodebench.commands.new import KINDS, written
from nodebench.config import own_solvers
from nodebench.ode.methods.own import OWN

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TEACHING = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("paper/*.md"))]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        ROOT / "nodebench/ode/README.md",
        *(p for p in DOCS.rglob("*.md") if "runs" not in p.parts),
    ]
)


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


def write_own(folder: Path) -> None:
    """Everybody's `own` in `folder`: what the pages show of it, and what `nodebench new KIND gated` writes."""
    files = {f"own/{file}": text for kind in KINDS for file, text in written(kind, "gated").items()}
    for block in (block for page in TEACHING for block in BLOCKS[page]):
        if found := re.fullmatch(r".*`(own/.*)`:", block.caption):
            files[found[1]] = block.text
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def forget_own() -> None:
    """The solver of the pages' own folder is known to nobody any more."""
    for known in (OWN, own_solvers.FILES):
        known.pop("gated", None)


def forget_own_modules() -> None:
    """The modules of that folder are imported anew, maybe from another one."""
    for name in [name for name in sys.modules if name.startswith(("gated_", "linear_flow"))]:
        del sys.modules[name]
