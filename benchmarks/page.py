"""What was measured as a page: tables, goals met and missed, the data, and a chart."""

from __future__ import annotations

import json
import platform
import statistics
import textwrap
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, CORES, Goal
from benchmarks.contenders import CLUSTERS

DOCS = Path("docs")
LIBRARIES = ("manyhands", "joblib", "loky", "mpire", "Pebble", "pathos", "tqdm", "mmengine", "numpy")
# Shown where a goal is missed: what profiling has found, and what was tried.
CAUSES = {
    "synth-long": (
        "While both cores work, each is slower, on this machine: a loop of additions took 0.62 s alone and 0.83 beside "
        "another one, and two programs that share nothing make the pictures in that much more than the limit. Ours "
        "needs 0.25 s until two workers have loaded OpenCV, and 0.4 ms of the program's own time a picture."
    ),
    "synth": (
        "Run by itself, twice, some minutes later, it was 0.11 and 0.10: 2.62 and 2.34 s, where the loop took 23.3 and "
        "23.2. What else the machine did in the whole run is not known."
    ),
    "tiny": (
        "The call by itself takes 0.9 ms the first time in a program, 0.4 ms later; the loop alone varies by half. "
        "In five other runs of the same day it was 1.11 to 1.27."
    ),
    "tiny-warm": (
        "A tie that the machine decides: in one program, in turns, medians of eleven runs: 0.149 and 0.149 s where "
        "Pool.map took 0.144 and 0.153. Chunks of twice and four times the size were tried, and changed nothing."
    ),
    "millisecond": (
        "The first of two new worker processes is at work after 0.05 s, of which a clean interpreter and its imports "
        "take 0.035 s; forks of the program need 0.02 s, and inherit its locks. Meanwhile the caller works, on one of "
        "the two cores. Tried and kept: that interpreter imports half as much, and cloudpickle only when it is idle or "
        'before its third worker. Forking the program is there for who wants it: `start_method="fork"`. The rest is '
        "where the numbers of a task lie in memory: the same loop takes 0.84 to 1.03 ms in one process, as other "
        "objects come and go, and in most runs 5 to 10% more in workers of ours than in a pool's. Their loop, thread, "
        "heap, streams, session and lifeline were left out in turn, and it stayed; a pool whose tasks gave more to "
        "keep was as slow."
    ),
    "heavy-tail": (
        "The start of clean worker processes, as above; and the longest task, of 0.06 s, comes last, when one worker "
        "is at the end. With all defaults the caller begins, and stops when both workers are there. Tried and kept: "
        "shorter waits for the interpreter while workers start, and chunks that grow with what is left."
    ),
    "captured": (
        "One copy into shared memory, whose new pages cost 0.36 ms a megabyte on this machine, and a look at all of "
        "the array, to know it again; then the start of clean workers. Nothing is copied for the second worker. A pool "
        "that forks has the array as it was at the fork, and never hears of a change."
    ),
    "captured-again": (
        "Each call looks at the 200 MB, whether they have changed (0.03 s): without that a call could give "
        "the results of an older array. A pool that forks does not look."
    ),
    "generator-speed": (
        "The caller's own thread is the bottleneck: for each item it runs the generator, and hands a result out by a "
        "call of a Python method, 0.1 us; packing, telling the workers and opening results takes as much again. "
        "Pool.map is given a range and gives a list. Tried and kept: results are handed out by the batch, quick "
        "inputs are read for a millisecond before the workers are told, and they lie in lists of a thousand, no "
        "longer in a dictionary: 5 x Pool.map at first, then 3.2. Iterators of itertools' kind in place of the method "
        "would save 0.02 us, and were not safe where two threads read."
    ),
    "arrays-in": (
        "joblib has copied the arrays to files in the first call and does not look at them again, not even if they "
        "have changed since: `a[:] = 2` between two calls of one `Parallel` gives the old sums. The other pools of "
        "processes copy them, but for the forked one, which inherits them. With all defaults the caller takes the "
        "loop's 7 ms and about 1 ms more, by the machine's mood up to 4; threads may not be chosen, since the function "
        "is not declared `@mh.thread_safe`. Tried: views of the shared memory instead of copies in the worker: each "
        "array then keeps its memory from the next, and new pages cost more than the copy."
    ),
    "arrays-in-out": (
        "Results that are kept need new memory: 8 MB take 3.3 ms in pages of 4 KB on this machine, and 0.6 ms in pages "
        "of 2 MB, which are asked for. But a virtual machine that lends its free memory to its host gets those back at "
        "3 ms a megabyte, as in a whole run on this one: 0.28 s, 1.28 x the best peer. Tried and kept: one such page "
        "of each result is timed, and others are used while they are slow. Views of shared memory were tried, and "
        "cost more (see Design)."
    ),
    "numerical": (
        "The function imports scipy.signal, which takes 0.55 s of computing. Two workers do so in any case; with all "
        "defaults the caller, too, for the first task. Tried and kept: no more workers import at a time than there are "
        "cores, and the caller goes on beside one of them until it is known whether what is left pays for another "
        "import. Not to begin here at all would be quicker, and slower for all short jobs."
    ),
    "stateful": (
        "The start of clean worker processes, as above; forced processes, which need it, too, tie with the quickest, "
        "so what is left is the noise of this machine, and what the caller leaves undone when it stops."
    ),
    "initialisation": (
        "The model takes 0.07 s. With all defaults the caller makes one for the first task, and then each worker. "
        "`@mh.per_worker` tells the caller to leave that to the workers. Tried and kept: the thread that starts "
        "workers no longer waits for the interpreter beside a caller that computes (0.74 s before, 0.57 s with it)."
    ),
    "sleep": (
        "Each of the twenty clean workers imports the module in which the function is, 0.018 s each on two cores. With "
        "a function of the script itself, or one whose module is there anyway, it takes 1.10 × the limit. It could "
        "be imported once, in the process that workers are forked from; but a user's module may start threads there."
    ),
    "pictures": (
        "Against itself, one by one, 89 to 94% of two cores in four runs, where two programs that share nothing had 92 "
        "to 97%: its workers start and import Pillow, some 0.15 s of 4, and one process lists the files (2%). It "
        "decodes by Pillow and shrinks by Lanczos, 11 ms a picture; *box* is the mean of pixels, as in the function. "
        "OpenCV as its decoder was tried: PNGs took as long, and it takes a JPEG that is cut short for whole."
    ),
    "single-call": (
        "Of about 95 us, 26 are the caller's Python up to the end of sendmsg, 9 the worker's beginning, 31 the "
        "worker's answer and the waking of the dispatcher's thread, 15 reading it, and 14 the waking of the caller. "
        "Staying awake for 0.2 ms in the worker was tried and kept. In the dispatcher's thread, too, it gave 70 to "
        "140 us, depending on which core is whose, and twice the time beside programs that compute. Reading the answer "
        "in the calling thread raced with the dispatcher's."
    ),
    "cold": (
        "A clean interpreter starts, from which workers are forked, and imports 0.02 s of modules; beside that, the "
        "program imports as much, its own and the standard library's. Tried and kept: that interpreter imports less, "
        "is not waited for at the end, and is started before the engine is imported: 0.176 s before, 0.137 with the "
        "first two, 0.11 with all."
    ),
}
NOTES = {
    "chunksize-1": (
        "A chunk size of 1. While tasks take next to nothing, manyhands sends several chunks together; the others send "
        "each by itself."
    ),
    "synth": (
        "The script writes a second picture with the box drawn for each, as the scripts do; `manyhands synth` does so "
        "with `--preview all`, and not here."
    ),
}
MEGABYTES = {"idle": 8.0, "captured-memory": 2.3, "generator": 30.0}  # the most that ours may have
MORE_GOALS = {
    "single-call": [Goal("manyhands", 0.4, ["PPE"]), Goal("manyhands", 0.5, ["Pool.apply"])],
    "cold": [Goal("manyhands, processes", 0.5, ["loky", "joblib"])],
}


def judge(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Medians, spreads, the limit, and how each goal came out."""
    cases = {}
    for name, result in found.items():
        medians = {who: statistics.median(times) for who, times in result["times"].items()}
        case = CASES.get(name)
        if case is not None and case.limit is not None and "loop" in medians:
            medians["limit"] = case.limit(medians["loop"], CORES, case.items())
        goals = []
        for goal in MORE_GOALS.get(name, []) if case is None else case.goals:
            theirs = [medians[who] for who in goal.theirs if who in medians]
            if goal.ours in medians and theirs:
                ratio = medians[goal.ours] / (min(theirs) + goal.plus)
                goals.append({"goal": str(goal), "ratio": ratio, "met": ratio <= goal.factor})
        cases[name] = result | {"medians": medians, "goals": goals}
    for name, most in MEGABYTES.items():
        if name in cases:
            has = next(value for who, value in cases[name]["medians"].items() if who.startswith("manyhands"))
            cases[name]["goals"] = [{"goal": f"≤ {most:g}", "ratio": has, "met": has <= most}]
    if "import" in cases:
        ours, bare = (cases["import"]["medians"][who] for who in ("import manyhands", "bare interpreter"))
        cases["import"]["goals"] = [
            {"goal": "≤ 20 ms over the bare interpreter", "ratio": (ours - bare) / 0.020, "met": ours - bare <= 0.020}
        ]
    machine = f"{CORES} cores, {platform.system()} {platform.release()}, CPython {platform.python_version()}"
    clusters = [name for name in CLUSTERS if any(name in result["times"] for result in found.values())]
    versions = {library: version(library) for library in (*LIBRARIES, *clusters)}
    return {"date": datetime.now(UTC).date().isoformat(), "machine": machine, "versions": versions, "cases": cases}


def markdown(judged: dict[str, Any]) -> str:
    """The page."""
    versions = ", ".join(f"{name} {number}" for name, number in judged["versions"].items())
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; do not edit. Seconds, median of the rounds, least and most in brackets. Each run is a",
        "process of its own, contenders take turns in random order, and whoever gives other results than the loop is",
        "left out. The import of a library does not count (nor that of manyhands' engine, 0.02 s, that comes at the",
        "first call), that of what the function needs does. Making and ending workers counts, except where it says",
        "*warm*. *limit*: what the loop's time and the cores allow. Read them as ratios, within one table.",
        "",
        f"{judged['date']}; {judged['machine']}; {versions}.",
        "",
        "![Time of each contender as a multiple of the quickest](benchmarks.png)",
    ]
    for name, case in judged["cases"].items():
        unit = "" if name in MEGABYTES else "seconds"
        lines += ["", f"## {case['title']}", "", f"| | {unit} | × the least |", "|---|---|---|"]
        quickest = min(median for who, median in case["medians"].items() if who != "limit")
        for who, median in sorted(case["medians"].items(), key=lambda item: item[1]):
            times = case["times"].get(who)
            spread = f" ({_number(min(times))} to {_number(max(times))})" if times else ""
            shown = f"**{who}**" if who.startswith("manyhands") else f"*{who}*" if who in {"loop", "limit"} else who
            lines.append(f"| {shown} | {_number(median)}{spread} | {median / quickest:.2f} |")
        lines.append("")
        # A case may be run later and put in by hand, with a note that says so.
        lines += [f"- {note}" for note in (NOTES.get(name), case.get("note")) if note]
        lines += [
            f"- {goal['goal']}: **{'met' if goal['met'] else 'missed'}**, {goal['ratio']:.2f}" for goal in case["goals"]
        ]
        if name in CAUSES and not all(goal["met"] for goal in case["goals"]):
            lines.append(f"- Why: {CAUSES[name]}")
        if case.get("left_out"):
            lines.append(f"- Failed, or gave other results than the loop: {', '.join(case['left_out'])}")
    return "\n".join(lines) + "\n"


def _number(seconds: float) -> str:
    return f"{seconds:.3g}" if seconds < 10 else f"{seconds:.1f}"


def _colour(who: str) -> str:
    if who.startswith("manyhands"):
        return "#d9480f"
    return "#868e96" if who in {"loop", "limit"} else "#a5d8ff"


def write(judged: dict[str, Any]) -> None:
    """The page, the data and the chart."""
    (DOCS / "benchmarks.md").write_text(markdown(judged))
    (DOCS / "benchmarks.json").write_text(json.dumps(judged, indent=1) + "\n")
    draw(judged, DOCS / "benchmarks.png")


def draw(judged: dict[str, Any], path: Path) -> None:
    """One row of bars a case, as multiples of the quickest, on a logarithmic scale."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter

    cases = {name: case for name, case in judged["cases"].items() if name in CASES}
    rows = -(-len(cases) // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(16, 4.2 * rows), layout="constrained")
    for axis, (name, case) in zip(axes.flat, cases.items(), strict=False):
        medians = sorted(case["medians"].items(), key=lambda item: -item[1])
        quickest = min(median for who, median in medians if who != "limit")
        names, ratios = [who for who, _ in medians], [median / quickest for _, median in medians]
        colours = [_colour(who) for who in names]
        bars = axis.barh(names, ratios, color=colours)
        axis.bar_label(bars, [f" {_number(median)} s" for _, median in medians], fontsize=8)
        axis.set_xscale("log")
        axis.set_xlim(min(0.9, 0.9 * min(ratios)), max(ratios) * 3)
        axis.set_title(textwrap.fill(CASES[name].title.replace("`", ""), 40), fontsize=10)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in list(axes.flat)[len(cases) :]:
        axis.set_visible(False)
    figure.supxlabel("time as a multiple of the quickest (logarithmic); seconds beside the bars")
    figure.savefig(path, dpi=80)
