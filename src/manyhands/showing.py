"""Arguments in words, for notes, failures and reports: short, and never an error."""

from __future__ import annotations

import math
import reprlib
from typing import Any

SHOWN_ELEMENTS = 8  # of an array
MOST_DIMENSIONS = 8  # that are shown


class _Short(reprlib.Repr):
    """Also of bytes, only a part is looked at; of arrays and tables the shape: few numbers do not tell which it is."""

    def repr_instance(self, value: Any, level: int) -> str:
        shape = _shape(value)
        if shape is None or math.prod(shape) <= SHOWN_ELEMENTS:
            return super().repr_instance(value, level)
        dtype = getattr(value, "dtype", None)
        kind = f" of {str(dtype)[: self.maxother // 2]}" if dtype is not None else ""
        return f"<{type(value).__name__[: self.maxother // 2]}{kind}, shape {shape}>"

    def repr_bytes(self, value: bytes | bytearray, _level: int) -> str:
        if len(value) <= self.maxother:
            return repr(value)
        return f"{value[: self.maxother // 4]!r}... ({len(value)} bytes)"

    repr_bytearray = repr_bytes


_short = _Short()
_short.maxstring = _short.maxother = 80
_short.maxlist = _short.maxtuple = _short.maxdict = _short.maxset = 4
_short.maxlevel = 3
MISSING: Any = object()
LONGEST_ERROR = 200  # characters


def short_repr(value: object) -> str:
    """At most about a hundred characters, whatever the object's own repr does."""
    if value is MISSING:
        return "?"
    try:
        return " ".join(_short.repr(value).split())
    except BaseException:  # noqa: BLE001 - user code in __repr__
        return f"<{type(value).__name__}, whose repr fails>"


def _shape(value: Any) -> tuple[int, ...] | None:
    """Of an array, a tensor or a table; None of anything else."""
    try:
        shape = value.shape
        if not isinstance(shape, tuple) or not 0 < len(shape) <= MOST_DIMENSIONS:
            return None
        lengths = tuple(map(int, shape))
        return lengths if min(lengths) >= 0 else None
    except Exception:  # noqa: BLE001 - not an array: its own repr may be fine
        return None


def error_repr(error: BaseException) -> str:
    """An exception in one line, cut at the end: what matters stands at the beginning."""
    try:
        text = " ".join(repr(error).split())
    except BaseException:  # noqa: BLE001 - user code in __repr__
        return f"<{type(error).__name__}, whose repr fails>"
    return text if len(text) <= LONGEST_ERROR else text[: LONGEST_ERROR - 3] + "..."


def error_text(error: BaseException) -> str:
    """Its type and message, also if it fails to tell that."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - user code in __str__
        return f"{type(error).__name__}, whose message cannot be read"


def call_hint(func: Any, argument: Any, *, apart: bool) -> str:
    """What to do if map was called where starmap was meant, or the other way round; else nothing."""
    from inspect import signature

    try:
        expected = signature(func)
    except (TypeError, ValueError):  # some builtins do not tell
        return ""
    if apart and type(argument) is not tuple and not _fits(expected, argument, apart=True):
        return "; starmap takes each input apart, map passes it as it is"
    parts = not apart and type(argument) in {tuple, list}
    if parts and not _fits(expected, argument, apart=False) and _fits(expected, argument, apart=True):
        return "; map passes each input as one argument, starmap takes it apart"
    return ""


def _fits(expected: Any, argument: Any, *, apart: bool) -> bool:
    try:
        expected.bind(*(argument if apart else (argument,)))
    except TypeError:
        return False
    return True


def add_note(error: BaseException, index: int, argument: str) -> None:
    """Say in the exception itself which task it came from, once."""
    text = f"manyhands: this was task {index}, argument {argument}"
    try:
        if text not in getattr(error, "__notes__", ()):
            error.add_note(text)
    except BaseException:  # noqa: BLE001, S110 - an exception class may forbid even that
        pass
