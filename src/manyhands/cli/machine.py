"""What this machine gives: cores, memory, shared memory, open files, the Python."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import manyhands as mh
from manyhands.cli.findings import Finding

SECTION = "Machine"
CGROUPS = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - its size is looked at, nothing is put there
LOW_MEMORY = 512 << 20
LOW_SHARED_MEMORY = 256 << 20  # Docker gives 64 MB
LOW_OPEN_FILES = 1024
UNLIMITED = 1 << 60  # how cgroup v1 says that there is no limit


def look() -> Iterator[Finding]:
    """Yield the findings about the machine."""
    yield _python()
    yield _cores()
    yield _memory()
    yield _shared_memory()
    yield _memory_file()
    yield _open_files()


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}, {platform.system()} {platform.release()}"
    data = {"version": platform.python_version(), "executable": sys.executable}
    return Finding(SECTION, "python", text, data | {"platform": platform.platform()})


def _cores() -> Finding:
    data = {
        "usable": mh.cpu_count(),
        "affinity": len(os.sched_getaffinity(0)),
        "quota": cpu_quota(),
        "host": os.cpu_count(),
    }
    quota = "no cgroup quota" if data["quota"] is None else f"cgroup quota {data['quota']:g}"
    text = f"{data['usable']} usable: affinity {data['affinity']}, {quota}, host {data['host']}"
    return Finding(SECTION, "cores", text, data)


def _memory() -> Finding:
    sizes = _meminfo()
    total, available, limit = sizes["MemTotal"], sizes["MemAvailable"], memory_limit()
    data = {"total": total, "available": available, "limit": limit}
    cgroup = "no cgroup limit" if limit is None else f"cgroup limit {size(limit)}"
    text = f"{size(available)} available of {size(total)}, {cgroup}"
    if min(available, limit or UNLIMITED) >= LOW_MEMORY:
        return Finding(SECTION, "memory", text, data)
    remedy = "use fewer workers (-j), or free some memory"
    return Finding(SECTION, "memory", text, data, "there is little memory", remedy)


def _shared_memory() -> Finding:
    name = str(SHARED_MEMORY)
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError as error:
        problem, remedy = f"{name} cannot be used: {error.strerror}", f"mount a tmpfs at {name}"
        return Finding(SECTION, "shared memory", "none", None, problem, remedy)
    data = {"size": status.f_blocks * status.f_frsize, "free": status.f_bavail * status.f_frsize}
    text = f"{size(data['free'])} free of {size(data['size'])} in {name}"
    if data["free"] >= LOW_SHARED_MEMORY:
        return Finding(SECTION, "shared memory", text, data)
    remedy = f"free some of {name}; in Docker, start the container with --shm-size=2g"
    return Finding(SECTION, "shared memory", text, data, "there is little shared memory", remedy)


def _memory_file() -> Finding:
    """Try a memory file, in which large arrays travel."""
    try:
        descriptor = os.memfd_create("manyhands-doctor")
    except OSError as error:
        return _no_memory_files(f"memfd_create fails: {error.strerror}", "allow memfd_create in the sandbox")
    try:
        os.posix_fallocate(descriptor, 0, 1 << 20)
    except OSError as error:
        return _no_memory_files(f"a file of 1 MB cannot be had: {error.strerror}", "free some memory")
    finally:
        os.close(descriptor)
    return Finding(SECTION, "memory files", "memfd_create works", data=True)


def _no_memory_files(problem: str, remedy: str) -> Finding:
    return Finding(SECTION, "memory files", "none", None, problem, remedy)


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"at most {_limit(soft)} in this shell, {_limit(hard)} if raised"
    data = {"soft": soft, "hard": hard}
    if soft == resource.RLIM_INFINITY or soft >= LOW_OPEN_FILES:
        return Finding(SECTION, "open files", text, data)
    remedy = f"ulimit -n {LOW_OPEN_FILES * 4}, before the program is started"
    problem = "few files may be open at once, so many workers will not start"
    return Finding(SECTION, "open files", text, data, problem, remedy)


def _limit(number: int) -> str:
    return "any number" if number == resource.RLIM_INFINITY else str(number)


def size(count: int) -> str:
    """Write a number of bytes for people.

    >>> size(3 << 30), size(64 << 20)
    ('3.0 GiB', '64 MiB')
    """
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count >> 20} MiB"


def _meminfo() -> dict[str, int]:
    pairs = (line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return {name: int(value.split()[0]) * 1024 for name, value in pairs}


def cpu_quota() -> float | None:
    """Return how many cores the cgroups of this process allow it, or None if they do not say."""
    quotas = [*_quotas_v2(), *_quotas_v1()]
    return min(quotas, default=None)


def _quotas_v2() -> Iterator[float]:
    for text in _settings("", "cpu.max"):
        quota, period = text.split()
        if quota != "max":
            yield int(quota) / int(period)


def _quotas_v1() -> Iterator[float]:
    quotas, periods = _settings("cpu", "cpu.cfs_quota_us"), _settings("cpu", "cpu.cfs_period_us")
    for quota, period in zip(quotas, periods, strict=False):
        if int(quota) > 0:
            yield int(quota) / int(period)


def memory_limit() -> int | None:
    """Return how many bytes the cgroups of this process allow it, or None if they do not say."""
    texts = [*_settings("", "memory.max"), *_settings("memory", "memory.limit_in_bytes")]
    limits = [int(text) for text in texts if text != "max"]
    return min((limit for limit in limits if limit < UNLIMITED), default=None)


def _settings(controller: str, name: str) -> Iterator[str]:
    """Yield a setting of this process's cgroup and of those around it; controller "" is version 2."""
    root = CGROUPS / controller
    for folder in (root / group for group in _groups(controller)):
        for holder in (folder, *folder.parents):
            if holder.is_relative_to(root) and (holder / name).is_file():
                yield (holder / name).read_text().strip()


def _groups(controller: str) -> Iterator[str]:
    """Yield the path of this process's cgroup, and the root, which is all that a container may see of it."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            yield path.lstrip("/")
    yield ""
