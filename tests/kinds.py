"""Every kind of worker, for fixtures that outlive a test."""

from __future__ import annotations

from typing import Any

PARALLEL = ("threads", "zygote", "spawn", "fork")
ALL = ("serial", *PARALLEL)


def options_for(kind: str) -> dict[str, Any]:
    """What to give to Executor or Pool."""
    return {"backend": kind} if kind in {"serial", "threads"} else {"backend": "processes", "start_method": kind}
