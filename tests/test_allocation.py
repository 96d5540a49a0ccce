"""Whether freed memory stays with a process: counted by the pages that the system hands out anew. No clock."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import Any

import pytest
from page_faults import COUNT, IS_GLIBC, saying_nothing_of_memory

from nodebench.allocation import keep_freed_memory

KEEP = f"""{COUNT}
from nodebench.allocation import keep_freed_memory
print(are_kept())
keep_freed_memory()
print(are_kept())
"""
on_glibc = pytest.mark.skipif(not IS_GLIBC, reason="with another C library nothing is changed")


def printed(**environment: str) -> list[str]:
    """What KEEP prints where the environment says no more of memory than this."""
    done = subprocess.run(
        [sys.executable, "-c", KEEP],
        env={**saying_nothing_of_memory(), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@on_glibc
def test_memory_that_was_freed_is_there_for_what_comes_next() -> None:
    assert printed() == ["False", "True"]


@on_glibc
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_ARENA_MAX", "4"),
        ("GLIBC_TUNABLES", "glibc.malloc.arena_max=4"),
        ("LD_PRELOAD", "/nowhere/libjemalloc.so.2"),
    ],
)
def test_whoever_chose_how_memory_is_had_keeps_the_choice(name: str, value: str) -> None:
    assert printed(**{name: value}) == ["False", "False"]


def missing(*_: object) -> Any:
    raise ValueError("unrecognized configuration name")


@pytest.mark.parametrize("confstr", [missing, lambda name: None, lambda name: "NPTL 2.36"])
def test_another_c_library_is_not_even_asked(confstr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", confstr, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_: pytest.fail("a C library was asked"))
    keep_freed_memory()
