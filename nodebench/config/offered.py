"""What may come next in an argument `key=value` that somebody types: groups and keys, choices and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nodebench.config.errors import ConfigError
from nodebench.config.files import GROUPS, description, flatten, options
from nodebench.config.merged import merge
from nodebench.config.ranges import ALLOWED, NULLABLE, SWITCH
from nodebench.ode.methods.traits import known_methods
from nodebench.ode.ranges import names_in

_NOT_FOR_USERS = {"_target_", "name", "content"}
_METHODS = ("solver.method", "solver.adjoint.method")

Offer = tuple[str, str]
"""A word that goes on from what was typed, and what it is; behind a word that ends in `=` or `.` more has to come."""


def offer(typed: str, given: Sequence[str], folders: tuple[Path, ...]) -> Iterator[Offer]:
    """The words that `typed` may become, beside the arguments `given`; of a list `a,b` its last part."""
    key, equals, value = typed.partition("=")
    if not equals:
        yield from _keys(typed, given, folders)
        return
    before, comma, _ = value.rpartition(",")
    for word, what in _values(key, folders):
        yield f"{key}={before}{comma}{word}", what


def _keys(typed: str, given: Sequence[str], folders: tuple[Path, ...]) -> Iterator[Offer]:
    """Groups, and keys as far as their next dot."""
    taken = {argument.partition("=")[0] for argument in given}
    if "." not in typed:
        yield from (
            (f"{group}=", f"one of the files in configs/{group}") for group in GROUPS if group not in taken
        )
    seen = set()
    for key, value in _settings(given, folders).items():
        below, dot, _ = key[len(typed) :].partition(".")
        word = f"{typed}{below}{dot}" if key.startswith(typed) else ""
        if word and word not in seen and key not in taken:
            seen.add(word)
            yield (
                (word, f"settings of the {word.rstrip('.')}")
                if dot
                else (f"{key}=", f"{_shown(value)} by default")
            )


def _settings(given: Sequence[str], folders: tuple[Path, ...]) -> Mapping[str, Any]:
    """The keys that may be set beside these choices, and the value of each."""
    chosen = dict(argument.split("=", 1) for argument in given if "=" in argument)
    choices = {group: name for group, name in chosen.items() if group in GROUPS}
    try:
        config = merge(
            {group: name for group, name in choices.items() if name in options(group, folders)}, folders
        )
    except (ConfigError, KeyError, TypeError):  # choices that do not go together, or a file that is damaged
        config = merge({})
    return {
        key: value
        for key, value in flatten(config)
        if key.split(".")[0] != "about" and not set(key.split(".")) & _NOT_FOR_USERS
    }


def _values(key: str, folders: tuple[Path, ...]) -> Iterator[Offer]:
    if key in GROUPS:
        yield from ((name, description(path)) for name, path in options(key, folders).items())
    elif key in _METHODS:
        yield from ((name, "") for name in known_methods())
    elif key in ALLOWED:
        names = ["true", "false"] if ALLOWED[key] is SWITCH else names_in(ALLOWED[key])
        yield from ((name, "") for name in names)
        if names and key in NULLABLE:
            yield "null", ""


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
