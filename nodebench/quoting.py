"""Words that anybody may have written (names of runs, values of configs, reasons), shown as what they are."""

from __future__ import annotations


def plain(text: str) -> str:
    r"""The text as one line that steers no terminal: line breaks and tabs become spaces, what cannot be seen `\x1b`."""
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else character.encode("unicode_escape").decode()
