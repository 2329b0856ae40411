"""How many cores this process may really use."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

QUOTA_SECONDS = 5.0


def cpu_count() -> int:
    """Cores this process may use: affinity and cgroup quota count, the machine's own number does not.

    >>> cpu_count() >= 1
    True
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _recent_quota()
    if quota is not None:
        allowed = min(allowed, max(1, math.ceil(quota)))
    return max(1, allowed)


_quota: tuple[float, float | None] = (-math.inf, None)  # when it was read, and what it was


def _recent_quota() -> float | None:
    """The quota, read again after a while: it may change, but it takes a dozen small files to find out."""
    global _quota  # noqa: PLW0603 - a cache of one
    now = time.monotonic()
    if now - _quota[0] > QUOTA_SECONDS:
        _quota = (now, cgroup_quota())
    return _quota[1]


def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores that the cgroups of this process grant it, the tightest on the way to the root; None for no limit."""
    quotas = [q for folder in _cgroup_folders(root, membership) if (q := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _cgroup_folders(root: Path, membership: Path) -> list[Path]:
    folders = [root, root / "cpu"]
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return folders
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root if controllers == "" else root / "cpu"
        inner = base
        for part in Path(path.lstrip("/")).parts:
            inner = inner / part
            folders.append(inner)
    return folders


def _quota_of(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()[:2]  # version 2
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:
        micros = int((folder / "cpu.cfs_quota_us").read_text())  # version 1
        return None if micros <= 0 else micros / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError, ZeroDivisionError):
        return None
