"""Running one chunk: the loop in which the user's function is called, the same on every backend."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from manyhands._core.chunking import SLICE, in_slices
from manyhands._engine import board, run_queue
from manyhands._engine.context import WorkerContext
from manyhands._engine.payload import SIMPLE

FLUSH_SECONDS = 0.1  # finished results wait no longer for the rest of their chunk; more often costs some percent
HOLE = object()  # in the place of a result, where the task failed


class Work(NamedTuple):
    """One chunk as the runner sees it."""

    serial: int
    first_task: int
    items: Sequence[Any]
    call: Callable[[Any], Any]
    seed: int | None = None
    retry_on: tuple[type[BaseException], ...] = ()
    timed: bool = False  # there is a timeout: it must be seen when each task began


class Outcome:
    """What running has produced so far; appended to by the runner, read by whoever sends results."""

    __slots__ = ("busy", "cpu", "errors", "sealed", "slowest", "slowest_offset", "values")

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.errors: list[tuple[int, Any, bool]] = []  # (offset, described error, may be retried)
        self.sealed = False  # among the values are some that were made ready to travel
        self.busy = 0.0
        self.cpu = 0.0  # of that, on a processor or in the queue for one: in the rest, the tasks waited
        self.slowest = 0.0
        self.slowest_offset = 0

    def clear(self) -> None:
        """It was reported. An exception holds the frame that holds this: without the exception, no circle."""
        self.values.clear()
        self.errors.clear()


def run(
    work: Work,
    context: WorkerContext,
    outcome: Outcome,
    *,
    seal: Callable[[Any], Any] | None,
    describe: Callable[[BaseException], Any],
    passes: Callable[[BaseException], bool] = lambda _error: False,
) -> None:
    """Run the tasks in order, until the end or until told to stop.

    ``seal`` makes a result ready to travel, at once, so that a result that cannot is its own task's trouble.
    Exceptions that ``passes`` says yes to are not the task's own (Ctrl-C in the caller's thread) and go through.
    """
    base = board.base_tag(work.serial)
    context.seed, context.first_tag, context.first_task = work.seed, base, work.first_task
    runner = _Runner(work, context.slot, outcome, seal, describe, passes)
    # In a process of its own a task may use threads; a thread's own time is all that can be told from the others'.
    clock = time.thread_time if seal is None else time.process_time
    queue = run_queue.mine()
    queue.mark()
    began, used, owner = time.monotonic_ns(), clock(), os.getpid()
    try:
        if in_slices(len(work.items), timed=work.timed):
            runner.run_slices(began)
        else:
            runner.run_each(began)
    finally:
        if os.getpid() == owner:  # a child that a task forked comes by, too, and the slot is its parent's
            context.slot[board.CURRENT] = board.IDLE
            board.no_steps(context.slot)
    outcome.busy, cpu = (time.monotonic_ns() - began) / 1e9, clock() - used
    outcome.cpu = cpu + queue.since_mark(outcome.busy, cpu)


class _Runner(NamedTuple):
    """One run. Both loops stamp each task before its function is called."""

    work: Work
    slot: Any
    outcome: Outcome
    seal: Callable[[Any], Any] | None
    describe: Callable[[BaseException], Any]
    passes: Callable[[BaseException], bool]

    def run_each(self, began: int) -> None:
        """Time every task, and look at LIMIT before it."""
        slot, call, seal, values = self.slot, self.work.call, self.seal, self.outcome.values
        clock, base = time.monotonic_ns, board.base_tag(self.work.serial)
        worst = -1
        for tag, item in enumerate(self.work.items, base):
            slot[board.SINCE] = began
            slot[board.CURRENT] = tag
            if tag > slot[board.LIMIT]:
                break
            try:
                value = call(item)
                if seal is not None and type(value) not in SIMPLE:
                    self.outcome.sealed = True
                    value = seal(value)
            except BaseException as error:  # SystemExit and the like are the task's own, too
                if self.passes(error):
                    raise
                value = self._failed(tag - base, error)
            values.append(value)
            now = clock()
            if now - began > worst:
                worst, self.outcome.slowest_offset = now - began, tag - base
            began = now
        self.outcome.slowest = max(worst, 0) / 1e9

    def run_slices(self, began: int) -> None:
        """Time tasks of a microsecond by the slice: the clock, or a look at LIMIT, takes as long as one of them.

        The price: their results come out by the slice, and the slowest is known as the mean of its slice.
        """
        slot, call, items, outcome = self.slot, self.work.call, self.work.items, self.outcome
        current, limit = board.CURRENT, board.LIMIT
        base = board.base_tag(self.work.serial)
        for start in range(0, len(items), SLICE):
            step = board.step_of(start)
            slot[step] = 0
            slot[board.SINCE] = began
            slot[current] = base + start
            if base + start > slot[limit]:
                return
            values: list[Any] = []
            append = values.append
            mine = items[start : start + SLICE]
            while len(values) < len(mine):
                try:
                    for slot[step], item in enumerate(mine[len(values) :], len(values)):  # the loop itself stamps
                        append(call(item))
                except BaseException as error:
                    if self.passes(error):
                        outcome.values += values
                        raise
                    place = slot[step]  # its result may be there: an alarm that it has set may strike after it
                    values[place:] = [self._failed(start + place, error)]
            if self.seal is not None and not _all_simple(values):
                self._seal_all(values, start)
            outcome.values += values
            now = time.monotonic_ns()
            mean = (now - began) / len(values) / 1e9
            if mean > outcome.slowest:
                outcome.slowest, outcome.slowest_offset = mean, start
            began = now

    def _seal_all(self, values: list[Any], start: int) -> None:
        """Make a slice's results ready to travel, each under its own stamp."""
        assert self.seal is not None  # noqa: S101 - only called if there is one
        self.outcome.sealed = True
        step = board.step_of(start)
        for index, value in enumerate(values):
            if value is HOLE:
                continue
            self.slot[step] = index
            try:
                if type(value) in SIMPLE:
                    continue
                values[index] = self.seal(value)
            except BaseException as error:  # noqa: BLE001
                values[index] = self._failed(start + index, error)

    def _failed(self, offset: int, error: BaseException) -> object:
        try:
            retry = isinstance(error, self.work.retry_on)
        except Exception:  # noqa: BLE001 - user code in __instancecheck__
            retry = False
        self.outcome.errors.append((offset, self.describe(error), retry))
        return HOLE


def _all_simple(values: list[Any]) -> bool:
    try:
        return set(map(type, values)) <= SIMPLE
    except Exception:  # noqa: BLE001 - a class that cannot be hashed, or does not want to be
        return False
