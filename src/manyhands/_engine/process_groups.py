"""Signals to a worker and all that its tasks have started: its process group.

Apart from `launch`, so that the zygote need not import what starts programs.
"""

from __future__ import annotations

import contextlib
import os


def signal_group(pid: int, signum: int) -> None:
    """Signal a worker's process group, or just the worker while it has none of its own yet."""
    for send in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            send(pid, signum)
            return
