"""Where the traceback of a bug goes when there is no run whose log.txt could hold it."""

from __future__ import annotations

import os
import traceback
from datetime import datetime
from pathlib import Path

from nodebench import __version__


def keep_traceback(output_dir: str | Path) -> str:
    """Append the exception in hand to `output_dir`/nodebench.log; where to find it, in words for the screen."""
    log = Path(output_dir) / "nodebench.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a", encoding="utf-8", opener=_open_no_link) as file:
            file.write(
                f"{datetime.now():%Y-%m-%d %H:%M:%S} nodebench {__version__}\n{traceback.format_exc()}\n"
            )
    except OSError:
        return f"; no log could be written to {log}:\n{traceback.format_exc()}"
    return f" (full traceback in {log})"


def _open_no_link(path: str, flags: int) -> int:
    """The folder may have come from somebody else, with a link that leads out of it."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)
