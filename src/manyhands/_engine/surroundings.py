"""What a function sees around it, taken in the caller and made true in a worker before the function runs."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import sys
import warnings
from typing import Any, NamedTuple

# Read by numerical libraries when they are loaded: a worker gets its share of the cores, not all of them.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


class Surroundings(NamedTuple):
    """Working directory (None: it was deleted), environment, import path, warning filters, log level, and the rest."""

    cwd: str | None
    environ: dict[str, str]
    path: tuple[str, ...]
    filters: tuple[bytes, ...]
    log_level: int
    argv: tuple[str, ...]
    recursion: int


_last: tuple[tuple[Any, ...], Surroundings | None] = ((), None)


def take() -> Surroundings:
    """This process's surroundings now; the same object as the last time if nothing has changed."""
    global _last  # noqa: PLW0603 - a cache of one
    try:
        cwd: str | None = os.getcwd()  # noqa: PTH109 - on the way of every call
    except OSError:
        cwd = None
    environ = dict(getattr(os.environ, "_data", os.environ))  # at once: another thread may be changing it
    # Warning filters compare by identity: their regular expressions do not change in place.
    argv = getattr(sys, "argv", None) or []  # an embedded interpreter may have none
    raw = (cwd, environ, sys.path, warnings.filters, _lowest_log_level(), argv, sys.getrecursionlimit())
    before, known = _last
    if known is not None and raw == before:
        return known
    path = tuple(entry or cwd or "." for entry in list(sys.path) if isinstance(entry, str))
    now = Surroundings(cwd, _decoded(environ), path, _packed_filters(), raw[4], tuple(map(str, argv)), raw[6])
    _last = ((cwd, environ, list(sys.path), list(warnings.filters), raw[4], list(argv), raw[6]), now)
    return now


def _decoded(environ: dict[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in environ.items()}


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else os.fsdecode(value)


def _packed_filters() -> tuple[bytes, ...]:
    """Each by itself: one may name a category that a worker cannot import, or not before its path is set."""
    packed = []
    for item in warnings.filters:
        with contextlib.suppress(Exception):  # a category made at run time
            packed.append(pickle.dumps(item))
    return tuple(packed)


def _unpacked_filters(packed: tuple[bytes, ...]) -> list[Any]:
    filters = []
    for item in packed:
        with contextlib.suppress(Exception):
            filters.append(pickle.loads(item))
    return filters


def _lowest_log_level() -> int:
    """The level from which on some logger of the caller may want a record."""
    root = logging.getLogger()
    lowest = root.level
    for logger in list(root.manager.loggerDict.values()):
        level = getattr(logger, "level", 0)  # a placeholder has none
        if 0 < level < lowest:
            lowest = level
    return max(lowest, root.manager.disable + 1)


def apply(wanted: Surroundings, before: Surroundings | None, threads: int) -> None:
    """Make this process's surroundings those, as far as they differ from ``before``.

    What an initializer or a task has changed here stays, unless the caller has changed the same thing since.
    ``threads`` is the worker's share of the cores.
    """
    if before is None or wanted.environ != before.environ:
        _apply_environ(wanted.environ, dict(os.environ) if before is None else before.environ)
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, str(threads))
    if wanted.cwd is not None and (before is None or wanted.cwd != before.cwd):
        with contextlib.suppress(OSError):
            os.chdir(wanted.cwd)
    if before is None or wanted.path != before.path:
        sys.path[:] = wanted.path
    if before is None or wanted.filters != before.filters:
        warnings.filters[:] = _unpacked_filters(wanted.filters)  # type: ignore[index]
        # A library's remark on forking in the presence of our one helper thread would help nobody.
        warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork.*", category=DeprecationWarning)
    if before is None or wanted.argv != before.argv:
        sys.argv = list(wanted.argv)
    if before is None or wanted.recursion != before.recursion:
        with contextlib.suppress(RecursionError):
            sys.setrecursionlimit(wanted.recursion)
    if before is None or wanted.log_level != before.log_level:
        logging.getLogger().setLevel(wanted.log_level)


def _apply_environ(wanted: dict[str, str], before: dict[str, str]) -> None:
    for name in set(before) - set(wanted) - set(THREAD_VARIABLES):
        os.environ.pop(name, None)
    os.environ.update({name: value for name, value in wanted.items() if before.get(name) != value})


def reseed() -> None:
    """After a fork: no two workers may draw the same random numbers."""
    for name in ("random", "numpy.random"):  # one that is not loaded yet will seed itself
        if name in sys.modules:
            sys.modules[name].seed()
