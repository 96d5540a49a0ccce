"""Settings that several nets take, checked by the name they have under `model`."""

from __future__ import annotations

from collections.abc import Iterable


def check_choice(key: str, value: str, allowed: Iterable[str]) -> None:
    """ValueError unless the setting is one of those that are allowed."""
    if value not in (choices := tuple(allowed)):
        raise ValueError(f"`model.{key}` is {value!r}; allowed: {', '.join(choices)}")


def check_sizes(**sizes: int) -> None:
    """ValueError unless every size is 1 or above."""
    for key, size in sizes.items():
        if size < 1:
            raise ValueError(f"`model.{key}` is {size}; allowed: 1 or above")
