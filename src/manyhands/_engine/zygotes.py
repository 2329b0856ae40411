"""The start method ``zygote``: asking the process that forks workers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from manyhands._engine import forks, zygote, zygote_process
from manyhands._engine.launch import START_SECONDS, Common, Exit
from manyhands._engine.process_groups import signal_group

UNANSWERED_SECONDS = 10.0  # for a zygote that has answered before, to a request for a worker
DEAF_SECONDS = 3.0  # a zygote that has not started, or killed, a worker for so long is taken to be stopped itself


class ZygoteLauncher:
    """Asks a zygote, and starts another should it have gone."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._pids: dict[int, int] = {}
        self._asked: dict[int, float] = {}  # requested, not yet confirmed: when
        self._killed: dict[int, float] = {}  # pid: when the zygote was first told to kill it
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lock = threading.Lock()
        self._has_answered = False  # the zygote there is

    def start(self, number: int, slot: int, sock: socket.socket, inherited: dict[bytes, Callable[..., Any]]) -> None:
        del inherited  # a zygote has no functions to pass on
        with sock, self._lock:
            control = self._control or self._open()
            self._asked[number] = time.monotonic()
            message = zygote.MESSAGE.pack(zygote.FORK, number, slot)
            try:
                socket.send_fds(control, [message], [sock.fileno()])
            except OSError:
                del self._asked[number]
                raise

    def _open(self) -> socket.socket:
        common = self._common
        self._process, control = zygote_process.take() or zygote_process.start(common.outputs)
        self._control = control
        common.watch(control.fileno(), self._hear)
        socket.send_fds(control, [zygote.SETUP], [common.board.fd, common.lifeline.read_fd, *common.outputs])
        return control

    def _hear(self) -> None:
        assert self._control is not None  # noqa: S101 - watched only while open
        try:
            data = self._control.recv(zygote.MESSAGE.size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._zygote_gone()
            return
        kind, first, second = zygote.MESSAGE.unpack(data)
        self._has_answered = True
        if kind == zygote.FORKED:
            self._pids[first] = second
            self._asked.pop(first, None)
        elif kind == zygote.REFUSED:
            self._asked.pop(first, None)
            self._common.ended(Exit(first, None, None, OSError(second, os.strerror(second))))
        elif kind == zygote.EXITED:
            self._exited(first, second)

    def _exited(self, pid: int, exitcode: int) -> None:
        number = next((n for n, p in self._pids.items() if p == pid), None)
        self._killed.pop(pid, None)
        if number is not None:
            del self._pids[number]
            self._common.ended(Exit(number, pid, exitcode))

    def _zygote_gone(self) -> None:
        """It was killed. Nobody can reap its workers for us any more, so they go with it."""
        code = self._shut()
        error = OSError(f"the process that starts workers was ended from outside (exit code {code})")
        for number in self._asked:
            self._common.ended(Exit(number, None, None, error))
        for number, pid in self._pids.items():
            signal_group(pid, signal.SIGKILL)
            self._common.ended(Exit(number, pid, None))
        self._asked.clear()
        self._pids.clear()
        self._killed.clear()

    def pid(self, number: int) -> int | None:
        return self._pids.get(number)

    def patience(self, number: int) -> float:
        return UNANSWERED_SECONDS if self._has_answered and number in self._asked else START_SECONDS

    def signal(self, number: int, signum: int) -> None:
        pid, control, process = self._pids.get(number), self._control, self._process
        if control is None or process is None:
            return
        if self._is_deaf(number, pid, signum):
            process.kill()  # and its workers go with it, see _zygote_gone
        elif pid is not None:
            with contextlib.suppress(OSError):
                control.send(zygote.MESSAGE.pack(zygote.SIGNAL, pid, signum), socket.MSG_DONTWAIT)

    def _is_deaf(self, number: int, pid: int | None, signum: int) -> bool:
        """The zygote was stopped, or is stuck: it has not killed what it should have long ago, or never started it."""
        if signum != signal.SIGKILL:
            return False
        now = time.monotonic()
        since = self._asked.get(number, now) if pid is None else self._killed.setdefault(pid, now)
        return now - since > DEAF_SECONDS

    def _shut(self) -> int | None:
        with self._lock:
            control, process = self._control, self._process
            self._control = self._process = None
            self._has_answered = False
        if control is None or process is None:
            return None
        self._common.unwatch(control.fileno())
        forks.keep_in_child(control)
        control.close()
        try:
            return process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def reap(self, number: int) -> None:
        """The zygote tells."""

    def close(self) -> None:
        self._shut()
