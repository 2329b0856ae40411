"""Executors: what holds workers, in the words of the standard library."""

from __future__ import annotations

import concurrent.futures
import os
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from manyhands import calls
from manyhands._core.messages import Policy
from manyhands._core.scheduler import Limits
from manyhands._engine import context, courier, shared
from manyhands._engine.dispatcher import Dispatcher, is_here
from manyhands._engine.futures import Future
from manyhands._engine.interface import Job
from manyhands._engine.protocol import Style
from manyhands._engine.results import Failed
from manyhands._engine.signals import deaf
from manyhands._engine.stream import SequenceFeed, Stream
from manyhands.errors import ExecutorClosed, OptionError
from manyhands.options import Options, check_count
from manyhands.showing import MISSING, add_note, short_repr
from manyhands.types import StartMethod

P = ParamSpec("P")
T = TypeVar("T")


class Executor(concurrent.futures.Executor):
    """Workers to give work to: a `concurrent.futures.Executor`.

    >>> import manyhands as mh
    >>> with mh.Executor(2, backend="threads") as executor:
    ...     future = executor.submit(pow, 2, 5)
    ...     future.result(), list(executor.map(abs, [-1, -2]))
    (32, [1, 2])

    Args:
        max_workers: how many at most; None for one per core that this process may use.
        backend: ``"auto"``, ``"processes"``, ``"threads"`` or ``"serial"``.
        initializer: called with ``initargs`` in each worker before its first task. If they cannot be sent (a lock
            or queue of multiprocessing), worker processes are forked, unless ``start_method`` says otherwise.
        max_tasks_per_child: a worker is replaced after so many tasks.
        start_method: of processes: ``"zygote"`` (Linux), ``"spawn"`` or ``"fork"``.
        memory_limit: bytes, or text like ``"2GB"``, that each worker process may have; see `Options`.
        thread_name_prefix: of worker threads.

    Raises:
        OptionError: an argument is wrong.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        backend: str = "auto",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
        start_method: StartMethod | None = None,
        memory_limit: int | str | None = None,
        thread_name_prefix: str = "",
    ) -> None:
        if initializer is not None and not callable(initializer):
            raise OptionError(f"initializer={initializer!r}: a function, or None")
        check_count("max_tasks_per_child", max_tasks_per_child, lowest=1)
        check_count("max_workers", max_workers, lowest=1)
        options = Options(workers=max_workers, backend=backend, start_method=start_method, memory_limit=memory_limit)
        place = options.place()
        dispatcher = calls.make_dispatcher(
            place,
            start_method=start_method,
            initializer=initializer,
            initargs=tuple(initargs),
            limits=Limits(place[1], tasks_per_worker=max_tasks_per_child),
            memory_limit=options.memory_limit,
            name=thread_name_prefix,
        )
        self._dispatcher = shared.register(dispatcher, finish_at_exit=True)
        self._place = place
        self._pid = os.getpid()
        weakref.finalize(self, _let_go, dispatcher).atexit = False

    def __repr__(self) -> str:
        backend, workers = self._place
        state = "" if self._dispatcher.usable else ", takes no more work"
        return f"<manyhands.{type(self).__name__}: {workers} workers ({backend}){state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # An executor that travels to a worker, captured by a function, runs things there in place.
        return _executor_in_place, ()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> concurrent.futures.Future[T]:
        """Run one call; its future at once.

        A function or argument that cannot be sent makes the future fail with NotSendable.

        >>> import manyhands as mh
        >>> with mh.Executor(2, backend="threads") as executor:
        ...     executor.submit(pow, 2, 5).result()
        32

        Raises:
            OptionError: the first argument is not callable.
            ExecutorClosed: after shutdown.
            WorkersUnavailable: the initializer has failed.
        """
        calls.check_function(fn)
        if self._is_inside():
            return _run_here(fn, args, kwargs)
        self._check_process()
        return calls.submit(self._dispatcher, fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """The results in order, as an iterator; the calls begin at once.

        >>> import manyhands as mh
        >>> with mh.Executor(2, backend="threads") as executor:
        ...     list(executor.map(pow, [2, 3], [5, 2]))
        [32, 9]

        Args:
            fn: any callable.
            iterables: zipped, as by the builtin map; read now, or with ``buffersize``, on ``backend="serial"`` and
                inside a task of this executor, as results are taken.
            timeout: seconds from now by which each result must be there when asked for.
            chunksize: tasks sent together, as `Options` says; None adapts to how long they take. Not where inputs are
                read as results are taken.
            buffersize: tasks submitted ahead of the reader, at most.

        Raises:
            OptionError: an argument is wrong.
            ExecutorClosed: after shutdown.
            TimeoutError: by the iterator, a result is not there in time.
        """
        calls.check_function(fn)
        inside = self._is_inside()
        if not inside:
            self._check_process()
        check_count("chunksize", chunksize, lowest=1)
        check_count("buffersize", buffersize, lowest=1)
        end = None if timeout is None else time.monotonic() + timeout
        items = zip(*iterables, strict=False)
        if buffersize is not None or inside or not self._dispatcher.backend.threaded:
            return self._map_lazily(fn, items, end, buffersize or 1)
        self._dispatcher.check_open()
        feed = SequenceFeed(list(items))
        stream = Stream(feed, ordered=True, window=False)
        job = Job(
            shipment=self._dispatcher.backend.ship(fn),
            style=Style.STAR,
            source=feed.source,
            sink=stream,
            policy=Policy(chunksize=chunksize),
            awaited=False,
        )
        stream.open(self._dispatcher, job)
        return _take(stream, end)

    def _map_lazily(
        self, fn: Callable[..., T], items: Iterator[tuple[Any, ...]], end: float | None, ahead: int
    ) -> Iterator[T]:
        futures = [self.submit(fn, *args) for args in islice(items, ahead)]

        def results() -> Generator[T, None, None]:
            try:
                while futures:
                    left = None if end is None else max(0.0, end - time.monotonic())
                    ready = [futures[0].result(left)]
                    del futures[0]
                    futures.extend(self.submit(fn, *args) for args in islice(items, 1))
                    yield ready.pop()  # what was handed out is not kept here
            finally:
                for future in futures:
                    future.cancel()

        return results()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - inherited
        """Take no more work. Safe to call again.

        Args:
            wait: return only when all work is done and every worker has left. Otherwise work goes on in
                the background; the interpreter waits for it before it ends.
            cancel_futures: cancel what has not begun.
        """
        if os.getpid() != self._pid:
            return
        if cancel_futures:
            self._dispatcher.drop_pending()
        self._dispatcher.shutdown(wait=wait)
        if wait and not courier.is_here():
            courier.deliveries.flush(timeout=None)  # what failed is on its way to its future

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> bool | None:
        if kind is not None and not issubclass(kind, Exception):  # Ctrl-C and the like: nobody wants to wait
            with deaf():
                self.terminate_workers()
                self._dispatcher.join(shared.EXIT_SECONDS)
        else:
            self.shutdown(wait=True)
        return None

    def terminate_workers(self) -> None:
        """End all workers by SIGTERM and drop all work: futures fail, or are cancelled if they had not begun.

        A thread cannot be ended: what it runs is left behind, and what that returns is dropped.
        """
        if os.getpid() == self._pid:
            self._dispatcher.terminate()

    def kill_workers(self) -> None:
        """Like terminate_workers, by SIGKILL."""
        if os.getpid() == self._pid:
            self._dispatcher.terminate(at_once=True)

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise ExecutorClosed("this executor belongs to the process that this one was forked from: make a new one")

    def _is_inside(self) -> bool:
        """The caller is part of this executor's work: to wait for a worker there could be to wait for itself."""
        if is_here():
            return True  # in a __reduce__, on the very thread that such a call would wait for
        inside = context.worker()
        if inside is None:
            return False
        return inside.owner is self._dispatcher.backend or os.getpid() != self._pid  # it came along in a fork


def _let_go(dispatcher: Dispatcher) -> None:
    """Of an executor that was dropped: its work is finished, then its workers leave."""
    dispatcher.run_soon(lambda: dispatcher.shutdown(wait=False))


def _executor_in_place() -> Executor:
    return Executor(1, backend="serial")


def _run_here(fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[T]:
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    try:
        future.set_result(fn(*args, **kwargs))
    except BaseException as error:  # noqa: BLE001 - it is the future's
        future.set_exception(error)
    return future


def _take(stream: Stream, end: float | None) -> Generator[Any, None, None]:
    """The results of Executor.map."""
    try:
        while not stream.ended:
            piece = stream.next_piece(None if end is None else max(0.0, end - time.monotonic()))
            if piece is None:
                if stream.ended:
                    return
                raise TimeoutError("the result is not there in time; its task goes on")
            values = piece.values()
            index, count = piece.start, len(values)
            del piece
            values.reverse()
            while values:  # what was handed out is not kept here
                if type(values[-1]) is Failed:
                    error = values[-1].error
                    index += count - len(values)
                    add_note(error, index, short_repr(stream.arguments.get(index, MISSING)))
                    raise error
                yield values.pop()
    finally:
        if not stream.ended:
            stream.cancel(grace=None)
