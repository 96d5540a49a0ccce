"""The `nodebench` command: hands over to one module a command; what goes wrong becomes a sentence and a code.

Exit codes: 0 done, 1 failed, 2 asked for something that cannot be, 130 Ctrl-C, 128 + n any other signal n that ends it
(on Linux 129 SIGHUP, 138 SIGUSR1, 140 SIGUSR2, 143 SIGTERM).
Nothing heavy is imported before it is needed, so that help is instant.
"""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from nodebench import __version__
from nodebench.commands import starting
from nodebench.config.errors import ConfigError, FailedError, did_you_mean
from nodebench.quoting import plain
from nodebench.ranks import place_here
from nodebench.signals import ENDING

HELP = f"""nodebench {__version__}: Neural ODE experiments (Chen et al., 2018), measured

usage: nodebench COMMAND [KEY=VALUE ...]

  train       train a net and leave a run folder; again: continue or skip it
  status      what all runs are doing: how far, how long, on which host
  show        one run, or all seeds of one: results, curves, what next
  compare     what differs between runs, in settings and in results
  evaluate    measure a trained net once more, with another solver or tolerance
  export      a trained classifier as a file that runs without nodebench
  measure     a trained net's solver, batch by batch: counts, errors, times
  table       make the result table from run folders
  plot        draw a figure of the paper from run folders
  report      make one page of HTML about a folder of runs, to look at and send
  reproduce   train what a figure of the paper still lacks, then draw it
  bench       race the solvers against each other and other libraries
  list        show models, solvers, data sets and experiments
  new         write a solver, model, data set or task of your own, that trains
  completion  complete commands, choices, keys and run folders in your shell

examples:
  nodebench train experiment=digits             a first run, without a download
  nodebench train model=odenet solver=dopri5    MNIST, the adjoint, dopri5
  nodebench train -m model=odenet,rknet solver.tol=1e-1,1e-2,1e-3 seed=0,1,2
  nodebench evaluate outputs/classification/RUN/seed0 solver=rk4 solver.dt=0.25
  nodebench plot fig5 --animate
  nodebench reproduce fig4 --dry-run
  nodebench list experiments
  nodebench new model gated

`nodebench COMMAND --help` says more."""
COMMANDS = (
    *("train", "status", "show", "compare", "evaluate", "export", "measure", "table", "plot", "report"),
    *("reproduce", "bench", "list", "new", "completion"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, that of this process where none is given, and return its exit code."""
    if argv is None:
        starting.begin()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no `±` shows the rest of the table
    try:
        _end_on_signals()
        try:
            with _warnings_in_a_line():
                return _dispatch(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here: at the end of Python, a failure could no longer be told
    except ConfigError as error:
        return _complain(str(error), 2, by_first=True)
    except FailedError as error:
        return _complain(str(error), 1, by_first=True)
    except KeyboardInterrupt:
        return _complain("stopped by Ctrl-C", 130, by_first=True)
    except BrokenPipeError:  # the reader of our output has gone, as in `nodebench list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from nodebench.commands.bugs import keep_traceback

        folders = [text.partition("=")[2] for text in arguments if text.startswith("output_dir=")]
        where = keep_traceback(folders[-1] if folders else "outputs")
        return _complain(f"{type(error).__name__}: {error}{where}", 1)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if arguments[0] == "--version":
        print(f"nodebench {__version__}")
        return 0
    command, *rest = arguments
    if command not in COMMANDS:
        raise ConfigError(f"unknown command `{command}`.{did_you_mean(command, COMMANDS)}")
    place = place_here()
    if place is not None and command != "train":
        raise ConfigError(
            f"`nodebench {command}` runs in one process, and torchrun has started {place.number} of it; leave out "
            "torchrun, which is for `train`"
        )
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise ConfigError("the folder that you are in is no longer there; go to another one") from error
    return int(importlib.import_module(f"nodebench.commands.{command}").run(rest))


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Warnings without the place in the code, which says nothing to whoever runs a command."""
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {plain(str(message))}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _complain(message: str, code: int, by_first: bool = False) -> int:
    """Print what is wrong, and return the exit code; of several processes the first says what all have to say."""
    place = place_here()
    rank = 0 if place is None else place.rank
    if rank and by_first:
        return code
    whose = f" (rank {rank})" if rank else ""
    lines = (
        plain(line) for line in f"nodebench{whose}: {message}".split("\n")
    )  # names of others' files may be in it
    print("\n".join(lines), file=sys.stderr)
    return code


def _end_on_signals() -> None:
    """Signals of ENDING end the process with 128 + n and run every `finally` on the way; training saves first.

    A signal that is ignored stays so: `nohup` goes on when the connection drops.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, end)
