"""How much memory a process has of its own, not counting what it shares with others. Linux only."""

from __future__ import annotations

import os
from pathlib import Path

CAN_TELL = Path("/proc/self/statm").exists()


def own_memory(pid: int | str = "self") -> int:
    """In bytes; 0 if the process is gone."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_bytes().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
