"""Futures whose callbacks run on the courier and whose results are unpacked by whoever asks for them."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
from _thread import RLock
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from typing import Any, TypeVar

from manyhands._engine import courier
from manyhands._engine.latch import Latch
from manyhands._engine.results import Failed, Piece
from manyhands.errors import FORKED, ExecutorClosed, WorkersUnavailable

T = TypeVar("T")


class _Guard(RLock):  # type: ignore[misc]  # the type stubs have it final
    """In the place of a future's condition, whose Python code an exception of a signal handler may leave locked.

    Taking and giving this lock is one step. Nobody waits by it: ``result`` does so by a latch.
    """

    def notify_all(self) -> None:
        """Nobody waits."""


class Future(concurrent.futures.Future[T]):
    """A `concurrent.futures.Future`, with a result that may still be packed when it arrives.

    Unpacking is user code (``__setstate__``): it runs in the thread that calls ``result``, not in the one that
    keeps the workers busy, so that one odd object delays nobody else.
    """

    def __init__(self) -> None:
        super().__init__()
        self._condition: Any = _Guard()
        self._over = Latch()
        self._gate = threading.RLock()  # between cancel and begin; and for opening the result, once
        self._withdraw: Callable[[], None] | None = None
        self._begun = False
        self._pid = os.getpid()

    def __repr__(self) -> str:
        value = self._result
        if not isinstance(value, Piece):
            return super().__repr__()
        return f"<{type(self).__name__} at {id(self):#x} state=finished>"  # what it holds is still packed

    def result(self, timeout: float | None = None) -> T:
        """As in the standard library."""
        value: Any = None
        try:
            self._await(timeout)
            value = self._opened(super().result(0))
            if isinstance(value, Failed):
                raise value.error
            return value  # type: ignore[no-any-return]
        finally:
            del self, value  # no reference cycle through the traceback

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As in the standard library."""
        self._await(timeout)
        error = super().exception(0)
        if error is not None:
            return error
        value = self._opened(super().result(0))
        return value.error if isinstance(value, Failed) else None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is done; False if it is not within ``timeout`` seconds."""
        if os.getpid() != self._pid and not self._over.is_set():
            raise ExecutorClosed(FORKED)
        # Not by the future's own condition: an exception of a signal handler might leave it locked.
        return self._over.wait(timeout)

    def _await(self, timeout: float | None) -> None:
        if not self.wait(timeout):
            raise TimeoutError

    def _opened(self, value: Any) -> Any:
        if not isinstance(value, Piece):
            return value
        with self._gate:
            return value.values()[0]

    def cancel(self) -> bool:
        """As in the standard library; a call that is cancelled is taken off the queue at once."""
        withdraw = None
        with self._gate:
            before = self.cancelled()
            cancelled = super().cancel()
            if cancelled and not before:
                try:
                    self.set_running_or_notify_cancel()  # wakes those who wait for any of several futures
                finally:
                    self._over.set()
                withdraw, self._withdraw = self._withdraw, None
        if withdraw is not None:
            withdraw()
        return cancelled

    def set_result(self, result: Any) -> None:
        """As in the standard library."""
        self._withdraw = None  # it holds the executor
        try:
            super().set_result(result)
        finally:  # also when it has one already: whoever set that may have been interrupted
            self._over.set()

    def set_exception(self, exception: BaseException | None) -> None:
        """As in the standard library."""
        self._withdraw = None
        try:
            super().set_exception(exception)
        finally:
            self._over.set()

    def begin(self) -> bool:
        """Its call is about to be sent to a worker; False if it was cancelled."""
        if self._begun:
            return True
        with self._gate:
            self._begun = not self.cancelled() and self.set_running_or_notify_cancel()
            return self._begun

    def on_cancel(self, withdraw: Callable[[], None]) -> None:
        """Call this when the future is cancelled, which it may be already."""
        with self._gate:
            cancelled = self.cancelled()
            if not self.done():
                self._withdraw = withdraw
        if cancelled:
            withdraw()

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """As in the standard library; called on a thread of its own, or here if already done."""
        if self.done():
            super().add_done_callback(fn)
        else:
            super().add_done_callback(lambda future: courier.callbacks.run(lambda: fn(future)))


class FutureSink:
    """Gives the one result of a job to its future."""

    def __init__(self, future: Future[Any], note: Callable[[BaseException], None]) -> None:
        self._future = future
        self._note = note

    def started(self) -> bool:
        """Run, unless it was cancelled."""
        return self._future.begin()

    def put(self, piece: Piece) -> None:
        """Set the result, still packed; a failure is unpacked on the courier first, since waiters look at it."""
        if piece.batch.failures:
            courier.deliveries.run(lambda: self._fail(piece))
        elif courier.deliveries.busy():  # what the task printed is still being delivered, and comes first
            courier.deliveries.run(lambda: self._set(piece))
        else:
            self._set(piece)

    def _set(self, piece: Piece) -> None:
        with contextlib.suppress(InvalidStateError):  # terminated meanwhile
            self._future.set_result(piece)

    def _fail(self, piece: Piece) -> None:
        error: BaseException = WorkersUnavailable("the task failed, and its exception could not be told")
        try:
            error = piece.values()[0].error
            self._note(error)
        finally:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        if self._future.begin():
            with contextlib.suppress(InvalidStateError):
                self._future.set_exception(error)

    def finish(self, error: BaseException | None) -> None:
        """Nothing more will come: without a result the future fails."""
        if error is not None and not self._future.done():
            self._end(error)

    def abandon(self, error: BaseException) -> None:
        """Cancel it if its call has not begun, else fail it."""
        if not self._future.cancel():
            self.finish(error)
