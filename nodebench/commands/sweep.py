"""`nodebench train -m`: every member composed and checked first, then run; a failing one is a row and not the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nodebench.commands.destinations import check_runs
from nodebench.commands.elsewhere import train_with_others
from nodebench.commands.endings import Ending, report, train_member
from nodebench.commands.jobs import jobs_of, run_side_by_side
from nodebench.commands.members import Member, compose_members, varied_keys
from nodebench.commands.pace import Pace
from nodebench.commands.results import show_results
from nodebench.commands.submitted import run_submitted
from nodebench.config.errors import ConfigError
from nodebench.config.launch import BASIC, JOBLIB, expand, launcher_name
from nodebench.config.start import is_forced
from nodebench.counted import counted
from nodebench.terminal import tell


def sweep(overrides: Sequence[str], config_dir: str | Path | None = None, jobs: int | None = None) -> int:
    """Run every combination, `jobs` at a time, show the table, and return 0 if all are finished, else 1.

    Raises ConfigError, naming the member, before anything runs; KeyboardInterrupt when stopped by Ctrl-C. Finished
    members are skipped and unfinished ones continued, so the same command again resumes the sweep.
    """
    expanded, launcher_overrides = expand(overrides, config_dir)
    if jobs is not None and launcher_overrides:
        raise ConfigError(
            f"--jobs {jobs} runs the members here; drop it, or drop {' '.join(launcher_overrides)}"
        )
    jobs = jobs or jobs_of(launcher_overrides, config_dir) or 1
    members, repeated = compose_members(expanded, config_dir)
    note = f"; {counted(repeated, 'more combination')} asked for one of them again" if repeated else ""
    print(f"sweep     {counted(len(members), 'run')}{note}", flush=True)
    to_train = {folder: member for folder, member in members.items() if _is_to_train(folder, member)}
    output_dir = next(iter(members.values())).composed.config["output_dir"]
    if to_train:
        check_runs(Path(output_dir))
    launcher, jobs = launcher_name(launcher_overrides), min(jobs, len(members))
    if jobs > 1 or launcher not in (BASIC, JOBLIB):
        if len(to_train) < len(members):
            done = len(members) - len(to_train)
            tell(f"done      {done} of them are finished; training.force=true trains anew")
        in_parallel = partial(
            _in_parallel, members, jobs=jobs, launcher=launcher_overrides, config_dir=config_dir
        )
        endings = train_with_others(to_train, in_parallel)
    else:
        endings = train_with_others(members, partial(_one_by_one, to_train, config_dir=config_dir))
    show_results(list(members), output_dir, varied_keys(members.values()))
    return report(endings, list(endings.values()))


def _in_parallel(
    members: Mapping[Path, Member],
    chosen: Mapping[Path, Member],
    jobs: int,
    launcher: Sequence[str],
    config_dir: str | Path | None,
) -> dict[Path, Ending]:
    """How the chosen ones of the members ended, named by what not all members share: here, or as a launcher's jobs."""
    shared = set.intersection(*(set(member.overrides) for member in members.values()))
    labels = [
        " ".join(override for override in member.overrides if override not in shared or len(members) == 1)
        for member in chosen.values()
    ]
    if jobs > 1:
        return run_side_by_side(chosen, labels, jobs, config_dir)
    return run_submitted(chosen, labels, launcher, config_dir)


def _one_by_one(
    to_train: Mapping[Path, Member], chosen: Mapping[Path, Member], config_dir: str | Path | None
) -> dict[Path, Any]:
    """How the chosen members ended, or what they raised, one after the other in this process; some are only looked at.

    They are trained as they were composed; Hydra's own launcher would take a tenth of a second more for each.
    """
    pace = Pace([folder in to_train for folder in chosen])
    endings: dict[Path, Any] = {}
    for index, (folder, member) in enumerate(chosen.items()):
        print()
        tell(f"member    {pace.place(index)}: {' '.join(member.composed.overrides)}")
        with pace.timed(index):
            try:
                endings[folder] = train_member(member.composed, config_dir)
            except Exception as error:  # where even its failure could not be kept
                endings[folder] = error
    return endings


def _is_to_train(folder: Path, member: Member) -> bool:
    from nodebench.training import RunFolder

    return is_forced(member.composed.config) or not RunFolder(folder).is_finished()
