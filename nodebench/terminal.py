"""How much a terminal shows in a line, and sentences broken to that between their words."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TextIO

from nodebench.quoting import plain


def terminal_width(stream: TextIO | None) -> int | None:
    """How many characters a line of the terminal behind `stream` holds; None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if stream is not None and stream.isatty() else None


def wrapped(text: str, width: int | None, indent: int = 0) -> str:
    """The text in lines of at most `width` characters, all but the first indented; a longer word stays whole."""
    if width is None:
        return text
    return textwrap.fill(
        text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def tell(line: str, indent: int = 10) -> None:
    """Print a line of a word and what there is to say about it, which goes on below itself where the terminal ends."""
    print(wrapped(plain(line), terminal_width(sys.stdout), indent), flush=True)
