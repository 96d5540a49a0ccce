"""A longer run that begins with what a shorter one has done: the same numbers as if it had been one run from the start.

That holds where no step depends on the run's length, which the caller sees to: the schedule is constant or multistep.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nodebench.records.jsonl import write_mapping
from nodebench.records.metrics import Metrics
from nodebench.records.storage import RunFolderError, named_disk_errors, write_atomically
from nodebench.training.checkpoints import copy_best, load_latest_checkpoint, save_checkpoint, why_not_kept
from nodebench.training.progress import say
from nodebench.training.run_folder import RunFolder


def extend(run: RunFolder, source: Path, num_steps: int, steps_per_epoch: int) -> None:
    """Make the entered folder of a run of `num_steps` steps, if nothing is trained in it yet, go on from `source`.

    It gets the records, checkpoint and environment of `source`, which stays as it is. An epoch that was cut short by
    the end of the shorter run is trained again, from the checkpoint before. Raises RunFolderError if there is no
    checkpoint to go on from, or a folder cannot be used.
    """
    if any(run.checkpoints.glob("step-*.pt")) or run.metrics.has_final():
        return
    records = Metrics(source)

    def is_usable(checkpoint: Any) -> bool:
        is_whole = checkpoint.get("epoch", 0) * steps_per_epoch <= checkpoint["step"]
        return is_whole and checkpoint["metrics_length"] <= records.length

    passed_over: list[str] = []
    checkpoint = load_latest_checkpoint(source / "checkpoints", is_usable, passed_over.append)
    if checkpoint is None:
        raise RunFolderError(
            why_not_kept(source / "checkpoints")
            or f"`{source}` has no checkpoint to go on from, at the end of a whole epoch; train from the start, "
            "without training.extend"
        )
    environment = RunFolder(source).read_environment() or {}
    step = checkpoint["step"]
    with named_disk_errors(run.path):
        done = records.path.read_bytes()[: checkpoint["metrics_length"]]
    write_atomically(run.metrics.path, done)
    origin = {"run": "/".join(source.resolve().parts[-2:]), "step": step}
    write_mapping(run.path / "environment.json", {**environment, "extends": origin})
    copy_best(source / "checkpoints", run.checkpoints, step)
    save_checkpoint(run.checkpoints, step, {**checkpoint, "num_steps": num_steps})
    text = f"goes on from step {step} of {source}"
    say(text)
    run.log(text)
