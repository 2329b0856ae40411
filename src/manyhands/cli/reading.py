"""Reading text line by line from a file, a pipe or stdin, with a clear word about a line that is bad."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

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


def open_input(path: str) -> BinaryIO:
    """Open a file, or stdin.

    Raises:
        CommandError: it cannot be read.
    """
    try:
        if path == STDIN:
            return io.BufferedReader(io.FileIO(0, closefd=False))
        return Path(path).open("rb")
    except OSError as error:
        raise CommandError(f"cannot read {place_of(path)}: {error.strerror}") from error


def place_of(path: str) -> str:
    """Name a file, or stdin, for people."""
    return "stdin" if path == STDIN else path


def read_lines(file: BinaryIO, place: str) -> Iterator[Line]:
    """Yield the lines of UTF-8 text as they come, and close the file at its end.

    Raises:
        InputError: a line is not UTF-8, or cannot be read at all.
    """
    line = Line("", 1, place)
    with file:
        while raw := _next_line(file, line):
            yield line._replace(text=_decode(raw, line))
            line = line._replace(number=line.number + 1)


def _next_line(file: BinaryIO, line: Line) -> bytes:
    try:
        return file.readline()
    except OSError as error:
        raise line.wrong(f"cannot be read: {error.strerror}") from error


def _decode(raw: bytes, line: Line) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"byte 0x{raw[error.start]:02x} at position {error.start + 1}"
        raise line.wrong(f"not UTF-8 text ({byte}): convert the file to UTF-8") from error
    return text.removeprefix("\ufeff") if line.number == 1 else text
