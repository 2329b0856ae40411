"""How long a thread was ready to run and waited for a processor: on a busy machine that is not the task's waiting."""

from __future__ import annotations

import math
import os
import threading
import time

NOTABLE_SECONDS = 0.001  # of work; for less it is not worth to look
_local = threading.local()


class RunQueue:
    """Of the thread that makes this. Where the system does not tell, it is always nothing."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        try:
            path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1
        self._marked, self._before = -math.inf, 0.0

    def mark(self) -> None:
        """From here on counts what `since_mark` tells, give or take a moment."""
        now = time.monotonic()
        if now - self._marked > NOTABLE_SECONDS:
            self._marked, self._before = now, self.total()

    def since_mark(self, wall: float, cpu: float) -> float:
        """Seconds, out of those of this work that were not spent on a processor; and mark."""
        if wall < NOTABLE_SECONDS:
            return 0.0
        before, self._before, self._marked = self._before, self.total(), time.monotonic()
        return min(max(0.0, self._before - before), max(0.0, wall - cpu))

    def total(self) -> float:
        """Seconds in the thread's life. From any thread."""
        if self._fd < 0:
            return 0.0
        try:
            return int(os.pread(self._fd, 64, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0 and self.pid == os.getpid():
            os.close(self._fd)


def mine() -> RunQueue:
    """The calling thread's, the same one as long as it lives."""
    queue: RunQueue | None = getattr(_local, "queue", None)
    if queue is None or queue.pid != os.getpid():
        queue = _local.queue = RunQueue()
    return queue
