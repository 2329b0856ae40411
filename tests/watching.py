"""Waiting for processes and looking at them, from outside."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PATIENCE = 10.0  # seconds that anything here may take at most to happen


def eventually(condition: Callable[[], object], *, seconds: float = PATIENCE) -> bool:
    """Wait until something is true; False if it has not become so."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            return False
        pause.wait(0.01)
    return True


def alive(pid: int) -> bool:
    """The process runs; one that nobody has reaped yet does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Meeting:
    """A named pipe on which tasks say how far they are, a line each.

    Tasks write to ``path``; the test waits for their lines. Neither side waits for the other to open it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unread = b""
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def lines(self, count: int = 1, *, seconds: float = PATIENCE) -> list[str]:
        """The next so many lines; fails if they do not come."""
        while self._unread.count(b"\n") < count:
            ready, _, _ = select.select([self._fd], [], [], seconds)
            assert ready, f"only {self._unread!r} came, not {count} lines"
            self._unread += os.read(self._fd, 1 << 16)
        *lines, self._unread = self._unread.split(b"\n", count)
        return [line.decode() for line in lines]

    def pids(self, count: int = 1) -> list[int]:
        """The same for lines that are process ids."""
        return [int(line) for line in self.lines(count)]

    def __enter__(self) -> Meeting:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
