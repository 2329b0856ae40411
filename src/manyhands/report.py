"""The report of a finished call, and the last one there was."""

from __future__ import annotations

import time

from manyhands._engine.tally import Tally
from manyhands.showing import MISSING, short_repr
from manyhands.types import Report, SlowTask, Strategy

_last: Report | None = None


def last_report() -> Report | None:
    """The report of the last call of map, starmap, imap or imap_unordered that ended; None if none has.

    >>> import manyhands as mh
    >>> _ = mh.map(abs, [-1, -2, -3], backend="serial")
    >>> mh.last_report().tasks
    3
    """
    return _last


def make(tally: Tally, strategy: Strategy, *, tasks: int, failures: int) -> Report:
    """The report of a call, which becomes the last one."""
    global _last  # noqa: PLW0603 - that is what it is for
    now = time.monotonic()
    slowest = tuple(
        SlowTask(index, seconds, short_repr(tally.arguments.get(index, MISSING)))
        for index, seconds in sorted(tally.slowest.items(), key=lambda item: item[1], reverse=True)
    )
    _last = Report(
        backend=strategy.backend,
        workers=strategy.workers,
        tasks=tasks,
        failures=failures,
        retries=sum(tally.retried.values()),
        chunks=tally.chunks,
        wall=now - tally.began,
        startup=max(0.0, (tally.first_chunk or now) - tally.began),
        busy=dict(tally.busy),
        transfer=tally.transfer,
        slowest=slowest,
        strategy=strategy,
    )
    return _last
