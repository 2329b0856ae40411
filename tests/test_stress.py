"""Long runs under attack: `make stress`."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import manyhands as mh
from manyhands._engine import shared

pytestmark = [pytest.mark.stress, pytest.mark.timeout(600)]

TASKS = 200_000


def _worker_function() -> Callable[[int], int]:
    def work(n: int) -> int:  # local, so that a new worker need not import this file and pytest with it
        total = 0
        for i in range(100):
            total += i * n
        return total

    return work


work = _worker_function()


class _Killer(threading.Thread):
    """Kills a random worker at random moments, and counts."""

    def __init__(self, seed: int) -> None:
        super().__init__(daemon=True)
        self._random = random.Random(seed)
        self._stop_now = threading.Event()
        self.kills = 0

    def run(self) -> None:
        while not self._stop_now.wait(self._random.uniform(0.0, 0.2)):
            pids = [pid for d in list(shared._dropped_at_exit) for pid in d.backend.pids()]
            if pids:
                try:
                    os.kill(self._random.choice(pids), signal.SIGKILL)
                    self.kills += 1
                except ProcessLookupError:
                    continue

    def stop(self) -> None:
        self._stop_now.set()
        self.join()


@pytest.fixture
def killer() -> Iterator[_Killer]:
    thread = _Killer(seed=7)
    thread.start()
    yield thread
    thread.stop()


def test_200_000_tasks_while_workers_are_killed_at_random_give_each_result_exactly_once(
    start_method: str, killer: _Killer
) -> None:
    temporary = set(os.listdir("/tmp"))
    results = list(
        mh.imap(work, range(TASKS), start_method=start_method, retry=mh.Retry(attempts=50), workers=2, chunksize=50)
    )
    killer.stop()
    assert results == [work(n) for n in range(TASKS)]
    assert killer.kills > 0
    assert not {name for name in set(os.listdir("/tmp")) - temporary if "manyhands" in name}
    assert not list(Path("/dev/shm").glob("*manyhands*"))


def test_unordered_results_under_attack_are_complete(start_method: str, killer: _Killer) -> None:
    options = {"start_method": start_method, "retry": mh.Retry(attempts=50), "workers": 4, "chunksize": 7}
    found = Counter(mh.imap_unordered(work, range(20_000), **options))
    killer.stop()
    assert found == Counter(work(n) for n in range(20_000))
