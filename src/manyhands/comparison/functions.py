"""Several functions that should do the same, on the same inputs: which is quicker, and from how many calls on."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any, Literal

from manyhands._engine.cpus import cpu_count
from manyhands.comparison import agreement, intervals, machine, ways, words
from manyhands.comparison.comparing import ROUNDS, checked, digest, name_of, name_of_machine
from manyhands.comparison.function_comparison import FunctionComparison, FunctionMeasured
from manyhands.comparison.progress import Steps
from manyhands.errors import OptionError, ResultsDiffer
from manyhands.showing import short_repr


def compare_functions(
    functions: Sequence[Callable[[Any], Any]],
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

    The first call of each is timed by itself, since it may compile or load something.

    Args:
        functions: one or more; the first is what the others are compared with.
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
    calls = list(functions)
    if not calls:
        raise OptionError("there is nothing to compare: give functions")
    inputs = checked(calls, items, rounds, language)
    named = _names(calls, names)
    steady: list[list[float]] = [[] for _ in calls]
    order = random.Random(seed)
    before = digest(inputs)
    with Steps(len(calls) * (1 + rounds), show=progress) as steps, machine.others_at_work() as others:
        first, results = [], []
        for call in calls:
            with ways.undisturbed():
                began = time.perf_counter()
                result = call(inputs[0])
                first.append(time.perf_counter() - began)
            results.append([_kept(result, inputs[0])])
            results[-1] += [_kept(call(item), item) for item in inputs[1:]]
            steps.one()
        differences = [0.0] + [_apart(named, at, inputs, results, tolerance) for at in range(1, len(calls))]
        for _ in range(rounds):
            for at in order.sample(range(len(calls)), len(calls)):
                with ways.undisturbed():
                    began = time.perf_counter()
                    for item in inputs:
                        calls[at](item)
                    steady[at].append((time.perf_counter() - began) / len(inputs))
                steps.one()
        ways.end_workers()  # what ended processes have used is known to be ours
    rows = []
    for at, name in enumerate(named):
        low, high = intervals.ratio_interval(steady[at], steady[0])
        ratio = low, intervals.ratio(steady[at], steady[0]), high
        even = break_even(first[at], median(steady[at]), first[0], median(steady[0]))
        rows.append(FunctionMeasured(name, first[at], tuple(steady[at]), ratio, differences[at], even))
    return FunctionComparison(
        tuple(rows), len(inputs), rounds, cpu_count(), name_of_machine(), language, title, unit,
        warnings=(*words.busy(language, others, cpu_count()),
                  *words.changes(language, changed=digest(inputs) != before)),
    )  # fmt: skip


def _kept(result: Any, item: Any) -> Any:
    """A copy, if it is the input itself, into which the next function may write."""
    if result is not item:
        return result
    try:
        return copy.deepcopy(result)
    except Exception:  # noqa: BLE001 - there are things that cannot be copied
        return result


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


def _names(calls: list[Any], given: Sequence[str] | None) -> list[str]:
    if given is not None and len(given) != len(calls):
        raise OptionError(f"names= takes one for each function: {len(calls)}; got {len(given)}")
    names = [name_of(call) for call in calls] if given is None else list(given)
    return [name if names.count(name) == 1 else f"{name} ({at + 1})" for at, name in enumerate(names)]


def _apart(names: list[str], at: int, inputs: list[Any], results: list[list[Any]], tolerance: float | None) -> float:
    """The largest difference to the first function's results."""
    worst = 0.0
    for index, (one, other) in enumerate(zip(results[0], results[at], strict=True)):
        one, other = agreement.alike(one, other)  # noqa: PLW2901 - what is told of them, too
        apart = agreement.largest_difference(one, other)
        told = agreement.difference(one, other)
        if apart is None or (told if tolerance is None else apart > tolerance):
            told = told or f"{short_repr(one)} and {short_repr(other)}"
            raise ResultsDiffer(names[at], index, short_repr(inputs[index]), told, than=names[0])
        worst = max(worst, apart)
    return worst
