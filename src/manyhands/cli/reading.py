"""Reading files, pipes and stdin line by line, without a read that nobody can end.

Inputs may be pulled by a thread of the engine. While such a thread waits for a line that does not come, the
run may be over: Ctrl-C, or the reader of the results gone. A plain read could not be ended, and the program
would hang. So a read here waits for two things, data and a wake-up, and then sees the end of the file.
"""

from __future__ import annotations

import io
import os
import select
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from manyhands.cli.problems import CommandError, InputError

STDIN = "-"


class Line(NamedTuple):
    """One line of text, with its end, and where it stands."""

    text: str
    number: int
    place: str

    def wrong(self, what: str) -> InputError:
        """Make an error that says where the line stands."""
        return InputError(f"{self.place}, line {self.number}: {what}")


class WakeableFile(io.RawIOBase):
    """A file, pipe or stdin, opened for reading, whose waiting reader can be woken from another thread."""

    def __init__(self, path: str) -> None:
        self.name = "stdin" if path == STDIN else path
        self.woken = False
        self._file = _open(path, self.name)
        self._wake_receiver, self._wake_sender = os.pipe()
        self._waking = threading.Lock()
        self._events = select.poll()
        for descriptor in (self._file.fileno(), self._wake_receiver):
            self._events.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Wait for data or for a wake-up."""
        self._events.poll()
        if self.woken:
            return 0
        return self._file.readinto(buffer)

    def wake(self) -> None:
        """End a read that is waiting, and every later one, as if the file ended here."""
        with self._waking:  # two threads may come at once, and a closed descriptor's number is soon another's
            if not self.woken:
                self.woken = True
                os.close(self._wake_sender)

    def close(self) -> None:
        """Close the file and what it is woken by."""
        if not self.closed:
            self.wake()
            os.close(self._wake_receiver)
            self._file.close()
        super().close()


def read_lines(file: WakeableFile) -> Iterator[Line]:
    """Yield the lines of UTF-8 text and close the file at its end.

    Raises:
        InputError: a line is not UTF-8, or cannot be read at all.
    """
    with io.BufferedReader(file) as buffered:
        place = Line("", 1, file.name)
        while raw := _next_line(buffered, file, place):
            yield place._replace(text=_decode(raw, place))
            place = place._replace(number=place.number + 1)


def _next_line(buffered: io.BufferedIOBase, file: WakeableFile, place: Line) -> bytes:
    try:
        raw = buffered.readline()
    except OSError as error:
        raise place.wrong(f"cannot be read: {error.strerror}") from error
    return b"" if file.woken else raw  # a line that the wake-up cut short is no line


def _decode(raw: bytes, place: Line) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{raw[error.start]:02x} at position {error.start + 1}"
        raise place.wrong(f"not UTF-8 text ({byte}): convert the file to UTF-8") from error
    return text.removeprefix("\ufeff") if place.number == 1 else text


def _open(path: str, name: str) -> io.FileIO:
    try:
        return io.FileIO(0, "rb", closefd=False) if path == STDIN else io.FileIO(path, "rb")
    except OSError as error:
        raise CommandError(f"cannot read {name}: {error.strerror}") from error
