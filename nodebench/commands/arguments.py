"""The options of the commands: what each kind takes, and a parser that says what is wrong in one sentence."""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from nodebench.config.errors import ConfigError
from nodebench.terminal import wrapped

JOBS_HELP = "train N runs at a time, a process each, with its share of the cores (default: 1)"
_OF_FILES = (".png", ".pdf", ".svg", ".gif", ".csv", ".md")  # ends of names of what is written


class Help(argparse.HelpFormatter):
    """Sentences are filled to the terminal's width, and no word is broken.

    An indented line stays a line; where it is too long for one, what follows its first column goes on below that.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        filled: list[str] = []
        for is_indented, lines in itertools.groupby(
            text.splitlines(), key=lambda line: line[:1] in ("", " ")
        ):
            for line in lines if is_indented else [" ".join(lines)]:
                first_column = re.match(r" +\S+ {2,}", line)
                below = len(first_column[0]) if first_column else 0
                is_kept = is_indented and first_column is None
                filled.append(f"{indent}{line if is_kept else wrapped(line, width, below)}")
        return "\n".join(filled)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrapped(" ".join(text.split()), width).splitlines()


@dataclass(frozen=True)
class Argument:
    """What a parser takes: an option by its names, or without any a positional argument.

    `words`: what it may be, where somebody knows. `is_path`: it names a file or folder.
    """

    names: tuple[str, ...]
    name: str
    help: str
    takes_value: bool
    takes_many: bool
    words: Iterable[str]
    is_path: bool


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are ConfigErrors: one sentence and exit code 2, without the usage in front.

    `arguments` are those that it takes, in their order; add_argument takes their `words`, for shell completion.
    """

    is_described = False

    def __init__(self, prog: str, **settings: Any) -> None:
        self.arguments: list[Argument] = []
        super().__init__(prog, formatter_class=Help, **settings)

    def add_argument(self, *names: str, words: Iterable[str] = (), **settings: Any) -> argparse.Action:
        action = super().add_argument(*names, **settings)
        self.arguments.append(
            Argument(
                tuple(action.option_strings),
                action.dest,
                "" if action.help in (None, argparse.SUPPRESS) else str(action.help),
                takes_value=action.nargs != 0,
                takes_many=action.nargs in ("*", "+"),
                words=words or action.choices or (),
                is_path=action.type in (place, folder),
            )
        )
        return action

    def parse_known_args(self, *args: Any, **settings: Any) -> Any:
        if Parser.is_described:
            raise _Described(self)
        return super().parse_known_args(*args, **settings)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message.removeprefix('argument ')}; `{self.prog} --help` says more")


class _Described(Exception):
    def __init__(self, parser: Parser) -> None:
        self.parser = parser


def parser_of(run: Callable[[Sequence[str]], int]) -> Parser:
    """The parser of a command, which hands its arguments to it before it does anything else."""
    Parser.is_described = True
    try:
        run([])
    except _Described as described:
        return described.parser
    finally:
        Parser.is_described = False
    raise TypeError(f"{run.__module__} parses no arguments")


def count(text: str) -> int:
    """A whole number, 1 or above."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not possible; it must be a whole number, 1 or above")
    return number


def seeds(text: str) -> list[int]:
    """Whole numbers from 0 on, between commas, each once."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and part.isascii() for part in parts):
        raise argparse.ArgumentTypeError(
            f"{text} is not possible; it must be whole numbers, 0 or above, between commas, such as 0,1,2"
        )
    return list(dict.fromkeys(int(part) for part in parts))


def number(low: float, high: float) -> Callable[[str], float]:
    """A number from `low` to `high`, both allowed."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"{text} is not possible; it must be a number from {low:g} to {high:g}"
            )
        return value

    return convert


def place(text: str) -> Path:
    """The name of a file or folder, which may not be there."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"`{text}` is no name of a file or folder")
    return Path(text)


def folder(text: str) -> Path:
    """The name of a folder that files go into, which may not be there."""
    path = place(text)
    if path.suffix in _OF_FILES and not path.is_dir():
        raise argparse.ArgumentTypeError(
            f"`{text}` is the name of a file; name the folder that the files go into"
        )
    return path
