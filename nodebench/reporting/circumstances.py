"""How the runs of a table were trained, solved and measured: told once where it is the same in all of its lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nodebench.counted import counted
from nodebench.records.precision import FLOAT32
from nodebench.records.precision import KEY as PRECISION
from nodebench.reporting.rows import Row
from nodebench.reporting.runs import Run


def tell_circumstances(lines: Sequence[Sequence[Row]]) -> tuple[list[str], list[list[str]]]:
    """Recipe, solver and machine of every line's rows: sentences for all lines that agree, else notes of each line."""
    shared: list[str] = []
    own: list[list[str]] = [[] for _ in lines]
    for what, tell in (("recipe", recipe_words), ("solver", solver_words), ("measured on", machine_words)):
        told = ["; ".join(sorted({text for row in rows if (text := tell(row))})) for rows in lines]
        texts = sorted({text for text in told if text})
        if len(texts) == 1:
            shared.append(f"{what.capitalize()}: {texts[0]}.")
        else:
            for notes, text in zip(own, told, strict=True):
                notes.extend([f"{what}: {text}"] if text else [])
    return shared, own


def length_words(number: object, noun: str) -> str:
    """`8 epochs`, `3,000 steps`, whatever the run's config has in place of a number."""
    if isinstance(number, int):
        return counted(number, noun)
    return (
        f"{number:g} {noun}{'' if number == 1 else 's'}" if isinstance(number, float) else f"{number} {noun}s"
    )


def recipe_words(row: Row) -> str:
    """`training=default, 8 epochs, batches of 64, adamw at 0.004, ...`: what its config says of the training."""
    return ", ".join(part for part in _recipe_parts(row) if part)


def _recipe_parts(row: Row) -> Iterator[str]:
    setting = row.first.setting
    if setting("training.name") is None:
        return
    epochs, steps = setting("training.epochs"), setting("training.num_steps")
    yield f"training={setting('training.name')}"
    yield length_words(epochs, "epoch") if epochs else length_words(steps, "step")
    yield f"batches of {setting('data.batch_size')}"
    yield f"{setting('optimizer.name')} at {setting('optimizer.lr')}"
    yield "deskewed images" if setting("data.deskew") else ""
    yield f"augmentation {setting('data.augment')}" if "augment" in (setting("data") or {}) else ""
    yield "averaged weights" if setting("training.ema_decay") else ""
    if smoothing := setting("training.label_smoothing"):
        yield f"label smoothing {smoothing}"
    for key, what in (("data.val_size", "held out"), ("data.limit_train", "only")):
        yield f"{length_words(setting(key), 'training image')} {what}" if setting(key) else ""


def solver_words(row: Row) -> str:
    """`dopri5 at 1e-3`; empty where there is no ODE."""
    solver, tol = row.identity["solver"], row.identity["tol"]
    return f"{solver} at {tol}" if solver else ""


def machine_words(row: Row) -> str:
    """The device of each counted run, with its threads where it is a CPU, and how many runs shared it."""
    machines = set()
    for run in row.counted:
        name, threads = run.environment.get("device_name"), run.environment.get("num_threads")
        if name:
            on_cpu = run.environment.get("device") == "cpu" and threads
            words = f"{threads} thread" if threads == 1 else f"{threads} threads"
            processes = run.environment.get("num_processes", 1)
            together = [f"{processes} processes"] if processes != 1 else []
            shared = [f"{run.jobs} runs at a time"] if run.jobs > 1 else []
            machines.add(
                ", ".join(
                    [str(name), *([words] if on_cpu else []), *together, *_how_it_computed(run), *shared]
                )
            )
    return "; ".join(sorted(machines))


def _how_it_computed(run: Run) -> Iterator[str]:
    """`compile=true`, `precision=bf16`, and whether a machine was in the way of the latter."""
    if run.setting("compile"):
        yield "compile=true"
    if (asked := run.setting(PRECISION)) not in (None, FLOAT32):
        ran = run.environment.get(PRECISION, asked)
        yield f"{PRECISION}={asked}" if ran == asked else f"{PRECISION}={asked}, but {ran} on this machine"
