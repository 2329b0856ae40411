"""Which ways of starting workers work here: each one is tried, with a real task."""

from __future__ import annotations

from collections.abc import Iterator

from manyhands.cli.apart import try_apart
from manyhands.cli.findings import Finding

SECTION = "Ways to start workers"
METHODS = ("zygote", "spawn", "fork")
USUAL = "zygote"
PATIENCE = 30.0  # seconds; a start takes well under one
PROGRAM = """
import os, sys, time
import manyhands as mh
began = time.perf_counter()
with mh.Executor(1, backend="processes", start_method=sys.argv[1]) as executor:
    worker = executor.submit(os.getpid).result()
    seconds = time.perf_counter() - began
if worker == os.getpid():
    sys.exit("the task ran in the calling process and not in a worker")
print(seconds)
"""


def look() -> Iterator[Finding]:
    """Try each start method and yield what became of it."""
    for method in METHODS:
        yield try_start(method)


def try_start(method: str) -> Finding:
    """Start one worker and have it say its process number."""
    trial = try_apart(PROGRAM, method, patience=PATIENCE)
    if trial.problem is None:
        seconds = float(trial.answer)
        text = f"works, first task after {seconds * 1000:.0f} ms"
        return Finding(SECTION, method, text, {"seconds": seconds})
    others = " or ".join(repr(other) for other in METHODS if other != method)
    remedy = f"use start_method={others} if one of them works; what is marked above may be the cause"
    return Finding(SECTION, method, "does not work", None, trial.problem, remedy, needed=method == USUAL)
