"""Tasks that the caller runs itself, and how they see the place where they run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from manyhands._engine import context, run_queue


class Slice:
    """Tasks that the caller is at."""

    def __init__(self, start: int, items: Sequence[Any]) -> None:
        self.start = start
        self.rest = iter(items)
        self.values: list[Any] = []  # results so far
        self.slowest, self.slowest_offset = 0.0, 0
        self._queue = run_queue.mine()  # of the caller's thread, whoever asks
        self.mark()
        self.began = self.marked

    def mark(self) -> None:
        """From here on counts what happens lately."""
        self.marked = time.monotonic()
        self._since = len(self.values), self.marked, time.process_time(), self._queue.total()

    def lately(self) -> tuple[int, float, float]:
        """Tasks that have ended since, and the seconds by the clock, and on a processor or in the queue for one."""
        count, began, cpu, queued = self._since
        wall, used = time.monotonic() - began, time.process_time() - cpu
        return len(self.values) - count, wall, used + min(max(0.0, wall - used), self._queue.total() - queued)


class CallerContext(context.WorkerContext):
    """The caller as a worker. Which task runs is told by how many have ended: stamps would cost as much as they."""

    def __init__(self, seed: int | None) -> None:
        super().__init__()
        self.seed = seed
        self.values: list[Any] = []
        self._drawn: tuple[int, Any] | None = None

    def task(self) -> int | None:
        """Number of the running task."""
        return self.first_task + len(self.values)

    def rng(self) -> Any:
        """The running task's random generator."""
        task = self.first_task + len(self.values)
        if self._drawn is None or self._drawn[0] != task:
            self._drawn = task, context.generator(self.seed, task)
        return self._drawn[1]
