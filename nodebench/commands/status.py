"""`nodebench status`: what every run under a folder is doing, once or until Ctrl-C."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from nodebench.commands.arguments import Parser, place
from nodebench.commands.run_argument import check_no_file
from nodebench.config.errors import ConfigError
from nodebench.reporting.runs import nothing_under
from nodebench.reporting.states import run_states
from nodebench.reporting.status_screen import status_lines
from nodebench.terminal import terminal_width

EXAMPLES = """examples:
  nodebench status
  nodebench status --runs outputs/table1 --watch"""
EVERY_S = 3.0
SHARE_OF_TIME = 0.2  # of the time between two looks that looking may take, where there are very many runs
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


def run(argv: Sequence[str]) -> int:
    """Print the states; returns 0. Raises ConfigError where there are no runs, unless they are waited for."""
    args = _parser().parse_args(argv)
    check_no_file(args.runs)
    if args.watch:
        return _watch(args.runs)
    states = run_states(args.runs)
    if not states:
        raise ConfigError(f"{nothing_under(args.runs)}; name another folder with --runs")
    print("\n".join(status_lines(states, args.runs, terminal_width(sys.stdout))))
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="nodebench status",
        description="Show how many runs are finished, which go on (step, time left, host), and which were "
        "interrupted, failed, or killed (stale: no process trains them any more).",
        epilog=EXAMPLES,
    )
    parser.add_argument("--runs", type=place, default=Path("outputs"), metavar="DIR", help="default: outputs")
    parser.add_argument("--watch", action="store_true", help="look again every few seconds, until Ctrl-C")
    return parser


def _watch(root: Path) -> int:
    """Draw the screen anew at each look; where the output is no terminal, append it when a run's state has changed."""
    shown: list[tuple[Path, str]] | None = None
    with_screen = sys.stdout.isatty()
    if with_screen:
        print(f"{_HOME}{_CLEAR_BELOW}", end="")
    try:
        while True:
            began = time.monotonic()
            states = run_states(root)
            if with_screen:
                _draw(status_lines(states, root, terminal_width(sys.stdout)))
            elif shown != (shown := [(state.folder, state.state) for state in states]):
                print(f"{_clock()}\n" + "\n".join(status_lines(states, root)) + "\n", flush=True)
            time.sleep(max(EVERY_S, (time.monotonic() - began) / SHARE_OF_TIME))
    except KeyboardInterrupt:
        print()
        return 0


def _draw(lines: Sequence[str]) -> None:
    """Write over the screen line by line, which flickers less than a cleared one, down to its last line but one."""
    rows = "\n".join(lines).split("\n")
    room = shutil.get_terminal_size().lines - 2
    last = f"{_clock()}, Ctrl-C to leave{'; a taller window shows more' if len(rows) > room else ''}"
    told = [*rows[:room], last]
    print(_HOME + "".join(f"{row}{_CLEAR_LINE}\n" for row in told) + _CLEAR_BELOW, end="", flush=True)


def _clock() -> str:
    return f"{datetime.now():%H:%M:%S}"
