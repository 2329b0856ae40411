"""Who runs a call's tasks: workers, or with ``backend="auto"`` the caller first, and workers if that is quicker."""

from __future__ import annotations

import contextlib
import functools
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

from manyhands import calls, strategy
from manyhands._core.strategy import Choice, Measured
from manyhands._engine import payload, shared
from manyhands._engine.cpus import cpu_count
from manyhands._engine.dispatcher import Dispatcher, is_here, no_workers
from manyhands._engine.head_start import CALLER, HeadStart
from manyhands._engine.interface import Job
from manyhands._engine.payload import Weight
from manyhands._engine.protocol import Style, caller
from manyhands._engine.stream import Stream
from manyhands._engine.tally import Tally
from manyhands.errors import WorkerStartError
from manyhands.interrupts import is_of_a_signal
from manyhands.options import Options
from manyhands.showing import MISSING
from manyhands.tasks import per_worker
from manyhands.types import Strategy


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
        waits: bool,
    ) -> None:
        self.at_work = False  # it has the job
        self.first = 0  # task of those that it has had
        self.asked_for = _asked_for(options, func, waits=waits)  # by what; if by nothing, the caller may begin
        self._func, self._style, self._options = func, style, options
        self._stream, self._tally = stream, tally
        self._background = waits  # the input may keep its reader waiting
        self._dispatcher: Dispatcher | None = None
        self._releases: list[Callable[[], object]] = []  # at most one: whoever pops it calls it
        self._job: Job

    def strategy(self, head: HeadStart | None, tasks: int) -> Strategy:
        """Who has run the tasks, and why."""
        place, tally = self._options.place(), self._tally
        wall = time.monotonic() - tally.began
        isolated = self._options.backend == "auto" and place[0] == "processes" and bool(self.asked_for)
        slowest = max(tally.slowest.values(), default=0.0)
        ran = strategy.Ran(tasks, sum(tally.busy.values()), tally.cpu, wall, tally.lost, isolated, slowest)
        if head is None:
            used = max(place[1], len(tally.busy))  # more than one a core, if tasks waited
            return strategy.of_workers((place[0], used), self.asked_for, ran)
        if not self.at_work or tally.busy.keys() <= {CALLER}:
            return strategy.of_caller(head.judged, ran, refused=head.refused)
        here = max(0, min(head.tasks, tasks - 1))  # of results that are not taken, some may have been the caller's
        used = max(place[1], len(tally.busy) - 1)  # more than one a core, if tasks waited; and the caller
        seen = head.judged._replace(first=head.seen.first)
        return strategy.of_both((place[0], used), seen, here, ran)

    def head_start(self, *, lazy: bool) -> HeadStart:
        """The caller's share, which ends by giving us ours. ``lazy``: somebody takes result after result."""
        func, options = self._func, self._options
        limits = Measured(0, 0.0, 0.0, 0.0, 0, cpu_count(), options.workers, threads=_is_thread_safe(func))
        call, spread = caller(func, self._style), func if self._style is Style.STAR else None
        feed, arguments = self._stream.feed, self._stream.arguments
        return HeadStart(feed, call, self, limits, self._tally, arguments, options.seed, spread=spread, lazy=lazy)

    def begin(self) -> None:
        """Run all of it. Raises WorkerStartError."""
        with self._nobody_if_refused():
            self._prepare()
            self.take(0, 0.0)

    def release(self) -> None:
        """The call is over."""
        if self._dispatcher is not None:
            self._dispatcher.forget(self._job)
        with contextlib.suppress(IndexError):
            self._releases.pop()()

    def give_up(self) -> None:
        """The call is over before its end. May run in the garbage collector, anywhere: left to the dispatcher."""
        stream, release = self._stream, self.release

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
        """One of the workers is there, and has imported what the function needs."""
        return self._dispatcher is not None and self._dispatcher.has_loaded_worker(self._job)

    @property
    def would_wait(self) -> bool:
        """They have to import what the function needs, or other tasks to run: nothing would begin sooner with them."""
        return self._dispatcher is not None and self._dispatcher.would_wait(self._job)

    def weight(self, item: Any, result: Any, within: float) -> Weight:
        """What an input and a result weigh when they travel; a result that is not there yet, as much as the input."""
        there = _weigh(item, within / 2)
        back = there if result is MISSING else _weigh(result, within / 2)
        return Weight(there.bytes + back.bytes, there.seconds + back.seconds)

    def luggage(self, within: float) -> Weight:
        """What the function brings along: what it captures."""
        return _weigh(self._func, within)

    def prepare(self, choice: Choice, tasks: int) -> None:
        """Have the workers started that were chosen, as many as so many tasks can use. Raises WorkerStartError."""
        usual = self._options.workers is None and choice.backend == self._options.place()[0]
        if not usual:  # the usual ones are those that a call without a head start has, too
            self._options = self._options.changed(backend=choice.backend, workers=choice.workers)
        with self._nobody_if_refused():
            self._prepare()
            self._job.crowd = choice.workers
            assert self._dispatcher is not None  # noqa: S101 - just made
            self._dispatcher.expect(self._job, min(choice.workers, tasks))

    @contextlib.contextmanager
    def _nobody_if_refused(self) -> Iterator[None]:
        """If the dispatcher cannot even begin, there is none that would have to hear of the end."""
        try:
            yield
        except WorkerStartError:
            if self._dispatcher is not None:
                self._dispatcher.forget(self._job)
                self._dispatcher = None
            with contextlib.suppress(IndexError, WorkerStartError):
                self._releases.pop()()
            raise

    def _prepare(self) -> None:
        options = self._options
        try:
            dispatcher, release = calls.dispatcher_for(options, self._func)
        except OSError as error:  # no descriptors are left
            raise no_workers(error) from error
        try:
            shipment = dispatcher.backend.ship(self._func)
        except BaseException:
            release()
            raise
        self._job = Job(
            shipment=shipment,
            style=self._style,
            source=self._stream.feed.source,
            sink=self._stream,
            policy=options.policy(),
            seed=options.seed,
            retry_on=options.retry_on(),
            tally=self._tally,
        )
        self._releases.append(release)
        self._dispatcher = dispatcher  # last: the call may end meanwhile in another thread, which looks for it

    @property
    def idle(self) -> bool:
        """What was handed over so far has come back."""
        return self._stream.idle

    @property
    def taken(self) -> int:
        """The reader has the results of so many tasks."""
        return self._stream.taken

    def take(self, start: int, seconds: float, most: int | None = None) -> int:
        """Run all tasks from this one on, or for now so many; those since the last time took the caller so long."""
        assert self._dispatcher is not None  # noqa: S101 - prepared
        if self.at_work:
            return self._stream.go_on(start, seconds, most)
        self.first = self._job.start = start
        self._job.seconds = seconds
        given = self._stream.open(self._dispatcher, self._job, most)
        self.at_work = True
        if self._background and self._dispatcher.backend.threaded:
            self._stream.read_in_background()
        return given


def _asked_for(options: Options, func: Callable[..., Any], *, waits: bool) -> str:
    """What asks for the workers that the options name; nothing if the caller may run the first tasks."""
    if options.backend != "auto":
        return f"backend={options.backend!r} was asked for"
    if options.place()[0] != "processes" or is_here():
        return "this call was made by a task, and keeps to its place"
    if options.on_error != "raise":
        return f"on_error={options.on_error!r} asks that nothing but a task is lost with it"
    isolating = ("timeout", "memory_limit", "retry", "start_method")
    given = [name for name in isolating if getattr(options, name) is not None]
    if given:
        return f"{given[0]}= asks for workers"
    if waits:
        return "its input may be slow to come"
    uses = any(type(part) is per_worker for part in _parts(func))
    return "the function uses what is made once per worker" if uses else ""


def _is_thread_safe(func: Any) -> bool:
    """It was declared so, itself or inside of partials."""
    while isinstance(func, functools.partial):
        func = func.func
    return bool(getattr(func, "__manyhands_thread_safe__", False))


def _parts(func: Any) -> Iterator[Any]:
    """What a function has at hand to call: as far as that is easily seen."""
    yield func
    if isinstance(func, functools.partial):
        yield from (*func.args, *func.keywords.values(), *_parts(func.func))
    func = getattr(func, "__func__", func)
    if isinstance(func, types.FunctionType):
        yield from (func.__globals__.get(name) for name in func.__code__.co_names)
        for cell in func.__closure__ or ():
            with contextlib.suppress(ValueError):  # it is empty
                yield cell.cell_contents


@functools.cache
def _seconds_for_nothing() -> float:
    return min(payload.weigh(None).seconds for _ in range(3))


def _weigh(value: Any, within: float) -> Weight:
    """What would travel; and how long it took to tell, more than it takes of nothing."""
    try:
        weight = payload.weigh(value, within)
        return weight._replace(seconds=max(0.0, weight.seconds - _seconds_for_nothing()))
    except BaseException as error:  # user code, and sys.exit() in it; whoever sends it will say what is wrong
        if is_of_a_signal(error):
            raise
        return Weight(0.0, 0.0)
