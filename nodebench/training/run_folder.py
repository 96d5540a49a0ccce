"""One run on the disk: the folder that training writes and that tables and plots read."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from nodebench.records import evaluations, heartbeat, metrics
from nodebench.records.jsonl import read_mapping, write_mapping
from nodebench.records.lock import take_lock
from nodebench.records.metrics import Metrics
from nodebench.records.requeue import marked, this_job
from nodebench.records.storage import (
    RunFolderError,
    append_durably,
    keep_copies,
    named_disk_errors,
    refuse_links,
    remove,
    write_atomically,
)
from nodebench.records.summary import FILE as SUMMARY
from nodebench.training.environment import code_changes, is_environment, latest_environment, tells_version
from nodebench.training.protocols import Pictures
from nodebench.training.tensorboard import EVENT_FILES, Hparam

_RESULTS = (
    # The summary goes first: a wipe cut short then leaves an unfinished run, not a finished one without records.
    *(SUMMARY, "checkpoints", metrics.FILE, "tensorboard", evaluations.FILE),
    *("measure.csv", "measure.json", "per_image.csv", "per_image.json", "pictures.npz"),
    *("config.yaml", "environment.json", "log.txt", heartbeat.FILE),
)


class RunFolder:
    """Files of one run, open to one process at a time.

        with RunFolder(path, config_text=..., hparams=...) as run:
            outcome = train(task, module, make_optimizer, settings, run)

    config.yaml        `config_text`, as given
    environment.json   what the run was made with; `resumed_in` lists other environments it was continued in
    metrics.jsonl      one JSON object a record; numbers that are not finite are null
    summary.json       final numbers and status; missing while a run goes on, and after a SIGKILL
    heartbeat.json     step, time left, process and host, every few seconds while a run goes on
    pictures.npz       what figures are drawn from, where the task has something to see
    checkpoints/ log.txt, and TensorBoard's event files

    `hparams` are the values that TensorBoard lists beside the final metrics, the five to compare by first, and types
    for those that only other runs have, `own_code` hashes of the user's own code
    by choice, kept in environment.json. `force` removes an earlier run's files, and nothing else in the folder; those
    of a finished run are kept in `replaced`, a run folder of its own, until the new run is finished too. Entering
    raises RunFolderBusyError if another process holds the folder, RunFolderError if it cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        config_text: str = "",
        hparams: Mapping[str, Hparam] | None = None,
        force: bool = False,
        own_code: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.config_text = config_text
        self.hparams = dict(hparams or {})
        self.force = force
        self.own_code = dict(own_code or {})
        self.metrics = Metrics(self.path)
        self._let_go: Callable[[], None] | None = None

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Where events go: among the run's files, so that TensorBoard calls the run by its folder's name.

        A run that began when they had a folder of their own goes on in that.
        """
        own = self.path / "tensorboard"
        return own if own.is_dir() else self.path

    @property
    def replaced(self) -> Path:
        """Where a finished run is kept while another is trained in its place; mostly not there."""
        return self.path / "replaced"

    @property
    def what_goes_on(self) -> str:
        """Which command continues the run when it is interrupted."""
        if not self.force:
            return "the same command"
        return (
            f"{'this job, requeued, or ' if this_job() else ''}the same command without training.force=true"
        )

    def __enter__(self) -> RunFolder:
        with named_disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._let_go = take_lock(self.path)
        try:
            if self.force:
                self._wipe()
            refuse_links(self.path / name for name in _RESULTS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._let_go is not None:
            self._let_go()  # as the end of the process would
            self._let_go = None

    def _wipe(self) -> None:
        """Remove the files of an earlier run by name; whatever else lies in the folder stays."""
        with named_disk_errors(self.path):
            # Without a summary it may be what is left of a wipe that was cut short, whose run stands aside whole.
            names = [*_RESULTS, *(file.name for file in self.path.glob(EVENT_FILES))]
            if self.is_finished() or (self.metrics.has_final() and not self.replaced.exists()):
                keep_copies(self.path, names, self.replaced)
            for name in names:
                remove(self.path / name)

    def is_finished(self) -> bool:
        """Whether summary.json says so."""
        summary = self.read_summary()
        return summary is not None and summary["status"] == "finished"

    def read_summary(self) -> dict[str, Any] | None:
        """summary.json; None if the run has none, or a damaged one: its last checkpoint then gives it anew."""
        try:
            summary = _read(self.path / SUMMARY)
        except RunFolderError:
            return None
        return summary if summary is not None and "status" in summary and tells_version(summary) else None

    def read_environment(self) -> dict[str, Any] | None:
        """environment.json, None if the run has none. Raises RunFolderError if it is damaged."""
        path = self.path / "environment.json"
        environment = _read(path)
        if environment and not is_environment(environment):
            raise _damaged(path, "it is not what training writes")
        return environment

    def own_code_changes(self) -> list[str]:
        """What of the user's own code is not what the run was last trained with: a phrase a choice."""
        try:
            environment = self.read_environment() or {}
        except RunFolderError:
            return []  # resuming says what is damaged
        return code_changes(latest_environment(environment), {"own_code": self.own_code})

    def begin(self, environment: Mapping[str, Any]) -> None:
        """Write config.yaml and environment.json, and take away the summary of a run that goes on."""
        write_atomically(self.path / "config.yaml", self.config_text.encode())
        write_mapping(self.path / "environment.json", marked(environment) if self.force else environment)
        with named_disk_errors(self.path):
            (self.path / SUMMARY).unlink(missing_ok=True)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json: from now on the run has this status. Once it is finished, no other is kept."""
        write_mapping(self.path / SUMMARY, summary)
        if summary["status"] == "finished":
            with suppress(OSError):
                remove(self.replaced)

    def remove_checkpoints(self) -> None:
        """Remove the weights of a run that is finished: what is left is what a published record has.

        Raises RunFolderError if they cannot be removed.
        """
        with named_disk_errors(self.checkpoints):
            remove(self.checkpoints)

    def write_pictures(self, pictures: Pictures) -> None:
        """Write pictures.npz, what figures are drawn from; nothing where there are none."""
        if pictures:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **pictures)
            write_atomically(self.path / "pictures.npz", buffer.getvalue())

    def log(self, text: str) -> None:
        """Append to log.txt, with the time of day; a log that cannot be written stops nothing."""
        stamped = f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n"
        with suppress(RunFolderError):
            append_durably(self.path / "log.txt", stamped.encode())


def _read(path: Path) -> dict[str, Any] | None:
    """The mapping in a JSON file, None if there is no file. Raises RunFolderError if it is damaged."""
    try:
        return read_mapping(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: object) -> RunFolderError:
    return RunFolderError(
        f"`{path}` is damaged ({reason}); remove it and give the same command again: "
        "the run continues from its last checkpoint"
    )
