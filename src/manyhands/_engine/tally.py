"""What is counted while a job runs, for its report."""

from __future__ import annotations

import heapq
import time
from typing import Any, NamedTuple

SLOWEST = 5


class Stats(NamedTuple):
    """Of one chunk, in seconds: in the function; altogether in the worker; the slowest task and its offset."""

    busy: float
    seconds: float
    slowest: float
    slowest_offset: int


class Tally:
    """Sums over the chunks of one job; times in seconds."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.first_chunk: float | None = None  # when the first worker was at work
        self.busy: dict[int, float] = {}  # per worker, in the user's function
        self.transfer = 0.0  # in workers: unpacking, packing, sending
        self.chunks = 0
        self.retried: dict[int, int] = {}  # task: further attempts
        self.slowest: list[tuple[float, int]] = []  # a heap of (seconds, task)
        self.arguments: dict[int, Any] = {}  # of the slowest tasks

    def add(self, worker: int, slowest: int, stats: Stats) -> bool:
        """Count one chunk; True if its slowest task is one of the slowest so far."""
        self.chunks += 1
        self.busy[worker] = self.busy.get(worker, 0.0) + stats.busy
        self.transfer += max(0.0, stats.seconds - stats.busy)
        entry = (stats.slowest, slowest)
        if len(self.slowest) < SLOWEST:
            heapq.heappush(self.slowest, entry)
        elif entry > self.slowest[0]:
            _, gone = heapq.heapreplace(self.slowest, entry)
            self.arguments.pop(gone, None)
        else:
            return False
        return True
