"""Ten tasks that wait and ten that compute: what threads and processes are each good for."""

from __future__ import annotations

import time

WAIT_SECONDS = 0.2
STEPS = 2_000_000  # of plain Python, a tenth of a second or two
TASKS = 10


def wait(seconds: float) -> float:
    """Stand in for a download, or a query to a database: nothing is computed meanwhile."""
    time.sleep(seconds)
    return seconds


def compute(steps: int) -> int:
    """Stand in for a simulation: plain Python, which holds the interpreter's lock."""
    total = 0
    for step in range(steps):
        total = (total * 31 + step) % 1_000_003
    return total
