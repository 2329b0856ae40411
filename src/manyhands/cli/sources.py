"""Where the inputs of a run come from: exactly one source, listed beforehand or read as the run goes."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from manyhands.cli.formats import Call, Parser, csv_items, json_items, plain_items
from manyhands.cli.problems import CommandError, InputError
from manyhands.cli.reading import STDIN, open_input, place_of, read_lines
from manyhands.cli.values import parse_range, range_length

READ_THROUGH = 64 << 20  # bytes that can be read and parsed beforehand in about a second; a guess


class Source(Protocol):
    """Inputs, and what can be said about them."""

    @property
    def label(self) -> str:
        """What the source is, for people."""

    def __iter__(self) -> Iterator[Any]:
        """Start reading the items."""

    def examine(self) -> int | None:
        """Count the items and find bad ones before any work is done; None if only reading can tell."""


@dataclass(frozen=True)
class Listed:
    """Inputs that are known beforehand."""

    label: str
    items: Sequence[Any]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def examine(self) -> int:
        """Count the items."""
        return range_length(self.items) if isinstance(self.items, range) else len(self.items)


@dataclass(frozen=True)
class Stream:
    """Inputs read line by line from a file, a pipe or stdin."""

    label: str
    path: str
    parse: Parser

    def __iter__(self) -> Iterator[Any]:
        return self.parse(read_lines(open_input(self.path), place_of(self.path)))

    def examine(self) -> int | None:
        """Read a file through; a pipe, or a file so large that it would be noticed, is left alone."""
        if not self._fits():
            return None
        try:
            return sum(1 for _ in self)
        except InputError as error:
            raise InputError(f"{error}. Nothing was run: mend the input first") from error

    def _fits(self) -> bool:
        """Say whether this is a file that can be read twice, and soon."""
        if self.path == STDIN:
            return False
        try:
            status = Path(self.path).stat()
        except OSError as error:
            raise CommandError(f"cannot read {self.path}: {error.strerror}") from error
        return stat.S_ISREG(status.st_mode) and status.st_size <= READ_THROUGH


@dataclass(frozen=True)
class Inputs:
    """The sources as given on the command line, of which one may be set."""

    items: Sequence[str] = ()
    lines: str | None = None
    jsonl: str | None = None
    csv: str | None = None
    files: str | None = None
    numbers: str | None = None

    def given(self) -> list[str]:
        """Name the sources that are set, as the user knows them."""
        named = {"--lines": self.lines, "--jsonl": self.jsonl, "--csv": self.csv, "--files": self.files}
        named["--range"] = self.numbers
        options = [name for name, value in named.items() if value is not None]
        return ["ITEM arguments", *options] if self.items else options


def choose_source(inputs: Inputs, call: Call) -> Source:
    """Return the one source given.

    Raises:
        CommandError: none or several are given, or the source does not fit the call.
    """
    given = inputs.given()
    if len(given) != 1:
        raise CommandError(_not_one(given))
    if call is not Call.ITEM and given[0] not in {"--jsonl", "--csv"}:
        raise CommandError(f"--call {call} needs --jsonl or --csv: {given[0]} give one value per call")
    return _listed(inputs) or _stream(inputs, call)


def _not_one(given: list[str]) -> str:
    if not given:
        return "no inputs: give ITEM arguments, or one of --lines, --jsonl, --csv, --files and --range"
    message = f"more than one source of inputs ({', '.join(given)}): give only one"
    if given == ["ITEM arguments", "--files"]:
        message += "; put the pattern of --files in quotes, so that the shell leaves it to manyhands"
    return message


def _listed(inputs: Inputs) -> Listed | None:
    if inputs.items:
        return Listed("arguments", inputs.items)
    if inputs.files is not None:
        return Listed(f"--files {inputs.files}", find_files(inputs.files))
    if inputs.numbers is not None:
        return Listed(f"--range {inputs.numbers}", parse_range(inputs.numbers))
    return None


def _stream(inputs: Inputs, call: Call) -> Stream:
    if inputs.lines is not None:
        return Stream(f"--lines {inputs.lines}", inputs.lines, plain_items)
    if inputs.jsonl is not None:
        return Stream(f"--jsonl {inputs.jsonl}", inputs.jsonl, partial(json_items, call=call))
    return Stream(f"--csv {inputs.csv}", str(inputs.csv), partial(csv_items, call=call))


def is_among(file: Path, names: Iterable[str]) -> bool:
    """Say whether one of these names, of which any may be that of no file, is the file's."""
    return file.exists() and any(os.path.exists(name) and file.samefile(name) for name in names)  # noqa: PTH110


def find_files(pattern: str) -> list[str]:
    """List the files that match, in sorted order; `**` stands for any folders.

    Raises:
        CommandError: no file matches.
    """
    found = glob.glob(os.path.expanduser(pattern), recursive=True)  # noqa: PTH111, PTH207 - paths stay as written
    files = sorted(path for path in found if os.path.isfile(path))  # noqa: PTH113
    if not files:
        raise CommandError(f"no file matches --files {pattern!r} from the folder {os.getcwd()}")  # noqa: PTH109
    return files
