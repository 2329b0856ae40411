"""Who runs a call's tasks: workers, or with ``backend="auto"`` the caller first, and workers if that is quicker."""

from __future__ import annotations

import contextlib
import pickle
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from manyhands import calls
from manyhands._core.strategy import Choice, Measured
from manyhands._engine import shared
from manyhands._engine.cpus import cpu_count
from manyhands._engine.dispatcher import Dispatcher, is_here
from manyhands._engine.head_start import HeadStart
from manyhands._engine.interface import Job
from manyhands._engine.protocol import Style, caller
from manyhands._engine.stream import Stream
from manyhands._engine.tally import Tally
from manyhands.options import Options
from manyhands.tasks import per_worker


class Crew:
    """The workers of one call, from when they are wanted to when they are given back."""

    def __init__(
        self,
        func: Callable[..., Any],
        style: Style,
        options: Options,
        stream: Stream,
        tally: Tally,
        *,
        background: bool,
    ) -> None:
        self.at_work = False  # it has the job
        self._func, self._style, self._options = func, style, options
        self._stream, self._tally = stream, tally
        self._background = background  # the input may keep its reader waiting
        self._dispatcher: Dispatcher | None = None
        self._release: Callable[[], object] = lambda: None
        self._job: Job

    @property
    def place(self) -> tuple[str, int]:
        """Backend and number of workers, as far as it has come."""
        return self._options.place() if self.at_work else ("serial", 1)

    def head_start(self, *, lazy: bool) -> HeadStart:
        """The caller's share, which ends by giving us ours. ``lazy``: somebody takes result after result."""
        func, options = self._func, self._options
        limits = Measured(0, 0.0, 0.0, None, cpu_count(), options.workers, threads=is_thread_safe(func))
        call = caller(func, self._style)
        feed, arguments = self._stream.feed, self._stream.arguments
        return HeadStart(feed, call, self, limits, self._tally, arguments, options.seed, lazy=lazy)

    def begin(self) -> None:
        """Run all of it."""
        self._prepare()
        self.take(0, 0.0)

    def release(self) -> None:
        """The call is over."""
        self._release()

    def give_up(self) -> None:
        """The call is over before its end. May run in the garbage collector, anywhere: left to the dispatcher."""
        stream, release = self._stream, self._release

        def give_back() -> None:
            stream.cancel(grace=0.0)
            release()

        if self._dispatcher is not None:
            self._dispatcher.run_soon(give_back)

    def put_aside(self) -> None:
        """Nobody else is to get these workers: an interrupt may have struck while they were told something."""
        if self._dispatcher is not None:
            shared.put_aside(self._dispatcher)

    # --- as a head start sees it --------------------------------------------------------------------------------

    @property
    def warm(self) -> bool:
        """Workers of the usual kind are there."""
        return calls.is_warm(self._options)

    @property
    def ready(self) -> bool:
        """One of the workers is there."""
        return self._dispatcher is not None and self._dispatcher.has_ready_worker

    def megabytes(self, item: Any, result: Any) -> float:
        """What an input and a result weigh when they travel."""
        return (_weight(item) + _weight(result)) / 1e6

    def prepare(self, choice: Choice) -> None:
        """Have the workers started that were chosen."""
        self._options = replace(self._options, backend=choice.backend, workers=choice.workers)
        self._prepare()
        assert self._dispatcher is not None  # noqa: S101 - just made
        self._dispatcher.want_workers(choice.workers)

    def _prepare(self) -> None:
        options = self._options
        self._dispatcher, self._release = calls.dispatcher_for(options, self._func)
        self._job = Job(
            shipment=self._dispatcher.backend.ship(self._func),
            style=self._style,
            source=self._stream.feed.source,
            sink=self._stream,
            policy=options.policy(),
            seed=options.seed,
            retry_on=options.retry_on(),
            tally=self._tally,
        )

    def take(self, start: int, seconds: float) -> None:
        """Run all tasks from this one on; those before took so long."""
        assert self._dispatcher is not None  # noqa: S101 - prepared
        self._job.start, self._job.seconds = start, seconds
        self._stream.open(self._dispatcher, self._job)
        self.at_work = True
        if self._background and self._dispatcher.backend.threaded:
            self._stream.read_in_background()


def begins_here(options: Options, func: Callable[..., Any], items: Iterable[Any]) -> bool:
    """The caller may run the first tasks: nothing asks for another process, and the input waits for nobody."""
    if options.backend != "auto" or options.start_method is not None or options.place()[0] != "processes" or is_here():
        return False
    isolated = options.timeout is not None or options.retry is not None or options.on_error != "raise"
    return not isolated and not hasattr(items, "fileno") and not any(type(part) is per_worker for part in _parts(func))


def is_thread_safe(func: Any) -> bool:
    """It was declared so, itself or inside of partials."""
    while isinstance(func, partial):
        func = func.func
    return bool(getattr(func, "__manyhands_thread_safe__", False))


def _parts(func: Any) -> Iterator[Any]:
    """What a function has at hand to call: as far as that is easily seen."""
    yield func
    if isinstance(func, partial):
        yield from (*func.args, *func.keywords.values(), *_parts(func.func))
    func = getattr(func, "__func__", func)
    if isinstance(func, types.FunctionType):
        yield from (func.__globals__.get(name) for name in func.__code__.co_names)
        for cell in func.__closure__ or ():
            with contextlib.suppress(ValueError):  # it is empty
                yield cell.cell_contents


def _weight(value: Any) -> int:
    """Bytes of a pickle, big buffers included, which are not copied for that."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        data = pickle.dumps(value, 5, buffer_callback=buffers.append)
        return len(data) + sum(buffer.raw().nbytes for buffer in buffers)
    except Exception:  # noqa: BLE001 - user code; whoever sends it will say what is wrong
        return 0
