"""How far a run is, as it shows on the screen: a bar on a terminal, a line an epoch everywhere; and its heartbeat."""

from __future__ import annotations

import statistics
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from tqdm import tqdm

from nodebench.counted import counted
from nodebench.records import COLUMNS, Columns
from nodebench.records.heartbeat import Heart
from nodebench.terminal import terminal_width, wrapped
from nodebench.training.means import StepMeasurement
from nodebench.training.protocols import Item, ShowProgress

STEPS_BEFORE_ESTIMATE = 20
_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"
_MIN_BAR = 10  # characters; what is said behind it is shortened to leave it that


class Progress:
    """Steps `first_step` to `num_steps` on stderr: loss, score, NFE forward/backward, rate, time left.

    `show_bar` None draws the bar only if stderr is a terminal. `heart` tells other processes, where there is one.
    """

    def __init__(
        self,
        num_steps: int,
        first_step: int,
        show_bar: bool | None = None,
        sample_unit: str = "images",
        counts_epochs: bool = True,
        columns: Columns = COLUMNS,
        heart: Heart | None = None,
    ) -> None:
        self._num_steps = num_steps
        self._first_step = first_step
        self._step = first_step
        self._sample_unit = sample_unit
        self._counts_epochs = counts_epochs
        self._columns = columns
        self._heart = heart
        self._recent: deque[StepMeasurement] = deque(maxlen=STEPS_BEFORE_ESTIMATE)
        self._bar = tqdm(
            total=num_steps,
            initial=first_step,
            unit="step",
            file=sys.stderr,
            bar_format=_BAR,
            dynamic_ncols=True,
            leave=False,
            disable=None if show_bar is None else not show_bar,
        )
        self._beat()

    def step(self, measured: StepMeasurement) -> None:
        """Show one step; after the first 20, say how long the whole run takes."""
        self._step += 1
        self._recent.append(measured)
        if self._step - self._first_step == STEPS_BEFORE_ESTIMATE and self.seconds_left() >= 1:
            say(self._estimate())
        if not self._bar.disable:
            self._bar.set_postfix_str(self._postfix(measured), refresh=False)
            self._bar.update()
        self._beat()

    def evaluation(self, batches: Sequence[Item], /) -> Iterator[Item]:
        """Hand on the batches of an evaluation; the bar says `evaluating 3/20`."""
        for number, batch in enumerate(batches, start=1):
            self.pause(f"evaluating {number}/{len(batches)}")
            self._beat()
            yield batch

    def pause(self, what: str) -> None:
        """Show on the bar what is done in the place of steps."""
        if not self._bar.disable:
            self._bar.set_postfix_str(what)

    def epoch(self, record: Mapping[str, Any]) -> None:
        """Print the line of an epoch."""
        parts = [f"loss {record['loss_train']:.4f}"]
        for label, columns in self._columns.on_screen(record).items():
            scores = [
                f"{column.on_screen(record[column.name])} {column.split}".rstrip() for column in columns
            ]
            parts.append(f"{label} {', '.join(scores)}")
        if record.get("nfe_forward") is not None:
            parts.append(f"NFE {record['nfe_forward']:.1f}/{record['nfe_backward']:.1f}")
        if self._recent:
            parts.append(self._rate())
        if self._recent and self.seconds_left() >= 1:
            parts.append(f"{duration(self.seconds_left())} left")
        epoch = f"epoch {record['epoch']}, " if self._counts_epochs else ""
        say(f"{epoch}step {record['step']}/{self._num_steps}: {', '.join(parts)}")

    def close(self) -> None:
        """Take the bar off the screen, and the heartbeat away."""
        self._bar.close()
        if self._heart is not None:
            self._heart.stop()

    def _beat(self) -> None:
        if self._heart is not None:
            self._heart.beat(self._step, lambda: self.seconds_left() if self._recent else None)

    def _postfix(self, measured: StepMeasurement) -> str:
        parts = [f"loss {measured.loss:.3f}"]
        for label, columns in self._columns.on_screen(measured.metrics).items():
            parts += [f"{label} {column.on_screen(measured.metrics[column.name])}" for column in columns]
        if measured.counts is not None:
            parts.append(f"NFE {measured.counts.nfe_forward}/{measured.counts.nfe_backward}")
        parts.append(self._rate())
        while len(parts) > 1 and len(", ".join(parts)) > self._room():
            parts.pop()
        return ", ".join(parts)

    def _room(self) -> int:
        """The characters of the terminal's line that are left behind a bar of _MIN_BAR."""
        counts = f"100%|| {self._num_steps}/{self._num_steps}, {duration(self.seconds_left())} left, "
        return (terminal_width(sys.stderr) or sys.maxsize) - len(counts) - _MIN_BAR

    def _estimate(self) -> str:
        return (
            f"about {duration(self.seconds_left())} of training left "
            f"({self.seconds_a_step():.3f} s a step, {counted(self._num_steps - self._step, 'step')}; "
            "evaluation comes on top)"
        )

    def _rate(self) -> str:
        seconds = sum(measured.time_step_ms for measured in self._recent) / 1000
        samples = sum(measured.num_samples for measured in self._recent)
        return f"{samples / max(seconds, 1e-9):.0f} {self._sample_unit}/s"

    def seconds_a_step(self) -> float:
        """The median of the last steps."""
        return statistics.median(measured.time_step_ms for measured in self._recent) / 1000

    def seconds_left(self) -> float:
        """Of all steps that are left."""
        return self.seconds_a_step() * (self._num_steps - self._step)


@contextmanager
def shown(what: str, unit: str = "batch") -> Iterator[ShowProgress]:
    """Within, `what` is shown as a bar on stderr, if that is a terminal; nothing of it stays."""
    with (
        ExitStack() as bars
    ):  # closed here: the iterator of a bar outlives an error, and would stand in its line

        def show(items: Sequence[Item], /) -> Iterable[Item]:
            bar: Iterable[Item] = bars.enter_context(
                tqdm(
                    items,
                    desc=what,
                    unit=unit,
                    file=sys.stderr,
                    dynamic_ncols=True,
                    leave=False,
                    disable=None,
                )
            )
            return bar

        yield show


def say(text: str) -> None:
    """Print a line on stderr, above the bar where there is one, broken between words where the terminal ends.

    A terminal that is gone stops nothing.
    """
    with suppress(OSError):
        tqdm.write(wrapped(text, terminal_width(sys.stderr), indent=2), file=sys.stderr)
        sys.stderr.flush()


def about(seconds: float) -> str:
    """`about 04:05`, or in words where minutes and seconds would be 00:00."""
    return f"about {duration(seconds)}" if seconds >= 1 else "less than a second"


def duration(seconds: float) -> str:
    """Minutes and seconds as tqdm writes them, 04:05, with hours where there are any, 1:04:05."""
    return str(tqdm.format_interval(seconds))
