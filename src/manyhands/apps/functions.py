"""The user's own functions, as far as files depend on them."""

from __future__ import annotations

import functools
import hashlib
import re
import traceback
import types
from pathlib import Path
from typing import Any

DEEP = 5  # functions that functions hold, or call
_VALUES = (bool, int, float, complex, str, bytes, tuple, frozenset, type(None))


def name_of(func: Any) -> str:
    """As its file and its own name tell."""
    named = getattr(func, "__wrapped__", func)
    name = getattr(named, "__qualname__", type(named).__qualname__)
    return f"{getattr(named, '__module__', '')}.{name}".removeprefix("__main__.")


def where_raised(error: BaseException, func: Any) -> str:
    """The line in the function's own file, in brackets; nothing if it was not raised there."""
    code = getattr(getattr(func, "__wrapped__", func), "__code__", None)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if code and frame.filename == code.co_filename]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def digest_of(func: Any) -> str:
    """Of its code and of what belongs to it: when that changes, its results do.

    That is what is bound to it, by its repr; functions of its own file that it calls, and plain values that it looks up
    there; of a callable object, the code of its ``__call__`` and of what it wraps. Other modules and the state of
    objects are not seen.
    """
    return hashlib.sha256(repr(_content(func, DEEP)).encode()).hexdigest()[:12]


def _content(value: Any, depth: int) -> Any:
    if depth == 0:
        return type(value).__qualname__
    if isinstance(value, functools.partial):
        return _content([value.func, value.args, dict(sorted(value.keywords.items()))], depth)
    if isinstance(value, dict):
        return [(repr(name), _content(one, depth - 1)) for name, one in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        parts = [_content(one, depth - 1) for one in value]
        return parts if isinstance(value, list | tuple) else sorted(map(repr, parts))  # in each run another order
    func = getattr(value, "__func__", value)
    if isinstance(func, types.FunctionType):
        bound = [*(func.__defaults__ or ()), *(func.__kwdefaults__ or {}).values(), *_captured(func)]
        return _code(func.__code__), [_content(one, depth - 1) for one in (*bound, *_looked_up(func))]
    behind = getattr(value, "__wrapped__", None), getattr(type(value), "__call__", None)  # noqa: B004
    told = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))  # an address is another in each run
    return told, [_content(part, depth - 1) for part in behind if isinstance(part, types.FunctionType)]


def _looked_up(func: types.FunctionType) -> list[Any]:
    """In its own file: other functions, and plain values."""
    there = func.__globals__
    found = [there[name] for name in sorted(_names(func.__code__)) if name in there]
    return [
        one
        for one in found
        if isinstance(one, _VALUES) or (isinstance(one, types.FunctionType) and one.__globals__ is there)
    ]


def _names(code: types.CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _captured(func: types.FunctionType) -> list[Any]:
    found = []
    for cell in func.__closure__ or ():
        try:
            found.append(cell.cell_contents)
        except ValueError:  # it is empty
            found.append(None)
    return found


def _code(code: types.CodeType) -> str:
    parts = []
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            parts.append(_code(constant))
        else:  # a set has another order in each run
            parts.append(repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant))
    return repr((code.co_code, parts, code.co_names))
