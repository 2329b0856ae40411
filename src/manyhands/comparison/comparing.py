"""The comparison itself: first whether the results agree, then rounds in random order."""

from __future__ import annotations

import hashlib
import pickle
import platform
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import median
from typing import Any

from manyhands._engine import payload
from manyhands._engine.cpus import cpu_count
from manyhands.comparison import agreement, intervals, judging, machine, ways, words
from manyhands.comparison.arguments import checked, name_of
from manyhands.comparison.comparison import Comparison, WayMeasured
from manyhands.comparison.progress import Steps
from manyhands.comparison.ways import STRATEGIES, Way
from manyhands.errors import ResultsDiffer
from manyhands.report import last_report
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
    >>> [row.way.label for row in found.rows]
    ['loop', 'threads × 2']

    First every strategy runs once, and its results must be those of the loop: equal, or close where they are floats.
    Then come the rounds, in each all strategies in random order; every one twice, without workers (cold) and then
    with those that are there (warm). So with all defaults everything is run some fifty times: give a part of
    your inputs.

    Args:
        func: called with one item. Use functools.partial for more arguments.
        items: the inputs, at least one.
        strategies: of ``"loop"``, ``"threads"``, ``"processes"`` and ``"auto"``. The loop is always there.
        workers: how many; several numbers compare each. None: one per core, and with auto what it chooses.
        rounds: how often each is measured, 3 at least; of fewer than 7 the intervals say little.
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
    inputs = checked([func], items, rounds, language)
    what = ways.ways(strategies, workers)
    order = random.Random(seed)
    before = digest(inputs)
    with Steps(len(what) * (1 + 2 * rounds), show=progress) as steps, machine.others_at_work() as others:
        taken = _Taken(what)
        expected = _check_results(func, inputs, taken, equal, steps)
        check = partial(_check, inputs=inputs, expected=expected, equal=equal)
        for _ in range(rounds):
            for way in order.sample(what, len(what)):
                _measure(way, partial(ways.run, func=func, items=inputs), taken, steps, check)
        ways.end_workers()
    sent = _sent(func, inputs, expected)
    rows = [_row(way, taken, sent, len(inputs)) for way in what]
    doubts = words.warnings(
        language, rows, others, taken.cores_of_loop, cpu_count(), waiting=taken.waits, changed=digest(inputs) != before
    )
    return Comparison(
        function=name_of(func),
        tasks=len(inputs),
        rounds=rounds,
        cores=cpu_count(),
        seconds_per_task=median(taken.warm[what[0]]) / len(inputs),
        waiting=taken.waits,
        rows=tuple(rows),
        best=judging.best(rows),
        warnings=tuple(doubts),
        machine=name_of_machine(),
        language=language,
    )


def name_of_machine() -> str:
    """System and Python."""
    return f"{platform.system()}, Python {platform.python_version()}"


class _Taken:
    """What has been measured, way by way."""

    def __init__(self, what: list[Way]) -> None:
        self.loop = what[0]
        self.cold: dict[Way, list[float]] = {way: [] for way in what}
        self.warm: dict[Way, list[float]] = {way: [] for way in what}
        self.cpu: dict[Way, list[float]] = {way: [] for way in what}
        self.peak: dict[Way, int | None] = {}
        self.workers: dict[Way, int] = {}  # that were at work
        self.stayed: set[Way] = set()  # in this program: no worker was used

    @property
    def cores_of_loop(self) -> float:
        """That the loop keeps busy by itself."""
        return sum(self.cpu[self.loop]) / max(sum(self.warm[self.loop]), 1e-9)

    @property
    def waits(self) -> bool:
        """The job mostly waits."""
        return self.cores_of_loop < WAITING_SHARE


def _check_results(
    func: Callable[[Any], Any],
    inputs: list[Any],
    taken: _Taken,
    equal: Callable[[Any, Any], bool] | None,
    steps: Steps,
) -> list[Any]:
    """Run each once; whoever does not give what the loop gives is told. Peak memory, since watching it costs time."""
    expected = ways.run(taken.loop, func, inputs).results
    for way in taken.warm:
        ways.end_workers()
        with machine.PeakMemory() as peak:
            ran = ways.run(way, func, inputs)
        taken.peak[way] = peak.size
        _check(way, ran.results, inputs, expected, equal)
        steps.one()
    return expected


def _check(way: Way, found: list[Any], inputs: list[Any], expected: list[Any], equal: Any) -> None:
    for index, (one, other) in enumerate(zip(expected, found, strict=True)):
        if equal is None:
            told = agreement.difference(one, other)
        else:
            told = None if equal(one, other) else f"{short_repr(one)} and {short_repr(other)}"
        if told:
            raise ResultsDiffer(way.label, index, short_repr(inputs[index]), told)


def _measure(
    way: Way, run: Callable[[Way], ways.Run], taken: _Taken, steps: Steps, check: Callable[[Way, list[Any]], None]
) -> None:
    """One round of it: cold, then warm. The loop starts nothing, so its one run is both.

    Results are checked each time: what only sometimes goes wrong, as tasks in each other's way do, goes wrong once.
    """
    if way != taken.loop:
        ways.end_workers()
        ran = run(way)
        check(way, ran.results)
        taken.cold[way].append(ran.seconds)
    steps.one()
    before = machine.children_cpu_seconds()
    ran = run(way)
    taken.cpu[way].append(ran.cpu + machine.children_cpu_seconds() - before)
    report = last_report()  # before a user's own way to compare results makes another
    check(way, ran.results)
    taken.warm[way].append(ran.seconds)
    if way == taken.loop:
        taken.cold[way].append(taken.warm[way][-1])
    elif report is not None:
        taken.workers[way] = max(report.workers, taken.workers.get(way, 1))
        if report.strategy.tasks_here == report.tasks:
            taken.stayed.add(way)
    steps.one()


def digest(inputs: list[Any]) -> bytes | None:
    """Of what they hold, to see whether that changes; None if that cannot be told."""
    try:
        return hashlib.sha256(pickle.dumps(inputs, 5)).digest()
    except Exception:  # noqa: BLE001 - user code in __reduce__
        return None


def _sent(func: Any, inputs: list[Any], results: list[Any]) -> int | None:
    """Bytes that a call with processes sends, both ways."""
    try:
        return int(sum(payload.weigh(value).bytes for value in (func, inputs, results)))
    except Exception:  # noqa: BLE001 - user code in __reduce__; where it has to be sent, that has failed before
        return None


def _row(way: Way, taken: _Taken, sent: int | None, tasks: int) -> WayMeasured:
    base, cold, warm = (taken.warm[taken.loop], taken.cold[way], taken.warm[way])
    alone = way == taken.loop or way in taken.stayed
    share = 1 if alone else _useful(way, taken, tasks)
    loop, first, later = median(base), median(cold), median(warm)
    serial = way.strategy == "threads"  # of threads that take turns, longer tasks take longer turns
    return WayMeasured(
        strategy=way.strategy,
        workers=way.workers,
        cold=tuple(cold),
        warm=tuple(warm),
        ratio=_ratio(cold, base),
        warm_ratio=_ratio(warm, base),
        efficiency=None if alone else loop / max(first, 1e-9) / share,
        cpu=median(taken.cpu[way]) if machine.CAN_TELL or way == taken.loop else None,
        memory=taken.peak[way],
        sent=sent if way.strategy == "processes" else None if way.strategy == "auto" else 0,
        overhead=None if alone else intervals.overhead(later, loop, tasks, share),
        crossover=None if alone else intervals.crossover(first, later, loop, tasks, share, serial=serial),
    )


def _useful(way: Way, taken: _Taken, tasks: int) -> int:
    """Workers that can be of use: one a core if the tasks compute, all there are if they wait."""
    there = way.workers or max(taken.workers.get(way, 1), cpu_count())
    return min(there, tasks) if taken.waits else min(there, tasks, cpu_count())


def _ratio(times: list[float], base: list[float]) -> tuple[float, float, float]:
    low, high = intervals.ratio_interval(times, base)
    return low, intervals.ratio(times, base), high
