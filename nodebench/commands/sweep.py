"""`nodebench train -m`: every member composed and checked first, then run; a failing one is a row and not the end."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from nodebench.commands.bugs import keep_traceback
from nodebench.commands.destinations import check_runs
from nodebench.commands.pace import Pace
from nodebench.commands.results import show_results
from nodebench.config.check import check
from nodebench.config.compose import Composed, compose
from nodebench.config.errors import ConfigError
from nodebench.config.files import config_folders, shipped_targets
from nodebench.config.identity import run_folder
from nodebench.config.launch import combinations, expand, launch
from nodebench.config.saved import config_text
from nodebench.counted import counted
from nodebench.terminal import tell

_IN_TABLE = (  # as tol, gradient and units
    *("solver.tol", "solver.rtol", "solver.atol", "solver.dt"),
    *("model.gradient", "model.width", "model.num_layers"),
)


class Ending(NamedTuple):
    """How one member ended; plain values, so that a launcher can bring it from another machine."""

    status: str
    reason: str | None = None


@dataclass(frozen=True)
class Member:
    """One run of a sweep: the `overrides` that ask for it, and what they compose to."""

    overrides: tuple[str, ...]
    composed: Composed


def sweep(overrides: Sequence[str], config_dir: str | Path | None = None) -> int:
    """Run every combination, show the table, and return 0 if all are finished, else 1.

    Raises ConfigError, naming the member, before anything runs; KeyboardInterrupt when stopped by Ctrl-C. Finished
    members are skipped and unfinished ones continued, so the same command again resumes the sweep.
    """
    expanded, launcher_overrides = expand(overrides, config_dir)
    members, repeated = compose_members(expanded, config_dir)
    note = f"; {counted(repeated, 'more combination')} asked for one of them again" if repeated else ""
    print(f"sweep     {counted(len(members), 'run')}{note}", flush=True)
    asked = [list(member.composed.overrides) for member in members.values()]
    output_dir = next(iter(members.values())).composed.config["output_dir"]
    to_train = [_is_to_train(folder, member) for folder, member in members.items()]
    if any(to_train):
        check_runs(Path(output_dir))
    pace = Pace(to_train)
    endings = launch(
        asked,
        partial(run_member, config_dir=config_dir, asked=asked, pace=pace),
        launcher_overrides,
        config_dir,
    )
    show_results(list(members), output_dir, varied_keys(members.values()))
    return report(members, endings)


def compose_members(
    asked: Iterable[Sequence[str]], config_dir: str | Path | None = None
) -> tuple[dict[Path, Member], int]:
    """The members that lists of overrides ask for, checked, by run folder; and how many repeat one of them.

    A list whose experiment has a sweep of its own asks for every combination of that. Raises ConfigError, naming the
    member, for the first that cannot be run.
    """
    from nodebench.config.build import Builder

    allowed = shipped_targets(config_folders(config_dir))
    members: dict[Path, Member] = {}
    repeated = 0
    for member in (member for overrides in asked for member in _spelled_out(overrides, config_dir)):
        with _naming(member.overrides):
            check(member.composed.config)
            Builder(member.composed.config, allowed).check_fit()
        folder = run_folder(member.composed.config)
        repeated += folder in members
        members.setdefault(folder, member)
    return members, repeated


def _spelled_out(overrides: Sequence[str], config_dir: str | Path | None) -> Iterator[Member]:
    """The one member that `overrides` are, or every member of their experiment's own sweep."""
    with _naming(overrides):
        composed = compose(overrides, config_dir)
    if not composed.sweep:
        yield Member(tuple(overrides), composed)
        return
    for combination in combinations(composed.sweep):
        member = (*overrides, *combination)
        with _naming(member):
            yield Member(member, compose(member, config_dir))


@contextmanager
def _naming(overrides: Sequence[str]) -> Iterator[None]:
    """Within, a ConfigError also says which member it is about."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{error} (in the sweep's member {shlex.join(overrides)})") from error


def varied_keys(members: Iterable[Member]) -> list[str]:
    """The keys of nodes (`model.width`) that the members were given different values of."""
    given: dict[str, set[str]] = {}
    for member in members:
        for override in member.overrides:
            key, _, value = override.partition("=")
            given.setdefault(key, set()).add(value)
    return [key for key, values in given.items() if "." in key and len(values) > 1 and key not in _IN_TABLE]


def _is_to_train(folder: Path, member: Member) -> bool:
    from nodebench.training import RunFolder

    return bool(member.composed.config["training"]["force"]) or not RunFolder(folder).is_finished()


def run_member(
    overrides: Sequence[str],
    config_dir: str | Path | None = None,
    asked: Sequence[Sequence[str]] = (),
    pace: Pace | None = None,
) -> Ending:
    """Compose and train one member, wherever the launcher runs it; `asked` are those of all, whose `pace` it is."""
    if pace is None or list(overrides) not in asked:
        print()
        tell(f"member    {' '.join(overrides)}")
        return train_member(compose(overrides, config_dir), config_dir)
    index = asked.index(list(overrides))
    print()
    tell(f"member    {pace.place(index)}: {' '.join(overrides)}")
    with pace.timed(index):
        return train_member(compose(overrides, config_dir), config_dir)


def train_member(composed: Composed, config_dir: str | Path | None = None) -> Ending:
    """Train one member; what goes wrong is said, returned, and kept in its run folder. A signal ends all members."""
    ending = _train(composed, config_dir)
    if ending.status != "finished":
        tell(f"{ending.status:<9} {ending.reason}")
    return ending


def _train(composed: Composed, config_dir: str | Path | None) -> Ending:
    from nodebench.commands.session import train_run
    from nodebench.training import RunFolderError

    try:
        outcome = train_run(composed, config_dir)
    except ConfigError as error:
        return _keep_failure(composed.config, str(error))
    except RunFolderError as error:
        return Ending("failed", str(error))
    except Exception as error:
        where = keep_traceback(composed.config["output_dir"])
        return _keep_failure(composed.config, f"{type(error).__name__}: {error}{where}")
    if outcome.signal == signal.SIGINT:
        raise KeyboardInterrupt
    if outcome.signal is not None:
        raise SystemExit(128 + outcome.signal)
    return Ending(outcome.status, outcome.reason)


def _keep_failure(config: dict[str, Any], reason: str) -> Ending:
    """A member that could not even be built leaves a run folder with its status, so that tables show the row.

    One that was to be trained anew leaves the finished run as it is.
    """
    from nodebench.training import RunFolder, RunFolderError

    try:
        with RunFolder(run_folder(config), config_text(config)) as run:
            if not (run.path / "config.yaml").exists():
                run.begin({})
            if not run.is_finished():
                run.write_summary({"status": "failed", "reason": reason, "seed": config["seed"]})
    except RunFolderError as error:
        reason += f"; {error}"
    return Ending("failed", reason)


def report(folders: Iterable[Path], endings: Sequence[Any]) -> int:
    """Name every member that is not finished; the exit code."""
    code = 0
    for folder, ending in zip(folders, endings, strict=True):
        status, reason = (
            ending if isinstance(ending, tuple) else ("failed", f"{type(ending).__name__}: {ending}")
        )
        if status != "finished":
            tell(f"{status:<9} {folder}: {reason}")
            code = 1
    return code
