"""Whole programs, run as a user runs them: by a new interpreter, in a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import manyhands

PATIENCE = 40.0  # seconds; a program that takes longer is stuck


def environment(**changes: str) -> dict[str, str]:
    """The environment of a program: ours, and manyhands can be imported from wherever it runs."""
    entries = [Path(manyhands.__file__).parents[1], *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    path = os.pathsep.join(dict.fromkeys(str(Path(entry).resolve()) for entry in entries))
    return {**os.environ, "PYTHONPATH": path, **changes}


def write(path: Path, source: str) -> Path:
    """A file with this source, whose indentation may be that of the test it stands in."""
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


def run(*args: object, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run ``python *args`` to its end; fails with all that it said if that end is not a good one."""
    options.setdefault("env", environment())
    options.setdefault("stdin", subprocess.DEVNULL if "input" not in options else None)
    command = [sys.executable, *map(str, args)]
    ended = subprocess.run(
        command, cwd=cwd, text=True, encoding="utf-8", capture_output=True, timeout=PATIENCE, check=False, **options
    )
    assert ended.returncode == 0, f"exit code {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended


def run_source(source: str, *, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run this source as a script of its own."""
    return run(write(cwd / "program.py", source), cwd=cwd, **options)
