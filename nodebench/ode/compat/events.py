"""What torchdiffeq offers and nodebench does not: refused by name, with what to do instead."""

from __future__ import annotations

from typing import Any, NoReturn


def refuse_event(event_fn: Any) -> None:
    """Raise NotImplementedError if there is an event function."""
    if event_fn is not None:
        raise NotImplementedError(
            "`event_fn` is not supported: nodebench solves between given times; "
            "drop it, or keep torchdiffeq for this call"
        )


def odeint_event(*args: Any, **kwargs: Any) -> NoReturn:
    """Raise NotImplementedError: there are no events."""
    raise NotImplementedError(
        "`odeint_event` is not supported: nodebench solves between given times; keep torchdiffeq for this call"
    )


def odeint_dense(*args: Any, **kwargs: Any) -> NoReturn:
    """Raise NotImplementedError: nodebench's own odeint has dense output."""
    raise NotImplementedError(
        "`odeint_dense` is not supported here; use nodebench.ode.odeint(..., dense_output=True).evaluate(t)"
    )
