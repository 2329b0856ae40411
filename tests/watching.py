"""Waiting for processes and looking at them, from outside."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
from programs import environment

PATIENCE = 10.0  # seconds that anything here may take at most to happen


def eventually(condition: Callable[[], object], *, seconds: float = PATIENCE) -> bool:
    """Wait until something is true; False if it has not become so."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            return False
        pause.wait(0.01)
    return True


def alive(pid: int) -> bool:
    """The process runs; one that nobody has reaped yet does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Meeting:
    """A named pipe on which tasks say how far they are, a line each.

    Tasks write to ``path``; the test waits for their lines. Neither side waits for the other to open it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unread = b""
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def lines(self, count: int = 1, *, seconds: float = PATIENCE) -> list[str]:
        """The next so many lines; fails if they do not come."""
        while self._unread.count(b"\n") < count:
            ready, _, _ = select.select([self._fd], [], [], seconds)
            assert ready, f"only {self._unread!r} came, not {count} lines"
            self._unread += os.read(self._fd, 1 << 16)
        *lines, self._unread = self._unread.split(b"\n", count)
        return [line.decode() for line in lines]

    def pids(self, count: int = 1) -> list[int]:
        """The same for lines that are process ids."""
        return [int(line) for line in self.lines(count)]

    def __enter__(self) -> Meeting:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


class Program:
    """A script in a process group of its own, as a shell starts it, and all processes that come of it."""

    def __init__(self, script: Path, *args: object, **environ: str) -> None:
        self._mark = f"MANYHANDS_TEST={uuid.uuid4()}"
        name, _, value = self._mark.partition("=")
        self._outputs = [script.with_suffix(suffix) for suffix in (".out", ".err")]
        with self._outputs[0].open("w") as out, self._outputs[1].open("w") as err:
            self._process = subprocess.Popen(
                [sys.executable, str(script), *map(str, args)],
                cwd=script.parent,
                env=environment(**{name: value}, **environ),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_take_interrupts,  # noqa: PLW1509 - nothing else can do it, and no lock is taken there
            )

    @property
    def running(self) -> bool:
        """The program itself has not ended."""
        return self._process.poll() is None

    @property
    def out(self) -> str:
        """What it has written to its standard output."""
        return self._outputs[0].read_text()

    @property
    def err(self) -> str:
        """What it has written to its standard error."""
        return self._outputs[1].read_text()

    def interrupt(self) -> None:
        """Ctrl-C, which the terminal sends to the whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)

    def kill(self, number: signal.Signals) -> None:
        """Signal the program, and none of the others."""
        self._process.send_signal(number)

    def ended(self, *, seconds: float = PATIENCE) -> int:
        """Its exit code; fails with all that it said if it does not end."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the program did not end\n{self.out}\n{self.err}") from None

    def processes(self) -> list[psutil.Process]:
        """Those that live: itself, its workers, their children, wherever they are."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            mark = self._mark.encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            return mark and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, psutil.NoSuchProcess):
            return False

    def clean_up(self) -> None:
        """After a test, failed or not."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()


def _take_interrupts() -> None:
    """A program that is started in the background ignores Ctrl-C; ours shall not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
