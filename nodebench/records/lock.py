"""One process at a time trains in a run folder: by the kernel's lock, or by a file where the file system has none."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from nodebench.reading import read_json
from nodebench.records.storage import RunFolderError, open_to_write

_WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # what NFS and Lustre say where flock is off


class RunFolderBusyError(RunFolderError):
    """Another process is training in the folder."""


def take_lock(folder: Path) -> Callable[[], None]:
    """Lock `folder` for this process; returns what lets it go.

    The kernel drops a lock with the process that holds it, so that a killed run leaves none. Where the file system
    has no locks, the file lock.owner names the holder, and is taken over once that process is gone from this host.
    Raises RunFolderBusyError if another process holds the folder, OSError if it cannot be written.
    """
    descriptor = open_to_write(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = _number_in(descriptor)
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise RunFolderBusyError(
                f"another process (id {holder}) is training in `{folder}`; wait for it or stop it first"
            ) from None
        if error.errno in _WITHOUT_LOCKS:
            return _own(folder)
        raise
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return partial(os.close, descriptor)


def holder_of(folder: Path) -> str | None:
    """Who trains in `folder` now, `process 1234`; None if nobody does, or the folder cannot be looked into.

    The kernel tells of its lock only who asks for one: this one is shared, so that those who look do not see each
    other, and let go at once.
    """
    with suppress(OSError):
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"process {_number_in(descriptor)}"
        except OSError:
            pass
        finally:
            os.close(descriptor)
    path = folder / "lock.owner"
    holder = _read(path)
    return _name(holder) if path.exists() and not _is_gone(holder, socket.gethostname()) else None


def _number_in(descriptor: int) -> str:
    """The id that the holder of the kernel's lock wrote into its file."""
    return os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"


def _own(folder: Path) -> Callable[[], None]:
    path = folder / "lock.owner"
    own = {"host": socket.gethostname(), "process": os.getpid(), "started": _start_of(os.getpid())}
    text = f"{json.dumps(own)}\n"
    if not _create(path, text):
        holder = _read(path)
        if not _is_gone(holder, own["host"]):
            raise _busy(folder, path, holder)
        # Renamed and looked at again before it is removed: another process may have taken it over just now.
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        with suppress(FileNotFoundError):
            os.rename(path, aside)
            if _read(aside) != holder:
                os.rename(aside, path)
                raise _busy(folder, path, _read(path))
            aside.unlink()
        if not _create(path, text):
            raise _busy(folder, path, _read(path))
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


def _busy(folder: Path, path: Path, holder: dict[str, object]) -> RunFolderBusyError:
    return RunFolderBusyError(
        f"{_name(holder)} is training in `{folder}`; wait for it or stop it first. If it is gone, remove `{path}`"
    )


def _name(holder: dict[str, object]) -> str:
    if not holder:
        return "a process that is not named"
    return f"process {holder.get('process')} on {holder.get('host')}"
