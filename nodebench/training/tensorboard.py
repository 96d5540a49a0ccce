"""The TensorBoard view of a run. metrics.jsonl holds the results; this shows them.

TensorBoard itself is imported with the first Dashboard: what only reads a run does without.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nodebench.records import COLUMNS, Columns, Shown
from nodebench.records.storage import named_disk_errors
from nodebench.training.means import StepMeasurement
from nodebench.training.protocols import Pictures
from nodebench.training.series_image import series_image

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

EVENT_FILES = "events.out.tfevents.*"
Hparam = bool | int | float | str | type
"""A value, or the type of one that this run does not have and another may."""

_STEPS_BETWEEN_SCALARS = 5
_NUM_SHOWN_HPARAMS = 5  # columns that TensorBoard shows before anybody chooses


class Dashboard:
    """Event files of one run, all in one folder, with steps counted as optimizer steps done.

    `purge_step`: events of this step and later, written before the run was stopped, are hidden by TensorBoard.
    `z2_grows_down`: draw pictures as the paper's Figure 4 does. Raises RunFolderError if the folder cannot be written.
    """

    def __init__(
        self, folder: Path, purge_step: int, z2_grows_down: bool = False, columns: Columns = COLUMNS
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._columns = columns
        self._z2_grows_down = z2_grows_down
        with named_disk_errors(folder):
            self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def show_config(self, text: str) -> None:
        """The run's config, as text."""
        with named_disk_errors(self._folder):
            self._writer.add_text("config", f"```yaml\n{text}\n```", global_step=0)

    def show_step(self, step: int, measured: StepMeasurement, learning_rate: float) -> None:
        """One training batch, every fifth step."""
        if step % _STEPS_BETWEEN_SCALARS:
            return
        scalars = {f"{self._columns[name].tag}_batch": value for name, value in measured.metrics.items()}
        scalars["loss/train_batch"] = measured.loss
        scalars["lr/lr"] = learning_rate
        if measured.counts is not None:
            scalars["nfe/forward_batch"] = measured.counts.nfe_forward
            scalars["nfe/backward_batch"] = measured.counts.nfe_backward
        self._add(scalars, step)

    def show_record(self, record: Mapping[str, Any]) -> None:
        """The numbers of an epoch."""
        scalars = {self._columns[name].tag: value for name, value in _numbers(record).items()}
        self._add({tag: value for tag, value in scalars.items() if tag}, record["step"])

    def show_pictures(self, pictures: Pictures, step: int) -> None:
        """The last frame of density and samples, and the target; or the first series with their predictions."""
        with named_disk_errors(self._folder):
            if "prediction" in pictures:
                self._writer.add_image("series/prediction", series_image(pictures), step, dataformats="HWC")
            for name in ("density", "samples", "target"):
                if name in pictures:
                    frame = pictures[name].reshape(-1, *pictures[name].shape[-2:])[-1]
                    rows = frame if self._z2_grows_down else frame[::-1]
                    self._writer.add_image(f"flow/{name}", _coloured(rows), step, dataformats="HWC")

    def show_final(self, record: Mapping[str, Any], hparams: Mapping[str, Hparam]) -> None:
        """The final metrics beside the hyperparameters, in this run; the first five of these are shown unasked.

        SummaryWriter.add_hparams would open a second run for them (pytorch issue 32651).
        """
        from torch.utils.tensorboard.summary import hparams as hparams_summaries

        numbers = _numbers(record)
        tags = {column.name: f"result/{column.name}" for column in self._columns.shown(Shown.HPARAMS)}
        metrics = {tag: numbers[name] for name, tag in tags.items() if name in numbers}
        own = {name: value for name, value in hparams.items() if not isinstance(value, type)}
        _, *session = hparams_summaries(own, {})
        with named_disk_errors(self._folder):
            for summary in (_declaration(hparams, tags.values()), *session):
                self._writer._get_file_writer().add_summary(summary)
        self._add(metrics, record["step"])

    def flush(self) -> None:
        """Hand everything to the operating system: a checkpoint must not be ahead of its events."""
        with named_disk_errors(self._folder):
            self._writer.flush()

    def close(self) -> None:
        """Write what is left and close the files."""
        with named_disk_errors(self._folder):
            self._writer.close()

    def _add(self, scalars: Mapping[str, float], step: int) -> None:
        with named_disk_errors(self._folder):
            for tag, value in scalars.items():
                self._writer.add_scalar(tag, value, step)


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a record, which a chart can show."""
    return {name: float(value) for name, value in record.items() if isinstance(value, int | float)}


def _declaration(hparams: Mapping[str, Hparam], tags: Iterable[str]) -> Summary:
    """What TensorBoard reads the columns of its table from: every one that any run may have.

    It takes the declaration of whichever run it finds first for all of them, and sorts what is marked as different
    between runs to the front, by name.
    """
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from torch.utils.tensorboard.summary import hparams as hparams_summaries

    typed = {name: value() if isinstance(value, type) else value for name, value in hparams.items()}
    summary, *_ = hparams_summaries(typed, dict.fromkeys(tags, 0.0))
    plugin_data = summary.value[0].metadata.plugin_data
    declared = HParamsPluginData.FromString(plugin_data.content)
    shown = list(hparams)[:_NUM_SHOWN_HPARAMS]
    for info in declared.experiment.hparam_infos:
        info.differs = info.name in shown
    plugin_data.content = declared.SerializeToString()
    return summary


def _coloured(rows: np.ndarray) -> np.ndarray:
    """A picture (G, G), its first row on top, in colours (3 G, 3 G, 3), scaled to its largest finite value."""
    from matplotlib import colormaps

    values = np.nan_to_num(rows.astype(np.float32)).repeat(3, axis=0).repeat(3, axis=1)
    coloured: np.ndarray = colormaps["magma"](values / max(float(values.max()), 1e-9), bytes=True)[..., :3]
    return coloured
