"""``Pool``: the face of `multiprocessing.pool.Pool` on manyhands' workers.

A program that works with the standard library's Pool works with this one after changing the import.
``ThreadPool`` is the same on threads.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from manyhands._core.messages import Policy
from manyhands._engine import courier
from manyhands._engine.dispatcher import Dispatcher
from manyhands._engine.futures import Future
from manyhands._engine.interface import Job
from manyhands._engine.protocol import Style
from manyhands._engine.signals import deaf
from manyhands._engine.stream import IteratorFeed, SequenceFeed, Stream
from manyhands.errors import ExecutorClosed
from manyhands.executor import Executor
from manyhands.options import check_count
from manyhands.pool_results import AsyncResult, Callbacks, Gatherer, IMapIterator, called_back
from manyhands.types import StartMethod

T = TypeVar("T")


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
        future = cast("Future[T]", self._executor.submit(func, *args, **(kwds or {})))  # its futures are ours
        if callback is not None or error_callback is not None:
            future = called_back(future, Callbacks(callback, error_callback))
        return AsyncResult(future)

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
        return self._gather(func, iterable, Style.ITEM, chunksize, Callbacks(callback, error_callback))

    def starmap_async(
        self,
        func: Callable[..., T],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[T]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[T]]:
        """Like starmap, but returns an AsyncResult at once."""
        return self._gather(func, iterable, Style.STAR, chunksize, Callbacks(callback, error_callback))

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
        callbacks: Callbacks,
    ) -> AsyncResult[list[T]]:
        self._check_running()
        feed = SequenceFeed(list(iterable))
        gatherer = Gatherer(callbacks, feed.source)
        job = self._job(func, style, gatherer, feed.source, chunksize)
        dispatcher = self._executor._dispatcher
        dispatcher.add(job, stop=feed.total, closed=True)
        _run_if_serial(dispatcher, gatherer.future.done)
        return AsyncResult(gatherer.future)

    def _iterate(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None, *, ordered: bool
    ) -> IMapIterator:
        self._check_running()
        dispatcher = self._executor._dispatcher
        serial = not dispatcher.backend.threaded
        at_once = type(iterable) in {list, tuple, range}
        feed = SequenceFeed(iterable) if at_once else IteratorFeed(iterable)  # type: ignore[arg-type]
        stream = Stream(feed, ordered=ordered, window=serial and not at_once)
        stream.open(dispatcher, self._job(func, Style.ITEM, stream, feed.source, chunksize))
        if serial:
            self._read_by_hand.add(stream)
        elif isinstance(feed, IteratorFeed):
            stream.read_in_background()
        return IMapIterator(stream)


class ThreadPool(Pool):
    """A drop-in for `multiprocessing.pool.ThreadPool`."""

    _backend = "threads"


def _run_if_serial(dispatcher: Dispatcher, ready: Callable[[], bool]) -> None:
    while not dispatcher.backend.threaded and not ready():
        dispatcher.pump()
        courier.deliveries.flush()
        courier.callbacks.flush()


def _pool_in_place() -> Pool:
    return Pool(1, backend="serial")
