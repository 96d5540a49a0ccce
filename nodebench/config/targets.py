"""What a config names as `_target_`: found, looked at, and what goes wrong in it told with its name and line."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard, TypeVar

from nodebench.config.errors import ConfigError
from nodebench.config.files import is_ours
from nodebench.config.size import is_out_of_memory
from nodebench.data import DataError

Kind = TypeVar("Kind")


def find(node: str, target: str, is_kind: Callable[[Any], TypeGuard[Kind]], kind: str) -> Kind:
    """The class or function called `target`. Raises ConfigError if it is not there or not of its kind."""
    module, _, name = target.rpartition(".")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (AttributeError, ValueError) as error:
        raise ConfigError(f"{node}._target_={target} does not exist ({error})") from error
    except Exception as error:
        if "torchvision" in str(error):
            raise  # explained elsewhere
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            raise ConfigError(
                f"{node}._target_={target} does not exist: Python finds no module `{error.name}`; if it is yours, name "
                "the folder that it lies in: PYTHONPATH=FOLDER nodebench ..."
            ) from error
        is_missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        what = f"does not exist ({error})" if is_missing else f"cannot be imported: {_told(error)}"
        raise ConfigError(f"{node}._target_={target} {what}") from error
    if not is_kind(found):
        raise ConfigError(f"{node}._target_={target} is no {kind}, so it is not built")
    return found


@contextmanager
def naming_own(node: str, name: str, make: Callable[..., Any]) -> Iterator[None]:
    """Within, what goes wrong in code of one's own becomes a sentence with the name of what it makes, and the line.

    Raises DataError for one, else ConfigError; what goes wrong in our code, and a lack of memory, stay what they are.
    """
    try:
        yield
    except Exception as error:
        if is_ours(make.__module__) or isinstance(error, ConfigError) or is_out_of_memory(error):
            raise
        whose = f"{node}={name} ({make.__qualname__})"
        if isinstance(error, DataError):
            raise DataError(f"{whose}: {error}") from error
        raise ConfigError(f"{whose} cannot be made: {_told(error)}") from error


def _told(error: Exception) -> str:
    """An error of somebody's own code as one sentence, with the line that it comes from."""
    words = f"{type(error).__name__}: {' '.join(str(error).split())}"
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")
    ]
    if isinstance(error, SyntaxError) or not frames:  # the former says its line itself
        return words
    return f"{words} ({frames[-1].filename}, line {frames[-1].lineno})"
