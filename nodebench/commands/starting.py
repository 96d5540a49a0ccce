"""A process of the command line: it collects no garbage while it imports, and then keeps the memory that it frees.

Importing torch and its compiler makes most of a million objects that stay to the end. Looked through again and again
while they come, and once more as the process ends, they were a quarter of a run's start and most of its end.
"""

from __future__ import annotations

import atexit
import gc

from nodebench.allocation import keep_freed_memory

# What a start makes at the most: a bound, so that a command that never says `over` collects too.
_MOST_OBJECTS = 1_000_000

_usual: tuple[int, int, int] | None = None


def begin() -> None:
    """This process begins: no collection until `over`, or until a million objects more."""
    global _usual
    _usual = gc.get_threshold()
    gc.set_threshold(_MOST_OBJECTS, *_usual[1:])
    atexit.register(gc.freeze)  # no looking through modules that the end of the process takes away anyhow


def over() -> None:
    """What was to be imported is there: it stays and is no longer looked at; from here on Python collects as ever.

    What is freed from here on is kept for what comes next. To be called before what a run is made of is there, which
    would stay too. Nothing changes where nothing began, as in the second run of a sweep.
    """
    global _usual
    if _usual is not None:
        keep_freed_memory()
        gc.freeze()
        gc.set_threshold(*_usual)
        _usual = None
