"""The commands that go on from a run: those that look closer, and the one that makes it again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from nodebench.config.again import overrides_of
from nodebench.config.errors import ConfigError
from nodebench.config.launch import override_text
from nodebench.config.saved import read_config
from nodebench.records.measures import FILE as MEASURED
from nodebench.reporting.epochs import recorded_columns
from nodebench.reporting.measures import has_checkpoint
from nodebench.reporting.runs import Run

DEFAULT_OUTPUTS = "outputs"


def next_steps(runs: Sequence[Run], config_dir: str | None = None) -> Iterator[tuple[str, str]]:
    """What each command is for, in a word, and the command; `runs` are the seeds of one experiment."""
    finished = [run for run in runs if run.is_finished]
    if trained := next((run for run in finished if has_checkpoint(run.folder)), None):
        has_ode = trained.setting("solver.method") is not None
        yield (
            "evaluate",
            f"nodebench evaluate {trained.argument}{' solver=rk4 solver.dt=0.1' if has_ode else ''}",
        )
        if has_ode and trained.setting("task.name") == "classification":
            yield "measure", f"nodebench measure {trained.argument}"
    if measured := next((run for run in finished if (run.folder / MEASURED).is_file()), None):
        yield "plot", f"nodebench plot fig3 --runs {measured.argument}"
    if recorded_columns(runs):
        yield "plot", f"nodebench plot curves --runs {shlex.quote(str(_all_seeds(runs[0])))}"
    yield again(runs, config_dir)


def again(runs: Sequence[Run], config_dir: str | None = None) -> tuple[str, str]:
    """`again` or `continue`, and the command; or why it is not known."""
    is_to_go_on = not all(run.is_finished for run in runs)
    what = "continue" if is_to_go_on else "again"
    known = next((run for run in runs if run.config), runs[0])
    try:
        config = read_config(known.folder)
        found = overrides_of(config, config_dir)
    except ConfigError as error:
        return what, f"not known: {error}"
    *overrides, seed = found.overrides
    if runs[1:]:
        seed = f"seed={','.join(run.seed for run in runs)}"
    root = _root(known)
    is_default = root is not None and os.path.abspath(root) == os.path.abspath(DEFAULT_OUTPUTS)
    if is_to_go_on and root is not None and not is_default:
        overrides.append(override_text("output_dir", str(root)))
    elif is_default and not is_to_go_on:  # else the run there would be shown, and not trained
        overrides.append("training.force=true")
    words = ["nodebench", "train", *(["-m"] if runs[1:] else []), *overrides, seed]
    words += ["--config-dir", config_dir] if config_dir else []
    said = (
        [f"as near as this version comes, but for {', '.join(found.differences)}"]
        if found.differences
        else []
    )
    said += ["data.path is the file's name alone: give its place"] if "path" in config["data"] else []
    return what, f"{shlex.join(words)}{'  # ' if said else ''}{'; '.join(said)}"


def _all_seeds(run: Run) -> Path:
    return run.folder.parent if run.hash else run.folder


def _root(run: Run) -> Path | None:
    """The output_dir that the run was trained into; None of a run that lies elsewhere."""
    is_in_place = run.hash and run.folder.name == f"seed{run.seed}"
    above = run.folder.parent.parent
    return above.parent if is_in_place and above.name == run.setting("task.name") else None
