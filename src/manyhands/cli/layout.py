"""How help is laid out: nothing that must be typed is cut, and paragraphs are as wide as the terminal.

Typer has no settings for either. What is changed is its own again when the help is written.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

ENOUGH = 80  # columns, for all names and some text beside them; rich has its way where there are fewer
LINE_BREAK = re.compile(r"(?<=\S)\n(?=\S)")  # within a paragraph


@contextlib.contextmanager
def laid_out(command: Any) -> Iterator[None]:
    """While this lasts, the help of the command, and of those below it, is written so."""
    from typer import rich_utils

    _reflow(command)
    typers = vars(rich_utils)
    before = typers["Table"]
    if shutil.get_terminal_size().columns >= ENOUGH:
        typers["Table"] = _table_of_whole_names()
    try:
        yield
    finally:
        typers["Table"] = before


def _reflow(command: Any) -> None:
    """Take out the line breaks of the source, which typer keeps."""
    command.help = LINE_BREAK.sub(" ", command.help or "")
    for below in getattr(command, "commands", {}).values():
        _reflow(below)


def _table_of_whole_names() -> type:
    from rich.table import Table

    class Whole(Table):
        """If its columns do not fit, the last gives way: rich cuts the widest, be it that of the names."""

        def add_row(self, *cells: Any, **how: Any) -> None:
            super().add_row(*cells, **how)
            for column in self.columns[:-1]:
                column.no_wrap = True

    return Whole
