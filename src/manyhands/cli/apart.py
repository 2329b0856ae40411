"""Trying something in a process of its own, where it may hang or crash without harm to this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """What a program answered, or what was wrong with it."""

    answer: str = ""  # the last line that it printed: what begins in every Python here may print others before
    problem: str | None = None


def try_apart(program: str, *arguments: str, patience: float) -> Trial:
    """Run a Python program that finds the same modules as this process, for so many seconds at most."""
    command = [sys.executable, "-P", "-c", program, *arguments]
    path = os.pathsep.join(folder for folder in sys.path if folder)
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path},
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Trial(problem=f"it was not over after {patience:g} s")
    return Trial(ended.stdout.strip().rpartition("\n")[2], _problem(ended))


def _problem(ended: subprocess.CompletedProcess[str]) -> str | None:
    if ended.returncode == 0:
        return None
    if ended.returncode < 0:
        return f"it crashed with {signal.Signals(-ended.returncode).name}"
    lines = ended.stderr.strip().splitlines()
    return lines[-1] if lines else f"it ended with exit code {ended.returncode}"
