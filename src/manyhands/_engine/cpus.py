"""How many cores this process may really use."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # its import takes longer than all of this
    from _typeshed import StrPath

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


def cgroup_quota(root: StrPath = "/sys/fs/cgroup", membership: StrPath = "/proc/self/cgroup") -> float | None:
    """Cores that the cgroups of this process grant it, the tightest on the way to the root; None for no limit."""
    quotas = [q for folder in _cgroup_folders(os.fspath(root), membership) if (q := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _cgroup_folders(root: str, membership: StrPath) -> list[str]:
    folders = [root, f"{root}/cpu"]
    try:
        lines = _read(membership).splitlines()
    except OSError:
        return folders
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        inner = root if controllers == "" else f"{root}/cpu"
        for part in filter(None, path.split("/")):
            inner = f"{inner}/{part}"
            folders.append(inner)
    return folders


def _read(path: StrPath) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - see above
        return file.read()


def _quota_of(folder: str) -> float | None:
    try:
        quota, period = _read(f"{folder}/cpu.max").split()[:2]  # version 2
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:
        micros = int(_read(f"{folder}/cpu.cfs_quota_us"))  # version 1
        return None if micros <= 0 else micros / int(_read(f"{folder}/cpu.cfs_period_us"))
    except (OSError, ValueError, ZeroDivisionError):
        return None
