"""Files that are there as a whole or not at all, also after the process that writes them was killed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

UNFINISHED = ".manyhands-"  # how the name of a file that is being written begins; then the process, then chance


class DiskFullError(OSError):
    """No other file could be written either."""


def is_disk_full(error: OSError) -> bool:
    """There is no room for any other file either."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write: it is moved to its place at the end of the block; after an error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{UNFINISHED}{os.getpid()}-{secrets.token_hex(8)}.part")
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def remove_unfinished(folder: Path, patience: float = 0.0) -> int:
    """Remove what processes that have ended left in this folder and those below it; how many.

    ``patience``: seconds to wait for those that are about to end.
    """
    removed = 0
    deadline = time.monotonic() + patience
    for path in folder.rglob(f"{UNFINISHED}*-*.part"):
        owner = path.name[len(UNFINISHED) :].split("-")[0]
        while owner.isdigit() and (alive := _lives(int(owner))) and time.monotonic() < deadline:
            time.sleep(0.01)
        if owner.isdigit() and not alive:
            with contextlib.suppress(OSError):
                path.unlink()
                removed += 1
    return removed


def append_line(path: Path, line: bytes) -> None:
    """Append to a file that several processes append to: a line is one write."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if os.write(fd, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(fd)


def _lives(pid: int) -> bool:
    if sys.platform == "win32":  # there the signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
