"""One call that runs a function over many inputs: ``map``, ``starmap``, ``imap``, ``imap_unordered``, ``submit``.

All of them are one implementation, `results.Call`, which is imported on use.
"""

from __future__ import annotations

import functools
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, Unpack, overload

from manyhands._engine.first_use import undisturbed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from types import ModuleType

    from manyhands.options import CommonOptions
    from manyhands.results import Call, Results
    from manyhands.types import Failure

P = ParamSpec("P")
R = TypeVar("R")


@overload
def map(
    func: Callable[..., R],
    *iterables: Iterable[Any],
    on_error: Literal["collect"],
    **options: Unpack[CommonOptions],
) -> list[R | Failure]: ...
@overload
def map(
    func: Callable[..., R],
    *iterables: Iterable[Any],
    on_error: Literal["raise", "skip"] = ...,
    **options: Unpack[CommonOptions],
) -> list[R]: ...
def map(func: Callable[..., Any], *iterables: Iterable[Any], **options: Any) -> list[Any]:
    """Run a function over all inputs on all cores; the results as a list, in order.

    >>> import manyhands as mh
    >>> mh.map(lambda x: x * x, range(5))
    [0, 1, 4, 9, 16]
    >>> mh.map(pow, [2, 3], [5, 2])
    [32, 9]

    Args:
        func: any callable: a function, lambda, closure, method, ``functools.partial``. What it refers to is
            taken as it is now; a function of an imported module is found there by its name, and what the program has
            set in that module since its import is not there in the workers.
        iterables: the inputs; several are zipped, as by the builtin map. Read in this thread; a file or
            pipe, which may keep its reader waiting, on another.
        options: keyword only, the same everywhere; see `manyhands.Options`.

    Returns:
        The results in the order of the inputs. With ``on_error="collect"`` a `Failure` stands where a task failed;
        with ``"skip"`` those are left out.

    Raises:
        OptionError: an option is wrong; nothing has run.
        Exception: the first failure, as itself, with the worker's traceback as its cause (``on_error="raise"``).
        WorkerDied: the task's worker died.
        TaskTimeout: the task ran longer than ``timeout``.
        NotSendable: a function, argument or result cannot travel between processes.
        WorkersUnavailable: no worker could be made ready.
    """
    results = _begin(func, iterables, options, ordered=False, window=False).collect()
    if not isinstance(results, list):
        raise results.error
    return results


@overload
def starmap(
    func: Callable[..., R],
    iterable: Iterable[Iterable[Any]],
    *,
    on_error: Literal["collect"],
    **options: Unpack[CommonOptions],
) -> list[R | Failure]: ...
@overload
def starmap(
    func: Callable[..., R],
    iterable: Iterable[Iterable[Any]],
    *,
    on_error: Literal["raise", "skip"] = ...,
    **options: Unpack[CommonOptions],
) -> list[R]: ...
def starmap(func: Callable[..., Any], iterable: Iterable[Iterable[Any]], **options: Any) -> list[Any]:
    """Like map, but each input is a tuple of arguments.

    >>> import manyhands as mh
    >>> mh.starmap(pow, [(2, 5), (3, 2)])
    [32, 9]
    """
    results = _begin(func, (iterable,), options, ordered=False, window=False, star=True).collect()
    if not isinstance(results, list):
        raise results.error
    return results


@overload
def imap(
    func: Callable[..., R],
    *iterables: Iterable[Any],
    on_error: Literal["collect"],
    **options: Unpack[CommonOptions],
) -> Results[R | Failure]: ...
@overload
def imap(
    func: Callable[..., R],
    *iterables: Iterable[Any],
    on_error: Literal["raise", "skip"] = ...,
    **options: Unpack[CommonOptions],
) -> Results[R]: ...
def imap(func: Callable[..., Any], *iterables: Iterable[Any], **options: Any) -> Results[Any]:
    """Like map, but lazy: an iterator over the results, in order, for inputs without end.

    Workers run ahead of the reader by a bounded number of tasks; the input is read in the reader's thread. So an input
    that waits for results of this very call waits for ever: use `submit` where results lead to new tasks.

    >>> import itertools, manyhands as mh
    >>> with mh.imap(abs, itertools.count(-3)) as results:
    ...     [next(results) for _ in range(3)]
    [3, 2, 1]
    """
    results: Results[Any] = _engine().Results(_begin(func, iterables, options, ordered=True, window=True))
    return results


@overload
def imap_unordered(
    func: Callable[..., R],
    *iterables: Iterable[Any],
    on_error: Literal["collect"],
    **options: Unpack[CommonOptions],
) -> Results[R | Failure]: ...
@overload
def imap_unordered(
    func: Callable[..., R],
    *iterables: Iterable[Any],
    on_error: Literal["raise", "skip"] = ...,
    **options: Unpack[CommonOptions],
) -> Results[R]: ...
def imap_unordered(func: Callable[..., Any], *iterables: Iterable[Any], **options: Any) -> Results[Any]:
    """Like imap, but each result comes as soon as it is there.

    >>> import manyhands as mh
    >>> sorted(mh.imap_unordered(abs, [-3, 1, -2]))
    [1, 2, 3]
    """
    results: Results[Any] = _engine().Results(_begin(func, iterables, options, ordered=False, window=True))
    return results


def submit(func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
    """Run one call on the shared workers; its Future at once.

    >>> import manyhands as mh
    >>> mh.submit(pow, 2, 5).result()
    32

    Args:
        func: any callable; what cannot be sent makes the future fail with NotSendable.
        *args: its arguments.
        **kwargs: and those by keyword.

    Returns:
        A `concurrent.futures.Future`. What is still running when the program ends is waited for.

    Raises:
        OptionError: the first argument is not callable.
    """
    future: Future[R] = _engine().calls.submit_to_warm(func, args, kwargs)
    return future


def _begin(
    func: Callable[..., R], iterables: tuple[Iterable[Any], ...], given: Any, *, star: bool = False, **how: bool
) -> Call[R]:
    """See `results.begin`."""
    if _asks_for("backend", given, "processes") and _asks_for("start_method", given, None, "zygote"):
        _start_early()
    call: Call[R] = _engine().begin(func, iterables, given, star=star, **how)
    return call


def _asks_for(option: str, given: Any, *values: str | None) -> bool:
    """In this call, or by `configure`, which nobody has called as long as its module is not imported."""
    configured: Callable[[], dict[str, Any]] = getattr(sys.modules.get("manyhands.options"), "configured", dict)
    asked = given.get(option, configured().get(option))
    return isinstance(asked, str | None) and asked in values


@functools.cache
def _engine() -> ModuleType:
    """What it imports takes a while; and at a program's end nothing can be imported, but what was is still there."""
    results: ModuleType = undisturbed(lambda: import_module("manyhands.results"))
    return results


@functools.cache
def _start_early() -> None:
    """Processes that will be needed start beside that import."""
    undisturbed(lambda: import_module("manyhands._engine.zygote_process").start_early())
