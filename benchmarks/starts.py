"""Measures of another kind than a list of tasks: single calls, and what it takes to begin."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

CALLS = 300
COLD = {
    "manyhands, processes": "import manyhands as mh; print(mh.map(abs, [-1, -2], backend='processes', workers=2))",
    "Pool.map": "from multiprocessing import Pool; print(Pool(2).map(abs, [-1, -2]))",
    "loky": "from loky import get_reusable_executor as g; print(list(g(2).map(abs, [-1, -2])))",
    "joblib": "from joblib import Parallel as P, delayed as d; print(P(n_jobs=2)(d(abs)(x) for x in [-1, -2]))",
}
IMPORT = {"import manyhands": "import manyhands", "bare interpreter": "pass"}


def take_turns(cases: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """The times of each case, over rounds in which each has its turn; a first round does not count."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, work in cases.items():
            began = time.perf_counter()
            work()
            if number:
                times[name].append(time.perf_counter() - began)
    return times


def single_calls(rounds: int) -> dict[str, list[float]]:
    """One warm ``submit(f, x).result()`` after the other."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import Pool

    import manyhands as mh

    with mh.Executor(2) as ours, ProcessPoolExecutor(2) as theirs, Pool(2) as pool:

        def repeat(call: Callable[[], object]) -> Callable[[], object]:
            return lambda: [call() for _ in range(CALLS)]

        found = take_turns(
            {
                "manyhands": repeat(lambda: ours.submit(abs, 1).result()),
                "PPE": repeat(lambda: theirs.submit(abs, 1).result()),
                "Pool.apply": repeat(lambda: pool.apply(abs, (1,))),
            },
            rounds,
        )
    return {name: [seconds / CALLS for seconds in times] for name, times in found.items()}


def programs(sources: dict[str, str], rounds: int) -> dict[str, list[float]]:
    """From the start of the interpreter to its end."""

    def run(source: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", source], check=True, stdout=subprocess.DEVNULL)

    return take_turns({name: run(source) for name, source in sources.items()}, rounds)
