"""Runs of a sweep side by side on one machine, a process each: one that is killed takes no other with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from nodebench.commands.endings import (
    Ending,
    ending_in,
    keep_failure,
    summary_state,
    trained_elsewhere,
)
from nodebench.commands.members import Member
from nodebench.commands.pace import PaceOfJobs
from nodebench.commands.run_log import RunLog
from nodebench.commands.share import cores, share, threads_each
from nodebench.config.errors import ConfigError
from nodebench.config.identity import run_folder
from nodebench.config.launch import JOBLIB, NUM_JOBS, check_launcher, launcher_name
from nodebench.config.overrides import parse
from nodebench.counted import counted
from nodebench.records.lock import holder_of
from nodebench.signals import ENDING
from nodebench.terminal import tell

NOT_STARTED = Ending("unfinished", "not started, for the sweep was stopped")
_ASKED_TO_END = (signal.SIGINT, *ENDING)  # before Python could heed it
_COMPLAINT = "nodebench: "  # how a command begins the sentence on what went wrong


def jobs_of(launcher_overrides: Sequence[str], config_dir: str | Path | None = None) -> int | None:
    """How many runs at a time `hydra/launcher=joblib` asks for; None where another launcher is meant, or none.

    Hydra's plugin of that name is not asked: a worker of its pool that is killed ends the sweep (decision 22). Raises
    ConfigError for settings of it that do nothing here, and for a launcher that there is not or its unknown settings.
    """
    if launcher_name(launcher_overrides) != JOBLIB:
        if launcher_overrides:
            check_launcher(launcher_overrides, config_dir)
        return None
    given = {override.key_or_group: override.value() for override in parse(launcher_overrides)}
    del given["hydra/launcher"]
    number = given.pop(NUM_JOBS, -1)
    if given:
        raise ConfigError(
            f"hydra/launcher=joblib takes {NUM_JOBS} alone, and not `{next(iter(given))}`: nodebench starts "
            "a process for each run itself"
        )
    if not isinstance(number, int) or isinstance(number, bool) or number == 0:
        typed = next(text for text in launcher_overrides if NUM_JOBS in text)
        raise ConfigError(
            f"{typed} is not possible; it must be a whole number, 1 or above, or -1 for as many "
            "as there are cores"
        )
    return number if number > 0 else max(1, cores() + 1 + number)


def run_side_by_side(
    members: Mapping[Path, Member],
    labels: Sequence[str],
    jobs: int,
    config_dir: str | Path | None = None,
) -> dict[Path, Ending]:
    """How every member ended that was trained, at most `jobs` at a time, in the order in which they stand.

    Each is `nodebench train`, in a process of its own, with its share of the machine; what it prints goes to its run's
    log.txt, and the screen has a line when it starts and one when it ends. A signal to this process (KeyboardInterrupt,
    SystemExit) is handed on, so that all save a checkpoint and end, and is raised again; a second Ctrl-C does not wait
    for the step in hand.
    """
    at_once, threads = min(jobs, len(members)), counted(threads_each(jobs), "thread")
    tell(f"jobs      {at_once} at a time, {threads} each; what a run prints is in its log.txt")
    running, futures = _Running(len(members), jobs, config_dir), {}
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for (folder, member), label in zip(members.items(), labels, strict=True):
                futures[folder] = pool.submit(running.train, folder, member, label)
            wait(futures.values())
        except (KeyboardInterrupt, SystemExit) as asked:
            running.stop(_signal_of(asked), list(futures.values()))
            tell("stopped   the same command continues what is not finished")
            raise
    return {folder: future.result() for folder, future in futures.items()}


def _signal_of(asked: BaseException) -> int:
    """The signal that became this exception, as the command line makes it of one."""
    code = asked.code if isinstance(asked, SystemExit) else None
    return code - 128 if isinstance(code, int) and code > 128 else signal.SIGINT


class _Running:
    """The processes that train now, and the slots that they hold."""

    def __init__(self, number: int, jobs: int, config_dir: str | Path | None) -> None:
        self._jobs = jobs
        self._config_dir = config_dir
        self._at_once = min(jobs, number)
        self._pace = PaceOfJobs(number, self._at_once)
        self._lock = threading.Lock()  # over all that follows, and the screen
        self._free = list(range(jobs))
        self._processes: list[subprocess.Popen[str]] = []
        self._is_stopped = False

    def train(self, folder: Path, member: Member, label: str) -> Ending:
        """Train one member in a process, and say so; how it ended."""
        with self._lock:
            if self._is_stopped:
                return NOT_STARTED
            if holder_of(folder) is not None:
                ending = trained_elsewhere(folder)
                tell(f"{ending.status:<9} {label}: {ending.reason}")
                return ending
            before = summary_state(folder)
            slot = self._free[0]
            try:
                process = self._start(member, slot)
            except OSError as error:
                return Ending("failed", f"its process cannot be started: {error}")
            self._free.remove(slot)
            self._processes.append(process)
            self._pace.begin(slot)
            tell(f"started   {label}")
        log = RunLog(folder)
        assert process.stdout is not None
        with process.stdout as printed:
            for line in printed:
                log.write(line)
        ending = _ending(member, process.wait(), summary_state(folder) != before, log.last)
        log.flush()  # where its folder was made only now, for the row
        with self._lock:
            self._processes.remove(process)
            self._free = sorted([*self._free, slot])
            took, place = self._pace.end(slot, ending.status == "finished")
            reason = f": {ending.reason}" if ending.reason else ""
            tell(f"{ending.status:<9} {label} in {took}{reason}; {place}")
        return ending

    def stop(self, number: int, futures: Sequence[Future[Ending]]) -> None:
        """Hand the signal on to every run, start no other, and wait until all have ended."""
        while True:
            with self._lock:
                self._is_stopped = True
                for process in self._processes:
                    process.send_signal(number)
            try:
                wait(futures)
                return
            except KeyboardInterrupt:
                number = signal.SIGINT  # which a run takes, the second time, for `at once`
            except SystemExit:
                number = 0  # once more the same: `timeout` and batch systems send it twice

    def _start(self, member: Member, slot: int) -> subprocess.Popen[str]:
        """The member's process, which the signals of this one's terminal do not reach: they are handed on once."""
        shared = share(slot, self._jobs, str(member.composed.config["device"]), self._at_once)
        return subprocess.Popen(
            command_of(member, self._config_dir),
            env={**os.environ, **shared},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )


def command_of(member: Member, config_dir: str | Path | None = None) -> list[str]:
    """The command that trains one member alone, in the Python that runs this."""
    # Without -P Python would look for modules in the folder that we are in first, whatever lies there.
    alone = [] if os.getcwd() in sys.path else ["-P"]
    where = ["--config-dir", str(config_dir)] if config_dir else []
    return [sys.executable, *alone, "-m", "nodebench", "train", *member.overrides, *where]


def _ending(member: Member, code: int, left_summary: bool, last: str) -> Ending:
    """How a process ended: by its exit `code`, by the summary if it left one, else by its `last` line."""
    if code == 0:
        return Ending("finished")
    config = member.composed.config
    if left_summary and code > 0 and (told := ending_in(run_folder(config))) is not None:
        return told
    if (number := code - 128 if code > 0 else -code) in _ASKED_TO_END:
        return Ending("interrupted", f"{signal.Signals(number).name}, nothing saved")
    if code < 0:
        return keep_failure(config, _killed(-code))
    if holder_of(run_folder(config)) is not None:  # another process was faster
        return trained_elsewhere(run_folder(config))
    said = f"; the last that it printed: {last}" if last else ""
    is_told = last.startswith(_COMPLAINT)
    return keep_failure(
        config, last.removeprefix(_COMPLAINT) if is_told else f"its process ended with code {code}{said}"
    )


def _killed(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    why = ", by hand or because memory ran out" if number == signal.SIGKILL else ""
    return f"killed by {name}{why}; the same command continues from its last checkpoint"
