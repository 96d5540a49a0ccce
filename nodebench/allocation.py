"""Whether memory that was freed goes back to the system or stays for the next tensor.

In a process that is a command of ours it stays, where the C library is glibc: decision 29 has why, and at what cost.
"""

from __future__ import annotations

import os

# Of malloc.h: parameters of mallopt, as man mallopt(3) tells.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = -1
_LARGEST = (1 << 30, 1 << 25)  # bytes; some versions refuse more than the second


def keep_freed_memory() -> None:
    """From now on this process keeps what it frees, but for single pieces of a GiB and more (32 MiB in some versions).

    As glibc begins, the free end of its heap goes back at every chance, and so do large pieces. A training step then
    takes the same memory anew, which the system clears page by page. Nothing changes where the C library is another,
    or where the environment says how memory is to be had: `MALLOC_...`, `GLIBC_TUNABLES` or a preloaded allocator.
    """
    if not _is_glibc() or _is_chosen():
        return
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_TRIM_THRESHOLD, _NEVER)
    for size in _LARGEST:
        if mallopt(_MMAP_THRESHOLD, size):
            return


def _is_glibc() -> bool:
    try:
        return "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False


def _is_chosen() -> bool:
    """Whether the user has set malloc's parameters, or taken another: libjemalloc and its like tell by their names."""
    return (
        any(name.startswith("MALLOC_") for name in os.environ)
        or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
        or "malloc" in os.environ.get("LD_PRELOAD", "")
    )
