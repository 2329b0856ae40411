"""What a ``Pool`` gives back: results to ask for later, and iterators over results."""

from __future__ import annotations

import concurrent.futures
from collections import deque
from collections.abc import Callable
from multiprocessing import TimeoutError as MultiprocessingTimeoutError
from typing import Any, Generic, NamedTuple, TypeVar

from manyhands._engine import courier
from manyhands._engine.futures import Future
from manyhands._engine.interface import Source
from manyhands._engine.results import Failed, Piece
from manyhands._engine.stream import Stream
from manyhands.errors import ExecutorClosed, ManyhandsError
from manyhands.showing import MISSING, add_note, short_repr

T = TypeVar("T")


class PoolTimeout(ManyhandsError, MultiprocessingTimeoutError, TimeoutError):
    """The result is not there in time; the task goes on."""


class Callbacks(NamedTuple):
    """To be called with the result, or with the error; each may be None."""

    result: Callable[[Any], object] | None
    error: Callable[[BaseException], object] | None

    def finish(self, future: Future[Any], value: Any, error: BaseException | None) -> None:
        """Call back, and only then give the future its end, so that whoever waits finds the callback done."""
        try:
            if error is None and self.result is not None:
                self.result(value)
            elif error is not None and self.error is not None:
                self.error(error)
        finally:
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)


def called_back(call: concurrent.futures.Future[T], callbacks: Callbacks) -> Future[T]:
    """A future that ends like this call, when its callback is done."""
    future: Future[T] = Future()

    def settle(call: concurrent.futures.Future[T]) -> None:  # on the courier
        value: Any = None
        try:
            error = call.exception() if not call.cancelled() else ExecutorClosed("the pool was terminated")
            value = call.result() if error is None else None
        except Exception as failed:  # noqa: BLE001 - no memory to open it; nobody else would tell who waits
            error = failed
        callbacks.finish(future, value, error)

    call.add_done_callback(settle)
    return future


class Gatherer:
    """The sink of map_async: all results, then one end."""

    def __init__(self, callbacks: Callbacks, source: Source) -> None:
        self.future: Future[list[Any]] = Future()
        self._source = source
        self._callbacks = callbacks
        self._pieces: list[Piece] = []

    def started(self) -> bool:
        """It is always wanted."""
        return True

    def put(self, piece: Piece) -> None:
        """Keep some results."""
        self._pieces.append(piece)

    def finish(self, error: BaseException | None) -> None:
        """All is there, or nothing more will come."""
        where = courier.callbacks if any(self._callbacks) else courier.deliveries
        where.run(lambda: self._end(error))

    def abandon(self, error: BaseException) -> None:
        """The pool was terminated."""
        self.finish(error)

    def _end(self, error: BaseException | None) -> None:
        values: list[Any] = []
        try:
            for piece in sorted(self._pieces, key=lambda piece: piece.start):
                values.extend(piece.values())
        except Exception as failure:  # noqa: BLE001 - no memory to open them; nobody else would tell who waits
            error = error or failure
        failed = next((i for i, value in enumerate(values) if type(value) is Failed), None)
        if error is None and failed is not None:
            error = values[failed].error
            add_note(error, failed, short_repr(*self._source.items(failed, failed + 1)))
        self._callbacks.finish(self.future, values, error)


class AsyncResult(Generic[T]):
    """The result of ``apply_async`` or ``map_async``, now or later."""

    def __init__(self, future: Future[T]) -> None:
        self._future = future

    def get(self, timeout: float | None = None) -> T:
        """The result; raises what the task raised, or PoolTimeout."""
        self.wait(timeout)
        if not self.ready():
            raise PoolTimeout(f"no result within {timeout} s; the task goes on")
        if self._future.cancelled():
            raise ExecutorClosed("the pool was terminated before this task began")
        return self._future.result()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until ready, at most so many seconds."""
        self._future.wait(timeout)

    def ready(self) -> bool:
        """The task has ended."""
        return self._future.done()

    def successful(self) -> bool:
        """It has ended well. Raises ValueError when it has not ended."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready: the task has not ended")
        return not self._future.cancelled() and self._future.exception() is None


class IMapIterator:
    """The results of ``imap``. A task that failed raises when its turn comes; those behind it still come."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._values: deque[tuple[int, Any]] = deque()

    def __iter__(self) -> IMapIterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result; raises PoolTimeout after so many seconds without one."""
        while not self._values:
            piece = self._stream.next_piece(timeout)
            if piece is not None:
                self._values.extend(enumerate(piece.values(), piece.start))
                del piece  # what is handed out is not kept here
            elif self._stream.ended:
                raise StopIteration
            else:
                raise PoolTimeout(f"no result within {timeout} s; the task goes on")
        index, value = self._values.popleft()
        if type(value) is Failed:
            add_note(value.error, index, short_repr(self._stream.arguments.get(index, MISSING)))
            raise value.error
        return value
