"""Long bytes beside a pickle: left to itself it copies them into its own, whatever their size.

They are looked for where they mostly are: as an input or result itself, among the arguments of a call, in a tuple.
Only what nobody can change: a result waits for the rest of its chunk, and a call for its worker.
"""

from __future__ import annotations

from pickle import PickleBuffer
from typing import Any

from manyhands._engine.memory import BIG_BUFFER

FEW = 256  # in a list or tuple of more, none is so long that this would pay
DEPTH = 3  # a list of calls, each with its arguments in a tuple
_FORMATS = frozenset("?cbBhHiIlLqQnNfd")  # those that a memoryview can be cast to


class _Bulk:
    """In the place of bytes while they are pickled; the same ones twice travel once."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __reduce__(self) -> Any:
        return bytes, (PickleBuffer(self._content),)


def set_apart(value: Any) -> Any:
    """The same, with such bytes marked for the pickler; itself if there are none."""
    kind = type(value)
    if kind is bytes or ((kind is list or kind is tuple) and len(value) <= FEW):
        return _set_apart(value, {}, DEPTH)
    return value


def _set_apart(value: Any, known: dict[int, _Bulk], depth: int) -> Any:
    kind = type(value)
    if kind is bytes:
        return known.setdefault(id(value), _Bulk(value)) if len(value) >= BIG_BUFFER else value
    if (kind is list and depth == DEPTH) or (kind is tuple and depth and len(value) <= FEW):
        parts = [_set_apart(part, known, depth - 1) for part in value]
        if any(part is not before for part, before in zip(parts, value, strict=False)):
            return kind(parts)
    return value


def reduce_view(view: memoryview) -> Any:
    """How a memoryview is pickled: it arrives as one, of its format and shape, or else as its bytes."""
    if view.c_contiguous and view.nbytes and view.format.lstrip("@") in _FORMATS:
        return _view_anew, (PickleBuffer(view.tobytes()), view.format, view.shape)
    return bytes, (view.tobytes(),)


def _view_anew(buffer: Any, form: Any, shape: tuple[int, ...]) -> Any:
    return memoryview(buffer).cast("B").cast(form, shape)
