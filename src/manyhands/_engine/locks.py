"""Locks that all workers of a program have in common, and that the system gives back when their owner ends.

Each name stands for one byte of a file that has no name itself and that every worker is sent when it starts. The
system knows which process has locked it. Between the threads of one process, which are one to the system, stands a
lock of Python's.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from _blake2 import blake2b
from types import TracebackType

from manyhands._engine.memory import Segment

SURE_SECONDS = 2.0  # so long the system must see a deadlock until it is one...
AGAIN_SECONDS = 0.01  # ...asked so often
_segment: Segment | None = None
_opening = threading.Lock()
_threads: dict[str, threading.RLock] = {}  # by name
_depth: dict[str, int] = {}  # how often the thread that has it has taken it


def _forget() -> None:
    """In a forked child: the threads that held these are not here, and the system's locks are not inherited."""
    global _opening  # noqa: PLW0603
    _opening = threading.Lock()
    _threads.clear()
    _depth.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def segment() -> Segment:
    """What the workers of this program are sent. Raises OSError if there is no shared memory."""
    global _segment  # noqa: PLW0603 - a program has one, from first use on
    with _opening:
        if _segment is None:
            _segment = Segment.new(1)
        return _segment


def use(received: Segment) -> None:
    """In a worker: this is what the program has."""
    global _segment  # noqa: PLW0603
    _segment = received


class Lock:
    """The lock of this name; for ``with``."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        name = self._name
        thread = _threads.setdefault(name, threading.RLock())
        thread.acquire()  # the file's lock must be had, too
        try:
            if not _depth.get(name):
                _lock(name)
            _depth[name] = _depth.get(name, 0) + 1
        except BaseException:
            thread.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        name = self._name
        if not _depth.get(name):
            return  # this is a fork that came out of the ``with`` of its parent
        _depth[name] -= 1
        if not _depth[name]:
            import fcntl

            fcntl.lockf(segment().fd, fcntl.LOCK_UN, 1, _byte(name))
        _threads[name].release()


def _lock(name: str) -> None:
    import fcntl  # not on Windows

    end = time.monotonic() + SURE_SECONDS
    while True:
        try:
            fcntl.lockf(segment().fd, fcntl.LOCK_EX, 1, _byte(name))
            return
        except OSError as error:
            # The system sees processes, not threads: it may be that another thread of ours goes on and gives its own.
            if error.errno != errno.EDEADLK or time.monotonic() > end:
                raise _told(error, name) from None
        time.sleep(AGAIN_SECONDS)


def _told(error: OSError, name: str) -> OSError:
    if error.errno != errno.EDEADLK:
        return error
    return OSError(
        errno.EDEADLK,
        f"mh.lock({name!r}) would be waited for for ever: who holds it waits for a lock that is held here. "
        "Take locks in the same order everywhere",
    )


def _byte(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "little")
