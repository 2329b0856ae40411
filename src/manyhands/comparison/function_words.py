"""What a comparison of functions says, in English and in Chinese. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import TYPE_CHECKING

from manyhands.comparison import words
from manyhands.comparison.drawing import Bar, Chart, Page
from manyhands.comparison.judging import ALIKE

if TYPE_CHECKING:
    from manyhands.comparison.function_comparison import FunctionComparison, FunctionMeasured

_UNITS = {"en": {"call": "call", "run": "run"}, "zh": {"call": "调用", "run": "运行"}}
_KINDS = ("loop", "processes", "threads", "auto", "other")  # colours, in the order of the functions
_TEXTS = {
    "en": {
        "function": "function",
        "way": "way",
        "first": "first {unit}",
        "steady": "later {unit}s, each",
        "ratio": "÷ the first row",
        "interval": "interval",
        "differs": "largest difference",
        "even": "pays from",
        "calls": "{count} {unit}s",
        "never": "never",
        "always": "the first",
        "title": "{names}: {items} inputs",
        "axis": "{scale} a {unit}, after the first",
        "best": "{best} is the quickest: later {unit}s take {ratio} the time of {base} (between {low} and {high})."
        "{even}",
        "even later": " Its first {unit} takes {first}, so it pays from {count} {unit}s on.",
        "no difference": "There is no significant difference between {base} and {best}.",
        "base": "{base} is the quickest; {best} takes {ratio} its time (between {low} and {high}).",
        "only": "{base} takes {steady} a {unit}; nothing was compared with it.",
        "legend": "The first {unit} of each, which may compile, import or load something, stands apart; what several "
        "need is loaded by the first of them. Later {unit}s: median of {rounds} rounds in random order. Interval: of "
        "the ratio, by bootstrap, 95% of the draws. Pays from: so many {unit}s, after which what the first took longer "
        "is won back.",
    },
    "zh": {
        "function": "函数",
        "way": "方式",
        "first": "首次{unit}",
        "steady": "之后每次{unit}",
        "ratio": "÷ 第一行",
        "interval": "区间",
        "differs": "最大差异",
        "even": "合算的{unit}次数",
        "calls": "{count} 次",
        "never": "从不",
        "always": "从第一次起",
        "title": "{names}：{items} 个输入",
        "axis": "首次之后每次{unit}的用时（{scale}）",
        "best": "{best}最快：之后每次{unit}的用时是{base}的 {ratio}（区间 {low} 到 {high}）。{even}",
        "even later": "首次{unit}需要 {first}，因此{unit} {count} 次以上才合算。",
        "no difference": "{base}与{best}没有显著差异。",
        "base": "{base}最快；{best}的用时是它的 {ratio}（区间 {low} 到 {high}）。",
        "only": "{base}每次{unit}需要 {steady}；没有与其他方式比较。",
        "legend": "首次{unit}（可能需要编译、导入或加载）单独列出；几种方式共用的东西由其中最先{unit}的加载。"
        "之后的{unit}：随机顺序 {rounds} 轮的中位数。区间：比值的 bootstrap 区间（95% 的抽样）。"
        "合算的{unit}次数：从这么多次起，抵消首次多花的时间。",
    },
}


def _of(found: FunctionComparison) -> Mapping[str, str]:
    """Its words, with the unit in its place and all else still to be filled in."""
    unit = _UNITS[found.language][found.unit]
    return {name: text.replace("{unit}", unit) for name, text in _TEXTS[found.language].items()}


def verdict(found: FunctionComparison) -> str:
    """In a sentence or two."""
    text, base = _of(found), found.rows[0]
    best = min(found.rows, key=lambda row: median(row.steady))
    if len(found.rows) == 1:
        return words.fill(text["only"], base=base.name, steady=words.duration(median(base.steady)))
    other = best if best is not base else min(found.rows[1:], key=lambda row: median(row.steady))
    low, middle, high = other.ratio
    facts = {"base": base.name, "best": other.name, "ratio": words.times(middle, found.language)}
    facts |= {"low": words.number(low), "high": words.number(high)}
    if low <= 1.0 <= high or 1.0 / ALIKE < middle < ALIKE:
        return words.fill(text["no difference"], **facts)
    even = ""
    if best.break_even is not None and best.break_even > 1:
        even = text["even later"].format(first=words.duration(best.first), count=best.break_even)
    return words.fill(text["best" if best is not base else "base"], **facts, even=even)


def columns(found: FunctionComparison) -> str:
    """Aligned, for a terminal."""
    return words.align(_table(found))


def markdown(found: FunctionComparison) -> str:
    """A page of it."""
    told = "".join(f"\n\n{warning}" for warning in words.warned_of(found))
    return f"## {_title(found)}\n\n{found.verdict}{told}\n\n{words.table(_table(found))}\n\n{_legend(found)}\n"


def chart(found: FunctionComparison) -> Chart:
    """A bar for each function's later calls."""
    bars = []
    for at, row in enumerate(found.rows):
        middle = median(row.steady)
        kind = _KINDS[min(at, len(_KINDS) - 1)]
        bars.append(Bar(row.name, kind, middle, min(row.steady), max(row.steady), words.duration(middle)))
    facts = {"rounds": found.rounds, "cores": found.cores, "machine": found.machine}
    common, scale = words.of(found.language), words.scale_of_bars(bars)
    axis = _of(found)["axis"].format(scale=common[scale.unit])
    return Chart(_title(found), common["subtitle"].format(**facts), axis, tuple(bars), found.language, scale.seconds)


def page(found: FunctionComparison) -> Page:
    """All of it, for a browser."""
    common, table = words.of(found.language), tuple(map(tuple, _table(found)))
    notes = (*words.warned_of(found), _legend(found))
    return Page(chart(found), found.verdict, notes, table, found.to_json(), common["raw"], common["save"])


def _legend(found: FunctionComparison) -> str:
    return _of(found)["legend"].format(rounds=found.rounds)


def _title(found: FunctionComparison) -> str:
    names = ", ".join(row.name for row in found.rows)
    return found.title or _of(found)["title"].format(names=names, items=found.items)


def _table(found: FunctionComparison) -> list[list[str]]:
    text = _of(found)
    what = "function" if found.unit == "call" else "way"
    heads = [text[name] for name in (what, "first", "steady", "ratio", "interval", "differs", "even")]
    return [heads, *[_row(row, text, is_base=row is found.rows[0]) for row in found.rows]]


def _row(row: FunctionMeasured, text: Mapping[str, str], *, is_base: bool) -> list[str]:
    low, middle, high = row.ratio
    cells = [row.name, words.duration(row.first), words.duration(median(row.steady))]
    if is_base:
        return [*cells, "1", "", "", ""]
    even = text["never"] if row.break_even is None else text["calls"].format(count=row.break_even)
    even = text["always"] if row.break_even == 1 else even
    return [*cells, words.number(middle), f"{words.number(low)} - {words.number(high)}", f"{row.difference:.3g}", even]
