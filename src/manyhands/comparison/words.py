"""What a comparison says, in English and in Chinese: tables, charts, warnings and the verdict. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from string import Formatter
from typing import TYPE_CHECKING, NamedTuple

from manyhands.comparison import judging
from manyhands.comparison.drawing import Bar, Chart, Page, places
from manyhands.errors import OptionError

if TYPE_CHECKING:
    from manyhands.comparison.comparison import Comparison, WayMeasured
    from manyhands.comparison.function_comparison import FunctionComparison

MUCH_OTHERS = 0.2  # cores that others keep busy
SEVERAL_CORES = 1.3  # that a job keeps busy by itself
MANY_WORKERS = 32  # to try for tasks that wait
VARIES = 1.5  # the slowest round of the loop over the quickest

ENGLISH = {
    "strategy": "strategy",
    "cold": "cold",
    "warm": "warm",
    "ratio": "cold ÷ loop",
    "interval": "interval",
    "efficiency": "efficiency",
    "cpu": "CPU s",
    "memory": "peak MB",
    "sent": "sent MB",
    "overhead": "overhead a task",
    "crossover": "pays from",
    "loop": "loop",
    "threads": "threads",
    "processes": "processes",
    "auto": "auto",
    "title": "{function}: {tasks} tasks",
    "subtitle": "median of {rounds} rounds, {cores} cores; {machine}",
    "s": "seconds",
    "ms": "milliseconds",
    "µs": "microseconds",
    "cold bar": "cold: workers are started",
    "warm bar": "warm: workers are there",
    "raw": "All that was measured",
    "save": "as a JSON file",
    "legend": "Times: median of {rounds} rounds. Interval: of the ratio, by bootstrap, 95% of the draws. Cold: the "
    "call starts its workers; warm: they are there. Efficiency: of the workers that can be of use, in a cold call. "
    "Overhead: beyond the loop's time shared among those. Pays from: how long a task must be before a cold call is as "
    "quick as the loop, if it ever is. Lines on the bars: from the quickest round to the slowest.",
    "quicker": "{best} take{s} {ratio} the loop's time, {seconds} instead of {loop} (between {low} and {high}).",
    "loop wins": "The loop is the quickest: {next} takes {ratio} its time (between {low} and {high}). {advice}",
    "no difference": "No significant difference, so keep the loop: the next best, {next}, takes {ratio} its time "
    "(between {low} and {high}).",
    "little difference": "No difference that is worth a change, so keep the loop: the next best, {next}, takes {ratio} "
    "its time (between {low} and {high}).",
    "write": "Write: {code}",
    "more": "The tasks wait, so more workers may be quicker still: compare with {workers} workers.",
    "only loop": "The loop takes {loop}; nothing was compared with it.",
    "longer": "A task takes {task}; from {crossover} on, {best} would pay. ",
    "safe": "Threads need a function that is safe in them; that the results agree is no proof.",
    "warm wins": "With workers that are there already, {best} would take {ratio} the loop's time.",
    "warning": "Warning: {text}",
    "busy": "other programs kept {cores:.1f} of {all} cores busy: close them, and compare again.",
    "crowd": "{label} has more workers than the {cores} cores, and the tasks compute.",
    "several": "the loop itself keeps {cores:.1f} cores busy (BLAS, OpenMP or OpenCV use threads of their own): each "
    "worker gets its share of the cores, and gains less.",
    "changes": "the function changes its inputs, so each way after the first has had other ones: copy them inside.",
    "varies": "the loop took {low} to {high}: something disturbs the measuring.",
}
CHINESE = {
    "strategy": "方式",
    "cold": "冷启动",
    "warm": "已预热",
    "ratio": "冷启动 ÷ 循环",
    "interval": "区间",
    "efficiency": "效率",
    "cpu": "CPU 秒",
    "memory": "内存峰值 MB",
    "sent": "传输 MB",
    "overhead": "每个任务的开销",
    "crossover": "合算的任务时长",
    "loop": "循环",
    "threads": "线程",
    "processes": "进程",
    "auto": "自动",
    "title": "{function}：{tasks} 个任务",
    "subtitle": "{rounds} 轮的中位数，{cores} 个核心；{machine}",
    "s": "秒",
    "ms": "毫秒",
    "µs": "微秒",
    "cold bar": "冷启动：需要启动 worker",
    "warm bar": "已预热：worker 已就绪",
    "raw": "全部测量数据",
    "save": "保存为 JSON 文件",
    "legend": "时间为 {rounds} 轮的中位数。区间：比值的 bootstrap 区间（95% 的抽样）。冷启动：调用时才启动 worker；"
    "已预热：worker 已就绪。效率：冷启动时，对用得上的 worker 而言。开销：超出循环时间平均分配的部分。合算的任务时长："
    "任务至少要这么长，冷启动的调用才不比循环慢；空着表示永远不会。柱上的线：从最快的一轮到最慢的一轮。",
    "quicker": "{best}的用时是循环的 {ratio}：{seconds}，而循环需要 {loop}（区间 {low} 到 {high}）。",
    "loop wins": "循环最快：{next}的用时是循环的 {ratio}（区间 {low} 到 {high}）。{advice}",
    "no difference": "没有显著差异，用循环即可：次快的{next}用时是循环的 {ratio}（区间 {low} 到 {high}）。",
    "little difference": "差异很小，不值得改动，用循环即可：次快的{next}用时是循环的 {ratio}（区间 {low} 到 {high}）。",
    "write": "写法：{code}",
    "more": "任务主要在等待，更多 worker 可能更快：请用 {workers} 个 worker 再比较一次。",
    "only loop": "循环需要 {loop}；没有与其他方式比较。",
    "longer": "每个任务需要 {task}；达到 {crossover} 以上时，用{best}才合算。",
    "safe": "使用线程要求函数是线程安全的；结果一致并不能证明这一点。",
    "warm wins": "如果 worker 已经就绪，{best}的用时是循环的 {ratio}。",
    "warning": "注意：{text}",
    "busy": "其他程序占用了 {all} 个核心中的 {cores:.1f} 个：请关闭它们再比较一次。",
    "crowd": "{label} 的 worker 多于 {cores} 个核心，而任务是计算型的。",
    "several": "循环本身就占用了 {cores:.1f} 个核心（BLAS、OpenMP 或 OpenCV 有自己的线程）：每个 worker 只能分到"
    "一部分核心，收益较小。",
    "changes": "函数改动了自己的输入，因此第一种方式之后的每一种拿到的都是改过的：请在函数里先复制。",
    "varies": "循环用时在 {low} 到 {high} 之间：测量可能受到了干扰。",
}
UNITS = ("call", "run")  # what one of several functions is timed by
_LANGUAGES = {"en": ENGLISH, "zh": CHINESE}


def of(language: str) -> Mapping[str, str]:
    """The words of a language. Raises OptionError if there are none."""
    if language not in _LANGUAGES:
        raise OptionError(f"language= takes 'en' or 'zh'; got {language!r}")
    return _LANGUAGES[language]


def one_line(text: str) -> str:
    r"""As names stand in tables: whatever is in them, it is one line, and can be written as UTF-8.

    >>> one_line("two\nlines")
    'two lines'
    """
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode()


class Scale(NamedTuple):
    """What times are told in."""

    unit: str
    seconds: float


SCALES = (Scale("s", 1.0), Scale("ms", 1e-3), Scale("µs", 1e-6))


def scale_of(seconds: float) -> Scale:
    """That in which it is 1 or more; of what is shorter than all of them, the last."""
    return next((scale for scale in SCALES if seconds >= scale.seconds), SCALES[-1])


def duration(seconds: float | None) -> str:
    """Three digits and a unit.

    >>> duration(0.01234), duration(0.9996)
    ('12.3 ms', '1000 ms')
    """
    if seconds is None:
        return "-"
    scale = scale_of(seconds)
    return f"{_digits(seconds / scale.seconds)} {scale.unit}"


def _digits(value: float) -> str:
    """Three of them, or all before the point if there are more: a table is no place for 1e+03."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


def times(ratio: float, language: str = "en") -> str:
    """A ratio as a factor.

    >>> times(0.523), times(12.3)
    ('0.52 ×', '12 ×')
    """
    return f"{number(ratio)} {'倍' if language == 'zh' else '×'}"


def number(ratio: float) -> str:
    """Two digits or three, however small it is.

    >>> number(0.523), number(0.000871), number(12.3)
    ('0.52', '0.00087', '12')
    """
    return f"{ratio:.2g}" if ratio < 0.1 else f"{ratio:.{2 if ratio < 10 else 0}f}"


def _name(row: WayMeasured, language: str) -> str:
    name = of(language)[row.strategy]
    return name if row.workers is None else f"{name} × {row.workers}"


def fill(template: str, **facts: object) -> str:
    """As `str.format`, with the space that Chinese has between its own characters and Latin ones.

    >>> fill("{best}最快", best="sum"), fill("{best}最快", best="线程")
    ('sum 最快', '线程最快')
    """
    told = ""
    for literal, field, form, _ in Formatter().parse(template):
        told = _spaced(told, literal)
        told = _spaced(told, format(facts[field], form or "")) if field is not None else told
    return told


def _spaced(before: str, after: str) -> str:
    edges = before[-1:] + after[:1]
    is_between = re.fullmatch("[一-鿿][0-9A-Za-z_]|[0-9A-Za-z_)>][一-鿿]", edges)
    return f"{before} {after}" if is_between else before + after


# --- the verdict --------------------------------------------------------------------------------------------


def verdict(found: Comparison) -> str:
    """In a sentence or two, and last what to write."""
    parts = [*_said(found), of(found.language)["write"].format(code=found.best.code)]
    return ("" if found.language == "zh" else " ").join(part.strip() for part in parts if part)


def _said(found: Comparison) -> Iterator[str]:
    text, language = of(found.language), found.language
    loop, *others = found.rows
    if not others:
        yield fill(text["only loop"], loop=duration(median(loop.warm)))
        return
    chosen = next(row for row in found.rows if row.way == found.best)
    if chosen is loop:
        yield from _for_the_loop(found, others)
    else:
        yield fill(
            text["quicker"],
            best=_name(chosen, language), s="" if chosen.strategy in {"threads", "processes"} else "s",
            seconds=duration(median(chosen.cold)), loop=duration(median(loop.warm)), **_range(chosen.ratio, language),
        )  # fmt: skip
        yield text["safe"] if chosen.strategy == "threads" else ""
    most = max(row.workers or found.cores for row in others)
    if found.waiting and chosen is not loop and most < min(found.tasks, MANY_WORKERS):
        yield fill(text["more"], workers=min(found.tasks, MANY_WORKERS))


def _for_the_loop(found: Comparison, others: Sequence[WayMeasured]) -> Iterator[str]:
    text, language = of(found.language), found.language
    following = min(others, key=lambda row: median(row.cold))
    advice = ""
    pays = min(others, key=lambda row: math.inf if row.crossover is None else row.crossover)
    if pays.crossover is not None and pays.crossover > found.seconds_per_task:
        advice = fill(
            text["longer"],
            task=duration(found.seconds_per_task),
            crossover=duration(pays.crossover),
            best=_name(pays, language),
        )
    kind = "loop wins" if judging.is_slower(following) else "no difference"
    if kind == "no difference" and not following.ratio[0] <= 1.0 <= following.ratio[2]:
        kind = "little difference"
    yield fill(text[kind], next=_name(following, language), advice=advice, **_range(following.ratio, language))
    warm = min(others, key=lambda row: median(row.warm))
    if warm.warm_ratio[2] < 1.0:
        yield fill(text["warm wins"], best=_name(warm, language), ratio=times(warm.warm_ratio[1], language))


def _range(ratio: tuple[float, float, float], language: str) -> dict[str, str]:
    low, middle, high = ratio
    return {"ratio": times(middle, language), "low": number(low), "high": number(high)}


def warnings(
    language: str,
    rows: Sequence[WayMeasured],
    others: Sequence[float],
    cores_of_loop: float,
    cores: int,
    *,
    waiting: bool,
    changed: bool = False,
) -> Iterator[str]:
    """What makes the figures doubtful."""
    text = of(language)
    yield from busy(language, others, cores)
    for row in rows:
        if row.strategy in {"threads", "processes"} and (row.workers or 0) > cores and not waiting:
            yield text["crowd"].format(label=_name(row, language), cores=cores)
    if cores_of_loop > SEVERAL_CORES:
        yield text["several"].format(cores=cores_of_loop)
    yield from changes(language, changed=changed)
    loop = rows[0].warm
    if max(loop) > VARIES * min(loop):
        yield text["varies"].format(low=duration(min(loop)), high=duration(max(loop)))


def changes(language: str, *, changed: bool) -> Iterator[str]:
    """The inputs are not as they were."""
    if changed:
        yield of(language)["changes"]


def busy(language: str, others: Sequence[float], cores: int) -> Iterator[str]:
    """Other programs were at work, too."""
    if others and others[0] > MUCH_OTHERS:
        yield of(language)["busy"].format(cores=others[0], all=cores)


def warned_of(found: Comparison | FunctionComparison) -> list[str]:
    """The warnings, as lines."""
    return [of(found.language)["warning"].format(text=warning) for warning in found.warnings]


# --- tables -------------------------------------------------------------------------------------------------

_COLUMNS = (
    "strategy", "cold", "warm", "ratio", "interval", "efficiency", "cpu", "memory", "sent", "overhead", "crossover",
)  # fmt: skip


def cells_of(found: Comparison) -> list[list[str]]:
    """The table, its heads first."""
    text = of(found.language)
    return [[text[name] for name in _COLUMNS], *[_cells(row, found.language) for row in found.rows]]


def _cells(row: WayMeasured, language: str) -> list[str]:
    low, middle, high = row.ratio
    is_loop = row.strategy == "loop"
    return [
        _name(row, language),
        duration(median(row.cold)),
        duration(median(row.warm)),
        "1" if is_loop else number(middle),
        "" if is_loop else f"{number(low)} - {number(high)}",
        "" if row.efficiency is None else f"{row.efficiency:.0%}",
        "" if row.cpu is None else f"{row.cpu:.2f}",
        "" if row.memory is None else f"{row.memory / 1e6:.0f}",
        "" if is_loop or row.sent is None else _digits(row.sent / 1e6),
        "" if row.overhead is None else duration(row.overhead),
        "" if row.crossover is None else duration(row.crossover),
    ]


def columns(found: Comparison) -> str:
    """Aligned, for a terminal."""
    return align(cells_of(found))


def align(rows: Sequence[Sequence[str]]) -> str:
    """Columns one below the other, the first to the left; Chinese characters take two places."""
    widths = [max(places(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = (" " * (width - places(cell)) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([row[0] + first, *[pad + cell for pad, cell in zip(others, row[1:], strict=True)]]))
    return "\n".join(line.rstrip() for line in lines)


def markdown(found: Comparison) -> str:
    """A page of it."""
    text = of(found.language)
    warned = [f"- {line}" for line in warned_of(found)]
    parts = [
        f"## {_title(found)}", f"{found.verdict}", table(cells_of(found)), *(["\n".join(warned)] if warned else []),
        f"{_subtitle(found)}. {text['legend'].format(rounds=found.rounds)}",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def table(rows: Sequence[Sequence[str]]) -> str:
    """As Markdown."""
    heads, *others = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    ruler = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ruler, *others])


def _title(found: Comparison) -> str:
    return of(found.language)["title"].format(function=found.function, tasks=found.tasks)


def _subtitle(found: Comparison) -> str:
    text = of(found.language)["subtitle"]
    return text.format(rounds=found.rounds, cores=found.cores, machine=found.machine)


# --- charts and pages ---------------------------------------------------------------------------------------


def chart(found: Comparison) -> Chart:
    """A bar for each strategy's cold times, and one for the warm ones."""
    text = of(found.language)
    bars = []
    for row in found.rows:
        label = _name(row, found.language)
        kinds = [("warm", row.warm)] if row.strategy == "loop" else [("cold", row.cold), ("warm", row.warm)]
        for kind, seconds in kinds:
            series = "" if row.strategy == "loop" else text[f"{kind} bar"]
            shown = duration(median(seconds))
            bars.append(Bar(label, row.strategy, median(seconds), min(seconds), max(seconds), shown, series))
    scale = scale_of_bars(bars)
    return Chart(_title(found), _subtitle(found), text[scale.unit], tuple(bars), found.language, scale.seconds)


def scale_of_bars(bars: Iterable[Bar]) -> Scale:
    """Of an axis: the longest bar's, whose label tells the time in it, too."""
    return scale_of(max(bar.seconds for bar in bars))


def page(found: Comparison) -> Page:
    """All of it, for a browser."""
    text = of(found.language)
    return Page(
        chart=chart(found),
        verdict=found.verdict,
        notes=(*warned_of(found), text["legend"].format(rounds=found.rounds)),
        table=tuple(map(tuple, cells_of(found))),
        data=found.to_json(),
        raw=text["raw"],
        save=text["save"],
    )
