"""What is counted while a job runs, for its report."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

SLOWEST = 5


class Stats(NamedTuple):
    """Of one chunk, in seconds: in the function, of that not waiting; altogether; the slowest task, its offset."""

    busy: float
    cpu: float
    seconds: float
    slowest: float
    slowest_offset: int


class Tally:
    """Sums over the chunks of one job; times in seconds."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.first_chunk: float | None = None  # when the first worker was at work
        self.busy: dict[int, float] = {}  # per worker, in the user's function
        self.cpu = 0.0  # of that, on a processor or in the queue for one
        self.lost = 0.0  # of ``busy``, in tasks that were ended: nobody knows what they were doing
        self.transfer = 0.0  # in workers: unpacking, packing, sending
        self.chunks = 0
        self.retried: dict[int, int] = {}  # task: further attempts
        self.slowest: dict[int, float] = {}  # task: seconds of its longest attempt
        self.arguments: dict[int, Any] = {}  # of the slowest tasks

    def add(self, worker: int, stats: Stats) -> None:
        """Count one chunk."""
        self.chunks += 1
        self.busy[worker] = self.busy.get(worker, 0.0) + stats.busy
        self.cpu += stats.cpu
        self.transfer += max(0.0, stats.seconds - stats.busy)

    def busy_but(self, one: int) -> float:
        """Seconds in the function, of all workers but this one."""
        return sum(seconds for worker, seconds in list(self.busy.items()) if worker != one)

    def add_lost(self, worker: int, seconds: float) -> None:
        """Count a task that was ended, or ended its worker, after so long."""
        self.busy[worker] = self.busy.get(worker, 0.0) + seconds
        self.lost += seconds

    def is_slow(self, task: int, seconds: float) -> bool:
        """Note how long this task took, if it is one of the slowest so far."""
        if seconds <= self.slowest.get(task, 0.0):
            return False
        self.slowest[task] = seconds
        if len(self.slowest) <= SLOWEST:
            return True
        quickest = min(self.slowest, key=self.slowest.__getitem__)
        del self.slowest[quickest]
        self.arguments.pop(quickest, None)
        return quickest != task
