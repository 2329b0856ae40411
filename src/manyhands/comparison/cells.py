"""The ways to run a job that are compared, and how one of them is run once."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from manyhands import mapping
from manyhands._engine import shared
from manyhands._engine.cpus import cpu_count
from manyhands.errors import OptionError

STRATEGIES = ("loop", "threads", "processes", "auto")
END_SECONDS = 10.0  # for workers to leave before fresh ones are started


class Cell(NamedTuple):
    """One strategy with a number of workers; None where the strategy chooses."""

    strategy: str
    workers: int | None

    @property
    def label(self) -> str:
        """Name and number, as they stand in tables.

        >>> Cell("processes", 2).label
        'processes × 2'
        """
        return self.strategy if self.workers is None else f"{self.strategy} × {self.workers}"

    @property
    def code(self) -> str:
        """What to write for it.

        >>> Cell("threads", 8).code
        "mh.map(func, items, backend='threads', workers=8)"
        """
        if self.strategy == "loop":
            return "[func(item) for item in items]"
        backend = "" if self.strategy == "auto" else f", backend={self.strategy!r}"
        return f"mh.map(func, items{backend}{'' if self.workers is None else f', workers={self.workers}'})"


class Run(NamedTuple):
    """One run of a job."""

    seconds: float
    results: list[Any]


def cells(strategies: Iterable[str], workers: int | Sequence[int] | None) -> list[Cell]:
    """All that is to be compared, the loop first. Raises OptionError for unknown names and numbers."""
    names = [strategies] if isinstance(strategies, str) else list(strategies)
    if unknown := [name for name in names if name not in STRATEGIES]:
        raise OptionError(f"strategies may be {', '.join(STRATEGIES)}; got {unknown[0]!r}")
    numbers = [workers] if isinstance(workers, int) else list(workers or [])
    if any(not isinstance(number, int) or isinstance(number, bool) or number < 1 for number in numbers):
        raise OptionError(f"workers= takes numbers of 1 and more, one or several; got {workers!r}")
    found = [Cell("loop", None)]  # what the others are compared with
    for name in dict.fromkeys(names):
        usual = None if name == "auto" else cpu_count()
        if name != "loop":
            found += [Cell(name, number) for number in numbers] or [Cell(name, usual)]
    return list(dict.fromkeys(found))


def run(cell: Cell, func: Callable[[Any], Any], items: Sequence[Any]) -> Run:
    """Run the job this way, with the workers that are there. The collector keeps out of it."""
    gc.collect()
    began = time.perf_counter()
    if cell.strategy == "loop":
        results = [func(item) for item in items]
    else:
        results = mapping.map(func, items, backend=cell.strategy, workers=cell.workers, progress=False)
    return Run(time.perf_counter() - began, results)


def end_workers() -> None:
    """Have none, so that the next call starts its own."""
    there = shared.all_warm()
    shared.renew()
    for dispatcher in there:
        dispatcher.join(END_SECONDS)
