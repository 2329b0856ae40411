"""When this process is forked by anyone, the child must not hold the caller's end of anything.

A copy of the lifeline in a forked child would keep workers alive after the caller; a copy of a worker's
socket would hide its death; and one of the pipe by which a new process tells that it has begun would have us
wait for the child's end.
"""

from __future__ import annotations

import contextlib
import logging  # noqa: F401 - see below
import os
import threading

TYPE_CHECKING = False  # typing's import would take as long as much of this
if TYPE_CHECKING:
    import socket
    from contextlib import AbstractContextManager

_open: dict[int, socket.socket | int] = {}
_forking = threading.RLock()  # held in every fork, and by those who make what no child may have


def held_off() -> AbstractContextManager[object]:
    """Other threads that fork wait meanwhile: for descriptors, from when they are made to `close_in_child`.

    The lock itself: in a context manager written in Python, a signal's handler could raise while it is held.
    """
    return _forking


def close_in_child(what: socket.socket | int) -> None:
    """Close this descriptor or socket in every child forked from now on."""
    _open[_fd(what)] = what


def keep_in_child(what: socket.socket | int) -> None:
    """It is about to be closed here: forget it."""
    _open.pop(_fd(what), None)


def _fd(what: socket.socket | int) -> int:
    return what if isinstance(what, int) else what.fileno()


def _in_child() -> None:
    _forking._at_fork_reinit()  # type: ignore[attr-defined]  # noqa: SLF001 - what the standard library's locks do
    for fd, what in _open.items():
        with contextlib.suppress(OSError):
            os.close(fd)
        if not isinstance(what, int):
            with contextlib.suppress(OSError):
                what.detach()
    _open.clear()


# Logging's lock is held in a fork, too, and what is imported with forks held off may want it. What is registered later
# runs earlier: so whoever forks waits for our lock before it takes that one.
if hasattr(os, "register_at_fork"):
    # The lock's own methods: in a Python function a signal's handler could raise, and it would never be given back.
    os.register_at_fork(before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_in_child)
