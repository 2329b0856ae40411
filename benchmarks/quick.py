"""Three figures in one run, as ratios: `make bench`.

Each case is measured in rounds that take turns, so that a machine that is busy for a moment is busy for all;
what is printed is the median of the rounds, and for each case the ratio to the standard library's.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool

import manyhands as mh

ROUNDS = 9
CALLS = 300
TASKS = 100_000


def plus_one(x: int) -> int:
    return x + 1


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def take_turns(cases: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The median time of each case, over rounds in which each has its turn; the first round does not count."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS + 1):
        for name, work in cases.items():
            times[name].append(seconds(work))
    return {name: statistics.median(all_times[1:]) for name, all_times in times.items()}


def show(title: str, medians: dict[str, float], unit: str, scale: float) -> None:
    ours, theirs = medians.values()
    print(title)
    for name, median in medians.items():
        print(f"  {name:<34}{median * scale:10.1f} {unit}")
    print(f"  {'ratio':<34}{ours / theirs:10.2f}\n")


def one_call() -> None:
    with mh.Executor(2) as ours, ProcessPoolExecutor(2) as theirs:

        def repeat(executor: mh.Executor | ProcessPoolExecutor) -> Callable[[], None]:
            def calls() -> None:
                for _ in range(CALLS):
                    executor.submit(plus_one, 1).result()

            return calls

        medians = take_turns({"mh.Executor": repeat(ours), "ProcessPoolExecutor": repeat(theirs)})
    show("One warm submit(f, x).result()", medians, "us", 1e6 / CALLS)


def many_tiny_tasks() -> None:
    expected = [x + 1 for x in range(TASKS)]
    with Pool(2) as pool:

        def ours() -> None:
            assert mh.map(plus_one, range(TASKS), backend="processes", workers=2) == expected

        def theirs() -> None:
            assert pool.map(plus_one, range(TASKS)) == expected

        medians = take_turns({"mh.map, backend='processes'": ours, "multiprocessing.Pool.map": theirs})
    show(f"{TASKS:,} x (x + 1), warm workers", medians, "ms", 1e3)


def import_cost() -> None:
    def run(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    medians = take_turns({"import manyhands": run("import manyhands"), "bare interpreter": run("pass")})
    show("From the start of the interpreter to its end", medians, "ms", 1e3)
    ours, bare = medians.values()
    print(f"  {'the import costs':<34}{(ours - bare) * 1e3:10.1f} ms")


if __name__ == "__main__":
    one_call()
    many_tiny_tasks()
    import_cost()
