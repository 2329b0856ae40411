"""Waiting for something that happens once, in such a way that an exception of a signal handler cannot tear it."""

from __future__ import annotations

import contextlib
import threading
import time

LOOK_SECONDS = 1.0  # a waiter looks for itself now and then: the one that should pass it on may have been interrupted


class Latch:
    """A `threading.Event` that is set once, and that is never held by whoever waits.

    A handler may raise in the main thread between any two steps of Python code, Ctrl-C first of all. An Event is
    Python code and may leave its lock held then; whoever sets it, such as the thread that all results pass
    through, would wait for ever. Setting a latch waits for nobody.
    """

    __slots__ = ("_lock", "_set")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._set = False

    def is_set(self) -> bool:
        """It has happened."""
        return self._set

    def set(self) -> None:
        """It has happened, from now on."""
        if not self._set:
            self._set = True
            with contextlib.suppress(RuntimeError):  # another thread was quicker
                self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has happened; False if it has not within ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._set:
            left = LOOK_SECONDS if end is None else min(LOOK_SECONDS, end - time.monotonic())
            if left <= 0:
                break
            if self._lock.acquire(timeout=left):
                self._lock.release()  # for the next who waits
        return self._set
