"""Start methods by name: ``zygote`` (Linux), ``spawn`` and ``fork``."""

from __future__ import annotations

import sys

from manyhands._engine.children import ChildLauncher
from manyhands._engine.launch import Common, Launcher
from manyhands._engine.zygotes import ZygoteLauncher


def default_start_method() -> str:
    """Zygote where there is one, else spawn."""
    return "zygote" if sys.platform == "linux" else "spawn"


def launcher(method: str, common: Common) -> Launcher:
    """The launcher of that name."""
    if method == "zygote":
        return ZygoteLauncher(common)
    return ChildLauncher(common, fork=method == "fork")
