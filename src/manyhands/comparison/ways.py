"""The ways to run a job that are compared, and how one of them is run once."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from manyhands import mapping
from manyhands._engine import shared
from manyhands._engine.cpus import cpu_count
from manyhands.errors import OptionError
from manyhands.showing import add_note, short_repr

STRATEGIES = ("loop", "threads", "processes", "auto")
END_SECONDS = 10.0  # for workers to leave before fresh ones are started


class Way(NamedTuple):
    """One strategy with a number of workers; None where the strategy chooses."""

    strategy: str
    workers: int | None

    @property
    def label(self) -> str:
        """Name and number, as they stand in tables.

        >>> Way("processes", 2).label
        'processes × 2'
        """
        return self.strategy if self.workers is None else f"{self.strategy} × {self.workers}"

    @property
    def code(self) -> str:
        """What to write for it.

        >>> Way("threads", 8).code
        "mh.map(func, items, backend='threads', workers=8)"
        """
        if self.strategy == "loop":
            return "[func(item) for item in items]"
        backend = "" if self.strategy == "auto" else f", backend={self.strategy!r}"
        return f"mh.map(func, items{backend}{'' if self.workers is None else f', workers={self.workers}'})"


class Run(NamedTuple):
    """One run of a job."""

    seconds: float
    cpu: float  # of this process alone
    results: list[Any]


def ways(strategies: Iterable[str], workers: int | Sequence[int] | None) -> list[Way]:
    """All that is to be compared, the loop first. Raises OptionError for unknown names and numbers."""
    names = [strategies] if isinstance(strategies, str) else list(strategies)
    if unknown := [name for name in names if name not in STRATEGIES]:
        raise OptionError(f"strategies may be {', '.join(STRATEGIES)}; got {unknown[0]!r}")
    numbers = [workers] if isinstance(workers, int) else list(workers or [])
    if any(not isinstance(number, int) or isinstance(number, bool) or number < 1 for number in numbers):
        raise OptionError(f"workers= takes numbers of 1 and more, one or several; got {workers!r}")
    found = [Way("loop", None)]  # what the others are compared with
    for name in dict.fromkeys(names):
        usual = None if name == "auto" else cpu_count()
        if name != "loop":
            found += [Way(name, number) for number in numbers] or [Way(name, usual)]
    return list(dict.fromkeys(found))


def run(way: Way, func: Callable[[Any], Any], items: Sequence[Any]) -> Run:
    """Run the job this way, with the workers that are there."""
    with undisturbed():
        began, cpu = time.perf_counter(), time.process_time()
        if way.strategy == "loop":
            results = _looped(func, items)
        else:
            results = mapping.map(func, items, backend=way.strategy, workers=way.workers, progress=False)
        return Run(time.perf_counter() - began, time.process_time() - cpu, results)


def _looped(func: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """As fast as a loop is; what fails says where."""
    results: list[Any] = []
    append = results.append
    try:
        for item in items:
            append(func(item))
    except Exception as error:
        add_note(error, len(results), short_repr(items[len(results)]))
        raise
    return results


@contextmanager
def undisturbed() -> Iterator[None]:
    """Without the collector of this process, which strikes whom it will."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def end_workers() -> None:
    """Have none, so that the next call starts its own."""
    there = shared.all_warm()
    shared.renew()
    for dispatcher in there:
        dispatcher.join(END_SECONDS)
