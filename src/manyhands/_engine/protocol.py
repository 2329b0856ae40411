"""The messages between caller and worker: the first value of each tells its kind.

To the worker::

    HELLO    threads, authkey, memory limit + surroundings, + the locks' file, + initializer and arguments (if any)
    AROUND   -                              + surroundings, when they have changed
    FUNCTION key, early                     + the packed function; ``early``: load it now, chunks may follow
    FORGET   keys                           functions that will not be needed again
    CHUNK    serial, first task, key, style, seed, retry_on, timed, sizes, isolated   + the packed inputs
    STOP     -                              leave when done

To the caller::

    HERE     -                              alive, before anything of the user's has run
    READY    -                              initialised
    UNFIT    fault                          the initializer raised
    RESULTS  serial, first offset, count, errors, sizes, stats   + the packed results
    REFUSED  serial, key or None, (module, name) or None   a chunk or its function could not be unpacked
    TEXT     stream, bytes                  what was printed
    RECORD   -                              + a packed log record
    WARNING  -                              + a packed warning
    IDLE     -                              nothing has come for a while
    FULL     -                              it has more memory than it may have, and is in no task
    LOADED   key, seconds                   a function was unpacked, and what it needs imported; or that failed

``sizes``: None when the values share one pickle; else for each value how many buffers are its own, and for
an input that could not be packed, the Fault that says so. ``isolated``: each input is its own task's trouble.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any

from manyhands._engine.faults import Fault
from manyhands._engine.payload import Packed


class Kind(IntEnum):
    """Kinds of message."""

    HELLO = 1
    AROUND = 2
    FUNCTION = 3
    FORGET = 4
    CHUNK = 5
    STOP = 6
    READY = 7
    UNFIT = 8
    RESULTS = 9
    REFUSED = 10
    TEXT = 11
    RECORD = 12
    WARNING = 13
    HERE = 14
    IDLE = 15
    FULL = 16
    LOADED = 17


class Style(IntEnum):
    """How a task's input becomes the arguments of the call."""

    ITEM = 1  # f(x)
    STAR = 2  # f(*x)
    APPLY = 3  # args, kwargs = x; f(*args, **kwargs)


def caller(func: Callable[..., Any], style: int) -> Callable[[Any], Any]:
    """The function as the runner calls it: with one argument."""
    if style == Style.ITEM:
        return func
    if style == Style.STAR:
        return lambda item: func(*item)
    return lambda item: func(*item[0], **item[1])


def flatten(values: Iterable[Packed | Fault]) -> tuple[list[Any], tuple[Any, ...]]:
    """Packed values side by side: their sizes and all their buffers."""
    sizes: list[Any] = []
    buffers: list[Any] = []
    for value in values:
        if isinstance(value, Fault):
            sizes.append(value)
        else:
            sizes.append(1 + len(value.buffers))
            buffers.append(value.data)
            buffers.extend(value.buffers)
    return sizes, tuple(buffers)


def unflatten(sizes: list[Any], buffers: tuple[Any, ...]) -> list[Packed | Fault]:
    """The values again."""
    values: list[Packed | Fault] = []
    at = 0
    for size in sizes:
        if isinstance(size, int):
            values.append(Packed(buffers[at], buffers[at + 1 : at + size]))
            at += size
        else:
            values.append(Fault(*size))
    return values
