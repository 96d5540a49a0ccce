"""A run as a command takes it: the folder of one seed, or the folder that all seeds of it are in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from nodebench.config.errors import ConfigError
from nodebench.reporting.runs import Run, find_runs, nothing_under, run_folders

MAX_FOLDERS = 10_000  # that are looked into for a name that was meant


def runs_of(place: Path) -> list[Run]:
    """The seeds of one experiment that lie at or below `place`, sorted by seed.

    Raises ConfigError, with the nearest that is there, if there is none, or more than one experiment.
    """
    runs = find_runs(place)
    if not runs:
        raise ConfigError(f"{nothing_under(place, 'no run')}{_nearest(place)}")
    groups = list(dict.fromkeys(str(run.folder.parent if run.hash else run.folder) for run in runs))
    if len(groups) > 1:
        raise ConfigError(
            f"`{place}` holds {len(groups)} experiments; name one of them, such as `{groups[0]}`, or see all with "
            f"`nodebench table --runs {place}`"
        )
    return sorted(runs, key=lambda run: (not run.seed.isdecimal(), len(run.seed), run.seed))


def runs_under(place: Path) -> list[Run]:
    """All runs at or below `place`, which --runs names. Raises ConfigError if there are none."""
    check_no_file(place)
    runs = find_runs(place)
    if not runs:
        raise ConfigError(
            f"{nothing_under(place)}: make one with `nodebench train data=digits`, "
            "or name another folder with --runs"
        )
    return runs


def check_no_file(place: Path) -> None:
    """Raises ConfigError if what --runs names is there and is no folder: then no run that is made would be in it."""
    if os.path.lexists(place) and not os.path.isdir(place):
        raise ConfigError(f"{nothing_under(place)}; name one with --runs")


def where(runs: Sequence[Run]) -> Path:
    """The folder that the seeds of one experiment lie in, or the run's own where there is one alone."""
    return runs[0].folder.parent if runs[1:] else runs[0].folder


def _nearest(place: Path) -> str:
    """A sentence on what may have been meant: the run that `place` lies in, else the most similar name."""
    for above in place.absolute().parents:
        if {"config.yaml", "summary.json"} & set(_names(above)):
            return f"; the run that it lies in is `{os.path.relpath(above)}`"
    there = next((above for above in place.parents if above.is_dir()), Path())
    known = list(_places(there))
    if not known:
        return "; train one with `nodebench train`, whose first line names it"
    near = [name for name in known if name.startswith(str(place))]
    near = near or get_close_matches(str(place), known, n=1, cutoff=0.6)
    return (
        f". Did you mean `{near[0]}`?" if near else f"; `nodebench table --runs {there}` shows what is there"
    )


def _places(folder: Path) -> Iterator[str]:
    """Every folder of seeds and every run folder below, as far as a user would wait for."""
    seen: set[Path] = set()
    for path in run_folders(folder, MAX_FOLDERS):
        if path.parent not in seen:
            seen.add(path.parent)
            yield str(path.parent)
        yield str(path)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
