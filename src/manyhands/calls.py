"""What runs a call: a dispatcher of its own, or a warm one that others use, too; and single calls given to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from manyhands import backends
from manyhands._core.messages import Policy
from manyhands._core.scheduler import Limits
from manyhands._core.strategy import MOST_WAITING
from manyhands._engine import context, modules, shared
from manyhands._engine.cpus import cpu_count
from manyhands._engine.dispatcher import Dispatcher, is_here
from manyhands._engine.futures import Future, FutureSink
from manyhands._engine.interface import Job
from manyhands._engine.protocol import Style
from manyhands._engine.sources import SequenceSource
from manyhands.errors import NotSendable, OptionError
from manyhands.options import Options, gather
from manyhands.showing import add_note, short_repr

T = TypeVar("T")

IDLE_SECONDS = 60.0  # warm workers leave after this; an executor's own stay
_PLAIN = Policy()
CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200  # as in inspect, which is slow to import


def make_dispatcher(
    place: tuple[str, int],
    *,
    start_method: str | None = None,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
    limits: Limits | None = None,
    memory_limit: int | None = None,
    name: str = "",
) -> Dispatcher:
    """A dispatcher with a backend of its own."""
    backend, workers = place
    share = max(1, cpu_count() // workers)
    plan = backends.Plan(workers, share, start_method, initializer, initargs, name, memory_limit)
    return Dispatcher(backends.make(backend, plan), limits or Limits(workers), name=f"manyhands-{backend}")


def dispatcher_for(options: Options, func: Callable[..., Any]) -> tuple[Dispatcher, Callable[[], object]]:
    """A dispatcher for one call, and what to call when it is over. Usually a warm one, which stays."""
    backend, workers = place = options.place()
    if is_here():
        backend, workers = place = "serial", 1  # in a __reduce__, on the very thread that it would wait for
    if backend == "serial" or options.start_method == "fork" or context.worker() is not None:
        # A fork shows the memory of its moment, so it is made for the call; serial costs nothing to make.
        own = make_dispatcher(place, start_method=options.start_method, memory_limit=options.memory_limit)
        if own.backend.threaded:
            shared.register(own, finish_at_exit=False)
        return own, own.shutdown
    if backend == "processes" and modules.reloaded(func):
        shared.renew()  # the warm workers have imported what is no more
    key = _warm_key(place, options)
    limits = Limits(workers, idle_seconds=IDLE_SECONDS, loaders=cpu_count() if backend == "processes" else None)
    if backend == "processes" and _may_add_workers(options):
        limits = limits._replace(max_workers=max(workers, MOST_WAITING), few_workers=workers)

    def make() -> Dispatcher:
        limit = options.memory_limit
        return make_dispatcher(place, start_method=options.start_method, limits=limits, memory_limit=limit)

    # A task on a thread may start a thread of its own that calls us: that one must not wait for the first.
    return shared.warm(key, make, alone=backend == "threads")


def is_warm(options: Options) -> bool:
    """Such a call would find a worker that is ready."""
    return shared.is_warm(_warm_key(options.place(), options))


def _warm_key(place: tuple[str, int], options: Options) -> tuple[Any, ...]:
    return (*place, options.start_method, options.memory_limit, _may_add_workers(options))


def _may_add_workers(options: Options) -> bool:
    """More than the usual number are allowed, should tasks turn out to wait."""
    return options.backend == "auto" and options.workers is None


def check_function(func: object) -> None:
    """Raise OptionError for what cannot be run as a task."""
    if not callable(func):
        raise OptionError(f"the first argument is the function to run; got {short_repr(func)}")
    code = getattr(func, "__code__", None)
    if code is not None and code.co_flags & (_CO_COROUTINE | _CO_ASYNC_GENERATOR):
        raise OptionError(f"{short_repr(func)} is an async function: give a plain one that calls asyncio.run")


def submit(
    dispatcher: Dispatcher,
    fn: Callable[..., T],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: Options | None = None,
) -> Future[T]:
    """Give one call to this dispatcher. A function that cannot be sent makes the future fail."""
    future: Future[T] = Future()
    dispatcher.check_open()
    note = _Note(fn, args, kwargs)
    try:
        shipment = dispatcher.backend.ship(fn)
    except NotSendable as error:  # as in the standard library
        future.set_running_or_notify_cancel()
        future.set_exception(error)
        return future
    job = Job(
        shipment=shipment,
        style=Style.APPLY,
        source=SequenceSource([(args, kwargs)]),
        sink=FutureSink(future, note),
        policy=options.policy() if options else _PLAIN,
        seed=options.seed if options else None,
        retry_on=options.retry_on() if options else (),
        awaited=False,
        single=True,
    )
    future.on_cancel(lambda: dispatcher.cancel(job.number))
    dispatcher.add(job, stop=1, closed=True)
    if not dispatcher.backend.threaded:
        while not future.done():
            dispatcher.pump()
    return future


def submit_to_warm(func: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[T]:
    """Give one call to the warm workers. Raises OptionError."""
    check_function(func)
    options = gather({})
    dispatcher, release = dispatcher_for(options, func)
    try:
        return submit(dispatcher, func, args, kwargs, options)
    finally:
        release()


class _Note:
    """Says in a call's exception which call it was."""

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._fn, self._args, self._kwargs = fn, args, kwargs

    def __call__(self, error: BaseException) -> None:
        shown = [short_repr(arg) for arg in self._args] + [f"{k}={short_repr(v)}" for k, v in self._kwargs.items()]
        add_note(error, 0, f"({', '.join(shown)})")
