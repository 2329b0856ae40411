"""Exceptions on their way from a worker to the caller: whatever is raised, something arrives."""

from __future__ import annotations

import traceback
from typing import Any, NamedTuple

from manyhands._engine import payload
from manyhands._engine.payload import Packed
from manyhands.errors import RemoteError, RemoteTraceback


class Fault(NamedTuple):
    """An exception made ready to travel: packed if it can be, told in words in any case."""

    packed: Packed | None
    type_name: str
    message: str
    traceback: str


def wrap_stop_iteration(error: BaseException) -> BaseException:
    """A StopIteration would silently end whatever loop it is raised in; as PEP 479, make it loud."""
    if not isinstance(error, StopIteration):
        return error
    loud = RuntimeError("the task raised StopIteration")
    loud.__cause__ = error
    return loud.with_traceback(error.__traceback__)


def describe(error: BaseException) -> Fault:
    """Make an exception ready to travel. Never raises, whatever the exception's own methods do."""
    error = wrap_stop_iteration(error)
    name = type(error).__qualname__
    if type(error).__module__ not in {"builtins", "__main__"}:
        name = f"{type(error).__module__}.{name}"
    return Fault(_pack(error), name, _told(error), _traceback_text(error))


def _pack(error: BaseException) -> Packed | None:
    """The exception itself if it survives a journey here, else rebuilt bare, else None."""
    for form in (error, _Bare(error)):
        try:
            packed = payload.pack(form, reply=True, inline=True)
            if type(payload.unpack(packed)) is type(error):
                return packed
        except BaseException:  # noqa: BLE001, S112 - user code in __reduce__ or __init__: try the next form
            continue
    return None


class _Bare:
    """An exception as class, arguments and fields: comes back without its ``__init__`` being called."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {k: v for k, v in vars(self.error).items() if _travels(v)}
        args = tuple(a if _travels(a) else _safe_repr(a) for a in self.error.args)
        return _rebuild, (type(self.error), args, fields)


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], fields: dict[str, Any]) -> BaseException:
    error = cls.__new__(cls, *args)
    BaseException.__dict__["args"].__set__(error, args)
    error.__dict__.update(fields)
    return error


def _travels(value: object) -> bool:
    try:
        payload.unpack(payload.pack(value, reply=True))
    except BaseException:  # noqa: BLE001 - whatever it raises, the answer is no
        return False
    return True


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except BaseException:  # noqa: BLE001
        return f"<{type(value).__name__}, whose repr fails>"


def _told(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001
        return "(the exception's own message could not be read)"


def _traceback_text(error: BaseException) -> str:
    """The traceback without our own frames above the user's function."""
    try:
        inner = error.__traceback__
        while inner is not None and inner.tb_next is not None and _is_ours(inner.tb_frame.f_code.co_filename):
            inner = inner.tb_next
        return "".join(traceback.format_exception(type(error), error, inner))
    except BaseException:  # noqa: BLE001
        return f"{type(error).__name__}: {_told(error)} (its traceback could not be read)\n"


_HERE = __file__.rpartition("faults")[0]


def _is_ours(filename: str) -> bool:
    return filename.startswith(_HERE)


def revive(fault: Fault) -> BaseException:
    """In the caller: the exception again, with the worker's traceback as its cause. Never raises."""
    try:
        error = payload.unpack(fault.packed) if fault.packed is not None else None
    except BaseException:  # noqa: BLE001 - user code again; the words are still there
        error = None
    if not isinstance(error, BaseException):
        error = RemoteError(fault.type_name, fault.message, fault.traceback)
    # Past the class's own __setattr__, which may refuse (a frozen dataclass).
    BaseException.__dict__["__cause__"].__set__(error, RemoteTraceback(fault.traceback))
    return error
