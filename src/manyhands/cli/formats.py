"""Items from lines of text: plain lines, JSON lines and CSV, in the shape that the call needs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any

from manyhands.cli.problems import CommandError
from manyhands.cli.reading import Line

Parser = Callable[[Iterable[Line]], Iterator[Any]]


class Call(StrEnum):
    """How the function takes an item."""

    ITEM = "item"
    ARGS = "args"
    KWARGS = "kwargs"


def plain_items(lines: Iterable[Line]) -> Iterator[str]:
    """Take each line as it is, without its end."""
    for line in lines:
        yield line.text.removesuffix("\n").removesuffix("\r")


def json_items(lines: Iterable[Line], call: Call) -> Iterator[Any]:
    """Take each line as a JSON value; blank lines are passed over."""
    for line in lines:
        if line.text.strip():
            item = _json_value(line)
            _check_shape(item, call, line)
            yield item


def _json_value(line: Line) -> Any:
    try:
        return json.loads(line.text.rstrip())
    except json.JSONDecodeError as error:
        what = f"not JSON: {error.msg} at column {error.colno}"
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets without end
        what = f"JSON that cannot be read: {error}"
    raise line.wrong(what)


def _check_shape(item: object, call: Call, line: Line) -> None:
    wanted = {Call.ARGS: (list, "a JSON array"), Call.KWARGS: (dict, "a JSON object")}
    if call in wanted:
        kind, name = wanted[call]
        if not isinstance(item, kind):
            raise line.wrong(f"--call {call} needs {name} on each line")


def csv_items(lines: Iterable[Line], call: Call) -> Iterator[dict[str, str] | list[str]]:
    """Take each row as a dict of strings named by the header row, or as a list of them for `--call args`.

    Raises:
        InputError: a row does not fit the header, or a quote is never closed.
    """
    rows = _csv_rows(lines)
    header: list[str] | None = None
    for row, line in rows:
        if header is None:
            header = _checked_header(row, line)
        elif len(row) != len(header):
            raise line.wrong(f"the row has {len(row)} fields and the header {len(header)}")
        else:
            yield row if call is Call.ARGS else dict(zip(header, row, strict=True))
    if header is None:
        raise CommandError("--csv needs a header row that names the columns, and the input is empty")


def _csv_rows(lines: Iterable[Line]) -> Iterator[tuple[list[str], Line]]:
    """Pair each row that is not blank with the line it ends on."""
    csv.field_size_limit(sys.maxsize)
    seen = Line("", 0, "")

    def texts() -> Iterator[str]:
        nonlocal seen
        for seen in lines:
            yield seen.text

    # Strict: otherwise a quote that is never closed silently swallows the rest of the file.
    reader = csv.reader(texts(), strict=True)
    try:
        for row in reader:
            if row:
                yield row, seen
    except csv.Error as error:
        raise seen.wrong(f"not CSV: {error}") from error


def _checked_header(names: list[str], line: Line) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise line.wrong(f"the header names {twice[0]!r} twice: give each column its own name")
    return names
