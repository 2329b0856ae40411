"""What the start methods have in common: what a worker is given, and how it is found to have ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from manyhands._engine.board import Board
from manyhands._engine.lifeline import Lifeline

_HOME = os.path.abspath(f"{__file__}/../../..")  # noqa: PTH100 - pathlib's import would take longer than the rest
START_SECONDS = 60.0  # a new interpreter may take long on a busy machine


class Exit(NamedTuple):
    """A worker process has ended, or could not be started (``error``)."""

    worker: int
    pid: int | None
    exitcode: int | None
    error: OSError | None = None


@dataclass(frozen=True, slots=True)
class Common:
    """What every worker of one backend is given, and where its launcher reports."""

    board: Board
    lifeline: Lifeline
    outputs: tuple[int, int]  # descriptors for the workers' standard output and error
    watch: Callable[[int, Callable[[], None]], None]  # call me when this descriptor can be read
    unwatch: Callable[[int], None]
    ended: Callable[[Exit], None]


class Launcher(Protocol):
    """Where worker processes come from. ``start`` raises OSError when the system refuses."""

    def start(self, number: int, slot: int, sock: socket.socket, inherited: dict[bytes, Callable[..., Any]]) -> None:
        """Begin to start worker ``number``, with its slot of the board and its end of the socket."""

    def pid(self, number: int) -> int | None:
        """The process id, once known."""

    def patience(self, number: int) -> float:
        """Seconds that its start may take."""

    def signal(self, number: int, signum: int) -> None:
        """Signal the worker's process group, if it still exists."""

    def reap(self, number: int) -> None:
        """Its socket has ended: see whether the worker has, if nothing else would tell."""

    def close(self) -> None:
        """Let go; workers that still live are killed."""


def python_command(code: str, *args: Any) -> list[str]:
    """A command that runs this code of ours in a new interpreter with our import path.

    -P: the working directory is not searched before that path is set; an os.py there would end it all.
    """
    if not sys.executable:
        raise FileNotFoundError("this Python does not know its own executable, so it cannot start another one")
    setup = f"__manyhands__ = True; import sys; sys.path[:] = {_path()!a}; "
    call = f"{code}({', '.join(map(str, args))})"
    return [sys.executable, *subprocess._args_from_interpreter_flags(), "-P", "-c", setup + call]  # type: ignore[attr-defined]


def _path() -> list[str]:
    """The import path without entries that mean "the current directory"."""
    return [entry for entry in sys.path if entry and isinstance(entry, str)] + [_HOME]


def working_directory() -> str | None:
    """Where to start an interpreter: it refuses to in a folder that was deleted, with a relative PYTHONPATH."""
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return "/"
    return None
