"""Writing files so that a kill, a crash or a full disk never leaves a half-written one under a final name."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class RunFolderError(RuntimeError):
    """A run folder cannot be used or written: what is wrong, and what to do."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, flush it to the disk, and rename it to `path`.

    Raises RunFolderError if the disk is full or the folder cannot be written; an older file then stays as it was.
    """
    beside = path.with_name(f".{path.name}.tmp")
    with named_disk_errors(path):
        try:
            with open(beside, "wb") as file:
                _write(file.fileno(), content)
            os.replace(beside, path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
        _sync_folder(path.parent)


def append_durably(path: Path, content: bytes) -> None:
    """Append `content` and flush it to the disk; after an error the file is as long as before.

    Raises RunFolderError if the disk is full or the file cannot be written.
    """
    with named_disk_errors(path), open(path, "ab") as file:
        length = file.tell()
        try:
            _write(file.fileno(), content)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file.fileno(), length)
            raise


@contextmanager
def named_disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into a RunFolderError that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunFolderError(_explain(path, error)) from error


def _explain(path: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full: `{path}` could not be written ({error.strerror}). What was saved before is intact; "
            "free some space and give the same command again: it continues from the last checkpoint"
        )
    return (
        f"`{path}` cannot be written ({error.strerror or error}); "
        "make the folder writable, or choose another one with output_dir=..."
    )


def _write(descriptor: int, content: bytes) -> None:
    """Write all of `content` and wait until it is on the disk."""
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
