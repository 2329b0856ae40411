"""What --dry-run says: everything a run would do, and none of it done."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator

import manyhands as mh
from manyhands.cli.formats import Call
from manyhands.cli.options import Options
from manyhands.cli.records import json_or_repr, to_json
from manyhands.cli.sources import Inputs, Source, choose_source
from manyhands.cli.streams import StdoutLines, results_apart
from manyhands.cli.targets import Target, load_target, parse_address
from manyhands.cli.values import show_count, show_duration

FIRST = 3
ITEM_WIDTH = 60


def rehearse(target: str, inputs: Inputs, options: Options) -> None:
    """Print what would run; the user's module is imported and the inputs are checked.

    Raises:
        CommandError: as the run itself would.
    """
    with results_apart() as stdout:
        address = parse_address(target)
        source = choose_source(inputs, options.call)
        loaded = load_target(address)
        lines = StdoutLines(stdout)
        for name, value in describe(loaded, source, options):
            lines.write(f"{name:<10}{value}")
        lines.write("Nothing was run.")


def describe(target: Target, source: Source, options: Options) -> Iterator[tuple[str, str]]:
    """Yield what there is to know about a run, as names and values."""
    count = source.examine()
    yield "target", f"{target.text} ({target.place})"
    yield "call", {Call.ITEM: "f(item)", Call.ARGS: "f(*item)", Call.KWARGS: "f(**item)"}[options.call]
    yield "source", source.label
    yield "items", "not known before they are read" if count is None else str(count)
    yield "first", _first_items(source, count)
    yield "workers", f"{options.workers or mh.cpu_count()}, backend {options.backend}"
    yield "failures", _failures(options)
    yield "results", "stdout" if options.out is None else shlex.quote(str(options.out))


def _first_items(source: Source, count: int | None) -> str:
    if count is None:
        return "not read in a dry run"
    shown = [_shortened(to_json(json_or_repr(item))) for item in itertools.islice(source, FIRST)]
    return ", ".join(shown) + (", ..." if count > FIRST else "")


def _shortened(text: str) -> str:
    return text if len(text) <= ITEM_WIDTH else f"{text[: ITEM_WIDTH - 3]}..."


def _failures(options: Options) -> str:
    parts = [f"on error {options.on_error}"]
    if options.timeout is not None:
        parts.append(f"timeout {show_duration(options.timeout)}")
    if options.retries:
        parts.append(show_count(options.retries, "extra attempt"))
    return ", ".join(parts)
