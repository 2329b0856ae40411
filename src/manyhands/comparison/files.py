"""Files that are there as a whole or not at all, and that a later comparison knows as those of one before."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

MARK = "comparison by manyhands"  # in every page and chart, which may be replaced
LOOKED_AT = 1 << 16  # bytes at either end of a file: each format has the mark near one of them


@contextlib.contextmanager
def written_whole(path: str | PathLike[str]) -> Iterator[Path]:
    """Where to write: what is there at the end of the block is moved to its place; after an error it is removed."""
    given = Path(path)
    if given.exists() and not given.is_file():  # a pipe, or a device: it is written to, and stays what it is
        yield given
        return
    real = Path(os.path.realpath(given))
    unfinished = real.with_name(f".manyhands_{os.getpid()}_{secrets.token_hex(8)}.part")
    try:
        yield unfinished
        unfinished.replace(real)
    except BaseException as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError) and str(error.filename) == str(unfinished):
            error.filename = str(given)  # the name that somebody knows
        raise


def may_be_replaced(path: Path) -> bool:
    """There is nothing to lose: a comparison has written it, or it is empty, or no file."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        start = file.read(LOOKED_AT)
        file.seek(max(file.tell(), path.stat().st_size - LOOKED_AT))
        return not start or MARK.encode() in start + file.read()
