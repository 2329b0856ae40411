"""The comparison itself: first whether the results agree, then rounds in random order."""

from __future__ import annotations

import platform
import random
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from manyhands._engine import payload
from manyhands._engine.cpus import cpu_count
from manyhands.calls import check_function
from manyhands.comparison import agreement, cells, judging, machine, statistics, words
from manyhands.comparison.cells import STRATEGIES, Cell
from manyhands.comparison.comparison import Comparison, Measured
from manyhands.comparison.progress import Steps
from manyhands.errors import OptionError, ResultsDiffer
from manyhands.showing import short_repr

ROUNDS = 7
WAITING_SHARE = 0.3  # of the time on a processor; below it, a job mostly waits


def compare(
    func: Callable[[Any], Any],
    items: Iterable[Any],
    *,
    strategies: Iterable[str] = STRATEGIES,
    workers: int | Sequence[int] | None = None,
    rounds: int = ROUNDS,
    equal: Callable[[Any, Any], bool] | None = None,
    progress: bool | None = None,
    seed: int | None = None,
    language: str = "en",
) -> Comparison:
    """Run a job as a loop, in threads and in processes, in turns, and say which is quicker and how sure that is.

    >>> import manyhands as mh
    >>> found = mh.compare(abs, range(100), strategies=["threads"], workers=2, rounds=3)
    >>> [row.cell.label for row in found.rows]
    ['loop', 'threads × 2']

    First every strategy runs once, and its results must be those of the loop: equal, or close where they are floats.
    Then come the rounds, in each all strategies in random order; every one twice, without workers (cold) and then
    with those that are there (warm). So a job of ten seconds with three strategies takes some minutes: give a part of
    your inputs.

    Args:
        func: called with one item. Use functools.partial for more arguments.
        items: the inputs, at least one.
        strategies: of ``"loop"``, ``"threads"``, ``"processes"`` and ``"auto"``. The loop is always there.
        workers: how many; several numbers compare each. None: one per core, and with auto what it chooses.
        rounds: how often each is measured, 3 at least; from 7 on the intervals are worth reading.
        equal: says whether two results are the same, where the usual way does not fit.
        progress: show a bar on stderr; None: if that is a terminal.
        seed: of the order in the rounds.
        language: of tables, charts and verdict: ``"en"`` or ``"zh"``.

    Returns:
        A `Comparison`; print it, or use its ``plot``, ``html``, ``to_json``, ``to_markdown``.

    Raises:
        ResultsDiffer: a strategy gives other results than the loop, or the loop others the second time.
        OptionError: an argument cannot be used. Nothing was run.
    """
    inputs = _checked(func, items, rounds, language)
    what = cells.cells(strategies, workers)
    order = random.Random(seed)
    with Steps(len(what) * (1 + 2 * rounds), show=progress) as steps, machine.others_at_work() as others:
        peaks, expected = _check_results(func, inputs, what, equal, steps)
        taken = _Taken(what)
        for _ in range(rounds):
            for cell in order.sample(what, len(what)):
                _measure(cell, func, inputs, taken, steps)
        cells.end_workers()
    sent = _sent(func, inputs, expected)
    rows = [_row(cell, taken, peaks[cell], sent, len(inputs)) for cell in what]
    return Comparison(
        function=getattr(func, "__qualname__", None) or short_repr(func),
        tasks=len(inputs),
        rounds=rounds,
        cores=cpu_count(),
        seconds_per_task=median(taken.warm[what[0]]) / len(inputs),
        waiting=taken.waits,
        rows=tuple(rows),
        best=judging.best(rows),
        warnings=tuple(words.warnings(language, rows, others, taken.cores_of_loop, cpu_count(), waiting=taken.waits)),
        machine=f"{platform.system()}, Python {platform.python_version()}",
        language=language,
    )


def _checked(func: Any, items: Iterable[Any], rounds: int, language: str) -> list[Any]:
    check_function(func)
    if not isinstance(rounds, int) or rounds < 3:
        raise OptionError(f"rounds= takes a number of 3 or more, since fewer tell nothing; got {rounds!r}")
    words.of(language)
    inputs = list(items)
    if not inputs:
        raise OptionError("there is nothing to compare: items is empty")
    return inputs


class _Taken:
    """Times of all rounds, and processor time."""

    def __init__(self, what: list[Cell]) -> None:
        self._loop = what[0]
        self.cold: dict[Cell, list[float]] = {cell: [] for cell in what}
        self.warm: dict[Cell, list[float]] = {cell: [] for cell in what}
        self.cpu: dict[Cell, list[float]] = {cell: [] for cell in what}

    @property
    def cores_of_loop(self) -> float | None:
        """That the loop keeps busy by itself."""
        return sum(self.cpu[self._loop]) / sum(self.warm[self._loop]) if self.cpu[self._loop] else None

    @property
    def waits(self) -> bool:
        """The job mostly waits."""
        return self.cores_of_loop is not None and self.cores_of_loop < WAITING_SHARE


def _check_results(
    func: Callable[[Any], Any],
    inputs: list[Any],
    what: list[Cell],
    equal: Callable[[Any, Any], bool] | None,
    steps: Steps,
) -> tuple[dict[Cell, int | None], list[Any]]:
    """Run each once; whoever does not give what the loop gives is told. Peak memory, since watching it costs time."""
    peaks: dict[Cell, int | None] = {}
    expected = cells.run(what[0], func, inputs).results
    for cell in what:
        cells.end_workers()
        with machine.PeakMemory() as peak:
            ran = cells.run(cell, func, inputs)
        peaks[cell] = peak.size
        _check(cell, inputs, expected, ran.results, equal)
        steps.one()
    return peaks, expected


def _check(cell: Cell, inputs: list[Any], expected: list[Any], found: list[Any], equal: Any) -> None:
    for index, (one, other) in enumerate(zip(expected, found, strict=True)):
        if equal is None:
            told = agreement.difference(one, other)
        else:
            told = None if equal(one, other) else f"{short_repr(one)} and {short_repr(other)}"
        if told:
            raise ResultsDiffer(cell.label, index, short_repr(inputs[index]), told)


def _measure(cell: Cell, func: Callable[[Any], Any], inputs: list[Any], taken: _Taken, steps: Steps) -> None:
    for times in (taken.cold, taken.warm):
        if cell.strategy == "loop" and times is taken.cold:
            steps.one()
            continue  # there is nothing that it would start
        if times is taken.cold:
            cells.end_workers()
        before = machine.cpu_seconds()
        times[cell].append(cells.run(cell, func, inputs).seconds)
        after = machine.cpu_seconds()
        if times is taken.warm and before is not None and after is not None:
            taken.cpu[cell].append(after - before)
        steps.one()
    if cell.strategy == "loop":
        taken.cold[cell].append(taken.warm[cell][-1])


def _sent(func: Any, inputs: list[Any], results: list[Any]) -> int | None:
    """Bytes that a call with processes sends, both ways."""
    try:
        return payload.weight(func) + payload.weight(inputs) + payload.weight(results)
    except Exception:  # noqa: BLE001 - user code in __reduce__; where it has to be sent, that has failed before
        return None


def _row(cell: Cell, taken: _Taken, peak: int | None, sent: int | None, tasks: int) -> Measured:
    loop = next(iter(taken.warm))
    cold, warm, base = taken.cold[cell], taken.warm[cell], taken.warm[loop]
    share = 1 if cell == loop else min(cell.workers or cpu_count(), tasks)
    if not taken.waits:
        share = min(share, cpu_count())
    each = None if cell == loop else statistics.overhead(median(warm), median(base), tasks, share)
    start = None if cell == loop else statistics.overhead(median(cold), median(base), tasks, share)
    return Measured(
        strategy=cell.strategy,
        workers=cell.workers,
        cold=tuple(cold),
        warm=tuple(warm),
        ratio=_ratio(cold, base),
        warm_ratio=_ratio(warm, base),
        efficiency=None if cell == loop else median(base) / max(median(cold), 1e-9) / share,
        cpu=median(taken.cpu[cell]) if taken.cpu[cell] else None,
        memory=peak,
        sent=sent if cell.strategy == "processes" else None if cell.strategy == "auto" else 0,
        overhead=each,
        crossover=None if start is None else statistics.crossover(start, share),
    )


def _ratio(times: list[float], base: list[float]) -> tuple[float, float, float]:
    low, high = statistics.ratio_interval(times, base)
    return low, median(times) / max(median(base), 1e-9), high
