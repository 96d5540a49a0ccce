"""`nodebench show`: one run, or all seeds of one: what it is, how it went, what it came to, and what to do next."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nodebench.commands.arguments import Parser, place
from nodebench.config.files import CONFIG_DIR_HELP
from nodebench.quoting import plain
from nodebench.terminal import tell, terminal_width

EXAMPLES = """examples:
  nodebench show outputs/classification/RUN/seed0
  nodebench show outputs/classification/RUN     # all its seeds"""

SAID = (
    "fewer than",
    "not counted",
    "made by",
)  # how notes of a table begin that are said here in other words


def run(argv: Sequence[str]) -> int:
    """Print what there is to say of a run; returns 0. Raises ConfigError for a folder without one."""
    args = _parser().parse_args(argv)
    from nodebench.commands.next_steps import next_steps
    from nodebench.commands.run_argument import runs_of, where
    from nodebench.commands.run_words import how_it_went, what_it_is
    from nodebench.reporting.portrait import curves, results
    from nodebench.reporting.rows import rows_over_seeds
    from nodebench.reporting.screen import on_screen

    runs = runs_of(args.run)
    (row,) = rows_over_seeds(runs)
    print(f"run       {plain(str(where(runs)))}", flush=True)  # one word, to be copied, however long it is
    for line in (*what_it_is(row), *how_it_went(runs)):
        tell(line)
    for table in (results(row), curves(row)):
        if table is not None:
            print(f"\n{on_screen(table, terminal_width(sys.stdout))}")
    print()
    for note in row.notes:
        if not note.startswith(SAID):
            tell(f"note      {note}")
    for word, command in next_steps(runs, args.config_dir):
        print(f"{word:<9} {plain(command)}")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="nodebench show",
        description="Show one run: what it is, how it went, its results beside the paper's, its curves, and the "
        "commands that go on from it.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "run", metavar="RUN", type=place, help="a run folder, .../seed<k>, or that of all its seeds"
    )
    parser.add_argument("--config-dir", help=CONFIG_DIR_HELP)
    return parser
