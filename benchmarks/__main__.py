"""``make bench``: every contender on every case, in turns, each in a process of its own; written to docs/benchmarks.*.

``make bench CASE=tiny`` runs one case and only prints. ``BENCH_ROUNDS`` sets how often each has its turn;
``BENCH_CLUSTERS=1`` takes in ray and dask.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from typing import Any

from benchmarks import memory, page, starts, tutorial
from benchmarks.cases import CASES, Case
from benchmarks.contenders import CLUSTERS

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
WITH_CLUSTERS = os.environ.get("BENCH_CLUSTERS") == "1"
PATIENCE = 120.0  # seconds for one contender


def measure(name: str, contender: str) -> dict[str, Any] | None:
    """One run; None if it failed or took too long."""
    command = [sys.executable, "-m", "benchmarks.one", name, contender]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        found: dict[str, Any] = json.loads(ran.stderr.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        print(f"  {contender} failed: {str(error)[:200]}", file=sys.stderr)
        return None
    return found


def run(name: str, case: Case) -> dict[str, Any]:
    """All rounds of one case. A contender that gives other results than the loop is left out, and that is said."""
    clusters = CLUSTERS if WITH_CLUSTERS and "joblib" in case.contenders else ()  # where processes are compared
    times: dict[str, list[float]] = {contender: [] for contender in ("loop", *case.contenders, *clusters)}
    expected: str | None = None
    wrong: set[str] = set()
    for _ in range(ROUNDS):
        order = random.sample(list(times), len(times))
        if expected is None:
            order.sort(key=lambda contender: contender != "loop")
        for contender in order:
            found = measure(name, contender)
            shutil.rmtree(tutorial.MADE, ignore_errors=True)
            if found is None:
                wrong.add(contender)
                continue
            expected = expected or found["digest"]
            if found["digest"] != expected:
                wrong.add(contender)
            times[contender].append(found["seconds"])
    kept = {contender: all_times for contender, all_times in times.items() if all_times and contender not in wrong}
    return {"title": case.title, "times": kept, "left_out": sorted(wrong)}


def others() -> dict[str, dict[str, Any]]:
    """Single calls and starts."""
    return {
        "single-call": {"title": "One warm `submit(f, x).result()`", "times": starts.single_calls(3 * ROUNDS)},
        "cold": {
            "title": "A program's first result: from its start to its end",
            "times": starts.programs(starts.COLD, 3 * ROUNDS),
        },
        "import": {"title": "`import manyhands`", "times": starts.programs(starts.IMPORT, 5 * ROUNDS)},
    }


def make_pictures() -> None:
    """Those of the demo, if they are not there."""
    subprocess.run([sys.executable, "examples/photos.py"], check=True)


OTHERS = {"single-call", "cold", "import"}
MEMORY = {"idle", "captured-memory", "generator"}


def main() -> None:
    """Run what was asked for."""
    wanted = sys.argv[1:]
    unknown = set(wanted) - CASES.keys() - OTHERS - MEMORY
    if unknown:
        known = [*CASES, *sorted(OTHERS), *sorted(MEMORY)]
        sys.exit(f"There is no case {', '.join(sorted(unknown))}; there are {', '.join(known)}.")
    found: dict[str, dict[str, Any]] = {}
    if not wanted or "pictures" in wanted:
        make_pictures()
    for name, case in CASES.items():
        if not wanted or name in wanted:
            print(f"{name} ...", file=sys.stderr, flush=True)
            if (result := run(name, case))["times"]:
                found[name] = result
            else:
                print(f"{name} is left out: nobody could run it", file=sys.stderr, flush=True)
    if not wanted or MEMORY & set(wanted):
        print("memory ...", file=sys.stderr, flush=True)
        found |= {name: result for name, result in memory.all_of_it(ROUNDS).items() if not wanted or name in wanted}
    if not wanted or OTHERS & set(wanted):
        print("single calls and starts ...", file=sys.stderr, flush=True)
        found |= {name: result for name, result in others().items() if not wanted or name in wanted}
    judged = page.judge(found)
    print(page.markdown(judged))
    if not wanted:
        page.write(judged)


main()
