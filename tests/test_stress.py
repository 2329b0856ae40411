"""Long runs under attack: `make stress`."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

import manyhands as mh
from manyhands._engine import shared

pytestmark = [pytest.mark.stress, pytest.mark.timeout(600)]

TASKS = 200_000


def _work(n: int) -> int:
    total = 0
    for i in range(100):
        total += i * n
    return total


class _Killer(threading.Thread):
    """Kills a random worker at random moments, and counts."""

    def __init__(self, seed: int) -> None:
        super().__init__(daemon=True)
        self._random = random.Random(seed)
        self._stop_now = threading.Event()
        self.kills = 0

    def run(self) -> None:
        while not self._stop_now.wait(self._random.uniform(0.0, 0.05)):
            pids = [pid for d in list(shared._impatient) for pid in d.backend.pids()]
            if pids:
                try:
                    os.kill(self._random.choice(pids), signal.SIGKILL)
                    self.kills += 1
                except ProcessLookupError:
                    continue

    def stop(self) -> None:
        self._stop_now.set()
        self.join()


def test_200_000_tasks_while_workers_are_killed_at_random_give_each_result_exactly_once(start_method: str) -> None:
    killer = _Killer(seed=7)
    killer.start()
    seen: Counter[int] = Counter()
    results = []
    temporary = set(os.listdir("/tmp"))  # noqa: PTH208
    for index, result in enumerate(
        mh.imap(_work, range(TASKS), start_method=start_method, retry=mh.Retry(attempts=50), workers=2)
    ):
        seen[index] += 1
        results.append(result)
    killer.stop()
    assert results == [_work(n) for n in range(TASKS)]
    assert len(seen) == TASKS
    assert set(seen.values()) == {1}
    assert killer.kills > 0
    left = {name for name in set(os.listdir("/tmp")) - temporary if "manyhands" in name}  # noqa: PTH208
    assert not left
    assert not [p for p in Path("/dev/shm").glob("*manyhands*")]


def test_unordered_results_under_attack_are_complete(start_method: str) -> None:
    killer = _Killer(seed=8)
    killer.start()
    found = Counter(
        mh.imap_unordered(_work, range(20_000), start_method=start_method, retry=mh.Retry(attempts=50), workers=4)
    )
    killer.stop()
    assert found == Counter(_work(n) for n in range(20_000))
