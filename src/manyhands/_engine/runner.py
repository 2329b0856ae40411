"""Running one chunk: the loop in which the user's function is called, the same on every backend."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from manyhands._engine import board
from manyhands._engine.context import WorkerContext
from manyhands._engine.payload import SIMPLE

TINY = 256  # a chunk of so many tasks is one of tiny tasks...
STRIDE = 16  # ...and so many of them, or a millisecond's worth, are begun for one look at LIMIT
HOLE = object()  # in the place of a result, where the task failed


class Work(NamedTuple):
    """One chunk as the runner sees it."""

    serial: int
    first_task: int
    items: Sequence[Any]
    call: Callable[[Any], Any]
    seed: int | None = None
    retry_on: tuple[type[BaseException], ...] = ()


class Outcome:
    """What running has produced so far; appended to by the runner, read by whoever sends results."""

    __slots__ = ("busy", "errors", "slowest", "slowest_offset", "values")

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.errors: list[tuple[int, Any, bool]] = []  # (offset, described error, may be retried)
        self.busy = 0.0
        self.slowest = 0.0
        self.slowest_offset = 0


def run(
    work: Work,
    context: WorkerContext,
    outcome: Outcome,
    *,
    seal: Callable[[Any], Any] | None,
    describe: Callable[[BaseException], Any],
    passing: tuple[type[BaseException], ...] = (),
) -> None:
    """Run the tasks in order, until the end or until told to stop.

    ``seal`` makes a result ready to travel, at once, so that a result that cannot is its own task's trouble.
    Exceptions in ``passing`` are not the task's own (Ctrl-C in the caller's thread) and go through.
    """
    slot, call, values = context.slot, work.call, outcome.values
    base = board.base_tag(work.serial)
    context.seed, context.first_tag, context.first_task = work.seed, base, work.first_task
    clock, simple, bound = time.monotonic_ns, SIMPLE, base - 1
    stride = 1 if len(work.items) < TINY else STRIDE
    began = since = slot[board.SINCE] = first = clock()
    worst, worst_tag = -1, base
    for tag, item in enumerate(work.items, base):
        if tag > bound:
            slot[board.BOUND] = bound = tag + stride - 1
            slot[board.CURRENT] = tag
            slot[board.SINCE] = since = began
            if tag > slot[board.LIMIT]:
                break
        else:
            slot[board.CURRENT] = tag
        try:
            value = call(item)
            if type(value) not in simple and seal is not None:
                value = seal(value)
        except passing:
            slot[board.CURRENT] = board.IDLE
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit and the like are the task's own, too
            value = HOLE
            retry = isinstance(error, work.retry_on)
            outcome.errors.append((tag - base, describe(error), retry))
        values.append(value)
        now = clock()
        if now - began > worst:
            worst, worst_tag = now - began, tag
        if now - since > board.SLACK:
            slot[board.SINCE], bound = now, tag
        began = now
    slot[board.CURRENT] = board.IDLE
    outcome.busy = (began - first) / 1e9
    outcome.slowest, outcome.slowest_offset = max(worst, 0) / 1e9, worst_tag - base
