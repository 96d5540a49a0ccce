"""The training loop: steps, records, checkpoints, and the five ways in which a run can end."""

from __future__ import annotations

import shlex
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import nn

from nodebench.counted import counted
from nodebench.records import COLUMNS
from nodebench.records.heartbeat import Heart
from nodebench.records.jobs import jobs_here
from nodebench.records.precision import FLOAT32
from nodebench.records.precision import KEY as PRECISION
from nodebench.records.storage import RunFolderError
from nodebench.records.summary import declaration
from nodebench.training.checkpoints import discard_after, load_latest_checkpoint, save_best, save_checkpoint
from nodebench.training.environment import continued_in, describe_environment
from nodebench.training.interruption import Interrupted, InterruptGuard
from nodebench.training.loggers import Logger, Teller
from nodebench.training.means import final_record
from nodebench.training.meetings import LeftError
from nodebench.training.memory import memory_of_step
from nodebench.training.outcome import Outcome, finished_outcome, what_a_run_came_to
from nodebench.training.patience import Patience
from nodebench.training.processes import Alone, Processes
from nodebench.training.progress import STEPS_BEFORE_ESTIMATE, Progress, say
from nodebench.training.protocols import Advise, NonFiniteValuesError, Pictures, Task
from nodebench.training.run_folder import RunFolder
from nodebench.training.seeding import preserved_rng, seed_everything
from nodebench.training.settings import TrainingSettings
from nodebench.training.state import MakeOptimizer, TrainingState
from nodebench.training.step import training_step
from nodebench.training.tensorboard import EVENT_FILES, Dashboard


def train(
    task: Task,
    module: nn.Module,
    make_optimizer: MakeOptimizer,
    settings: TrainingSettings,
    run: RunFolder,
    logger: Logger | None = None,
    processes: Processes | None = None,
) -> Outcome:
    """Train `module` on `task` in an entered `run` folder, from its last checkpoint if it has one, and tell `logger`.

    Of several `processes` this is the first. On CPU, at the same number of threads and processes, a run that was
    stopped any number of times ends in the same numbers as one that never was. A finished run is returned as it is.

    Losses and outputs that are not finite and an exception of `settings.failure_types` end the run with a status and
    a reason. Any other exception is written to log.txt, sets the status `failed` and is raised again. Raises
    RunFolderError if the folder cannot be written or its checkpoint is of another run; its last checkpoint is then
    intact.
    """
    finished = finished_outcome(run)
    if finished is not None:
        return finished
    seed_everything(settings.seed, settings.deterministic)
    return _Training(task, module, make_optimizer, settings, run, logger, processes or Alone()).run_to_end()


class _Training:
    def __init__(
        self,
        task: Task,
        module: nn.Module,
        make_optimizer: MakeOptimizer,
        settings: TrainingSettings,
        run: RunFolder,
        logger: Logger | None,
        processes: Processes,
    ) -> None:
        self.task = task
        self.processes = processes
        self.settings = settings
        self.run = run
        self.columns = COLUMNS.and_own(getattr(task, "columns", ()))
        self.device = torch.device(settings.device)
        best_by = getattr(task, "best_by", None)
        self.state = TrainingState(module, make_optimizer, settings, task.steps_per_epoch, best_by)
        precision = getattr(task, PRECISION, FLOAT32)
        self.environment = describe_environment(self.device, run.own_code, precision, processes.number)
        self.guard = InterruptGuard()
        self.teller = Teller(logger, self._say, self.run.log)
        self.last_saved = time.monotonic()

    def run_to_end(self) -> Outcome:
        recorded_failures: tuple[type[Exception], ...] = (NonFiniteValuesError, *self.settings.failure_types)
        with self.guard, ExitStack() as stack:
            stack.callback(self.teller.close)
            try:
                self._begin(stack)
                while self._goes_on():
                    self._train_epoch()
                    self._record_epoch()
                return self._finish()
            except Interrupted:
                return self._interrupted()
            except LeftError as error:
                return self._left(error)
            except RunFolderError as error:
                self.run.log(str(error))
                raise
            except recorded_failures as error:
                return self._stopped(error)
            except Exception as error:
                with suppress(RunFolderError):
                    self._stopped(error)
                raise

    def _begin(self, stack: ExitStack) -> None:
        """Load the last checkpoint, if any, and bring every file of the folder to its step."""
        checkpoint = load_latest_checkpoint(
            self.run.checkpoints, lambda c: c["metrics_length"] <= self.run.metrics.length, self._say
        )
        if checkpoint is not None:
            self.run.metrics.read(
                checkpoint["metrics_length"]
            )  # damage is told now, and not when all is trained
            self._restore(checkpoint)
            self._say(f"continuing from step {self.state.step} of {self.settings.num_steps}")
        elif self.run.metrics.has_final():
            raise RunFolderError(
                f"`{self.run.path}` has the records of a finished run, but no summary.json that can be read, and no "
                "checkpoint to make it from; put summary.json back as it was, choose another output_dir=..., or "
                "training.force=true to train anew"
            )
        elif any(self.run.checkpoints.glob("step-*.pt")):
            self._say("no checkpoint can be used; training starts from the beginning")
        self.run.begin(self.environment)
        self.run.metrics.truncate(checkpoint["metrics_length"] if checkpoint else 0)
        discard_after(self.run.checkpoints, self.state.step if checkpoint else -1)
        if (
            checkpoint and self.state.best.step == self.state.step
        ):  # it may have been stopped just before this
            self._save_best()

        # Events of the checkpoint's own step stay, unless they belong to a record that is still to be written.
        keeps_events = checkpoint is not None and not self._is_record_due()
        has_events = any(self.run.tensorboard.glob(EVENT_FILES))
        self.dashboard = Dashboard(
            self.run.tensorboard,
            self.state.step + 1 if keeps_events else self.state.step,
            getattr(self.task, "z2_grows_down", False),
            self.columns,
        )
        stack.callback(self.dashboard.close)
        if not has_events:  # at the start, and where only the records of a shorter run are at hand
            self.dashboard.show_config(self.run.config_text)
            for record in self.run.metrics.read():
                self.dashboard.show_record(record)
        settings = self.settings
        self.progress = Progress(
            settings.num_steps,
            self.state.step,
            settings.show_progress,
            self.task.sample_unit,
            settings.counts_epochs,
            self.columns,
            Heart(self.run.path, settings.num_steps),
        )
        stack.callback(self.progress.close)
        self.patience = stack.enter_context(Patience(self._say))
        self.processes.start(self.state, self.guard)

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        if checkpoint["num_steps"] != self.settings.num_steps:
            raise RunFolderError(
                f"the checkpoint in `{self.run.path}` is of a run of {counted(checkpoint['num_steps'], 'step')}, not "
                f"of {self.settings.num_steps}; choose another output_dir=..., or training.force=true to train anew"
            )
        try:
            self.state.load_state_dict(checkpoint)
        except (KeyError, RuntimeError, ValueError) as error:
            raise RunFolderError(
                f"the checkpoint in `{self.run.path}` is of another model or optimizer ({error}); "
                "choose another output_dir=..., or training.force=true to train anew"
            ) from error
        self.environment = continued_in(self.run.read_environment(), self.environment, self._say)

    def _goes_on(self) -> bool:
        """Whether there is an epoch to train or its record to write; says so where patience has run out."""
        if self._is_record_due():
            return True
        best, patience = self.state.best, self.settings.patience
        if patience is None or self.state.epoch - best.epoch < patience:
            return self.state.step < self.settings.num_steps
        if self.state.step < self.settings.num_steps:
            evaluate = f"nodebench evaluate {shlex.quote(str(self.run.path))} --checkpoint best"
            self._say(
                f"stopped early: {best.column} has not fallen in {counted(patience, 'record')}, since step {best.step} "
                f"({best.value:.4g}); {evaluate} evaluates its weights"
            )
        return False

    def _epoch_end(self) -> int:
        """The step at which the epoch in hand ends."""
        return min((self.state.epoch + 1) * self.task.steps_per_epoch, self.settings.num_steps)

    def _is_record_due(self) -> bool:
        """All steps of the epoch in hand are done, and its record is not written."""
        return self.state.means.num_steps > 0 and self.state.step == self._epoch_end()

    def _train_epoch(self) -> None:
        end = self._epoch_end()
        self.state.module.train()
        while self.state.step < end:
            self.guard.raise_if_received()
            learning_rate = self.state.learning_rate
            with self.task.counting(self.state.module) as counts:
                self.patience.begin(self.state.step + 1, counts)
                measured = training_step(
                    self.task, self.state, counts, self.settings.clip_norm, self.device, self.processes
                )
                self.patience.end()
            if self.state.step < end:  # the record of an epoch stands at its last step
                self.dashboard.show_step(self.state.step, measured, learning_rate)
            self.progress.step(measured)
            if self.state.step == STEPS_BEFORE_ESTIMATE and self.settings.advise is not None:
                self._ask(self.settings.advise)
            is_due = time.monotonic() - self.last_saved >= self.settings.checkpoint_every_s
            if is_due and self.state.step < end:
                self._save()

    def _record_epoch(self) -> None:
        self.guard.raise_if_received()
        record = {"kind": "epoch", "epoch": self.state.epoch + 1, "step": self.state.step}
        record |= self.state.means.columns()
        batch = self.processes.cut(self.task, self.task.batch(self.state.step - 1))
        record |= memory_of_step(self.task, self.state.module, batch, self.device)
        record |= self._evaluate("val")
        record = self.columns.ordered(record)
        pictures = self._pictures(is_final=False)
        # From here to the checkpoint no signal interrupts: a record that is written is one that the state counts.
        self.run.metrics.append(record)
        self.state.end_epoch()
        is_best = self.state.best.is_beaten_by(record)
        self.dashboard.show_record(record)
        self.teller.tell(record)
        self.dashboard.show_pictures(pictures, self.state.step)
        self.progress.epoch(record)
        self._save()
        if is_best:  # after the checkpoint, which can make it again where the run is stopped in between
            self._save_best()

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Within, a signal stops the run at once, and random numbers are drawn that the training does not notice."""
        with preserved_rng(), self.guard.interruptible():  # in this order: no signal tears the putting back
            yield

    def _ask(self, advise: Advise) -> None:
        with self._apart():
            words = advise(self.state.module, self.progress)
        if words is not None:
            self._say(words)

    def _evaluate(self, split: str) -> dict[str, float]:
        with self._apart():
            return self.task.evaluate(self.state.evaluated_module, split, self.progress.evaluation)

    def _pictures(self, is_final: bool) -> Pictures:
        with self._apart():
            return self.task.pictures(self.state.evaluated_module, is_final)

    def _finish(self) -> Outcome:
        with self._apart():
            final_metrics = self.task.final_metrics(self.state.evaluated_module)
        best = {"step_best": self.state.best.step} if self.state.best.step else {}
        measured = [final_metrics, best, self._evaluate("test")]
        record = self.columns.ordered(final_record(self.run.metrics.read(), measured))
        pictures = self._pictures(is_final=True)
        # From here on no signal interrupts: the run ends as finished.
        self.run.write_pictures(pictures)
        self.run.metrics.append(record)
        self.dashboard.show_final(record, self.run.hparams)
        self.dashboard.flush()
        self.teller.tell(record)
        return self._conclude("finished", None, record, self.guard.received)

    def _interrupted(self) -> Outcome:
        self._save()
        received = self.guard.received
        name = received.name if received is not None else "a signal"
        reason = f"{name} at step {self.state.step} of {self.settings.num_steps}"
        self._say(f"interrupted by {reason}; {self.run.what_goes_on} continues from there")
        return self._conclude("interrupted", reason, signal=received)

    def _left(self, error: LeftError) -> Outcome:
        """A step that not all processes ended is not saved: the last checkpoint stands."""
        if error.reason:
            return self._conclude("failed", error.reason)
        reason = f"{error} in step {self.state.step + 1} of {self.settings.num_steps}"
        self._say(f"interrupted: {reason}; {self.run.what_goes_on} continues from the last checkpoint")
        return self._conclude("interrupted", reason, signal=self.guard.received)

    def _stopped(self, error: Exception) -> Outcome:
        self.run.log(traceback.format_exc())
        if isinstance(error, NonFiniteValuesError):
            advice = "lower the learning rate (optimizer.lr) or limit the gradient (training.clip_norm)"
            return self._conclude("diverged", f"{error}; {advice}")
        return self._conclude("failed", f"{type(error).__name__}: {error}")

    def _conclude(
        self, status: str, reason: str | None, record: dict[str, Any] | None = None, signal: int | None = None
    ) -> Outcome:
        """Write summary.json: the final record, or the last epoch's where there is none."""
        if record is None:
            records = self.run.metrics.read()
            record = records[-1] if records else {}
        summary = {
            **{"status": status, "reason": reason},
            **what_a_run_came_to(record, self.state, self.settings, self.environment),
            **declaration(self.columns),
        }
        self.run.write_summary(summary)
        if status != "finished" and self.run.replaced.exists():
            self._say(
                f"the finished run that this one replaces is kept in `{self.run.replaced}` until this one is finished; "
                "to have it back, put that folder in the place of this one"
            )
        return Outcome(status, summary, reason, signal)

    def _save(self) -> None:
        self.dashboard.flush()
        save_checkpoint(self.run.checkpoints, self.state.step, {**self.state.state_dict(), **self._written()})
        self.last_saved = time.monotonic()

    def _save_best(self) -> None:
        weights = {
            "step": self.state.step,
            "model": self.state.evaluated_module.state_dict(),
            "averaged": None,
        }
        save_best(self.run.checkpoints, {**weights, **self._written()})

    def _written(self) -> dict[str, int]:
        return {"num_steps": self.settings.num_steps, "metrics_length": self.run.metrics.length}

    def _say(self, text: str) -> None:
        say(text)
        if not jobs_here():  # a sweep of several at a time keeps in the log whatever is said
            self.run.log(text)
