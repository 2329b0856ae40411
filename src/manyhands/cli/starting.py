"""Which ways of starting workers work here: each one is tried, with a real task."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import manyhands as mh
from manyhands.cli.findings import Finding

SECTION = "Ways to start workers"
METHODS = ("zygote", "spawn", "fork")
USUAL = "zygote"
PATIENCE = 30.0  # seconds; a start takes well under one


def look() -> Iterator[Finding]:
    """Try each start method and yield what became of it."""
    for method in METHODS:
        yield try_start(method)


def try_start(method: str) -> Finding:
    """Start one worker and have it say its process number."""
    began = time.perf_counter()
    try:
        worker = _ask_for_process_number(method)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is the finding
        problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return _broken(method, " ".join(problem.split()))
    if worker == os.getpid():
        return _broken(method, "the task ran in the calling process and not in a worker")
    seconds = time.perf_counter() - began
    return Finding(SECTION, method, f"works, first task after {seconds * 1000:.0f} ms", {"seconds": seconds})


def _ask_for_process_number(method: str) -> int:
    executor = mh.Executor(1, backend="processes", start_method=method)
    try:
        return executor.submit(os.getpid).result(timeout=PATIENCE)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _broken(method: str, problem: str) -> Finding:
    others = [other for other in METHODS if other != method]
    remedy = f"use start_method={others[0]!r} or {others[1]!r} if one of them works; see the findings above"
    return Finding(SECTION, method, "does not work", None, problem, remedy, needed=method == USUAL)
