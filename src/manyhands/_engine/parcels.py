"""The inputs of a chunk, packed for a worker process; and if one cannot be, the error that says which, and why."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from manyhands._engine import bulk, faults, payload
from manyhands._engine.faults import Fault
from manyhands._engine.interface import Job
from manyhands._engine.payload import Packed
from manyhands._engine.protocol import Style, flatten
from manyhands._engine.sources import Columns
from manyhands.errors import NotSendable
from manyhands.interrupts import is_of_a_signal
from manyhands.showing import error_text

_UNCHANGING = {int, float, complex, bool, str, bytes, type(None)}


class Parcel(NamedTuple):
    """A packed chunk: ``sizes``, ``isolated`` and ``buffers`` as in the CHUNK message."""

    sizes: list[Any] | None
    buffers: tuple[Any, ...]
    retry_on: bytes
    isolated: bool = False


def pack(job: Job, items: Sequence[Any], *, isolated: bool, main_by_name: bool) -> Parcel:
    """Inputs of this job: together if that works, else (or if ``isolated``) each by itself.

    One that is the input of several tasks also goes to each by itself: what one writes into it, no other may see.
    ``main_by_name``: the workers were forked from this process and have its ``__main__``.
    """
    retry_on = payload.pack(job.retry_on).data if job.retry_on else b""
    if isinstance(items, Columns) and len(items) <= bulk.FEW:
        items = list(items)  # there may be long bytes among them
    if not isolated:
        try:
            if job.style is Style.ITEM and _is_repeated(items):
                sizes, buffers = flatten([payload.pack(item, main_by_name=main_by_name) for item in items])
                return Parcel(sizes, buffers, retry_on)
            packed = payload.pack(items, main_by_name=main_by_name)
            return Parcel(None, (packed.data, *packed.buffers), retry_on)
        except BaseException as error:
            if is_of_a_signal(error):
                raise
    sizes, buffers = flatten(_pack_item(item, job.style, main_by_name=main_by_name) for item in items)
    return Parcel(sizes, buffers, retry_on, isolated=True)


def _is_repeated(items: Sequence[Any]) -> bool:
    """There is an object in it twice that could be changed."""
    with contextlib.suppress(TypeError):  # a class of the user's, whose hash raises
        if type(items) is range or set(map(type, items)) <= _UNCHANGING:
            return False
    return len(set(map(id, items))) < len(items)


def _pack_item(item: Any, style: Style, *, main_by_name: bool) -> Packed | Fault:
    """One input by itself; if it cannot be packed, the error that says which argument is at fault."""
    try:
        return payload.pack(item, main_by_name=main_by_name)
    except BaseException as error:
        if is_of_a_signal(error):
            raise
        told = NotSendable(
            f"{_which_argument(item, style)} cannot be sent to worker processes: {error_text(error)}. "
            "Send what it is made from (a path, a name) and open it in the function, or use backend='threads'."
        )
        return faults.describe(told)


def _which_argument(item: Any, style: Style) -> str:
    if style is Style.ITEM:
        return f"the argument (a {type(item).__name__})"
    args, kwargs = item if style is Style.APPLY else (item if isinstance(item, tuple | list) else (item,), {})
    named = [
        *((f"argument {i + 1}", a) for i, a in enumerate(args)),
        *((f"argument {k!r}", a) for k, a in kwargs.items()),
    ]
    for name, value in named:
        try:
            payload.pack(value)
        except BaseException as error:
            if is_of_a_signal(error):
                raise
            return f"{name} (a {type(value).__name__})"
    return "the arguments together"
