"""The arguments of a command line, `key=value` each, read as Hydra reads them, and what one run takes of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import lru_cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from nodebench.config.errors import ConfigError
from nodebench.config.files import GROUPS


def parse(overrides: Sequence[str]) -> list[Override]:
    """Hydra's reading of the command line.

    Raises ConfigError that quotes the argument that cannot be read, or the two that give one key.
    """
    parsed: list[Override] = []
    for text in overrides:
        if "=" not in text and not text.startswith("~"):
            raise ConfigError(
                f"`{text}` is not of the form key=value, such as model=odenet or solver.tol=1e-2"
            )
        try:
            parsed += map(copy, _parsed(text))  # the caller's own: Hydra's sweeper writes into them
        except ValueError as error:  # Python reads whole numbers of up to 4,300 digits
            raise ConfigError(f"cannot read `{text[:60]}...`: no number is that long") from error
        except HydraException as error:
            key = text.partition("=")[0]
            raise ConfigError(
                f"cannot read `{text}`; quote a value with special characters twice: '{key}=\"...\"'"
            ) from error
    _check_given_once(parsed)
    return parsed


@lru_cache(maxsize=1000)
def _parsed(text: str) -> list[Override]:
    """One argument. Of the values of a sweep most stand in many members, and each takes about a millisecond."""
    return list(OverridesParser.create().parse_overrides([text]))


def _check_given_once(parsed: Sequence[Override]) -> None:
    """Of two values of one key the last would win, which is a sweep with one value less than was asked for."""
    found: dict[str, Override] = {}
    for override in parsed:
        other = found.setdefault(override.key_or_group, override)
        if other is not override:
            raise ConfigError(
                f"`{text_of(other)}` and `{text_of(override)}` give one key twice; drop one of them"
            )


def text_of(override: Override) -> str:
    """The argument as it was typed."""
    assert override.input_line is not None
    return override.input_line


def check_single(override: Override) -> None:
    """An override of one run: sets one value, and is no sweep, no deletion and nothing of Hydra's own."""
    text, key = text_of(override), override.key_or_group
    if override.is_sweep_override():
        raise ConfigError(
            f"`{text}` names several values; give one, or run all of them with nodebench train -m"
        )
    if override.type == OverrideType.DEL:
        raise ConfigError(f"`{text}`: nothing can be deleted; leave `{key}` alone, or set another value")
    if override.is_hydra_override():
        raise ConfigError(
            f"`{text}`: Hydra's own settings (hydra/launcher=..., hydra.launcher.*) are for nodebench train -m"
        )
    if "/" in key or override.package is not None:
        raise ConfigError(f"`{text}`: groups are chosen by name alone: {', '.join(GROUPS)}")
