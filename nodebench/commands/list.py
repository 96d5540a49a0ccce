"""`nodebench list`: what can be chosen, read from the configs folder, and the settings of a solve."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from nodebench.commands.arguments import Parser
from nodebench.commands.costs import cost_words
from nodebench.config.errors import ConfigError, did_you_mean
from nodebench.config.files import CONFIG_DIR_HELP, config_folders, description, load, options
from nodebench.ode.settings import Setting, of_config
from nodebench.terminal import terminal_width, wrapped

SETTINGS = "solver.KEY"
SECTIONS = {
    "models": "model",
    "solvers": "solver",
    "settings": SETTINGS,
    "data": "data",
    "training": "training",
    "optimizers": "optimizer",
    "tasks": "task",
    "experiments": "experiment",
}
WIDTH = 110  # of what an experiment says of itself, where the output is no terminal


def run(argv: Sequence[str]) -> int:
    """Print one section, or all of them; returns 0."""
    parser = Parser(prog="nodebench list", description="Show what can be chosen.")
    parser.add_argument("section", nargs="?", words=SECTIONS, help=", ".join(SECTIONS))
    parser.add_argument("--config-dir", help=CONFIG_DIR_HELP)
    args = parser.parse_args(argv)
    groups = {**SECTIONS, **{group: group for group in SECTIONS.values()}}
    if args.section is not None and args.section not in groups:
        raise ConfigError(f"nothing to list under `{args.section}`.{did_you_mean(args.section, SECTIONS)}")
    wanted = [groups[args.section]] if args.section else list(SECTIONS.values())
    folders = config_folders(args.config_dir)
    print("\n\n".join("\n".join(_section(group, _found(group, folders))) for group in wanted))
    return 0


def _section(group: str, found: dict[str, list[str]]) -> Iterator[str]:
    yield f"{group}=..."
    width = terminal_width(sys.stdout)
    indent = max(map(len, found), default=0) + 4
    for name, (first, *rest) in found.items():
        yield wrapped(f"  {name:<{indent - 2}}{first}".rstrip(), width, indent)
        yield from (wrapped(f"{'':<{indent}}{line}", width or WIDTH, indent + 2) for line in rest)


def _found(group: str, folders: tuple[Path, ...]) -> dict[str, list[str]]:
    """What there is to choose, each with lines about it."""
    if group == SETTINGS:
        return {key: _words(setting) for key, setting in of_config().items()}
    return {name: _text(path) for name, path in options(group, folders).items()}


def _words(setting: Setting) -> list[str]:
    """What is allowed, what holds if nobody gives it, and what it goes with."""
    allowed = "the name of a solver" if setting.usual is None else setting.usual[0]
    default = ", or null; null" if setting.default is None else f"; {setting.default}"
    together = "; ".join(rule.words for rule in setting.rules)
    return [f"{allowed}{default} by default", *([f"goes with {together}"] if together else [])]


def _text(path: Path) -> list[str]:
    """The file's description, and what an experiment says about itself."""
    about = load(path).get("about") or {}
    said = [f"{key}: {about[key]}" for key in ("reproduces", "source", "expected") if key in about]
    return [description(path), *said, *([f"cost: {cost_words(about)}"] if about else [])]
