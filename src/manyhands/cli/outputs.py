"""What `manyhands compare` leaves: its words on stdout, a chart and a page; checked before hours are spent."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import manyhands as mh
from manyhands.cli.problems import CommandError
from manyhands.cli.sources import is_among
from manyhands.cli.streams import STDOUT, StdoutLines, say
from manyhands.comparison import files

NEEDS_MATPLOTLIB = "--plot needs matplotlib: pip install 'manyhands[plot]' (--html needs nothing)"


@dataclass(frozen=True)
class Outputs:
    """Where and how a comparison is told."""

    plot: Path | None
    html: Path | None
    as_json: bool
    as_markdown: bool

    def files(self) -> dict[str, Path]:
        """What is to be written, by its option."""
        return {option: path for option, path in (("--plot", self.plot), ("--html", self.html)) if path is not None}

    def check(self, language: str) -> None:
        """Before hours are spent. Raises CommandError."""
        if self.as_json and self.as_markdown:
            raise CommandError("--json and --md print different things: give one of them")
        if self.plot is not None:
            _check_charts(language)
        for option, path in self.files().items():
            _check_place(option, path)
            _check_suffix(option, path)
            _check_replaced(option, path)

    def check_inputs(self, read: Collection[str]) -> None:
        """None of these files would be written over. Raises CommandError."""
        for option, path in self.files().items():
            if is_among(path, read):
                raise CommandError(f"{option} {path} is one of the inputs: name another file")

    def anchored(self) -> Outputs:
        """The same files, wherever the function goes."""
        return replace(self, plot=self.plot and self.plot.absolute(), html=self.html and self.html.absolute())

    def tell(self, found: Any, lines: StdoutLines) -> None:
        """Write the files and print it, each also if the others cannot be written. Raises CommandError."""
        writers = {"--plot": found.plot, "--html": found.html}
        try:
            problems = [_problem(writers[option], path) for option, path in self.files().items()]
        finally:
            lines.write(found.to_json() if self.as_json else found.to_markdown() if self.as_markdown else str(found))
        if any(problems):
            raise CommandError("; ".join(filter(None, problems)))
        if problems:
            say(f"written: {', '.join(map(str, self.files().values()))}")


def _check_charts(language: str) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError(NEEDS_MATPLOTLIB)
    from manyhands.comparison import charts

    try:
        charts.check_font(language)
    except mh.OptionError as error:
        raise CommandError(f"--plot: {error}") from error


def _check_place(option: str, path: Path) -> None:
    if not os.path.isdir(path.absolute().parent):  # noqa: PTH112 - whatever the path is, this does not raise
        raise CommandError(f"{option} {path}: there is no folder {path.absolute().parent}")
    if os.path.isdir(path):  # noqa: PTH112
        raise CommandError(f"{option} {path} is a folder: name a file")


def _check_suffix(option: str, path: Path) -> None:
    no_file = os.path.exists(path) and not os.path.isfile(path)  # noqa: PTH110, PTH113 - a device, or a pipe
    if option == "--html" and not no_file and path.suffix.lower() not in {".html", ".htm"}:
        raise CommandError(f"--html {path}: give a file that ends in .html")
    if option == "--plot" and path.suffix.lower() not in {".png", ".svg", ".pdf", ".jpg", ".webp"}:
        raise CommandError(f"--plot {path}: give a file that ends in .png, .svg, .pdf, .jpg or .webp")


def _check_replaced(option: str, path: Path) -> None:
    if str(path) != os.devnull and _is_stdout(path):
        raise CommandError(f"{option} {path} is where the table is printed: name another file")
    try:
        replaceable = files.may_be_replaced(path)
    except OSError as error:
        raise CommandError(f"{option} {path}: {error.strerror}") from error
    if not replaceable:
        raise CommandError(f"{option} {path} is there, and no comparison has written it: name another file")


def _is_stdout(path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(STDOUT))
    except OSError:  # it is not there, or stdout is closed
        return False


def _problem(write: Callable[[Path], None], path: Path) -> str:
    """What keeps it from being written; nothing if it is."""
    try:
        write(path)
    except mh.OptionError as error:  # a format that this matplotlib does not have
        return str(error)
    except OSError as error:
        return f"{error.strerror or error}: {error.filename or path}"
    return ""
