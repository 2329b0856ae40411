"""Measures of memory, in megabytes: proportional set sizes, so that what processes share counts once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

COMMON = """
import gc, os, sys
import psutil

def pss(processes):
    return sum(process.memory_full_info().pss for process in processes) / 1e6

me = psutil.Process()
"""

IDLE = """
{make}
list(run(abs, range(100)))
workers = [child for child in me.children(recursive=True) if not child.children() and not {helper}]
print(pss(workers) / len(workers))
"""
MAKERS = {
    "manyhands": "import manyhands as mh; e = mh.Executor(4); run = e.map",
    "Pool": "from multiprocessing import Pool; p = Pool(4); run = p.map",
    "PPE": "from concurrent.futures import ProcessPoolExecutor as E; e = E(4); run = e.map",
    "loky": "from loky import get_reusable_executor as g; e = g(4); run = e.map",
    "mpire": "from mpire import WorkerPool; p = WorkerPool(4, keep_alive=True); run = p.map",
}
# Those that help workers to start, watch over resources, or manage what is shared.
HELPER = "any(word in ' '.join(child.cmdline()) for word in ('_track' + 'er', 'fork' + 'server', 'Sync' + 'Manager'))"

CAPTURED = """
import numpy as np
array = np.arange(25_000_000.0)
before = pss([me]) - 200
{run}
for _ in range(2):
    call()
print((pss([me, *me.children(recursive=True)]) - before) / 200)
"""
CAPTURES = {
    "manyhands": """
import manyhands as mh
e = mh.Executor(2)
call = lambda: list(e.map(lambda start: float(array[start::40].sum()), range(40)))
""",
    "Pool, forked": """
from multiprocessing import Pool
def total(start): return float(array[start::40].sum())
p = Pool(2)
call = lambda: p.map(total, range(40))
""",
    "joblib": """
from joblib import Parallel, delayed
def total(start, array): return float(array[start::40].sum())
call = lambda: Parallel(2)(delayed(total)(start, array) for start in range(40))
""",
}

GENERATOR = """
{make}
def numbers():
    yield from range(1_000_000)
run(abs, range(10))
gc.collect()
before = most = me.memory_info().rss
for count, _ in enumerate(run(abs, numbers())):
    if count % 5000 == 0:
        most = max(most, me.memory_info().rss)
print((most - before) / 1e6)
"""
GENERATORS = {
    "manyhands, processes": (
        "import manyhands as mh; run = lambda f, x: mh.imap_unordered(f, x, backend='processes', workers=2)"
    ),
    "Pool.imap_unordered": (
        "from multiprocessing import Pool; p = Pool(2); run = lambda f, x: p.imap_unordered(f, x, chunksize=1000)"
    ),
    "mpire": (
        "from mpire import WorkerPool; p = WorkerPool(2, keep_alive=True); "
        "run = lambda f, x: p.imap_unordered(f, x, iterable_len=1_000_000, chunk_size=1000)"
    ),
}


def measured(sources: dict[str, str], rounds: int) -> dict[str, list[float]]:
    """What each of these programs prints."""
    found: dict[str, list[float]] = {name: [] for name in sources}
    for name, source in _in_turns(sources, rounds):
        ran = subprocess.run([sys.executable, "-c", COMMON + source], capture_output=True, text=True, check=False)
        try:
            found[name].append(float(ran.stdout.split()[-1]))
        except (ValueError, IndexError):
            print(f"  {name} failed: {ran.stderr[-300:]}", file=sys.stderr)
    return {name: values for name, values in found.items() if values}


def _in_turns(sources: dict[str, str], rounds: int) -> Iterable[tuple[str, str]]:
    for _ in range(rounds):
        yield from sources.items()


def all_of_it(rounds: int) -> dict[str, dict[str, object]]:
    """The tables."""
    idle = {name: IDLE.format(make=make, helper=HELPER) for name, make in MAKERS.items()}
    captured = {name: CAPTURED.format(run=run) for name, run in CAPTURES.items()}
    generator = {name: GENERATOR.format(make=make) for name, make in GENERATORS.items()}
    return {
        "idle": {"title": "Memory of an idle worker, MB (proportional set size)", "times": measured(idle, rounds)},
        "captured-memory": {
            "title": "A captured array of 200 MB: program and two workers together, as a multiple of the array",
            "times": measured(captured, rounds),
        },
        "generator": {
            "title": "1,000,000 numbers from a generator, results unordered: what the program grows by, MB",
            "times": measured(generator, rounds),
        },
    }
