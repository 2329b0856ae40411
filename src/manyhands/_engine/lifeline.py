"""No worker outlives the caller, however the caller ends.

The caller holds the only write end of a pipe; each worker holds a read end of its own. When the caller is
gone, kill -9 included, the kernel closes the write end, and on Linux itself sends SIGKILL to the process
group of every reader that asked for it (fcntl F_SETSIG, F_SETOWN): even a worker stuck in C code goes, and
its children with it. Elsewhere a thread waits for the end of the pipe and kills the group.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import threading


class Lifeline:
    """The caller's side: keep it, and workers live; lose it, and they go."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()

    def close(self) -> None:
        """Let every worker that still listens go."""
        os.close(self.write_fd)
        os.close(self.read_fd)


def hold(fd: int, *, by_kernel: bool = True) -> None:
    """In a worker that leads its process group: end the group when the caller is gone."""
    if not (by_kernel and _let_kernel_watch(fd)):
        threading.Thread(target=_watch, args=(fd,), name="manyhands-lifeline", daemon=True).start()


def _let_kernel_watch(fd: int) -> bool:
    try:
        # An open file has one owner: the inherited one is everybody's, so this worker opens its own.
        own = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.fcntl(own, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(own, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | os.O_ASYNC)
    except (AttributeError, OSError):
        os.close(own)
        return False
    if _ended(own):  # the caller went before we asked
        os.killpg(0, signal.SIGKILL)
    return True


def _ended(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _watch(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()
    os.killpg(0, signal.SIGKILL)
