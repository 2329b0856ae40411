"""Start methods: how a worker process comes into being, is signalled, and is found to have ended.

Three launchers with one interface. ``zygote`` (Linux) forks workers from a clean process; ``spawn`` starts a
new interpreter for each; ``fork`` forks this very process, with all its memory and all its locks.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from manyhands._engine import forks, payload, worker, zygote
from manyhands._engine.board import Board
from manyhands._engine.lifeline import Lifeline

DEAF_SECONDS = 3.0  # a zygote that has not started, or killed, a worker for so long is taken to be stopped itself


def default_start_method() -> str:
    """Zygote where there is one, else spawn."""
    return "zygote" if sys.platform == "linux" else "spawn"


class Exit(NamedTuple):
    """A worker process has ended, or could not be started (``error``)."""

    worker: int
    pid: int | None
    exitcode: int | None
    error: OSError | None = None


@dataclass(frozen=True, slots=True)
class Common:
    """What every worker of one backend is given, and where its launcher reports."""

    board: Board
    lifeline: Lifeline
    outputs: tuple[int, int]  # descriptors for the workers' standard output and error
    watch: Callable[[int, Callable[[], None]], None]  # call me when this descriptor can be read
    unwatch: Callable[[int], None]
    ended: Callable[[Exit], None]


class Launcher(Protocol):
    """Where worker processes come from. ``start`` raises OSError when the system refuses."""

    def start(self, number: int, slot: int, sock: socket.socket, inherited: dict[bytes, Callable[..., Any]]) -> None:
        """Begin to start worker ``number``, with its slot of the board and its end of the socket."""

    def pid(self, number: int) -> int | None:
        """The process id, once known."""

    def signal(self, number: int, signum: int) -> None:
        """Signal the worker's process group, if it still exists."""

    def close(self) -> None:
        """Let go; workers that still live are killed."""


def make(method: str, common: Common) -> Launcher:
    """The launcher of that name."""
    if method == "zygote":
        return ZygoteLauncher(common)
    return ChildLauncher(common, fork=method == "fork")


def _python(code: str, *args: Any) -> list[str]:
    """A command that runs this code of ours in a new interpreter with our import path.

    -P: the working directory is not searched before that path is set; an os.py there would end it all.
    """
    if not sys.executable:
        raise FileNotFoundError("this Python does not know its own executable, so it cannot start another one")
    setup = f"__manyhands__ = True; import sys; sys.path[:] = {_path()!a}; "
    call = f"{code}({', '.join(map(str, args))})"
    return [sys.executable, *subprocess._args_from_interpreter_flags(), "-P", "-c", setup + call]  # type: ignore[attr-defined]


def _path() -> list[str]:
    """The import path without entries that mean "the current directory"."""
    return [entry for entry in sys.path if entry and isinstance(entry, str)] + [str(Path(__file__).parents[2])]


def _cwd() -> str | None:
    """Where to start an interpreter: it refuses to in a folder that was deleted, with a relative PYTHONPATH."""
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return "/"
    return None


def _become_main_thread() -> None:
    """In a fork, this was the dispatcher's thread: a daemon, and so would be all threads that tasks start."""
    thread = threading.current_thread()
    thread._daemonic = False  # type: ignore[attr-defined]  # the setter refuses, since it runs
    thread.name = "MainThread"


def _group_of(pid: int, signum: int) -> None:
    for send in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            send(pid, signum)
            return


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
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        common = self._common
        fds = (theirs.fileno(), common.board.fd, common.lifeline.read_fd)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    _python("from manyhands._engine.zygote import main; main", *fds),
                    stdin=subprocess.DEVNULL,
                    stdout=common.outputs[0],
                    stderr=common.outputs[1],
                    pass_fds=fds,
                    cwd=_cwd(),
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        self._control = ours
        forks.close_in_child(ours)
        common.watch(ours.fileno(), self._hear)
        return ours

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
            _group_of(pid, signal.SIGKILL)
            self._common.ended(Exit(number, pid, None))
        self._asked.clear()
        self._pids.clear()
        self._killed.clear()

    def pid(self, number: int) -> int | None:
        return self._pids.get(number)

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

    def close(self) -> None:
        self._shut()


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
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # as above; the child unblocks it
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
            _python(code, fds[0], fds[1], slot, fds[2]),
            stdin=subprocess.DEVNULL,
            stdout=common.outputs[0],
            stderr=common.outputs[1],
            pass_fds=fds,
            cwd=_cwd(),
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

    def reap(self, number: int, *, wait: bool = False) -> None:
        """Take in the end of a child, and kill what is left of its group while its number is still its own."""
        child = self._children.get(number)
        if child is None:
            return
        pid, pidfd = child
        try:
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG))
            if ended is None:
                return
            _group_of(pid, signal.SIGKILL)
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

    def signal(self, number: int, signum: int) -> None:
        child = self._children.get(number)
        if child is not None:
            _group_of(child[0], signum)

    def close(self) -> None:
        for number in list(self._children):
            self.signal(number, signal.SIGKILL)
            self.reap(number, wait=True)


def reap_all(launcher: Launcher, numbers: Iterable[int]) -> None:
    """Where nothing tells of a child's end but its socket: look for ended children."""
    if isinstance(launcher, ChildLauncher):
        for number in numbers:
            launcher.reap(number)
