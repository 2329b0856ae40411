"""Holding tasks back until the test lets them go, on every kind of worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

MANY = 4096


class Gate:
    """A named pipe at which tasks wait: ``wait(path)`` in the task, ``let`` or ``open`` in the test.

    Only the thread that leaves the block opens it: two of them would replace the same file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def let(self, tasks: int) -> None:
        """Let so many go on."""
        os.write(self._fd, b"." * tasks)

    def open(self) -> None:
        """Let all go on, those to come as well."""
        self.let(MANY)
        passable = self.path.with_name(f"{self.path.name}.open")
        passable.touch()
        passable.replace(self.path)  # who comes from now on finds an empty file, and reads to its end at once

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        os.close(self._fd)


def wait_at(gate: Path, value: Any = None) -> Any:
    """Return the value once the gate lets us."""
    fd = os.open(gate, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.read(fd, 1)
    finally:
        os.close(fd)
    return value


def say(meeting: Path, word: object) -> Any:
    """Write a line for the test to read; returns the word."""
    with meeting.open("a") as file:
        file.write(f"{word}\n")
    return word


def say_and_wait(meeting: Path, gate: Path, word: object) -> Any:
    """First the one, then the other."""
    say(meeting, word)
    return wait_at(gate, word)
