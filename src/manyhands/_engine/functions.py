"""The user's function on its way to workers: packed once, known by its content, its name or its identity."""

from __future__ import annotations

import sys
from _blake2 import blake2b  # hashlib would load OpenSSL for it
from collections import OrderedDict
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType
from typing import Any
from weakref import WeakValueDictionary

from manyhands._engine import payload, unchanged
from manyhands._engine.memory import segment_of
from manyhands._engine.modules import is_initializing
from manyhands._engine.payload import Packed
from manyhands.errors import NotSendable
from manyhands.interrupts import is_of_a_signal
from manyhands.showing import error_text

_NAMED = {FunctionType, BuiltinFunctionType}
SMALL = 1 << 16  # bytes; larger ones are not kept here
SENT = 64  # functions that are known to be unchanged without packing them again
_PART = 1 << 20  # bytes
_large: WeakValueDictionary[tuple[bytes, tuple[int, ...]], _Large] = WeakValueDictionary()
_sent: OrderedDict[Callable[..., Any], tuple[ByContent, list[unchanged.Check]]] = OrderedDict()


class ByContent:
    """Packed when made, so that it is sent as it is now; equal content has the same key."""

    def __init__(self, func: Callable[..., Any], packed: Packed, keep: object = None) -> None:
        self.func = func
        self.keep = keep
        self._packed = packed
        self.key = _digest(packed)

    @property
    def classes(self) -> frozenset[str]:
        """Those that it brings with it by value."""
        return self._packed.classes

    def packed(self) -> Packed:
        """As bytes."""
        return self._packed

    def repack(self) -> None:
        """Pack again, by value what was found to need it."""
        self._packed = payload.with_own_buffers(pack_function(self.func))
        self.key = _digest(self._packed)


class ByReference:
    """A function that workers have, or can import: its key is enough, and it is packed only if one lacks it."""

    keep = None

    def __init__(self, func: Callable[..., Any], key: bytes) -> None:
        self.func = func
        self.key = key
        self._packed: Packed | None = None

    @property
    def classes(self) -> frozenset[str]:
        """Those that it brings with it by value, as far as it is packed."""
        return self._packed.classes if self._packed is not None else frozenset()

    def packed(self) -> Packed:
        """As bytes."""
        if self._packed is None:
            self._packed = payload.with_own_buffers(pack_function(self.func))
        return self._packed

    def repack(self) -> None:
        """Pack again when asked for it, by value what was found to need it."""
        self._packed = None


def ship(func: Callable[..., Any]) -> ByReference | ByContent:
    """A function ready to travel: by its name if it has one that counts elsewhere, else by what it is now."""
    if type(func) in _NAMED:
        module, name = getattr(func, "__module__", None), getattr(func, "__name__", None)
        if module is not None and name is not None and module != "__main__":
            home = sys.modules.get(module)
            if getattr(home, name, None) is func and not payload.goes_by_value(module, name):
                named = ByReference(func, f"{module}:{name}".encode())
                if is_initializing(getattr(home, "__spec__", None)):
                    named.packed()  # now, in this thread: any other would wait for the end of the import
                return named
        known = _sent.get(func)
        if known is not None and unchanged.holds(known[1]):
            return known[0]
        shipment, checks = _by_content(func), unchanged.snapshot(func)
        if checks is not None and shipment.packed().size() < SMALL:
            _sent[func] = shipment, checks
            if len(_sent) > SENT:
                _sent.popitem(last=False)
        return shipment
    return _by_content(func)


def _by_content(func: Callable[..., Any]) -> ByContent:
    """If it brings large arrays, their bytes are compared with those that workers have: quicker than sending."""
    packed = pack_function(func)
    if not any(buffer.nbytes >= payload.SEGMENT_BYTES for buffer in packed.buffers):
        return ByContent(func, payload.with_own_buffers(packed))
    form = packed.data, tuple(buffer.nbytes for buffer in packed.buffers)
    known = _large.get(form)
    if known is None or not all(map(_same, packed.buffers, known.packed.buffers)):
        _large[form] = known = _Large(payload.with_own_buffers(packed))
    return ByContent(func, known.packed, known)


class _Large:
    """A packed function with large arrays, for as long as some worker knows it."""

    def __init__(self, packed: Packed) -> None:
        self.packed = packed


def _same(one: memoryview, other: memoryview) -> bool:
    """Equal bytes. Some at a time: comparing bytearrays is ten times as quick as comparing views."""
    if segment_of(one) is not None:
        return segment_of(one) is segment_of(other)
    return all(bytearray(one[at : at + _PART]) == other[at : at + _PART] for at in range(0, one.nbytes, _PART))


def pack_function(func: Callable[..., Any]) -> Packed:
    """Pack a function, or say what in it cannot be sent."""
    try:
        return payload.pack(func)
    except Exception as error:
        if is_of_a_signal(error):
            raise
        name = getattr(func, "__qualname__", None) or repr(func)
        culprit = _culprit(func)
        raise NotSendable(
            f"the function {name} cannot be sent to worker processes: {culprit or ''}"
            f"{error_text(error)}. Open such things inside the function or with @mh.per_worker, or use "
            "backend='threads'."
        ) from error


def _culprit(func: Callable[..., Any]) -> str:
    """Which captured variable cannot be packed, as far as that can be told."""
    inner = getattr(func, "__func__", func)
    owner = getattr(func, "__self__", None)
    names = getattr(getattr(inner, "__code__", None), "co_freevars", ())
    captured = dict(zip(names, getattr(inner, "__closure__", None) or (), strict=False))
    parts = {f"its variable {name!r}": cell.cell_contents for name, cell in captured.items() if _is_full(cell)}
    globals_ = getattr(inner, "__globals__", {})
    for name in getattr(getattr(inner, "__code__", None), "co_names", ()):
        if name in globals_:
            parts[f"the global {name!r} it uses"] = globals_[name]
    for name, value in getattr(owner, "__dict__", {}).items():
        parts[f"the attribute {name!r} of its object"] = value
    return next(
        (f"{what} (a {type(v).__name__}) is the cause: " for what, v in parts.items() if not payload.can_pack(v)), ""
    )


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


def _digest(packed: Packed) -> bytes:
    state = blake2b(packed.data, digest_size=16)
    for buffer in packed.buffers:
        segment = segment_of(buffer)
        state.update(buffer if segment is None else repr(segment.identity()).encode())
    return state.digest()
