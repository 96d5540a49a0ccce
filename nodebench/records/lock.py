"""One process at a time trains in a run folder: by the kernel's lock, or by a file where the file system has none."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nodebench.reading import read_json
from nodebench.records.heartbeat import ago, read_heartbeat
from nodebench.records.storage import RunFolderError, open_to_write

LOCK, OWNER = "lock", "lock.owner"
_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # what NFS and Lustre say where flock is off
_TRIES = 3
_LONGEST = 1000  # bytes of what is read of a lock, which somebody else may have written


class RunFolderBusyError(RunFolderError):
    """Another process is training in the folder."""


class Holder(NamedTuple):
    """Who trains in a run folder, as its lock names it.

    `may_be_gone`: it runs on another host, or is not named, and the file system has no locks that would tell.
    """

    process: object = None
    host: object = None
    may_be_gone: bool = False

    def __str__(self) -> str:
        if self.process is None:
            return "a process that is not named"
        return f"process {self.process}{f' on {self.host}' if self.host is not None else ''}"


def take_lock(folder: Path) -> Callable[[], None]:
    """Lock `folder` for this process; returns what lets it go.

    The kernel drops a lock with the process that holds it, so that a killed run leaves none. Where the file system
    has no locks, the file lock.owner names the holder, and is taken over once that process is gone from this host.
    Raises RunFolderBusyError if another process holds the folder, OSError if it cannot be written.
    """
    descriptor = open_to_write(folder / LOCK, os.O_RDWR | os.O_CREAT)
    try:
        _lock(descriptor)
    except OSError as error:
        holder = Holder(*_named_in(descriptor))
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise RunFolderBusyError(_busy(folder, holder)) from None
        if error.errno in _WITHOUT_LOCKS:
            return _own(folder)
        raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, _own_name().encode(), 0)
    return partial(_unlock, descriptor)


def _lock(descriptor: int) -> None:
    """Take the kernel's lock. Raises BlockingIOError if another process keeps it, not if one only looks at it."""
    for left in reversed(range(_TRIES)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not left:
                raise
            time.sleep(0.02)


def _unlock(descriptor: int) -> None:
    """Let the kernel's lock go, with no name in it: a folder that is handed on tells nothing of who trained there."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


def holder_of(folder: Path) -> Holder | None:
    """Who trains in `folder` now; None if nobody does, or the folder cannot be looked into.

    The kernel tells of its lock only who asks for one: this one is shared, so that those who look do not see each
    other, and let go at once.
    """
    with suppress(OSError):
        descriptor = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Holder(*_named_in(descriptor))
        except OSError:
            pass
        finally:
            os.close(descriptor)
    path = folder / OWNER
    holder = _read(path)
    return _owner(holder) if path.exists() and not _is_gone(holder, socket.gethostname()) else None


def refuse_if_held(folder: Path) -> None:
    """Raises RunFolderBusyError if another process trains in `folder`, before anything is made ready to train there."""
    holder = holder_of(folder)
    if holder is not None:
        raise RunFolderBusyError(_busy(folder, holder))


def who_trains(folder: Path) -> str | None:
    """The holder of `folder` in words, with what to do about one that may be gone; None if there is none."""
    holder = holder_of(folder)
    return None if holder is None else f"{holder}{_if_gone(folder, holder)}"


def _own_name() -> str:
    """What a process writes into its lock."""
    own = {"host": socket.gethostname(), "process": os.getpid(), "started": _start_of(os.getpid())}
    return f"{json.dumps(own)}\n"


def _named_in(descriptor: int) -> tuple[object, object]:
    """Process and host that the holder of the kernel's lock wrote into its file, or its process alone."""
    with suppress(OSError, ValueError):
        content = read_json(os.pread(descriptor, _LONGEST, 0).decode())
        return (content.get("process"), content.get("host")) if isinstance(content, dict) else (content, None)
    return None, None


def _own(folder: Path) -> Callable[[], None]:
    path, text = folder / OWNER, _own_name()
    if not _create(path, text):
        holder = _read(path)
        if not _is_gone(holder, socket.gethostname()):
            raise RunFolderBusyError(_busy(folder, _owner(holder)))
        # Renamed and looked at again before it is removed: another process may have taken it over just now.
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        with suppress(FileNotFoundError):
            os.rename(path, aside)
            if _read(aside) != holder:
                os.rename(aside, path)
                raise RunFolderBusyError(_busy(folder, _owner(_read(path))))
            aside.unlink()
        if not _create(path, text):
            raise RunFolderBusyError(_busy(folder, _owner(_read(path))))
    return partial(_let_go, path, text)


def _create(path: Path, text: str) -> bool:
    """Make a file that is not there yet; False if it is."""
    try:
        descriptor = open_to_write(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return True


def _read(path: Path) -> dict[str, object]:
    """Who holds the file; empty where it does not tell."""
    with suppress(OSError, ValueError):
        content = read_json(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}


def _let_go(path: Path, text: str) -> None:
    with suppress(OSError, ValueError):
        if path.read_text(encoding="utf-8") == text:
            path.unlink()


def _is_gone(holder: dict[str, object], host: object) -> bool:
    """Whether the process is known to be gone; one on another host, or that is not named, is not."""
    process = holder.get("process")
    if holder.get("host") != host or not isinstance(process, int):
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OverflowError:
        return True  # no process has such a number
    except OSError:
        pass  # another user's
    return _start_of(process) != holder.get("started")  # the system gives a number to a later process again


def _start_of(process: int) -> str | None:
    """What tells a process from an earlier one of its number, where the system has /proc."""
    try:
        after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2]
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {after_name.split()[19]}"
    except (OSError, IndexError):
        return None


def _owner(holder: dict[str, object]) -> Holder:
    """Who holds lock.owner; on this host it was seen to be alive."""
    process, host = holder.get("process"), holder.get("host")
    return Holder(process, host, may_be_gone=process is None or host != socket.gethostname())


def _busy(folder: Path, holder: Holder) -> str:
    return f"{holder}{_if_gone(folder, holder)} is training in `{folder}`; wait for it or stop it first"


def _if_gone(folder: Path, holder: Holder) -> str:
    if not holder.may_be_gone:
        return ""
    beat = read_heartbeat(folder)
    heard = f"last heard of {ago(beat.age_s)}; " if beat is not None else ""
    return f" ({heard}if it is gone, remove `{folder / OWNER}`)"
