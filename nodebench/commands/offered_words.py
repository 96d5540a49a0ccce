"""What may come next on a command line that somebody types: commands, options, and what each argument may be."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from nodebench.commands.arguments import Argument, Parser, parser_of
from nodebench.config.errors import ConfigError
from nodebench.config.files import config_folders

Word = tuple[str, str]
"""A word, and what it is."""

OVERRIDES, RUNS = "overrides", ("run", "runs")  # the names of arguments that are key=value, or run folders
MAX_LOOKED_INTO = 200  # folders, to see whether there are runs in one


def words_for(line: str, commands: Sequence[str], about: str) -> list[Word]:
    """The words that go on from `line`, what was typed behind `nodebench`; `about` is the help of all commands."""
    *before, typed = _split(line)
    if not before:
        found = [(command, _about(command, about)) for command in commands]
        found += [("--help", ""), ("--version", "")] if typed.startswith("-") else []
    elif before[0] in commands:
        parser = parser_of(importlib.import_module(f"nodebench.commands.{before[0]}").run)
        found = list(_of_command(parser, before[1:], typed))
    else:
        found = []
    return list(dict.fromkeys(word for word in found if word[0].startswith(typed)))


def _split(line: str) -> list[str]:
    """The words of a line as a shell takes them; the last one, empty behind a space, is being typed."""
    for closed in ("", "'", '"', " "):  # a quote may still be open, a backslash begun
        try:
            words = shlex.split(line + closed)
        except ValueError:
            continue
        is_new = not words or (not closed and line[-1:].isspace() and line[-2:-1] != "\\")
        return [*words, ""] if is_new else words
    return [""]


def _about(command: str, about: str) -> str:
    found = re.search(rf"^  {command} +(\S.*)$", about, re.MULTILINE)
    return found[1] if found else ""


def _of_command(parser: Parser, before: Sequence[str], typed: str) -> Iterator[Word]:
    options = {name: argument for argument in parser.arguments for name in argument.names}
    last = options.get(before[-1]) if before else None
    if last is not None and last.takes_value:
        yield from _values(last, typed, ())
    elif typed.startswith("-"):
        for argument in parser.arguments:
            if argument.names and not set(argument.names) & set(before):
                yield argument.names[-1], argument.help.partition("\n")[0]
    else:
        given = _positional(before, options)
        places = [argument for argument in parser.arguments if not argument.names]
        if len(given) < len(places) or (places and places[-1].takes_many):
            yield from _values(places[min(len(given), len(places) - 1)], typed, given, _folders(before))


def _positional(before: Sequence[str], options: dict[str, Argument]) -> list[str]:
    """The words that are neither options nor their values."""
    given, is_value = [], False
    for word in before:
        if not is_value and not word.startswith("-"):
            given.append(word)
        is_value = not is_value and word in options and options[word].takes_value
    return given


def _folders(before: Sequence[str]) -> tuple[Path, ...]:
    """The folders of configs that the line names."""
    own = [value for option, value in itertools.pairwise(before) if option == "--config-dir"]
    try:
        return config_folders(*own[-1:])
    except ConfigError:
        return config_folders()


def _values(
    argument: Argument, typed: str, given: Sequence[str], folders: tuple[Path, ...] = ()
) -> Iterator[Word]:
    if argument.name == OVERRIDES:
        from nodebench.config.offered import offer

        key, equals, value = typed.partition("=")
        allowed = tuple(argument.words) or ("",)
        yield from (word for word in offer(typed, given, folders) if word[0].startswith(allowed))
        if equals and key in ("output_dir", "data.root", "data.path"):
            yield from ((f"{key}={path}", "") for path in _paths(value, with_files=key == "data.path"))
    elif argument.name in RUNS and not argument.names:
        yield from ((path, "") for path in _run_paths(typed))
    elif argument.words:
        yield from ((word, "") for word in argument.words)
    elif argument.is_path or argument.name == "config_dir":
        yield from ((path, "") for path in _paths(typed, with_files=argument.name == "out"))


def _paths(typed: str, with_files: bool = False) -> Iterator[str]:
    """What is in the folder that was typed so far; folders end in a slash."""
    folder, slash, start = typed.rpartition("/")
    try:
        entries = sorted(
            os.scandir(os.path.expanduser(folder) or (slash or ".")), key=lambda entry: entry.name
        )
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith(".")):
            if entry.is_dir():
                yield f"{folder}{slash}{entry.name}/"
            elif with_files:
                yield f"{folder}{slash}{entry.name}"


def _run_paths(typed: str) -> list[str]:
    """Run folders, and the folders on the way to one, down to where there is more than one to choose from."""
    found = list(_paths(typed))
    with_runs = [path for path in found if _has_runs(path)]
    for path in with_runs:
        if (Path(path).expanduser() / "config.yaml").is_file():
            return [path.rstrip("/") for path in with_runs]
    if len(with_runs) == 1 and (below := _run_paths(with_runs[0])):
        return below
    return with_runs or found


def _has_runs(folder: str) -> bool:
    from nodebench.reporting.runs import run_folders

    return any(True for _ in run_folders(os.path.expanduser(folder), MAX_LOOKED_INTO))
