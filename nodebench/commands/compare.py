"""`nodebench compare`: what differs between runs, in what they were asked for and in what they came to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from nodebench.commands.arguments import Parser, place
from nodebench.commands.run_argument import runs_of, where
from nodebench.config.errors import ConfigError
from nodebench.counted import counted
from nodebench.quoting import plain
from nodebench.reporting.rendering import SCREEN, STYLES, render
from nodebench.reporting.runs import Run
from nodebench.terminal import terminal_width, wrapped

EXAMPLES = """examples:
  nodebench compare outputs/classification/RUN outputs/classification/OTHER
  nodebench compare RUN/seed0 OTHER/seed0 --format markdown"""


def run(argv: Sequence[str]) -> int:
    """Print the table; returns 0. Raises ConfigError for fewer than two runs, and for a folder without one."""
    args = _parser().parse_args(argv)
    if len(args.runs) < 2:
        raise ConfigError("compare takes two runs or more; `nodebench show RUN` shows one")
    from nodebench.reporting.comparison import circumstances, compare, letter
    from nodebench.reporting.rows import rows_over_seeds

    sides = [row for place in args.runs for row in rows_over_seeds(runs_of(place))]
    found = compare(sides)
    same = [f"The same in all: {', '.join(found.same)}."] if found.same else []
    names = [
        f"{letter(number)}  {plain('; '.join(filter(None, (_words(side.runs), told))))}"
        for number, (side, told) in enumerate(zip(sides, circumstances(sides), strict=True))
    ]
    if args.format not in (None, SCREEN):
        print(render(replace(found.table, legend=[*names, *found.table.legend, *same]), args.format))
        return 0
    width = terminal_width(sys.stdout) if args.format is None else None
    table = replace(found.table, legend=[*found.table.legend, *same])
    print("\n".join(wrapped(name, width, 3) for name in names))
    print(f"\n{render(table, SCREEN, width)}" if table.lines else "\nNothing differs.")
    return 0


def _words(runs: Sequence[Run]) -> str:
    return f"{where(runs)}, {counted(len(runs), 'seed')}" if runs[1:] else str(runs[0].folder)


def _parser() -> Parser:
    parser = Parser(
        prog="nodebench compare",
        description="Show what differs between runs: settings, and results with their intervals over seeds.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        type=place,
        help="a run folder, .../seed<k>, or that of all its seeds",
    )
    parser.add_argument("--format", choices=STYLES, help="default: terminal, as wide as yours")
    return parser
