"""How many tasks travel together, and how many chunks a worker holds.

Too small, and sending costs more than running; too large, and at the end one worker toils while the others
idle. So: aim at some hundredths of a second, grow from what was tried step by step (twice, or up to 64 times while
a chunk is next to nothing), and never give a worker more than its share of what remains, unless that is next to
nothing. Tasks with megabytes travel alone: then the next one is on its way while one is run.

A chunk size that the user fixes is kept, except for tasks that are next to nothing and all at hand: several such
chunks, up to a millisecond of work, travel as one. When their worker dies, more of them run again; so not where none
may run twice.
"""

from __future__ import annotations

import math

JOINED_SECONDS = 0.001  # of work in chunks of a fixed size that travel as one
TARGET_SECONDS = 0.05  # of work in one chunk; a message takes a core, and its caches, from a worker that is busy
MAX_CHUNK = 1 << 13  # tasks; larger ones would travel while nothing runs
TINY = 256  # so many tasks travel together only if they are tiny: a worker runs them...
SLICE = 64  # ...in slices, and looks only between these whether it is to begin no more
MAX_FIXED = (1 << 24) - 2  # what a stamp can count; see _engine/board.py
MIN_DEPTH = 2  # one running, one at hand
MAX_DEPTH = 16
DEPTH_SECONDS = 0.002  # work at hand in a worker, so that it never waits for a message
GROWTH = 2  # of the next chunk over the largest so far
QUICK_GROWTH = 64  # while even that would take less than half the target; what is too much is taken back
CHUNK_BYTES = 4 << 20  # a larger chunk would arrive when the worker has nothing left to run; a heavy task goes alone
DEPTH_BYTES = 16 << 20  # at hand in a worker, unless two chunks have that
FLOOR_SECONDS = 0.0002  # a smaller part of the rest is not worth its way
_MEMORY = 0.5  # weight of the newest chunk in the running mean; a guess


def in_slices(tasks: int, *, timed: bool) -> bool:
    """A chunk of so many tasks is run in slices. With a timeout it must be seen when each task began."""
    return tasks >= TINY and not timed


class Chunker:
    """Sizes the chunks of one job from how long its earlier chunks took."""

    def __init__(self, fixed: int | None = None, *, exact: bool = False) -> None:
        self.fixed = fixed
        self._exact = exact
        self.per_task: float | None = None
        self._weight = 1.0  # bytes of a task, in the heaviest chunk so far; never 0
        self._proven = 0  # the largest chunk that was tried
        self._growth = GROWTH

    def size(self, remaining: int, workers: int, *, more_to_come: bool = False) -> int:
        """Tasks for the next chunk, at least 1, when ``remaining`` are not sent yet."""
        unit = min(self.fixed or 1, MAX_FIXED)
        if self.per_task is None or remaining <= unit or (self.fixed is not None and (more_to_come or self._exact)):
            return unit
        per_task = max(self.per_task, 1e-9)
        wanted = (TARGET_SECONDS if self.fixed is None else JOINED_SECONDS) / per_task
        share = remaining / (workers if more_to_come else 2 * workers)
        share = max(share, min(FLOOR_SECONDS / per_task, remaining / workers))
        # Several of a fixed size are never run in slices, so that whatever has not begun can be taken back: the next
        # task may be what this one waits for.
        largest = MAX_CHUNK if self.fixed is None else TINY - 1
        most = min(wanted, share, self._growth * self._proven, largest, CHUNK_BYTES / self._weight)
        return max(1, int(most / unit)) * unit

    def weigh(self, tasks: int, size: int) -> None:
        """Take in that inputs or results of so many tasks have so many bytes."""
        self._weight = max(self._weight, size / tasks)

    def learn(self, tasks: int, seconds: float) -> None:
        """Take in that a chunk of so many tasks took so long."""
        if tasks <= 0:
            return
        new = seconds / tasks
        old = self.per_task
        # A chunk of one is mostly start-up cost (imports, first calls); it must not weigh on larger ones.
        if old is None or tasks > 2 * self._proven:
            self.per_task = new
        else:
            self.per_task = old + _MEMORY * (new - old)
        if tasks >= self._proven:
            self._proven = tasks
            self._growth = min(QUICK_GROWTH, max(GROWTH, int(TARGET_SECONDS / 2 / max(seconds, 1e-9))))

    def depth(self, size: int) -> int:
        """Chunks of this size that a worker should hold at once."""
        if self.per_task is None:
            return MIN_DEPTH
        seconds = max(self.per_task * size, 1e-6)
        most = min(MAX_DEPTH, int(DEPTH_BYTES / (self._weight * size)))
        return max(MIN_DEPTH, min(most, math.ceil(DEPTH_SECONDS / seconds) + 1))

    def lookahead(self, workers: int) -> int:
        """Tasks that should be at hand, sent or not, when the input is read lazily."""
        size = self.fixed or self.size(MAX_CHUNK * workers, workers, more_to_come=True)
        return max(4, 2 * workers * size * self.depth(size))
