"""JSON and YAML that anybody may have written, read to plain values within bounds of depth and size.

A run folder or a folder of configs can come from somebody else. Read as they stand, brackets nested a thousand deep end
in RecursionError, which no reader of files expects, and a few lines of YAML aliases unfold to more values than a
machine can hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import yaml

MAX_DEPTH = 50
MAX_VALUES = 10_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where PyYAML has it, is ten times faster


def read_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError if it is none, or nests over MAX_DEPTH deep.

    How deep Python itself reads depends on its version and on what raised its limit in this process.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"it is nested over {MAX_DEPTH} deep") from None
    if not _is_shallow(value):
        raise ValueError(f"it is nested over {MAX_DEPTH} deep")
    return value


def read_yaml(text: str) -> Any:
    """The value of a YAML text, nothing in it resolved; None of an empty one.

    Raises ValueError, in one line, if it is none, nests over MAX_DEPTH deep, or unfolds to over MAX_VALUES values.
    """
    if len(text) <= MAX_VALUES and "*" not in text and "!" not in text:
        # Without aliases there are no more values than characters. To look at each first is a third of the time that a
        # run's config takes; what is wrong with the others is told below.
        with suppress(RecursionError, yaml.YAMLError):
            value = yaml.load(text, Loader=_LOADER)
            if _is_shallow(value):
                return value
    try:
        _check_bounds(text)
        return yaml.load(text, Loader=_LOADER)
    except RecursionError:
        raise ValueError(f"it is nested over {MAX_DEPTH} deep") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _is_shallow(value: Any) -> bool:
    """Whether lists and mappings nest no deeper than MAX_DEPTH."""
    level, depth = [value], 1
    while level := [item for node in level for item in _items(node)]:
        depth += 1
        if depth > MAX_DEPTH:
            return False
    return True


def _items(node: Any) -> Iterable[Any]:
    """What a mapping or a list holds that may hold something in turn."""
    items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return (item for item in items if isinstance(item, dict | list))


def _check_bounds(text: str) -> None:
    """Sizes with every alias unfolded, summed up from the parser's events before any value is made."""
    sizes: dict[str | None, int] = {}  # of what an anchor names, once that is complete
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, 1))
            if len(open_nodes) > MAX_DEPTH + 1:
                raise ValueError(f"it is nested over {MAX_DEPTH} deep")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_nodes.pop()
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in (anchor for anchor, _ in open_nodes):
                raise ValueError(f"*{event.anchor} refers to what it is part of")
            anchor, size = None, sizes.get(event.anchor, 1)
        else:
            continue
        if anchor is not None:
            sizes[anchor] = size
        parent, total = open_nodes[-1]
        if total + size > MAX_VALUES:
            raise ValueError(f"it unfolds to over {MAX_VALUES:,} values")
        open_nodes[-1] = (parent, total + size)
