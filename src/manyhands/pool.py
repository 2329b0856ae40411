"""``Pool``: the face of `multiprocessing.pool.Pool` on manyhands' workers.

A program that works with the standard library's Pool works with this one after changing the import.
``ThreadPool`` is the same on threads.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from multiprocessing import TimeoutError as MultiprocessingTimeoutError
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from manyhands._core.messages import Policy
from manyhands._engine import courier
from manyhands._engine.dispatcher import Dispatcher
from manyhands._engine.interface import Failed, Job, Piece
from manyhands._engine.latch import Latch
from manyhands._engine.protocol import Style
from manyhands._engine.signals import deaf
from manyhands._engine.stream import IteratorFeed, SequenceFeed, Stream
from manyhands.errors import ExecutorClosed, ManyhandsError
from manyhands.executor import Executor
from manyhands.options import check_count
from manyhands.showing import MISSING, add_note, short_repr
from manyhands.types import StartMethod

T = TypeVar("T")


class PoolTimeout(ManyhandsError, MultiprocessingTimeoutError, TimeoutError):
    """The result is not there in time; the task goes on."""


class PoolClosed(ExecutorClosed, ValueError):
    """Work was given to a pool that is closed or terminated, or join was called on one that is not."""


class Pool:
    """A drop-in for `multiprocessing.pool.Pool`.

    >>> import manyhands as mh
    >>> with mh.Pool(2) as pool:
    ...     pool.map(abs, [-1, -2, -3])
    [1, 2, 3]

    Args:
        processes: how many workers; None for one per core that this process may use.
        initializer: called with ``initargs`` in each worker before its first task.
        maxtasksperchild: a worker is replaced after so many tasks.
        backend: ``"auto"``, ``"processes"``, ``"threads"`` or ``"serial"``.
        start_method: of processes: ``"zygote"`` (Linux), ``"spawn"`` or ``"fork"``.
    """

    _backend = "auto"

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        *,
        backend: str | None = None,
        start_method: StartMethod | None = None,
    ) -> None:
        check_count("processes", processes, lowest=1)
        check_count("maxtasksperchild", maxtasksperchild, lowest=1)
        self._read_by_hand: weakref.WeakSet[Stream] = weakref.WeakSet()  # on serial, input is read by who takes results
        self._executor = Executor(
            processes,
            backend=backend or self._backend,
            initializer=initializer,
            initargs=tuple(initargs),
            max_tasks_per_child=maxtasksperchild,
            start_method=start_method,
        )
        self._open = True

    def __repr__(self) -> str:
        return repr(self._executor).replace("Executor", type(self).__name__, 1)

    def apply(self, func: Callable[..., T], args: Iterable[Any] = (), kwds: dict[str, Any] | None = None) -> T:
        """``func(*args, **kwds)`` in a worker; waits for the result."""
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: dict[str, Any] | None = None,
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[T]:
        """Like apply, but returns an AsyncResult at once."""
        self._check_running()
        result: AsyncResult[T] = AsyncResult(callback, error_callback)
        future = self._executor.submit(func, *args, **(kwds or {}))
        if callback is None and error_callback is None:
            result.follow(future)
        else:
            future.add_done_callback(result.settle)
        return result

    def map(self, func: Callable[..., T], iterable: Iterable[Any], chunksize: int | None = None) -> list[T]:
        """The results in order, as a list. A failure is raised when all tasks have ended."""
        return self.map_async(func, iterable, chunksize).get()

    def starmap(self, func: Callable[..., T], iterable: Iterable[Any], chunksize: int | None = None) -> list[T]:
        """Like map, but each input is a tuple of arguments."""
        return self.starmap_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """Like map, but returns an AsyncResult at once."""
        return self._gather(func, iterable, Style.ITEM, chunksize, AsyncResult(callback, error_callback))

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """Like starmap, but returns an AsyncResult at once."""
        return self._gather(func, iterable, Style.STAR, chunksize, AsyncResult(callback, error_callback))

    def imap(self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None) -> IMapIterator:
        """The results in order, as they are there. ``next`` takes a timeout."""
        return self._iterate(func, iterable, chunksize, ordered=True)

    def imap_unordered(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> IMapIterator:
        """Each result as soon as it is there. ``next`` takes a timeout."""
        return self._iterate(func, iterable, chunksize, ordered=False)

    def close(self) -> None:
        """Take no more work; workers leave when what there is is done."""
        self._open = False
        self._executor.shutdown(wait=False)

    def terminate(self) -> None:
        """Drop all work and end the workers now."""
        self._open = False
        self._executor.terminate_workers()

    def join(self) -> None:
        """Wait until every worker has left and every callback was called; after close or terminate."""
        if self._open:
            raise PoolClosed("join waits for the end of the workers: call close() or terminate() first")
        for stream in self._read_by_hand:
            stream.cancel(grace=None)
        self._executor.shutdown(wait=True)
        courier.deliveries.flush(timeout=None)
        courier.callbacks.flush(timeout=None)

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with deaf() if kind is KeyboardInterrupt else contextlib.nullcontext():
            self.terminate()
            self._executor._dispatcher.join(1.0)

    def __reduce__(self) -> tuple[Any, ...]:
        # As in the standard library; a method that captures its own pool gets one that runs in place.
        return _pool_in_place, ()

    def _check_running(self) -> None:
        if not self._open:
            raise PoolClosed("this pool is closed: make a new one")

    def _job(self, func: Callable[..., Any], style: Style, sink: Any, source: Any, chunksize: int | None) -> Job:
        check_count("chunksize", chunksize, lowest=1)
        return Job(
            shipment=self._executor._dispatcher.backend.ship(func),
            style=style,
            source=source,
            sink=sink,
            policy=Policy(chunksize=chunksize),
            awaited=False,
        )

    def _gather(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        style: Style,
        chunksize: int | None,
        result: AsyncResult[list[T]],
    ) -> AsyncResult[list[T]]:
        self._check_running()
        feed = SequenceFeed(list(iterable))
        job = self._job(func, style, _Gatherer(result, feed.total), feed.source, chunksize)
        dispatcher = self._executor._dispatcher
        dispatcher.add(job, stop=feed.total, closed=True)
        _run_if_serial(dispatcher, result.ready)
        return result

    def _iterate(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None, *, ordered: bool
    ) -> IMapIterator:
        self._check_running()
        dispatcher = self._executor._dispatcher
        serial = not dispatcher.backend.threaded
        at_once = isinstance(iterable, list | tuple | range)
        feed = SequenceFeed(iterable) if at_once else IteratorFeed(iterable)  # type: ignore[arg-type]
        stream = Stream(dispatcher, ordered=ordered, window=serial and not at_once)
        stream.open(self._job(func, Style.ITEM, stream, feed.source, chunksize), feed)
        if serial:
            self._read_by_hand.add(stream)
        elif isinstance(feed, IteratorFeed):
            stream.read_in_background()
        return IMapIterator(stream)


class ThreadPool(Pool):
    """A drop-in for `multiprocessing.pool.ThreadPool`."""

    _backend = "threads"


class AsyncResult(Generic[T]):
    """The result of ``apply_async`` or ``map_async``, now or later."""

    def __init__(
        self,
        callback: Callable[[T], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> None:
        self._callback, self._error_callback = callback, error_callback
        self._event = Latch()
        self._future: Any = None
        self._value: Any = None
        self._error: BaseException | None = None

    @property
    def calls_back(self) -> bool:
        """There is a callback to call."""
        return self._callback is not None or self._error_callback is not None

    def follow(self, future: Any) -> None:
        """Be what that future is; there is no callback to call before."""
        self._future = future

    def settle(self, future: Any) -> None:
        """Take the future's end over, and call back. On the courier."""
        error = future.exception() if not future.cancelled() else ExecutorClosed("the pool was terminated")
        self.set(None if error is not None else future.result(), error)

    def set(self, value: Any, error: BaseException | None) -> None:
        """Call back, and only then be ready, so that whoever waits finds the callback done."""
        self._value, self._error = value, error
        try:
            if error is None and self._callback is not None:
                self._callback(value)
            elif error is not None and self._error_callback is not None:
                self._error_callback(error)
        finally:
            self._event.set()

    def get(self, timeout: float | None = None) -> T:
        """The result; raises what the task raised, or PoolTimeout."""
        self.wait(timeout)
        if not self.ready():
            raise PoolTimeout(f"no result within {timeout} s; the task goes on")
        if self._future is not None and self._future.cancelled():
            raise ExecutorClosed("the pool was terminated before this task began")
        if self._future is not None:
            return self._future.result()  # type: ignore[no-any-return]  # of that type
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]

    def wait(self, timeout: float | None = None) -> None:
        """Wait until ready, at most so many seconds."""
        if self._future is None:
            self._event.wait(timeout)
        else:
            concurrent.futures.wait([self._future], timeout)

    def ready(self) -> bool:
        """The task has ended."""
        return self._event.is_set() if self._future is None else bool(self._future.done())

    def successful(self) -> bool:
        """It has ended well. Raises ValueError when it has not ended."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready: the task has not ended")
        if self._future is not None:
            return not self._future.cancelled() and self._future.exception() is None
        return self._error is None


class _Gatherer:
    """The sink of map_async: all results, then one end."""

    def __init__(self, result: AsyncResult[Any], total: int) -> None:
        self._result = result
        self._pieces: list[Piece] = []
        self._total = total

    def started(self) -> bool:
        return True

    def put(self, piece: Piece) -> None:
        self._pieces.append(piece)

    def finish(self, error: BaseException | None) -> None:
        target = courier.callbacks if self._result.calls_back else courier.deliveries
        target.run(lambda: self._end(error))

    def abandon(self, error: BaseException) -> None:
        self.finish(error)

    def _end(self, error: BaseException | None) -> None:
        values: list[Any] = []
        for piece in sorted(self._pieces, key=lambda piece: piece.start):
            values.extend(piece.values())
        failed = next((i for i, value in enumerate(values) if type(value) is Failed), None)
        if error is None and failed is not None:
            error = values[failed].error
            add_note(error, failed, "?")
        self._result.set(values if error is None else None, error)


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


def _run_if_serial(dispatcher: Dispatcher, ready: Callable[[], bool]) -> None:
    while not dispatcher.backend.threaded and not ready():
        dispatcher.pump()
        courier.deliveries.flush()
        courier.callbacks.flush()


def _pool_in_place() -> Pool:
    return Pool(1, backend="serial")
