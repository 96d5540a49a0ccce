"""What a run is and how it went, a line a subject, from its folder alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from nodebench.commands.costs import time_words
from nodebench.counted import counted
from nodebench.records import evaluations, metrics
from nodebench.records.jsonl import is_number, read_records
from nodebench.records.lock import holder_of
from nodebench.records.measures import FILE as MEASURED
from nodebench.reporting.circumstances import length_words, machine_words, recipe_words, solver_words
from nodebench.reporting.rows import Row
from nodebench.reporting.runs import UNFINISHED, Run


def what_it_is(row: Row) -> Iterator[str]:
    """Net, solver, training and machine, a word of ten characters before each; what is not known is left out."""
    every = replace(row, counted=row.runs)
    told = row.identity
    size = row.text("num_params")
    parts = [f"{told['model']} on {told['data']}"] if told["model"] and told["data"] else []
    parts += [f"{size} parameters"] if size else []
    parts += [f"gradient {told['gradient']}"] if told["gradient"] else []
    for word, words in (
        ("net", ", ".join(parts)),
        ("solver", solver_words(row)),
        ("training", recipe_words(row).removeprefix("training=")),
        ("compile", "true" if row.first.setting("compile") else ""),
        ("claim", _claim(row.first)),
        ("made by", "; ".join(f"nodebench {version}" for version in every.versions)),
        ("on", machine_words(every)),
    ):
        if words:
            yield f"{word:<9} {words}"


def _claim(run: Run) -> str:
    """What an experiment says that it reproduces, and from where."""
    about = run.setting("about")
    told = (
        [str(about[key]) for key in ("source", "reproduces") if about.get(key)]
        if isinstance(about, dict)
        else []
    )
    return ": ".join(told)


def how_it_went(runs: Sequence[Run]) -> Iterator[str]:
    """How each run ended and how long it took, and what was recorded of it since."""
    for run in runs:
        word = "status" if len(runs) == 1 else f"seed {run.seed}"
        yield f"{word:<9} {_how_it_ended(run)}"
    kinds: Counter[str] = Counter()
    for run in runs:
        kinds.update(str(record.get("kind")) for record in evaluations.read(run.folder)[0])
    if kinds:
        told = ", ".join(f"{kind} {number}" for kind, number in kinds.items())
        yield f"evaluated {counted(kinds.total(), 'time')}{f': {told}' if set(kinds) != {'evaluation'} else ''}"
    if measured := [run for run in runs if (run.folder / MEASURED).is_file()]:
        yield f"measured  {MEASURED} of {', '.join(f'seed {run.seed}' for run in measured)}"


def _how_it_ended(run: Run) -> str:
    records, problems = read_records(run.folder / metrics.FILE)
    epochs = [record for record in records if record.get("kind") == "epoch"]
    seconds = _seconds(epochs)
    parts = list(_how_far(run, epochs[-1] if epochs else {}))
    parts += [f"{time_words(seconds)} of training"] if seconds else []
    reason = run.problem if run.status != UNFINISHED else ""
    told = [": ".join(filter(None, (run.status, reason))), ", ".join(parts), *problems]
    if not run.is_finished:
        holder = holder_of(run.folder)
        told += [f"{holder} trains it now"] if holder else []
        log = run.folder / "log.txt"
        told += [f"more in {log}"] if reason and not holder and log.is_file() else []
    return "; ".join(filter(None, told))


def seconds_of_training(run: Run) -> float:
    """The time of all steps that its records tell of, without evaluations."""
    records, _ = read_records(run.folder / metrics.FILE)
    return _seconds([record for record in records if record.get("kind") == "epoch"])


def _seconds(epochs: Sequence[dict[str, Any]]) -> float:
    return float(sum(record["time_epoch_s"] for record in epochs if is_number(record.get("time_epoch_s"))))


def _how_far(run: Run, last: dict[str, object]) -> Iterator[str]:
    """`8 epochs`, or `epoch 3 of 8` of a run that is not through."""
    for key, noun in (("epoch", "epoch"), ("step", "step")):
        asked = run.setting("training.epochs" if key == "epoch" else "training.num_steps")
        reached = last.get(key)
        if not is_number(reached) or (key == "epoch" and not asked):
            continue
        is_through = run.is_finished or not is_number(asked) or reached >= asked
        yield length_words(reached, noun) if is_through else f"{noun} {reached:,} of {asked:,}"
