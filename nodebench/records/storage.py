"""Writing files so that a kill, a crash or a full disk never leaves a half-written one under a final name."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class RunFolderError(RuntimeError):
    """A run folder cannot be used or written: what is wrong, and what to do."""


def open_to_write(path: Path, flags: int) -> int:
    """A descriptor of a file in a run folder, which may have come from somebody else: no link is followed out of it.

    Everything that writes into a run folder opens its files here. `flags` are those of os.open. Raises RunFolderError
    if `path` is a link, OSError as os.open does.
    """
    try:
        return os.open(path, flags | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            refuse_links([path])
        raise


def refuse_links(paths: Iterable[Path]) -> None:
    """Raises RunFolderError if one of them is a symbolic link."""
    for path in paths:
        if path.is_symlink():
            raise RunFolderError(
                f"`{path}` is a link to `{os.readlink(path)}`, and nothing outside a run folder is written; "
                "remove the link"
            )


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path`, flush it to the disk, and rename it to `path`.

    Raises RunFolderError if the disk is full or the folder cannot be written; an older file then stays as it was.
    """
    _replace(path, content, waits=True)


def write_fleeting(path: Path, content: bytes) -> None:
    """As write_atomically, without waiting for the disk, for what is soon written again: a power cut may lose it."""
    _replace(path, content, waits=False)


def _replace(path: Path, content: bytes, waits: bool) -> None:
    beside = path.with_name(f".{path.name}.tmp")
    with named_disk_errors(path):
        try:
            remove(beside)  # what a kill has left, or a link to elsewhere
            descriptor = open_to_write(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                _write(descriptor, content, waits)
            finally:
                os.close(descriptor)
            os.replace(beside, path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise
        if waits:
            _sync_folder(path.parent)


def append_durably(path: Path, content: bytes) -> None:
    """Append `content` and flush it to the disk; after an error the file is as long as before.

    Raises RunFolderError if the disk is full or the file cannot be written.
    """
    with named_disk_errors(path):
        descriptor = open_to_write(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            length = os.fstat(descriptor).st_size
            try:
                _write(descriptor, content)
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(descriptor, length)
                raise
        finally:
            os.close(descriptor)


def truncate(path: Path, length: int) -> None:
    """Cut a file to its first `length` bytes, one that is not there to nothing. Raises RunFolderError."""
    with named_disk_errors(path):
        descriptor = open_to_write(path, os.O_WRONLY | os.O_CREAT)
        try:
            os.ftruncate(descriptor, length)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it; nothing if there is none. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def keep_copies(folder: Path, names: Iterable[str], target: Path) -> None:
    """Make `target`, beside the named files and folders of `folder`, a folder of copies; an older one is removed.

    Whole or not at all, whenever it is cut short. Links are left out. What lies in the folders is never written to
    again, so that hard links serve as copies where the file system has them. Raises OSError or RunFolderError.
    """
    beside = target.with_name(f".{target.name}.tmp")
    remove(beside)
    beside.mkdir()
    for source in (folder / name for name in names):
        if source.is_symlink():
            continue
        if source.is_dir():
            shutil.copytree(source, beside / source.name, symlinks=True, copy_function=_link_or_copy)
        elif source.is_file():
            write_atomically(beside / source.name, source.read_bytes())
    remove(target)
    os.replace(beside, target)
    _sync_folder(target.parent)


def _link_or_copy(source: str, target: str, *, follow_symlinks: bool = False) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


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


def _write(descriptor: int, content: bytes, waits: bool = True) -> None:
    """Write all of `content` and, where it `waits`, until it is on the disk."""
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]
    if waits:
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
