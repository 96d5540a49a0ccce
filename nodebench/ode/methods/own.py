"""Methods that were added in this process, by name. Read without torch, as the shipped tableaus are."""

from __future__ import annotations

from typing import Any

OWN: dict[str, Any] = {}
"""A ButcherTableau, or another method, under the name that it says of itself."""


def add_method(name: str, method: Any) -> None:
    """Let odeint and configs know `method` by `name`; one of that name that was added before is replaced."""
    OWN[name] = method
