"""Whether a result can be written where it is to go, found out before the result is made."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nodebench.config.errors import ConfigError
from nodebench.records.storage import RunFolderError, named_disk_errors


def check_folder(folder: Path) -> None:
    """Raises OSError unless files can be made in `folder`; one that is not there is judged by where it would be made.

    A file without a name is made there and is gone again: permission bits do not tell of read-only disks, quotas or
    what the superuser may do.
    """
    absolute = folder.absolute()
    place = next(path for path in (absolute, *absolute.parents) if os.path.lexists(path))
    with tempfile.TemporaryFile(dir=place):
        pass


def check_runs(folder: Path) -> None:
    """Raises ConfigError unless runs can be written into `folder`."""
    try:
        with named_disk_errors(folder):
            check_folder(folder)
    except RunFolderError as error:
        raise ConfigError(str(error)) from error


def check_file(path: Path) -> None:
    """Raises OSError unless `path` can be made or replaced; its folder has to be there."""
    if not path.name or path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it names no file", str(path))
    with tempfile.TemporaryFile(dir=path.parent):
        pass


@contextmanager
def writing_to(place: Path, advice: str = "choose another place with --out") -> Iterator[None]:
    """Within, an OSError about `place` becomes a ConfigError that names it, and says what to do."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"cannot write to `{place}`: {error.strerror or error}; {advice}") from error
