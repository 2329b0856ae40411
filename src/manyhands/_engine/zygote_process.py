"""The process of a zygote. It takes as long to start as our engine to be imported: the first may start beside that.

Little is imported here, for the same reason.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import subprocess
import sys
from typing import NamedTuple

from manyhands._engine import forks
from manyhands._engine.interpreter import python_command, working_directory

_ENGINE = ("manyhands._engine.dispatcher", "manyhands._engine.worker")  # what whoever has workers, or is one, imports


class ZygoteProcess(NamedTuple):
    """It runs until our end of its control socket is closed, also if it is never asked for anything."""

    process: subprocess.Popen[bytes]
    control: socket.socket


_early: list[tuple[int, ZygoteProcess]] = []  # at most one, with the process that has started it


def start(outputs: tuple[int, int] | None = None) -> ZygoteProcess:
    """A new one, which writes to these descriptors should it fail to start. Raises OSError."""
    with forks.held_off():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        forks.close_in_child(ours)
    stdout, stderr = outputs or (None, None)
    try:
        with theirs:
            process = subprocess.Popen(
                python_command("from manyhands._engine.zygote import main; main", theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=[theirs.fileno()],
                cwd=working_directory(),
                start_new_session=True,
            )
    except BaseException:
        _close(ours)
        raise
    return ZygoteProcess(process, ours)


def start_early() -> None:
    """Have one started, if this is a program's first call that wants processes. If that fails, it will be told then."""
    if sys.platform != "linux" or _early or any(name in sys.modules for name in _ENGINE):
        return
    with contextlib.suppress(OSError):
        for fd in range(3):
            os.fstat(fd)  # one of them may be closed: what is opened next would take its place
        _early.append((os.getpid(), start()))
        atexit.register(_drop)


def take() -> ZygoteProcess | None:
    """The one that was started early, if it is there."""
    with contextlib.suppress(IndexError):
        pid, early = _early.pop()
        if pid != os.getpid():
            early.process.returncode = 0  # it is our parent's: with -X dev we would be told that it still runs
        elif early.process.poll() is None:
            return early
        else:
            _close(early.control)
    return None


def _drop() -> None:
    """Nobody has taken it: the call's options were wrong, say."""
    if (early := take()) is not None:
        _close(early.control)
        early.process.kill()
        early.process.wait()


def _close(control: socket.socket) -> None:
    forks.keep_in_child(control)
    control.close()
