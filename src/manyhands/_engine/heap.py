"""A worker's memory between two tasks: kept for the next one, given back when there is none.

glibc returns freed megabytes to the system at once, and gets every page back by a fault as soon as they are wanted
again: a task that reads a picture and forgets it spends a sixth of its time so, and workers hinder each other
at it. A worker does the same again and again, so it keeps what is free; once idle, it returns all of it.
"""

from __future__ import annotations

import functools
from typing import Any

IDLE_SECONDS = 1  # without a message, until the memory is given back
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_KEPT = 64 << 20  # bytes free at the heap's top
_NOTICED = 128 << 10  # the freeing of such a block makes glibc look at the whole heap
_OWN_PAGES = 32 << 20  # from this size on, the largest that glibc accepts, a block is mapped and unmapped by itself


def keep_freed() -> None:
    """From here on freed memory stays in this process and in those forked from it. Elsewhere than on glibc: nothing."""
    if (libc := _glibc()) is not None:
        libc.mallopt(_MMAP_THRESHOLD, _OWN_PAGES)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)


def give_back() -> None:
    """Return what is free to the system."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)
        # That leaves out the heaps of threads, and a worker that a thread has forked lives in one: it is trimmed when a
        # block is freed in it while nothing is to be kept.
        libc.mallopt(_TRIM_THRESHOLD, 0)
        bytes(_NOTICED)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)


@functools.cache
def _glibc() -> Any:
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
    except (ImportError, OSError, TypeError):  # built without it; or Windows
        return None
