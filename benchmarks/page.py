"""What was measured as a page: tables, goals met and missed, the data, and a chart."""

from __future__ import annotations

import json
import os
import platform
import statistics
import textwrap
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, Goal

DOCS = Path("docs")
LIBRARIES = ("manyhands", "joblib", "loky", "mpire", "Pebble", "pathos", "tqdm", "mmengine", "numpy")
CORES = len(os.sched_getaffinity(0))
# Shown where a goal is missed: what profiling has found, or what is thought and not yet profiled; what was tried.
CAUSES = {
    "one-by-one": (
        "Each chunk costs the caller about 35 us, in one thread of Python: a fifth is sendmsg, which wakes the worker; "
        "the rest, scheduler, dispatcher and frames. Without `chunksize=1` such tasks travel by the thousand."
    ),
    "millisecond": (
        "New worker processes take 0.12 s until they are at work, forks of the program 0.02 s; the caller works "
        "meanwhile. Alone on the machine, 14 runs of this case took 0.94 to 1.11 s; the spread is the machine's."
    ),
    "heavy-tail": "Probably the start of clean worker processes, not yet profiled; nobody comes near the limit.",
    "arrays-in": (
        "joblib has written the arrays to files in the first call and does not copy them again; all others copy. The "
        "caller alone is a millisecond or two slower than the loop: probably since it weighs bytes, not yet profiled."
    ),
    "arrays-in-out": (
        "Results that are kept need new memory, and new pages cost 0.36 ms a megabyte on this machine, more than both "
        "copies; views of shared memory were tried, and cost more (see Design)."
    ),
    "numerical": (
        "Probably, not yet profiled: each clean worker imports numpy and scipy, while the caller computes on the same "
        "cores; forks of the program have them from birth."
    ),
    "stateful": "Probably the start of clean worker processes, as above; not yet profiled.",
    "initialisation": (
        "Probably, not yet profiled: the caller makes a model for its own share, too. `@mh.per_worker` tells it to "
        "leave that to the workers."
    ),
    "sleep": "Twenty clean worker processes take 0.2 s to start on two cores.",
    "single-call": (
        "About 100 us, most of it Python on both sides and two wake-ups. Staying awake for 0.2 ms was tried and kept; "
        "reading the answer in the calling thread was tried and taken back, since it raced with the dispatcher."
    ),
    "cold": "Two interpreters start one after the other: the program, and the clean one that workers are forked from.",
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
                ratio = medians[goal.ours] / min(theirs)
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
    versions = {library: version(library) for library in LIBRARIES}
    return {"date": datetime.now(UTC).date().isoformat(), "machine": machine, "versions": versions, "cases": cases}


def markdown(judged: dict[str, Any]) -> str:
    """The page."""
    versions = ", ".join(f"{name} {number}" for name, number in judged["versions"].items())
    lines = [
        "# Benchmarks",
        "",
        "Made by `make bench`; do not edit. Seconds, median of the rounds, least and most in brackets. Each run is a",
        "process of its own, contenders take turns in random order, and whoever gives other results than the loop is",
        "left out. Imports do not count; making and ending the workers does, except where it says *warm*. *limit*:",
        "what the loop's time and the cores allow. Read them as ratios, within one table.",
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
    figure, axes = plt.subplots(5, 3, figsize=(16, 21), layout="constrained")
    for axis, (name, case) in zip(axes.flat, cases.items(), strict=False):
        medians = sorted(case["medians"].items(), key=lambda item: -item[1])
        quickest = medians[-1][1]
        names, ratios = [who for who, _ in medians], [median / quickest for _, median in medians]
        colours = [
            "#d9480f" if who.startswith("manyhands") else "#868e96" if who in {"loop", "limit"} else "#a5d8ff"
            for who in names
        ]
        bars = axis.barh(names, ratios, color=colours)
        axis.bar_label(bars, [f" {_number(median)} s" for _, median in medians], fontsize=8)
        axis.set_xscale("log")
        axis.set_xlim(0.9, max(ratios) * 3)
        axis.set_title(textwrap.fill(CASES[name].title.replace("`", ""), 46), fontsize=10)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in list(axes.flat)[len(cases) :]:
        axis.set_visible(False)
    figure.supxlabel("time as a multiple of the quickest (logarithmic); seconds beside the bars")
    figure.savefig(path, dpi=80)
