"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from os import PathLike
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: str | PathLike[str]) -> Iterator[Path]:
    """Where to write: what is there at the end of the block is moved to its place; after an error it is removed."""
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():  # a pipe, or a device: it is written to, and stays what it is
        yield path
        return
    unfinished = path.with_name(f".manyhands_{os.getpid()}_{secrets.token_hex(8)}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
