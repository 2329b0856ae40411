"""Memory for what comes and goes: kept between two tasks in a worker, and in large pages elsewhere.

glibc returns freed megabytes to the system at once, and gets every page back by a fault as soon as they are wanted
again: a task that reads a picture and forgets it spends a sixth of its time so, and workers hinder each other
at it. A worker does the same again and again, so it keeps what is free; once idle, it returns all of it. The caller
keeps results, which need new pages in any case: 0.4 ms a megabyte in those of 4 KB, 0.08 ms in those of 2 MB. Unless
these are slow to be had: a virtual machine that lends its free memory to its host gets it back at 3 ms a megabyte, and
a kernel may first have to make room. So one of each block is timed.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import time
from typing import Any

IDLE_SECONDS = 1  # without a message, until the memory is given back
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_KEPT = 64 << 20  # bytes free at the heap's top
_NOTICED = 128 << 10  # the freeing of such a block makes glibc look at the whole heap
_OWN_PAGES = 32 << 20  # from this size on, the largest that glibc accepts, a block is mapped and unmapped by itself
_LARGE_PAGE = 2 << 20
_SLOW_SECONDS = 0.001  # for one of these: as many of 4 KB take 0.0008
_AGAIN_SECONDS = 0.05  # after large pages were slow, others are used for so long: a tenth of the time at most is lost
_keeps = False  # what is freed
_slow_until = 0.0


def copied(view: memoryview) -> memoryview:
    """These bytes in memory of their own, which can be written to. Raises MemoryError."""
    if _keeps or view.nbytes < 2 * _LARGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE") or time.monotonic() < _slow_until:
        return memoryview(bytearray(view))
    try:
        own = mmap.mmap(-1, view.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"there is no room for {view.nbytes:,} bytes that a worker sends") from error
    with contextlib.suppress(OSError):  # the system has none: then the usual ones
        own.madvise(mmap.MADV_HUGEPAGE)
    _try(own)
    copy = memoryview(own)
    copy[:] = view
    return copy


def _try(own: mmap.mmap) -> None:
    """Have one large page; if that was slow, the rest is to be in others."""
    global _slow_until  # noqa: PLW0603 - a machine has one memory
    began = time.monotonic()
    own[_LARGE_PAGE] = 0  # in a page that lies in this block as a whole, wherever the block begins
    ended = time.monotonic()
    if ended - began > _SLOW_SECONDS:
        _slow_until = ended + _AGAIN_SECONDS
        with contextlib.suppress(OSError):
            own.madvise(mmap.MADV_NOHUGEPAGE)


def keep_freed() -> None:
    """From here on freed memory stays in this process and in those forked from it. Elsewhere than on glibc: nothing."""
    global _keeps  # noqa: PLW0603 - a process has one heap
    if (libc := _glibc()) is not None:
        _keeps = True
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
