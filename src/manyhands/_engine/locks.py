"""Locks that all workers of a program have in common, and that the system gives back when their owner ends.

Each name stands for one byte of a file that has no name itself and that every worker is sent when it starts. The
system knows which process has locked it. Between the threads of one process, which are one to the system, stands a
lock of Python's.
"""

from __future__ import annotations

import fcntl
import threading
from _blake2 import blake2b
from types import TracebackType

from manyhands._engine.memory import Segment

_file: Segment | None = None
_opening = threading.Lock()
_threads: dict[str, threading.RLock] = {}  # by name
_depth: dict[str, int] = {}  # how often the thread that has it has taken it


def file() -> Segment:
    """What the workers of this program are sent. Raises OSError if there is no shared memory."""
    global _file  # noqa: PLW0603 - a program has one, from first use on
    with _opening:
        if _file is None:
            _file = Segment.new(1)
        return _file


def use(received: Segment) -> None:
    """In a worker: this is what the program has."""
    global _file  # noqa: PLW0603
    _file = received


class Lock:
    """The lock of this name; for ``with``."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        name = self._name
        thread = _threads.setdefault(name, threading.RLock())
        thread.acquire()  # noqa: SIM115, RUF100 - the file's lock must be had, too
        try:
            if not _depth.get(name):
                fcntl.lockf(file().fd, fcntl.LOCK_EX, 1, _byte(name))
            _depth[name] = _depth.get(name, 0) + 1
        except BaseException:
            thread.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        name = self._name
        _depth[name] -= 1
        if not _depth[name]:
            fcntl.lockf(file().fd, fcntl.LOCK_UN, 1, _byte(name))
        _threads[name].release()


def _byte(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "little")
