"""Three kinds of text kept apart: results, words for people, and what the user's code prints."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from manyhands.cli.problems import CommandError

STDOUT, STDERR = 1, 2


class ReaderGone(Exception):
    """Whoever read the results has closed the pipe, as `head` does."""


@contextlib.contextmanager
def results_apart() -> Iterator[int]:
    """Yield a descriptor of the real stdout; everything else that is printed to stdout goes to stderr.

    The descriptor itself is turned as well as `sys.stdout`: what a library in C or a program that the user's
    function starts prints would otherwise end up between the results.
    """
    printed = sys.stdout
    if printed is not None:
        printed.flush()
    real = _duplicate(STDOUT)
    elsewhere = _duplicate(STDERR)
    os.dup2(elsewhere, STDOUT)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield real
    finally:
        if printed is not None:
            printed.flush()  # whoever printed to it all the same did not mean to print results
        os.dup2(real, STDOUT)
        os.close(elsewhere)
        os.close(real)


def _duplicate(descriptor: int) -> int:
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:  # closed by whoever started us: nobody listens
        with Path(os.devnull).open("r+b") as nobody:
            return fcntl.fcntl(nobody, fcntl.F_DUPFD_CLOEXEC, 3)


def say(message: str) -> None:
    """Print a line for people on stderr, above a progress bar if there is one."""
    from tqdm import tqdm

    with contextlib.suppress(OSError, ValueError):  # stderr closed: nobody listens
        if sys.stderr is not None:
            tqdm.write(message, file=sys.stderr)
            sys.stderr.flush()


class Lines(Protocol):
    """A place that takes results line by line."""

    def write(self, line: str) -> None:
        """Write one line so that it is there whatever happens next."""


class StdoutLines:
    """Results on stdout, each line flushed, so that a reader sees it at once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, line: str) -> None:
        """Write one line.

        Raises:
            ReaderGone: nobody reads any more.
        """
        try:
            _write_all(self._descriptor, _encode(line))
        except BrokenPipeError as error:
            raise ReaderGone from error
        except OSError as error:
            raise CommandError(f"cannot write the results to stdout: {error.strerror}") from error


class FileLines:
    """Results in a file, written line by line, so that a run that is cut short leaves what it had done.

    What an earlier run left there is kept beside it, as FILE.bak.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            _set_aside(path.resolve())
            self._file: BinaryIO = path.open("wb", buffering=0)
        except OSError as error:
            raise CommandError(f"cannot write to --out {path}: {error.strerror}") from error

    def write(self, line: str) -> None:
        """Write one line."""
        try:
            _write_all(self._file.fileno(), _encode(line))
        except OSError as error:
            message = f"cannot write to --out {self._path}: {error.strerror}; the results before are in it"
            raise CommandError(message) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _set_aside(path: Path) -> None:
    if path.is_file() and path.stat().st_size:
        path.replace(f"{path}.bak")


def _encode(line: str) -> bytes:
    try:
        return f"{line}\n".encode("utf-8", "surrogateescape")  # names of files come out as they went in
    except UnicodeEncodeError:
        return f"{line}\n".encode("utf-8", "backslashreplace")


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
