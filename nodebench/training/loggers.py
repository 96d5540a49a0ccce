"""Somebody else who is told the records of a run, by a few lines of one's own: docs/loggers.md has examples."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from nodebench.records.jsonl import is_number


class Logger(Protocol):
    """What a class that is named as `logger=` needs; it may have `close()` too, which is called once, at the end."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a record by its columns: of each epoch, and the final one, with the step they are of."""


class Teller:
    """Tells a logger, None: nobody. One that raises is told no more, which `say` says once; the run goes on without it.

    `log_text` keeps the traceback.
    """

    def __init__(
        self, logger: Logger | None, say: Callable[[str], None], log_text: Callable[[str], None]
    ) -> None:
        self._logger = logger
        self._say = say
        self._log_text = log_text

    def tell(self, record: Mapping[str, Any]) -> None:
        """Hand on the finite numbers of a record."""
        if self._logger is not None:
            logger, numbers = self._logger, {name: float(v) for name, v in record.items() if is_number(v)}
            self._without_stopping(lambda: logger.log(record["step"], numbers))

    def close(self) -> None:
        """Tell the logger that there will be no more."""
        close = getattr(self._logger, "close", None)
        if close is not None:
            self._without_stopping(close)

    def _without_stopping(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            self._logger = None
            self._log_text(traceback.format_exc())
            self._say(
                f"warning: the logger failed and is told no more ({type(error).__name__}: {error}); the run goes on, "
                "and its own records are whole"
            )
