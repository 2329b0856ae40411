"""Whether a function that travels by value is still what it was, told without packing it again.

Packing costs some hundred microseconds, and most functions are sent many times. A snapshot lists all that a
function's packed form depends on: its code, its defaults, and each variable and global it may use. It exists
only if none of these can change in place (numbers, text, modules, importable functions, and functions of which
the same is true); then comparing identities is enough. A function that uses a list, an array or an object
of ``__main__`` has no snapshot and is packed each time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

_CONSTANT = frozenset({type(None), bool, int, float, complex, str, bytes, type(...)})
_MISSING = object()

Check = tuple[Callable[..., Any], tuple[Any, ...], Any]  # a function, its arguments, and the value it should give


def snapshot(func: Callable[..., Any]) -> list[Check] | None:
    """What to compare, or None if something in it might change unseen."""
    checks: list[Check] = []
    try:
        _look_at(func, checks, set())
    except _MutableError:
        return None
    return checks


def holds(checks: list[Check]) -> bool:
    """Everything is what it was."""
    try:
        return all(look(*args) is value for look, args, value in checks)
    except (AttributeError, ValueError):  # a cell was emptied
        return False


class _MutableError(Exception):
    pass


def _look_at(value: Any, checks: list[Check], seen: set[int]) -> None:
    kind = type(value)
    if kind in _CONSTANT or id(value) in seen or value is _MISSING:
        return
    seen.add(id(value))
    if kind is ModuleType:
        if sys.modules.get(value.__name__) is not value:
            raise _MutableError  # made at run time: it travels by value
    elif kind is BuiltinFunctionType:
        if not (value.__self__ is None or isinstance(value.__self__, ModuleType)):
            raise _MutableError  # a method of some object, as dict.get is
    elif kind is tuple:
        for item in value:
            _look_at(item, checks, seen)
    elif kind is FunctionType and not _importable(value):
        _look_into(value, checks, seen)
    elif not (kind in {FunctionType, type} and _importable(value)):
        raise _MutableError


def _look_into(func: FunctionType, checks: list[Check], seen: set[int]) -> None:
    if func.__dict__:
        raise _MutableError
    checks.append((_is_bare, (func,), True))
    for name in ("__code__", "__defaults__", "__kwdefaults__"):
        value = getattr(func, name)
        checks.append((getattr, (func, name), value))
        if name != "__code__":
            _look_at(value, checks, seen)
    for name in set(_names(func.__code__)):
        value = func.__globals__.get(name, _MISSING)
        checks.append((func.__globals__.get, (name, _MISSING), value))
        _look_at(value, checks, seen)
    for cell in func.__closure__ or ():
        value = getattr(cell, "cell_contents", _MISSING)
        checks.append((getattr, (cell, "cell_contents", _MISSING), value))
        _look_at(value, checks, seen)


def _is_bare(func: FunctionType) -> bool:
    return not func.__dict__


def _names(code: CodeType) -> Iterator[str]:
    """Every name that the code or a function inside it may look up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _importable(value: Any) -> bool:
    module = getattr(value, "__module__", None)
    if module is None or module == "__main__":
        return False
    return getattr(sys.modules.get(module), getattr(value, "__name__", ""), None) is value
