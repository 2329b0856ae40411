"""Several functions that should do the same, on the same inputs: which is quicker, and from how many calls on."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any, Literal, NamedTuple

from manyhands._engine.cpus import cpu_count
from manyhands.comparison import agreement, intervals, machine, ways, words
from manyhands.comparison.arguments import Functions, check_told, check_tolerance, checked, named_functions
from manyhands.comparison.comparing import ROUNDS, digest, name_of_machine
from manyhands.comparison.function_comparison import FunctionComparison, FunctionMeasured
from manyhands.comparison.progress import Steps
from manyhands.errors import ResultsDiffer
from manyhands.showing import short_repr


def compare_functions(
    functions: Functions,
    items: Iterable[Any],
    *,
    names: Sequence[str] | None = None,
    title: str = "",
    unit: Literal["call", "run"] = "call",
    rounds: int = ROUNDS,
    tolerance: float | None = None,
    progress: bool | None = None,
    seed: int | None = None,
    language: str = "en",
) -> FunctionComparison:
    """Run several functions that should do the same on the same inputs, and say which is quicker from when on.

    >>> import manyhands as mh
    >>> found = mh.compare_functions([sum, max], [[1, 0], [2, 0]], rounds=3)
    >>> [row.name for row in found.rows], found.rows[1].difference
    (['sum', 'max'], 0.0)

    The first call of each is timed by itself, since it may compile or load something. The results of every round must
    be those of the first function: equal, or close where they are numbers.

    Args:
        functions: one or more, or a mapping of names to them; the first is what the others are compared with.
        items: the inputs, at least one; each function is called with one at a time.
        names: what the functions are called in tables and charts; None: their own names.
        title: of charts and pages; otherwise it is made from the names.
        unit: what a call is called there: ``"call"``, or ``"run"`` where each is a whole job.
        rounds: how often all inputs are run, 3 at least, in random order of the functions.
        tolerance: how far numbers in the results may be apart, as an absolute difference; None: they must be equal,
            or close (a millionth of them) where they are floats.
        progress: show a bar on stderr; None: if that is a terminal.
        seed: of the order in the rounds.
        language: of tables, charts and verdict: ``"en"`` or ``"zh"``.

    Returns:
        A `FunctionComparison`; print it, or use its ``plot``, ``html``, ``to_json``, ``to_markdown``.

    Raises:
        ResultsDiffer: the results are further apart than that, or are no numbers and not equal.
        OptionError: an argument cannot be used. Nothing was run.
    """
    named = named_functions(functions, names)
    inputs = checked(named.values(), items, rounds, language)
    check_told(title, unit)
    check_tolerance(tolerance)
    calls, order = list(named.values()), random.Random(seed)
    steady: list[list[float]] = [[] for _ in calls]
    before = digest(inputs)
    with Steps(len(calls) * (1 + rounds), show=progress) as steps, machine.others_at_work() as others:
        firsts = []
        for call in calls:
            firsts.append(_first(call, inputs))
            steps.one()
        changed = digest(inputs) != before
        agreed = _Agreed(list(named), inputs, firsts[0].results, tolerance, changed)
        differences = [agreed.apart(at, first.results) for at, first in enumerate(firsts)]
        for _ in range(rounds):
            for at in order.sample(range(len(calls)), len(calls)):
                later = _later(calls[at], inputs)
                steady[at].append(later.seconds / len(inputs))
                if not changed:  # of other inputs the results may be other ones, and that is told
                    differences[at] = max(differences[at], agreed.apart(at, later.results))
                steps.one()
        ways.end_workers()  # what ended processes have used is known to be ours
    base = firsts[0].seconds, steady[0]
    rows = [_row(name, firsts[at].seconds, steady[at], differences[at], base=base) for at, name in enumerate(named)]
    return FunctionComparison(
        tuple(rows), len(inputs), rounds, cpu_count(), name_of_machine(), language, words.one_line(title), unit,
        warnings=(*words.busy(language, others, cpu_count()),
                  *words.changes(language, changed=digest(inputs) != before)),
    )  # fmt: skip


class _Timed(NamedTuple):
    """Calls of one function: of the first pass, the seconds of its first call; else of all."""

    seconds: float
    results: list[Any]


def _first(call: Callable[[Any], Any], inputs: list[Any]) -> _Timed:
    """The results are copies: the next function may write into inputs of which they hold a part."""
    with ways.undisturbed():
        began = time.perf_counter()
        results = [call(inputs[0])]
        seconds = time.perf_counter() - began
    results += [call(item) for item in inputs[1:]]
    return _Timed(seconds, [_copied(result) for result in results])


def _later(call: Callable[[Any], Any], inputs: list[Any]) -> _Timed:
    with ways.undisturbed():
        began = time.perf_counter()
        results = [call(item) for item in inputs]
        return _Timed(time.perf_counter() - began, results)


def _copied(result: Any) -> Any:
    try:
        return copy.deepcopy(result)
    except Exception:  # noqa: BLE001 - there are things that cannot be copied
        return result


class _Agreed(NamedTuple):
    """What the first function has given, with which all else is compared."""

    names: list[str]
    inputs: list[Any]
    expected: list[Any]
    tolerance: float | None
    changed: bool  # an input, by a function

    def apart(self, at: int, found: list[Any]) -> float:
        """The largest difference of the results of this function. Raises ResultsDiffer."""
        worst = 0.0
        for index, (one, other) in enumerate(zip(self.expected, found, strict=True)):
            one, other = agreement.alike(one, other)  # noqa: PLW2901 - what is told of them, too
            apart = agreement.largest_difference(one, other)
            told = agreement.difference(one, other)
            if apart is None or (told if self.tolerance is None else apart > self.tolerance):
                told = told or f"{short_repr(one)} and {short_repr(other)}"
                advice = self._advice(told, apart)
                told += "; a function changes its inputs: copy them inside" if self.changed else ""
                name, item = self.names[at], short_repr(self.inputs[index])
                raise ResultsDiffer(name, index, item, told, than=self.names[0], advice=advice)
            worst = max(worst, apart)
        return worst

    def _advice(self, told: str, apart: float | None) -> str:
        """What would let them pass, if anything may; ``apart``: the numbers, if nothing else differs."""
        if told.endswith(agreement.OF_BYTES):
            return "Bytes are compared exactly: return an array or a list to compare them as numbers."
        if apart is None or math.isinf(apart):
            return ""
        if self.tolerance is None:
            return "If numbers may be apart, say how far by tolerance= (--tolerance)."
        return f"The numbers are up to {apart:.3g} apart, more than the tolerance of {self.tolerance:g}."


def _row(
    name: str, first: float, steady: list[float], difference: float, *, base: tuple[float, list[float]]
) -> FunctionMeasured:
    base_first, base_steady = base
    low, high = intervals.ratio_interval(steady, base_steady)
    ratio = low, intervals.ratio(steady, base_steady), high
    even = break_even(first, median(steady), base_first, median(base_steady))
    return FunctionMeasured(name, first, tuple(steady), ratio, difference, even)


def break_even(first: float, later: float, other_first: float, other_later: float) -> int | None:
    """From how many calls on a function has taken no more time than another, its first call included; None: never.

    >>> break_even(1.0, 0.1, other_first=0.2, other_later=0.2)
    9
    """
    if first <= other_first and later <= other_later:
        return 1
    if later >= other_later:
        return None
    return max(1, 1 + math.ceil((first - other_first) / (other_later - later) - 1e-9))
