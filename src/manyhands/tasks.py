"""What the user's function may use while it runs as a task."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from manyhands._engine import context, locks
from manyhands.errors import OptionError

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def task_rng() -> np.random.Generator:
    """The running task's own random generator: with ``seed=``, it depends on the seed and the task alone.

    >>> import manyhands as mh
    >>> draw = lambda _: int(mh.task_rng().integers(1000))
    >>> mh.map(draw, range(3), seed=7, workers=1) == mh.map(draw, range(3), seed=7, workers=2)
    True

    Returns:
        A numpy Generator, the same one however often a task asks. Without a seed, and outside any task, one
        that is seeded by the system.
    """
    return context.here().rng()  # type: ignore[no-any-return]


def lock(name: str = "") -> contextlib.AbstractContextManager[None]:
    """The lock of this name, which one task of the program has at a time, whatever worker it runs in.

    >>> import manyhands as mh
    >>> total = mh.empty_shared(1, dtype=int)
    >>> def add(n):
    ...     with mh.lock():
    ...         total[0] += n
    >>> _ = mh.map(add, range(100), workers=2)
    >>> int(total[0])
    4950

    The program itself can hold it, too. It is given back when its owner ends, also if that is killed; what that was in
    the midst of writing is then half written. Who has it may take it again.

    Args:
        name: locks of different names have nothing to do with each other.

    Returns:
        What a ``with`` statement takes the lock by, and gives it back.

    Raises:
        OSError: On ``with``: two processes would wait for each other for ever, each with a lock that the other wants
            (threads of one process that do so are not noticed; a thread that holds one while another waits for seconds
            may look like it); or there is no shared memory on this machine.
    """
    return locks.Lock(name)


class per_worker(Generic[T]):  # noqa: N801 - used as a decorator
    """Decorate a function that makes something each worker needs once: a model, a connection.

    >>> import manyhands as mh
    >>> @mh.per_worker
    ... def table():
    ...     return {n: n * n for n in range(100)}   # loaded once in each worker
    >>> mh.map(lambda n: table()[n], [3, 4])
    [9, 16]

    The first call in a worker runs the function; later calls there return the same object. When the worker
    ends, the object is closed, if it has ``close``. A generator function yields the object, and what stands
    behind the ``yield`` runs at the end.

    Args:
        func: takes no arguments.
    """

    def __init__(self, func: Callable[[], T] | Callable[[], Generator[T, None, None]]) -> None:
        if not callable(func):
            raise OptionError("per_worker decorates a function that takes no arguments")
        if needed := _needed_arguments(func):
            name = getattr(func, "__name__", "this one")
            raise OptionError(
                f"per_worker decorates a function that takes no arguments; {name} needs {', '.join(needed)}. "
                "Give them defaults, or bind them with functools.partial."
            )
        self._func = func
        # The same for every copy of this object that travels; another for the next definition of that name.
        self._key = os.urandom(16).hex()
        functools.update_wrapper(self, func)

    def __call__(self) -> T:
        """This worker's object."""
        where = context.here()
        if self._key not in where.kept:
            value, closer = self._make()
            where.keep(self._key, value, closer)
        kept: T = where.kept[self._key]
        return kept

    def _make(self) -> tuple[Any, Callable[[], object] | None]:
        from inspect import isgeneratorfunction  # slow to import

        if not isgeneratorfunction(self._func):
            value = self._func()
            return value, getattr(value, "close", None)
        generator = self._func()
        return next(generator), lambda: next(generator, None)


def _needed_arguments(func: Callable[..., Any]) -> list[str]:
    from inspect import signature

    try:
        parameters = signature(func).parameters.values()
    except (TypeError, ValueError):  # some builtins do not tell
        return []
    return [p.name for p in parameters if p.default is p.empty and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}]


def thread_safe(func: F) -> F:
    """Declare that a function may run in several threads at once.

    ``backend="auto"`` chooses threads for it when they are quicker: when it waits, or lets go of the interpreter. That
    holds for this function from here on, wherever it is used.

    >>> import manyhands as mh
    >>> @mh.thread_safe
    ... def shrink(path):
    ...     ...

    Args:
        func: changes nothing that other threads use; best if it spends its time outside the interpreter's
            lock (numpy, image codecs, files, network).
    """
    func.__manyhands_thread_safe__ = True  # type: ignore[attr-defined]
    return func
