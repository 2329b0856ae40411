"""How much memory a process has of its own, not counting what it shares with others. Linux only."""

from __future__ import annotations

import os

CAN_TELL = os.path.exists("/proc/self/statm")  # noqa: PTH110 - pathlib would be imported in every worker just for this


def own_memory(pid: int | str = "self") -> int:
    """In bytes; 0 if the process is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 - as above
            _, resident, shared, *_ = file.read().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
