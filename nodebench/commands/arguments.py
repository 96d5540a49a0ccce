"""The options of the commands: what each kind takes, and a parser that says what is wrong in one sentence."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from nodebench.config.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are ConfigErrors: one sentence and exit code 2, without the usage in front."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message.removeprefix('argument ')}; `{self.prog} --help` says more")


def count(text: str) -> int:
    """A whole number, 1 or above."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not possible; it must be a whole number, 1 or above")
    return number


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
