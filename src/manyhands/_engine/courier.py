"""Couriers: the threads on which user code is called back.

Done-callbacks may block, raise, submit or shut things down, and a terminal may be slow to take what is printed;
none of that may hold up a dispatcher, nor a callback the results that it may be waiting for. A courier starts when
there is something to do and ends when it has been idle for a while.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from manyhands._engine import words
from manyhands._engine.interface import Said
from manyhands._engine.latch import Latch
from manyhands._engine.threads import start_thread

IDLE_SECONDS = 1.0

# How a line is printed while a progress bar is on the screen; the progress module sets it.
around_output: Callable[[Any], AbstractContextManager[object]] = contextlib.nullcontext

_log = logging.getLogger("manyhands")


class Courier:
    """A thread that runs errands in order, while there are any."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.forget()

    def forget(self) -> None:
        """In a forked child: the thread and what it had to do are the parent's."""
        self._lock = threading.RLock()  # a signal handler may strike while it is held
        self._queue: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pending = 0  # errands that are not done

    def busy(self) -> bool:
        """Something that was asked is not done yet."""
        return self._pending > 0

    def is_here(self) -> bool:
        """The calling thread is this courier."""
        return threading.current_thread() is self._thread

    def run(self, errand: Callable[[], object]) -> None:
        """Have this called soon, after all that was asked before; what it raises is logged."""
        with self._lock:
            self._pending += 1
            self._queue.put(errand)
            if self._thread is None:
                self._start()
        if self._thread is None:
            self._drain()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        try:
            self._thread = thread
            start_thread(thread)
        except RuntimeError:  # the interpreter is shutting down and starts no more threads
            self._thread = None
        except BaseException:  # a signal's handler has raised it: who knows whether the thread runs
            self._thread = None
            raise

    def flush(self, timeout: float | None = 1.0) -> None:
        """Wait until all that was asked so far is done, but not for ever: user code may be slow."""
        if self.busy() and not self.is_here():
            done = Latch()
            self.run(done.set)
            done.wait(timeout)

    def _work(self) -> None:
        with self._lock:
            if self._thread is None:  # whoever started it was interrupted
                self._thread = threading.current_thread()
            elif not self.is_here():  # and another was started since
                return
        while True:
            try:
                errand = self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._queue.empty():
                        self._thread = None
                        return
                continue
            self._call(errand)
            del errand  # nothing of the user's is held while waiting

    def _drain(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._call(self._queue.get_nowait())

    def _call(self, errand: Callable[[], object]) -> None:
        try:
            errand()
        except BaseException:  # noqa: BLE001 - sys.exit() in a callback ends neither thread nor program
            _log.exception("a callback raised; everything else goes on")
        finally:
            with self._lock:
                self._pending -= 1


deliveries = Courier("manyhands-courier-deliveries")  # words, and behind them the results they come before
callbacks = Courier("manyhands-courier-callbacks")  # users' callbacks, which may wait for deliveries


def is_here() -> bool:
    """The calling thread is a courier."""
    return deliveries.is_here() or callbacks.is_here()


def say(said: Said) -> None:
    """Have a worker's words delivered."""
    deliveries.run(lambda: _deliver(said))


def _deliver(said: Said) -> None:
    if said.kind == "record":
        words.deliver_record(said.words)
    elif said.kind == "warning":
        words.deliver_warning(said.words)
    else:
        _print(sys.stdout if said.kind == 1 else sys.stderr, said.words)


def _print(stream: Any, text: str) -> None:
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError), around_output(stream):  # closed: nobody wants to read it
        try:
            stream.write(text)
        except UnicodeEncodeError:
            stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
        stream.flush()


def _forget() -> None:
    deliveries.forget()
    callbacks.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
