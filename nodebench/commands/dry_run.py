"""`nodebench train --dry-run`: what a command would train, into which folder, and what it costs; nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from nodebench.commands.costs import MINUTES, cost_words, time_words, total_words
from nodebench.commands.destinations import check_runs
from nodebench.commands.jobs import jobs_of
from nodebench.commands.members import DONE, Member, compose_members, counts, member_line, state_of
from nodebench.commands.plan import net_words, plan
from nodebench.commands.run_words import how_it_went, seconds_of_training
from nodebench.commands.session import Session, assemble, how_to_train, naming_the_key, run_to_extend
from nodebench.config.build import Builder
from nodebench.config.errors import ConfigError, FailedError
from nodebench.config.files import config_folders, options, shipped_targets
from nodebench.config.identity import run_folder
from nodebench.config.launch import expand
from nodebench.config.merged import sweep_of
from nodebench.config.size import is_out_of_memory, out_of_memory
from nodebench.counted import counted
from nodebench.data.torchvision_images import NotDownloadedError, without_downloads
from nodebench.ode import SolverError
from nodebench.quoting import plain
from nodebench.records import metrics
from nodebench.records.jsonl import is_number, read_records
from nodebench.reporting.runs import Run, find_runs
from nodebench.terminal import tell
from nodebench.training import TrainingSettings
from nodebench.training.protocols import NonFiniteValuesError
from nodebench.training.state import MakeOptimizer
from nodebench.training.trial import seconds_a_step

_OF_ANY_RUN = ("experiment", "seed", "device", "num_threads", "output_dir", "training.force")


def dry_run(asked: Member, config_dir: str | Path | None = None) -> int:
    """Print folder, state, plan and cost of one run; returns 0. Its data are read, and a few steps are tried.

    Raises ConfigError for what cannot be trained, FailedError where the first steps fail.
    """
    config, folder = asked.composed.config, run_folder(asked.composed.config)
    source = run_to_extend(config)
    print(f"run       {plain(str(folder))}")
    for note in (*asked.composed.notes, *([f"goes on with {source}"] if source else [])):
        tell(f"note      {note}")
    found = find_runs(folder)
    for line in how_it_went(found[:1]) if found else ["status    not trained yet"]:
        tell(line)
    if found:
        tell(f"next      {_what_follows(found[0], config['training']['force'])}")
    is_to_train = not (found and found[0].is_finished) or config["training"]["force"]
    if is_to_train:
        check_runs(folder)
    try:
        with without_downloads():
            session = assemble(config, config_dir)
    except ConfigError as error:
        if not isinstance(error.__cause__, NotDownloadedError):
            raise
        for line in net_words(config, Builder(config, shipped_targets(config_folders(config_dir))).model()):
            tell(line)
        tell(f"data      {error}")
        _tell_cost("not known before the data are here" if is_to_train else "", asked)
        return 0
    make_optimizer, settings = how_to_train(session)
    for line in plan(config, session.data, session.task, session.model, settings):
        tell(line)
    cost = ""
    if is_to_train:
        is_to_go_on = bool(found) and not config["training"]["force"]
        num_left = settings.num_steps - (_last_step(found[0]) if is_to_go_on else 0)
        cost = _cost(session, make_optimizer, settings, num_left)
    _tell_cost(cost, asked)
    return 0


def _tell_cost(cost: str, asked: Member) -> None:
    """What was found here, and what the experiment says that its runs cost; neither where there is nothing to say."""
    about = asked.composed.config["about"]
    stated = cost_words(about) if about and _is_as_stated(asked) else ""
    for word, words in (("cost", cost), ("stated", stated)):
        if words:
            tell(f"{word:<9} {words}")


def dry_run_of_sweep(overrides: Sequence[str], config_dir: str | Path | None = None) -> int:
    """Print a line a member of a sweep, how many of them are done, and what the others cost; returns 0.

    Raises ConfigError, naming the member, for the first that cannot be trained, and for a launcher that cannot be had.
    """
    expanded, launcher_overrides = expand(overrides, config_dir)
    jobs_of(launcher_overrides, config_dir)
    members, _ = compose_members(expanded, config_dir)
    states = {folder: state_of(folder) for folder in members}
    option = ["--config-dir", str(config_dir)] if config_dir else []
    for folder, member in members.items():
        print(plain(member_line(states[folder], member, option)))
    print(counts(states))
    left = [member for folder, member in members.items() if states[folder] != DONE or _is_forced(member)]
    if len(left) > len(members) - list(states.values()).count(DONE):
        tell("note      training.force=true trains those that are done anew")
    if left:
        done = [run for folder in members if states[folder] == DONE for run in find_runs(folder)[:1]]
        tell(f"cost      {_cost_of_members(left, done)}")
    return 0


def _is_forced(member: Member) -> bool:
    return bool(member.composed.config["training"]["force"])


def _cost_of_members(left: Sequence[Member], done: Sequence[Run]) -> str:
    """By what their experiments say; else by the training time of the members that are done."""
    abouts = [member.composed.config["about"] or {} for member in left]
    if all(MINUTES in about and _is_as_stated(member) for about, member in zip(abouts, left, strict=True)):
        return total_words(abouts)
    times = [seconds for run in done if (seconds := seconds_of_training(run))]
    if times:
        of_done = (
            f"the mean of the {counted(len(times), 'run')} that {'is' if len(times) == 1 else 'are'} done"
        )
        return f"about {time_words(mean(times) * len(left))} of training for {counted(len(left), 'run')}, by {of_done}"
    return f"{total_words([{}] * len(left))}; --dry-run of one of them, without -m, times its first steps"


def _is_as_stated(asked: Member) -> bool:
    """Whether a run is one that its experiment's words on cost are about: nothing was given but what it sweeps."""
    given = {key: value for key, _, value in (override.partition("=") for override in asked.overrides)}
    swept = (
        sweep_of(given["experiment"])
        if given.get("experiment") in options("experiment", config_folders())
        else {}
    )
    return given.keys() <= {*_OF_ANY_RUN, *swept}


def _cost(session: Session, make_optimizer: MakeOptimizer, settings: TrainingSettings, num_left: int) -> str:
    """The time of what is left to train, by a few steps that are tried."""
    config = session.builder.config
    if config["compile"]:
        return "not timed: compiling takes longer than a trial; compile=false times the eager steps"
    try:
        seconds, number = seconds_a_step(session.task, session.model, make_optimizer, settings)
    except (SolverError, NonFiniteValuesError) as error:
        raise FailedError(f"the first steps fail: {naming_the_key(str(error))}") from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise FailedError(f"the first steps fail: {out_of_memory(config)}") from error
    return (
        f"about {time_words(seconds * num_left)} of training for {counted(num_left, 'step')}, at {seconds:.3g} s "
        f"a step ({counted(number, 'step')} tried, nothing kept); evaluation comes on top"
    )


def _what_follows(run: Run, force: bool) -> str:
    if force:
        kept = "; the finished run is kept until then" if run.is_finished else ""
        return f"trained anew, for training.force=true{kept}"
    return "shown, and not trained again" if run.is_finished else "trained on, from its last checkpoint"


def _last_step(run: Run) -> int:
    records, _ = read_records(run.folder / metrics.FILE)
    steps = [record["step"] for record in records if is_number(record.get("step"))]
    return int(steps[-1]) if steps else 0
