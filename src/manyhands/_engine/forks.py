"""When this process is forked by anyone, the child must not hold the caller's end of anything.

A copy of the lifeline in a forked child would keep workers alive after the caller; a copy of a worker's
socket would hide its death.
"""

from __future__ import annotations

import contextlib
import os
import socket

_open: dict[int, socket.socket | int] = {}


def close_in_child(what: socket.socket | int) -> None:
    """Close this descriptor or socket in every child forked from now on."""
    _open[_fd(what)] = what


def keep_in_child(what: socket.socket | int) -> None:
    """It is about to be closed here: forget it."""
    _open.pop(_fd(what), None)


def _fd(what: socket.socket | int) -> int:
    return what if isinstance(what, int) else what.fileno()


def _close_all() -> None:
    for fd, what in _open.items():
        with contextlib.suppress(OSError):
            os.close(fd)
        if isinstance(what, socket.socket):
            with contextlib.suppress(OSError):
                what.detach()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
