"""HTML and SVG that are put together so that a text stays a text: what is not Markup is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

from nodebench.quoting import plain

_VOID = ("br", "hr", "input", "link", "meta")


class Markup(str):
    """Text that is markup already, and is not escaped again."""

    __slots__ = ()


Child = str | None | Iterable["Child"]
"""What an element may hold: a text, Markup, nothing, or several of them."""


def element(tag: str, *children: Child, **attributes: Any) -> Markup:
    """`<tag ...>children</tag>`; class_ and for_ stand for class and for, other underscores for hyphens.

    An attribute of None or False is left out, one of True has no value.
    """
    shown = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID:
        return Markup(f"<{tag}{shown}>")
    return Markup(f"<{tag}{shown}>{join(children)}</{tag}>")


def join(children: Child) -> Markup:
    """The children behind each other, texts escaped and in one line."""
    if children is None:
        return Markup()
    if isinstance(children, Markup):
        return children
    if isinstance(children, str):
        return Markup(escape(plain(children)))
    return Markup("".join(map(join, children)))


def embedded_json(value: Any) -> Markup:
    """JSON that can stand in a script element: nothing in it ends the element, opens a comment or ends a line."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"))


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    spelled = name.rstrip("_").replace("_", "-")
    return f" {spelled}" if value is True else f' {spelled}="{escape(plain(str(value)))}"'
