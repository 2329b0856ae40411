"""What a program and all its processes use of the machine; on Linux. Elsewhere nothing is known, and None is told."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from manyhands._engine.cpus import cpu_count

CAN_TELL = Path("/proc/self/smaps_rollup").exists()
SAMPLE_SECONDS = 0.02  # between two looks at the memory
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def processes() -> list[int]:
    """This process and all below it."""
    found, look_at = [], [os.getpid()]
    while look_at:
        pid = look_at.pop()
        found.append(pid)
        look_at += _children(pid)
    return found


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - names are wanted; Path.glob raises if it ends meanwhile
    except OSError:  # it has ended
        return []
    return [int(child) for thread in threads for child in _read(Path(f"/proc/{pid}/task/{thread}/children")).split()]


def children_cpu_seconds() -> float:
    """Of those below this process, also of those that have ended and were waited for; 0 where nobody can tell."""
    if not CAN_TELL:
        return 0.0
    mine, total = os.getpid(), 0
    for pid in processes():
        if fields := _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split():
            total += sum(map(int, fields[13 if pid == mine else 11 : 15]))
    return total / _TICKS


def _own() -> float:
    return time.process_time() + children_cpu_seconds()


def all_cpu_seconds() -> float | None:
    """Of everything on the cores that this process may use, since the start; None if it may use parts of them."""
    allowed = {f"cpu{number}" for number in os.sched_getaffinity(0)} if CAN_TELL else set()
    if cpu_count() != len(allowed):
        return None
    total = 0
    for line in _read(Path("/proc/stat")).splitlines():
        name, *fields = line.split()
        if name in allowed:
            user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, fields)
            total += user + nice + system + irq + softirq
    return total / _TICKS


def memory() -> int:
    """Bytes that this process and those below it have; of what several share, to each its part (PSS)."""
    total = 0
    for pid in processes():
        for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended
        return ""


class PeakMemory:
    """The most memory at any moment of a block, as far as looking now and then can tell.

    >>> with PeakMemory() as peak:
    ...     _ = bytearray(1 << 20)
    >>> peak.size is None or peak.size > 1 << 20
    True
    """

    def __init__(self) -> None:
        self.size: int | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="manyhands-peak", daemon=True)

    def __enter__(self) -> Self:
        if CAN_TELL:
            self.size = 0
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if CAN_TELL:
            self._thread.join()
            self._note()

    def _look(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self._note()

    def _note(self) -> None:
        self.size = max(self.size or 0, memory())


@contextmanager
def others_at_work() -> Iterator[list[float]]:
    """How many cores others have kept busy during a block; filled in at its end, if that can be told."""
    found: list[float] = []
    began, mine, everyone = time.monotonic(), _own(), all_cpu_seconds()
    yield found
    mine_now, everyone_now = _own(), all_cpu_seconds()
    if everyone is not None and everyone_now is not None:
        others = (everyone_now - everyone) - (mine_now - mine)
        found.append(max(0.0, others / max(time.monotonic() - began, 1e-9)))
