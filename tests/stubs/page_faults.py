"""Pages that the system hands out to a process while it takes and frees large pieces of memory in turns."""

from __future__ import annotations

import os
import platform

IS_GLIBC = platform.libc_ver()[0] == "glibc"
PIECE, NUM_PIECES = 4 << 20, 12  # bytes each, and how many at a time: more than glibc keeps by itself

COUNT = f"""
import ctypes, resource

if {IS_GLIBC}:
    ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of one size, whatever the machine prefers
NUM_PAGES = {PIECE * NUM_PIECES} // resource.getpagesize()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [bytearray(b"x") * {PIECE} for _ in range({NUM_PIECES})]
    del pieces
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def are_kept():
    faults()  # takes what is kept
    return faults() < NUM_PAGES / 2
"""
"""A program's beginning: are_kept() says whether pieces that were freed are there for the next ones."""


def saying_nothing_of_memory() -> dict[str, str]:
    """This process' environment without what chooses an allocator or sets its parameters."""
    chosen = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
    return {name: value for name, value in os.environ.items() if not name.startswith(chosen)}
