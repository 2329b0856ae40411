"""Several functions that should do the same, on the same inputs: which is quicker, and from how many calls on."""

from __future__ import annotations

import json
import math
import platform
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from statistics import median
from typing import Any

from manyhands._engine.cpus import cpu_count
from manyhands.calls import check_function
from manyhands.comparison import agreement, statistics, words
from manyhands.comparison.drawing import Bar, Chart, Page
from manyhands.comparison.judging import ALIKE
from manyhands.comparison.progress import Steps
from manyhands.errors import OptionError, ResultsDiffer
from manyhands.showing import short_repr

ROUNDS = 7
_TEXT = {
    "en": {
        "function": "function",
        "first": "first call",
        "steady": "later calls, each",
        "ratio": "÷ first function",
        "interval": "95% interval",
        "differs": "largest difference",
        "even": "pays from",
        "calls": "{count} calls",
        "never": "never",
        "always": "the first",
        "title": "{names}: {items} inputs",
        "axis": "seconds a call, after the first",
        "best": "{best} is the quickest: later calls take {ratio} the time of {base} (95% between {low} and {high})."
        "{even}",
        "even later": " Its first call takes {first}, so it pays from {count} calls on.",
        "no difference": "There is no significant difference between {base} and the quickest, {best}.",
        "base": "{base} is the quickest; {best} takes {ratio} its time (95% between {low} and {high}).",
        "only": "{base} takes {steady} a call; nothing was compared with it.",
        "legend": "The first call of each, which may compile or load something, stands apart. Later calls: median of "
        "{rounds} rounds in random order, over the number of inputs. Pays from: so many calls, after which the time "
        "lost in the first one is won back.",
    },
    "zh": {
        "function": "函数",
        "first": "首次调用",
        "steady": "之后每次调用",
        "ratio": "÷ 第一个函数",
        "interval": "95% 区间",
        "differs": "最大差异",
        "even": "合算的调用次数",
        "calls": "{count} 次",
        "never": "从不",
        "always": "从第一次起",
        "title": "{names}：{items} 个输入",
        "axis": "首次之后每次调用的秒数",
        "best": "{best} 最快：之后每次调用只需 {base} 的 {ratio}（95% 区间 {low} 到 {high}）。{even}",
        "even later": "首次调用需要 {first}，因此调用 {count} 次以上才合算。",
        "no difference": "{base} 与最快的 {best} 没有显著差异。",
        "base": "{base} 最快；{best} 需要其 {ratio} 的时间（95% 区间 {low} 到 {high}）。",
        "only": "{base} 每次调用需要 {steady}；没有与其他函数比较。",
        "legend": "首次调用（可能需要编译或加载）单独列出。之后的调用：随机顺序 {rounds} 轮的中位数，除以输入个数。"
        "合算的调用次数：之后便赚回首次调用多花的时间。",
    },
}


@dataclass(frozen=True, slots=True)
class FunctionMeasured:
    """One function, times in seconds: its ``first`` call, and of each round the mean of a call after that.

    ``ratio``: the median over that of the first function, between the ends of its 95% interval. ``difference``: the
    largest between its results and the first function's, None if they are no numbers. ``even``: from how many calls on
    it is quicker than the first function; None: never.
    """

    name: str
    first: float
    steady: tuple[float, ...]
    ratio: tuple[float, float, float]
    difference: float | None
    even: int | None


@dataclass(frozen=True, slots=True)
class FunctionComparison:
    """What `compare_functions` has found. Printed, it is a table and the verdict."""

    rows: tuple[FunctionMeasured, ...]
    items: int
    rounds: int
    language: str = "en"
    title: str = ""

    @property
    def verdict(self) -> str:
        """Which one to take, in a sentence or two."""
        text, base = _TEXT[self.language], self.rows[0]
        best = min(self.rows, key=lambda row: median(row.steady))
        if len(self.rows) == 1:
            return text["only"].format(base=base.name, steady=words.duration(median(base.steady)))
        other = best if best is not base else min(self.rows[1:], key=lambda row: median(row.steady))
        low, middle, high = other.ratio
        facts = {"base": base.name, "best": other.name, "ratio": words.times(middle)}
        facts |= {"low": f"{low:.2f}", "high": f"{high:.2f}"}
        if low <= 1.0 <= high or 1.0 / ALIKE < middle < ALIKE:
            return text["no difference"].format(**facts)
        even = ""
        if best.even is not None and best.even > 1:
            even = text["even later"].format(first=words.duration(best.first), count=best.even)
        return text["best" if best is not base else "base"].format(**facts, even=even)

    def table(self) -> str:
        """The figures, as text in columns."""
        return words.align(_cells(self))

    def to_markdown(self) -> str:
        """The figures and the verdict, as Markdown."""
        legend = _TEXT[self.language]["legend"].format(rounds=self.rounds)
        return f"## {_title(self)}\n\n{self.verdict}\n\n{words.table(_cells(self))}\n\n{legend}\n"

    def to_json(self) -> str:
        """All that was measured, as JSON."""
        return json.dumps(asdict(self) | {"verdict": self.verdict}, ensure_ascii=False, indent=1)

    def plot(self, path: str | PathLike[str]) -> None:
        """Draw the times as bars, into a file whose suffix tells its format.

        Raises:
            ModuleNotFoundError: matplotlib is not there: ``pip install 'manyhands[plot]'``.
            OSError: the file cannot be written.
        """
        from manyhands.comparison import charts

        charts.draw(_chart(replace(self, language=charts.readable(self.language))), path)

    def html(self, path: str | PathLike[str]) -> None:
        """Write one page with the verdict, the chart, the table and the raw data, which needs nothing else.

        Raises:
            OSError: the file cannot be written.
        """
        from manyhands.comparison import pages

        common = words.of(self.language)
        legend = _TEXT[self.language]["legend"].format(rounds=self.rounds)
        table = tuple(map(tuple, _cells(self)))
        chart = _chart(self)
        pages.write(Page(chart, self.verdict, (legend,), table, self.to_json(), common["raw"], common["save"]), path)

    def __str__(self) -> str:
        return f"{self.table()}\n\n{self.verdict}"


def _title(found: FunctionComparison) -> str:
    if found.title:
        return found.title
    names = ", ".join(row.name for row in found.rows)
    return _TEXT[found.language]["title"].format(names=names, items=found.items)


def _cells(found: FunctionComparison) -> list[list[str]]:
    text = _TEXT[found.language]
    heads = [text[name] for name in ("function", "first", "steady", "ratio", "interval", "differs", "even")]
    return [heads, *[_row(row, text, is_base=row is found.rows[0]) for row in found.rows]]


def _row(row: FunctionMeasured, text: dict[str, str], *, is_base: bool) -> list[str]:
    low, middle, high = row.ratio
    cells = [row.name, words.duration(row.first), words.duration(median(row.steady))]
    if is_base:
        return [*cells, "1", "", "", ""]
    even = text["never"] if row.even is None else text["calls"].format(count=row.even)
    differs = "-" if row.difference is None else f"{row.difference:.3g}"
    return [*cells, f"{middle:.3g}", f"{low:.3g} - {high:.3g}", differs, text["always"] if row.even == 1 else even]


def _chart(found: FunctionComparison) -> Chart:
    text = words.of(found.language)["subtitle"]
    machine = f"{platform.system()}, Python {platform.python_version()}"
    subtitle = text.format(rounds=found.rounds, cores=cpu_count(), machine=machine)
    kinds = ("loop", "processes", "threads", "auto", "other")
    bars = []
    for at, row in enumerate(found.rows):
        middle = median(row.steady)
        shown = words.duration(middle)
        bars.append(Bar(row.name, kinds[min(at, 4)], middle, min(row.steady), max(row.steady), shown))
    return Chart(_title(found), subtitle, _TEXT[found.language]["axis"], tuple(bars), found.language)


def compare_functions(
    functions: Sequence[Callable[[Any], Any]],
    items: Iterable[Any],
    *,
    names: Sequence[str] | None = None,
    title: str = "",
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
        functions: two or more; the first is what the others are compared with.
        items: the inputs, at least one; each function is called with one at a time.
        names: what the functions are called in tables and charts; None: their own names.
        title: of charts and pages; otherwise it is made from the names.
        rounds: how often all inputs are run, 3 at least, in random order of the functions.
        tolerance: how far numbers in the results may be apart; None: any difference is only told.
        progress: show a bar on stderr; None: if that is a terminal.
        seed: of the order in the rounds.
        language: of tables, charts and verdict: ``"en"`` or ``"zh"``.

    Returns:
        A `FunctionComparison`; print it, or use its ``plot``, ``html``, ``to_json``, ``to_markdown``.

    Raises:
        ResultsDiffer: the results are further apart than ``tolerance``, or are no numbers and not equal.
        OptionError: an argument cannot be used. Nothing was run.
    """
    calls, inputs = list(functions), list(items)
    words.of(language)
    _check(calls, inputs, rounds)
    names = _names(calls, names)
    steady: list[list[float]] = [[] for _ in calls]
    order = random.Random(seed)
    with Steps(len(calls) * (1 + rounds), show=progress) as steps:
        first, results = [], []
        for call in calls:
            began = time.perf_counter()
            results.append([call(inputs[0])])
            first.append(time.perf_counter() - began)
            results[-1] += [call(item) for item in inputs[1:]]
            steps.one()
        differences = [_apart(names, at, inputs, results, tolerance) for at in range(len(calls))]
        for _ in range(rounds):
            for at in order.sample(range(len(calls)), len(calls)):
                began = time.perf_counter()
                for item in inputs:
                    calls[at](item)
                steady[at].append((time.perf_counter() - began) / len(inputs))
                steps.one()
    rows = []
    for at, name in enumerate(names):
        low, high = statistics.ratio_interval(steady[at], steady[0])
        ratio = low, median(steady[at]) / max(median(steady[0]), 1e-9), high
        even = break_even(first[at], median(steady[at]), first[0], median(steady[0]))
        rows.append(FunctionMeasured(name, first[at], tuple(steady[at]), ratio, differences[at], even))
    return FunctionComparison(tuple(rows), len(inputs), rounds, language, title)


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


def _check(calls: list[Any], inputs: list[Any], rounds: int) -> None:
    if not calls:
        raise OptionError("there is nothing to compare: give two functions or more")
    for call in calls:
        check_function(call)
    if not isinstance(rounds, int) or rounds < 3:
        raise OptionError(f"rounds= takes a number of 3 or more, since fewer tell nothing; got {rounds!r}")
    if not inputs:
        raise OptionError("there is nothing to compare: items is empty")


def _names(calls: list[Any], given: Sequence[str] | None) -> list[str]:
    if given is not None and len(given) != len(calls):
        raise OptionError(f"names= takes one for each function: {len(calls)}; got {len(given)}")
    names = (
        list(given)
        if given is not None
        else [getattr(call, "__qualname__", None) or short_repr(call) for call in calls]
    )
    return [name if names.count(name) == 1 else f"{name} ({at + 1})" for at, name in enumerate(names)]


def _apart(
    names: list[str], at: int, inputs: list[Any], results: list[list[Any]], tolerance: float | None
) -> float | None:
    """The largest difference to the first function's results."""
    worst: float | None = 0.0
    for index, (one, other) in enumerate(zip(results[0], results[at], strict=True)):
        apart = agreement.largest_difference(one, other)
        if apart is None or (tolerance is not None and apart > tolerance):
            told = agreement.difference(one, other) or f"{short_repr(one)} and {short_repr(other)}"
            raise ResultsDiffer(names[at], index, short_repr(inputs[index]), told, than=names[0])
        worst = max(worst or 0.0, apart)
    return worst
