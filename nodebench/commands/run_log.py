"""What a run prints where nobody looks on: it goes to the run's log.txt."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path


class RunLog(io.TextIOBase):
    """Lines for the log.txt of a run, held back until its folder is there. `last` is the last one."""

    def __init__(self, folder: Path) -> None:
        self.last = ""
        self._folder = folder
        self._begun = ""
        self._held_back: list[str] = []

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line := line.rstrip():
                self._held_back.append(line)
                self.last = line
        self.flush()
        return len(text)

    def flush(self) -> None:
        """Add to log.txt what is held back, if the folder is there."""
        from nodebench.training import RunFolder

        if self._folder.is_dir():
            for line in self._held_back:
                RunFolder(self._folder).log(line)
            self._held_back.clear()


@contextmanager
def kept_in_log(folder: Path) -> Iterator[None]:
    """Within, what this process prints goes to the log.txt of the run in `folder`."""
    log = RunLog(folder)
    with redirect_stdout(log), redirect_stderr(log):
        yield
    log.flush()
