"""`nodebench train -m`: every member composed and checked first, then run; a failing one is a row and not the end."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from nodebench.commands.bugs import keep_traceback
from nodebench.commands.train import show_results, train_run
from nodebench.config.check import check
from nodebench.config.compose import Composed, compose
from nodebench.config.errors import ConfigError
from nodebench.config.identity import run_folder
from nodebench.config.launch import expand, launch
from nodebench.config.saved import config_text


class Ending(NamedTuple):
    """How one member ended; plain values, so that a launcher can bring it from another machine."""

    status: str
    reason: str | None = None


def sweep(overrides: Sequence[str], config_dir: str | Path | None = None) -> int:
    """Run every combination, show the table, and return 0 if all are finished, else 1.

    Raises ConfigError, naming the member, before anything runs; KeyboardInterrupt when stopped by Ctrl-C. Finished
    members are skipped and unfinished ones continued, so the same command again resumes the sweep.
    """
    expanded, launcher_overrides = expand(overrides)
    members: dict[Path, Composed] = {}
    for member in expanded:
        try:
            composed = compose(member, config_dir)
            check(composed.config)
        except ConfigError as error:
            raise ConfigError(f"{error} (in the sweep's member {' '.join(member)})") from error
        members.setdefault(run_folder(composed.config), composed)
    repeated = len(expanded) - len(members)
    note = f"; {repeated} more combinations repeat one of them" if repeated else ""
    print(f"sweep     {len(members)} run{'' if len(members) == 1 else 's'}{note}", flush=True)
    endings = launch(
        [composed.overrides for composed in members.values()],
        partial(run_member, config_dir=config_dir),
        launcher_overrides,
        config_dir,
    )
    show_results(list(members), next(iter(members.values())).config["output_dir"])
    return _report(members, endings)


def run_member(overrides: Sequence[str], config_dir: str | Path | None = None) -> Ending:
    """Train one member; what goes wrong is returned, and kept in its run folder. A signal ends the sweep."""
    from nodebench.training import RunFolderError

    composed = compose(overrides, config_dir)
    print(f"\nmember    {' '.join(overrides)}")
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
    """A member that could not even be built leaves a run folder with its status, so that tables show the row."""
    from nodebench.training import RunFolder, RunFolderError

    try:
        with RunFolder(run_folder(config), config_text(config)) as run:
            if not (run.path / "config.yaml").exists():
                run.begin({})
            run.write_summary({"status": "failed", "reason": reason, "seed": config["seed"]})
    except RunFolderError as error:
        reason += f"; {error}"
    return Ending("failed", reason)


def _report(members: Sequence[Path] | dict[Path, Composed], endings: Sequence[Any]) -> int:
    """Name every member that is not finished; the exit code."""
    code = 0
    for folder, ending in zip(members, endings, strict=True):
        status, reason = (
            ending if isinstance(ending, tuple) else ("failed", f"{type(ending).__name__}: {ending}")
        )
        if status != "finished":
            print(f"{status:<9} {folder}: {reason}")
            code = 1
    return code
