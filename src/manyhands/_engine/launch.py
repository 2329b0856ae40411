"""What the start methods have in common: what a worker is given, and how it is found to have ended."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from manyhands._engine.board import Board
from manyhands._engine.lifeline import Lifeline

START_SECONDS = 60.0  # a new interpreter may take long on a busy machine


class Exit(NamedTuple):
    """A worker process has ended, or could not be started (``error``)."""

    worker: int
    pid: int | None
    exitcode: int | None
    error: OSError | None = None


class Common(NamedTuple):
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
