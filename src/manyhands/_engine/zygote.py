"""The zygote: a clean, single-threaded process that forks workers on request.

It imports cloudpickle once it has nothing else to do, or before its third worker, so that the first two need not wait
for that. It never runs user code and never imports the caller's ``__main__``, so that a worker forked from it inherits
no lock, no thread and no half-made state. It reaps its workers: each one's exit status goes to the caller,
and whatever is left of its process group is killed before its number can be used again.

On its control socket (SOCK_SEQPACKET, one message a packet)::

    caller → zygote   SETUP (+ the board, the lifeline and the workers' two outputs), first of all
                      FORK worker slot (+ the worker's socket)   SIGNAL pid signal
    zygote → caller   FORKED worker pid    REFUSED worker errno   EXITED pid status
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import struct

from manyhands._engine import heap, lifeline, worker
from manyhands._engine.process_groups import signal_group

FORK, SIGNAL, FORKED, REFUSED, EXITED = range(5)
WITHOUT_PRELOAD = 2  # workers, at most, that are forked before cloudpickle is there, and import it if they need it
MESSAGE = struct.Struct("<bqq")
SETUP = b"setup"


def main(control_fd: int) -> None:
    """Serve until the caller closes the control socket or is gone."""
    heap.keep_freed()
    control = socket.socket(fileno=control_fd)
    _, fds, _, _ = socket.recv_fds(control, len(SETUP), 4)
    if len(fds) == 4:  # else nobody is there any more
        board_fd, lifeline_fd, *outputs = fds
        for fd, target in zip(outputs, (1, 2), strict=True):
            os.dup2(fd, target)
            os.close(fd)
        Zygote(control, board_fd, lifeline_fd).serve()
    os._exit(0)  # there is nothing to tidy up, and somebody waits


class Zygote:
    """Forks, signals and reaps."""

    def __init__(self, control: socket.socket, board_fd: int, lifeline_fd: int) -> None:
        self._control = control
        self._board_fd, self._lifeline_fd = board_fd, lifeline_fd
        self._children: set[int] = set()
        self._has_preloaded = False

    def serve(self) -> None:
        """The loop: one poll over requests and deaths."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        lifeline.hold(self._lifeline_fd)
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(woken, select.POLLIN)
        while True:
            ready = dict(poll.poll(0 if self._children and not self._has_preloaded else None))
            if not ready:
                self._preload()
            if woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 1 << 12)
                self._reap()
            if self._control.fileno() in ready and not self._obey():
                break
        for pid in self._children:
            signal_group(pid, signal.SIGKILL)

    def _obey(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._control, MESSAGE.size, 1)
        if not data:
            return False
        kind, first, second = MESSAGE.unpack(data)
        if kind == FORK:
            self._fork(first, second, fds[0] if fds else None)
        elif kind == SIGNAL and first in self._children:
            signal_group(first, second)
        return True

    def _fork(self, number: int, slot: int, fd: int | None) -> None:
        if fd is None:  # descriptors ran out on the way
            self._tell(REFUSED, number, errno.EMFILE)
            return
        if not self._has_preloaded and len(self._children) >= WITHOUT_PRELOAD:
            self._preload()
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(REFUSED, number, error.errno or 0)
        else:
            if pid == 0:
                self._control.close()
                worker.begin(socket.socket(fileno=fd), self._board_fd, slot, self._lifeline_fd, (1, 2))
            self._children.add(pid)
            self._tell(FORKED, number, pid)
        os.close(fd)

    def _preload(self) -> None:
        """Import what functions of scripts need, for all workers to come."""
        self._has_preloaded = True
        # Descriptors may have run out: then workers import it themselves, as the first ones do.
        with contextlib.suppress(BaseException):  # nor may a broken one of the user's end all workers
            import cloudpickle  # noqa: F401

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            signal_group(pid, signal.SIGKILL)  # before its number is free: nobody else can be hit
            _, status = os.waitpid(pid, 0)
            self._children.discard(pid)
            self._tell(EXITED, pid, os.waitstatus_to_exitcode(status))

    def _tell(self, kind: int, first: int, second: int) -> None:
        with contextlib.suppress(OSError):
            self._control.send(MESSAGE.pack(kind, first, second))
