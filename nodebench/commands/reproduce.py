"""`nodebench reproduce`: train what a figure or table of the paper still lacks, then draw it."""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nodebench.commands.arguments import JOBS_HELP, Parser, count, place, seeds
from nodebench.commands.artefacts import ARTEFACTS, RECIPES, Artefact
from nodebench.commands.costs import cost_words, total_words
from nodebench.commands.destinations import check_folder, writing_to
from nodebench.commands.elsewhere import train_with_others
from nodebench.commands.endings import Ending, report, train_member
from nodebench.commands.jobs import run_side_by_side
from nodebench.commands.members import (
    DONE,
    MISSING,
    Member,
    compose_members,
    counts,
    member_line,
    state_of,
    varied_keys,
)
from nodebench.commands.pace import Pace
from nodebench.commands.results import show_results
from nodebench.config.errors import ConfigError, FailedError, did_you_mean
from nodebench.config.files import GROUPS
from nodebench.config.launch import override_text
from nodebench.counted import counted
from nodebench.reporting.runs import find_runs, nothing_under
from nodebench.terminal import tell

DEFAULT_RUNS = "outputs"


def run(argv: Sequence[str]) -> int:
    """Train the members that are not finished, show the table of all, measure them if need be, draw the artefact.

    Returns 0 if all members are finished and the artefact is drawn, else 1; 0 for a dry run. Raises ConfigError
    before anything runs; KeyboardInterrupt or SystemExit when a signal stops it, and the same command continues.
    """
    args = _parser().parse_args(argv)
    if args.artefact not in ARTEFACTS:
        raise ConfigError(f"unknown artefact `{args.artefact}`.{did_you_mean(args.artefact, ARTEFACTS)}")
    artefact = ARTEFACTS[args.artefact]
    runs = str(args.runs)
    is_new = not os.path.lexists(runs)
    if not is_new and not os.path.isdir(runs):
        raise ConfigError(f"--runs {runs} is not a folder; name one, or one that is to be made")
    elsewhere = [] if runs == DEFAULT_RUNS else [override_text("output_dir", runs)]
    recipe = _of_seeds(artefact.recipes[args.recipe], args.seeds)
    members, _ = compose_members([*overrides, *elsewhere] for overrides in recipe)
    states = {folder: state_of(folder) for folder in members}
    tell(f"{artefact.name}, recipe {args.recipe}: {artefact.description}")
    if is_new and runs != DEFAULT_RUNS:  # perhaps a slip of the keyboard
        print(f"{nothing_under(runs)} yet")
    if args.dry_run:
        _print_plan(members, states, is_fast=args.recipe == RECIPES[0])
        _print_measuring(artefact, members)
        return 0
    with writing_to(args.runs, "choose another place with --runs"):
        check_folder(args.runs / "figures")
    print(counts(states), flush=True)
    endings = _train_missing(members, states, args.jobs)
    show_results(list(members), runs, varied_keys(members.values()))
    code = report(endings, list(endings.values()))
    if artefact.is_measured:
        code = max(code, *(_measure_missing(folder) for folder in members))
    return max(code, _draw(artefact, runs))


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {name:<8} {artefact.description}" for name, artefact in ARTEFACTS.items())
    parser = Parser(
        prog="nodebench reproduce",
        description="Train what a figure or table of the paper still lacks, then draw it.\n"
        "The same command again continues; runs that are finished in DIR are not trained again.",
        epilog=f"artefacts:\n{names}\n\nexamples:\n  nodebench reproduce fig4 --dry-run\n"
        "  nodebench reproduce fig4 --seeds 0,1,2 --jobs 4",
    )
    parser.add_argument("artefact", metavar="ARTEFACT", words=ARTEFACTS, help=", ".join(ARTEFACTS))
    parser.add_argument(
        "--dry-run", action="store_true", help="show the runs, their state and cost; train nothing"
    )
    parser.add_argument("--recipe", choices=RECIPES, default="fast", help="how long to train (default: fast)")
    parser.add_argument(
        "--runs", type=place, default=Path(DEFAULT_RUNS), metavar="DIR", help=f"default: {DEFAULT_RUNS}"
    )
    parser.add_argument(
        "--seeds",
        type=seeds,
        metavar="0,1,2",
        help="train each run with each of these seeds (default: its own)",
    )
    parser.add_argument("--jobs", type=count, default=1, metavar="N", help=JOBS_HELP)
    return parser


def _of_seeds(recipe: Sequence[Sequence[str]], asked: Sequence[int] | None) -> list[Sequence[str]]:
    """The recipe's lists of overrides with each of the seeds, all with one first; as they stand where none is asked."""
    if asked is None:
        return list(recipe)
    without = [tuple(text for text in overrides if not text.startswith("seed=")) for overrides in recipe]
    return [(*overrides, f"seed={seed}") for seed in asked for overrides in dict.fromkeys(without)]


def _print_plan(members: Mapping[Path, Member], states: Mapping[Path, str], is_fast: bool) -> None:
    """A line a member, the counts, and what the experiments cost, which they say of the fast recipe alone."""
    costs: dict[str, str] = {}
    not_done: list[Mapping[str, Any]] = []
    for folder, member in members.items():
        print(member_line(states[folder], member))
        about, training = member.composed.config["about"] or {}, member.composed.config["training"]
        steps, epochs = training["num_steps"], training["epochs"]
        length = counted(steps, "step") if steps else counted(epochs, "epoch")
        costs[member.overrides[0]] = cost_words(about) if is_fast else f"runs of {length}"
        if states[folder] != DONE:
            not_done.append(about if is_fast else {})
    print(counts(states))
    for experiment, cost in costs.items():
        tell(f"cost        {experiment}: {cost}", 12)
    if not_done:
        tell(f"together    {total_words(not_done)}", 12)


def _train_missing(
    members: Mapping[Path, Member], states: Mapping[Path, str], jobs: int
) -> dict[Path, Ending]:
    """How every member ended that was not done; one that fails does not stop the others."""
    missing = {folder: member for folder, member in members.items() if states[folder] != DONE}

    def train(chosen: Mapping[Path, Member]) -> Mapping[Path, Ending]:
        if jobs > 1:
            return run_side_by_side(
                chosen, [_label(member) for member in chosen.values()], min(jobs, len(members))
            )
        endings = {}
        pace = Pace([folder in chosen for folder in members])
        for index, (folder, member) in enumerate(members.items()):
            if folder in chosen:
                print(f"\n[{pace.place(index)}] {_label(member)}", flush=True)
                with pace.timed(index):
                    endings[folder] = train_member(member.composed)
        return endings

    return train_with_others(missing, train)


def _label(member: Member) -> str:
    """`cnf on u1, width 8`: model, data and the settings that ask for the member."""
    config = member.composed.config
    settings = (override.partition("=") for override in member.overrides)
    return ", ".join(
        [
            f"{config['model']['name']} on {config['data']['name']}",
            *(
                f"{key.rpartition('.')[2]} {value}"
                for key, _, value in settings
                if key not in (*GROUPS, "output_dir")
            ),
        ]
    )


def _print_measuring(artefact: Artefact, members: Mapping[Path, Member]) -> None:
    if artefact.is_measured:
        print("measuring comes on top, for each run:")
        for folder in members:
            state = DONE if _is_measured(folder) else MISSING
            print(f"{state:<10}  {shlex.join(['nodebench', 'measure', str(folder)])}")


def _is_measured(folder: Path) -> bool:
    """Whether the run's measure.csv has all that its figure shows, of its last weights; a damaged one has not."""
    from nodebench.reporting.measures import DamagedMeasuresError, read_measures

    try:
        found = [measures for run in find_runs(folder) if (measures := read_measures(run))]
        return any(measures.is_complete and measures.is_of_last_step for measures in found)
    except DamagedMeasuresError:
        return False


def _measure_missing(folder: Path) -> int:
    """Measure a finished run, unless its measure.csv is complete; the exit code."""
    if state_of(folder) != DONE or _is_measured(folder):
        return 0 if state_of(folder) == DONE else 1
    from nodebench.reporting.measures import has_checkpoint

    print()
    if not has_checkpoint(folder):
        print(
            f"not measured: {folder} has no checkpoint (a committed record has none) and its measure.csv is missing or "
            "not complete; train it again under another --runs, or put its measure.csv there"
        )
        return 1
    print(f"measure   {folder}", flush=True)
    try:
        return int(importlib.import_module("nodebench.commands.measure").run([str(folder)]))
    except (ConfigError, FailedError) as error:
        print(f"not measured: {error}")
        return 1


def _draw(artefact: Artefact, runs: str) -> int:
    """Draw from the run folders that are there; the exit code."""
    command, *arguments = artefact.drawn_by
    print()
    try:
        return int(importlib.import_module(f"nodebench.commands.{command}").run([*arguments, "--runs", runs]))
    except ConfigError as error:  # as where no member is finished
        print(f"not drawn: {error}")
        return 1
