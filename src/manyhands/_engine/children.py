"""The start methods ``spawn`` (a new interpreter for each worker) and ``fork`` (this process, memory and locks)."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import socket
import subprocess
import threading
import warnings
from collections.abc import Callable
from typing import Any

from manyhands._engine import forks, payload, worker
from manyhands._engine.interpreter import python_command, working_directory
from manyhands._engine.launch import START_SECONDS, Common, Exit
from manyhands._engine.process_groups import signal_group


def _become_main_thread() -> None:
    """In a fork, this was the dispatcher's thread: a daemon, and so would be all threads that tasks start."""
    thread = threading.current_thread()
    thread._daemonic = False  # type: ignore[attr-defined]  # the setter refuses, since it runs
    thread.name = "MainThread"


class ChildLauncher:
    """Direct children of this process: spawned afresh, or forked."""

    def __init__(self, common: Common, *, fork: bool) -> None:
        self._common = common
        self._fork = fork
        self._children: dict[int, tuple[int, int | None]] = {}  # worker: (pid, pidfd if there is such a thing)
        self._popen: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, number: int, slot: int, sock: socket.socket, inherited: dict[bytes, Callable[..., Any]]) -> None:
        with sock:
            pid = self._forked(slot, sock, inherited) if self._fork else self._spawned(number, slot, sock)
        pidfd = self._watch(number, pid)
        self._children[number] = (pid, pidfd)

    def _forked(self, slot: int, sock: socket.socket, inherited: dict[bytes, Callable[..., Any]]) -> int:
        common = self._common
        payload.track_classes(inherited.values())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the user asked for a fork, threads or not
            mask = signal.pthread_sigmask(
                signal.SIG_BLOCK, [signal.SIGINT]
            )  # not in the midst of it; the child unblocks it
            pid = -1
            try:
                pid = os.fork()
            finally:
                if pid != 0:
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if pid == 0:
            _become_main_thread()
            gc.freeze()  # what is garbage is the caller's, and so is calling its destructors
            atexit._clear()
            payload.own_tracked_classes()
            worker.begin(sock, common.board.fd, slot, common.lifeline.read_fd, common.outputs, inherited)
        return pid

    def _spawned(self, number: int, slot: int, sock: socket.socket) -> int:
        common = self._common
        fds = (sock.fileno(), common.board.fd, common.lifeline.read_fd)
        code = "from manyhands._engine.worker import spawned; spawned"
        process = subprocess.Popen(
            python_command(code, fds[0], fds[1], slot, fds[2]),
            stdin=subprocess.DEVNULL,
            stdout=common.outputs[0],
            stderr=common.outputs[1],
            pass_fds=fds,
            cwd=working_directory(),
            start_new_session=True,  # Ctrl-C is not for a worker, not even before it can say so
        )
        self._popen[number] = process
        return process.pid

    def _watch(self, number: int, pid: int) -> int | None:
        try:
            pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):  # not Linux, or an old one: the end of its socket must do
            return None
        forks.close_in_child(pidfd)
        self._common.watch(pidfd, lambda: self.reap(number))
        return pidfd

    def reap(self, number: int) -> None:
        self._reap(number, wait=False)

    def _reap(self, number: int, *, wait: bool) -> None:
        """Take in the end of a child, and kill what is left of its group while its number is still its own."""
        child = self._children.get(number)
        if child is None:
            return
        pid, pidfd = child
        try:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG))
            if ended is None:
                return
            signal_group(pid, signal.SIGKILL)
            self._children.pop(number, None)  # from here on its number may be another's: nobody may signal it
            _, status = os.waitpid(pid, 0)
            exitcode: int | None = os.waitstatus_to_exitcode(status)
        except ChildProcessError:  # somebody else's os.wait() took it
            exitcode = None
            self._children.pop(number, None)
        process = self._popen.pop(number, None)
        if process is not None:
            process.returncode = exitcode if exitcode is not None else 0
        if pidfd is not None:
            self._common.unwatch(pidfd)
            forks.keep_in_child(pidfd)
            os.close(pidfd)
        self._common.ended(Exit(number, pid, exitcode))

    def pid(self, number: int) -> int | None:
        return self._children.get(number, (None, None))[0]

    def patience(self, number: int) -> float:  # noqa: ARG002 - the same for all
        return START_SECONDS

    def signal(self, number: int, signum: int) -> None:
        child = self._children.get(number)
        if child is not None:
            signal_group(child[0], signum)

    def close(self) -> None:
        for number in list(self._children):
            self.signal(number, signal.SIGKILL)
            self._reap(number, wait=True)
