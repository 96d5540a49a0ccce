"""Tables and figures as whole files: a reader sees the old one or the new one, never half of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> Path:
    """Write `content` beside `path`, rename it to `path`, and return `path`.

    Raises OSError if the folder cannot be written, or `path` names none; nothing is left beside the file then.
    """
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, "it names no file", str(path))
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)  # of a command that was killed, or somebody's link to another place
    try:
        with partial.open("xb") as file:
            file.write(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
