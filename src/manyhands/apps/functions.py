"""The user's own functions, as far as files depend on them."""

from __future__ import annotations

import functools
import hashlib
import traceback
import types
from pathlib import Path
from typing import Any

DEEP = 5  # functions that functions hold


def name_of(func: Any) -> str:
    """As its file and its own name tell."""
    name = getattr(func, "__qualname__", type(func).__qualname__)
    return f"{getattr(func, '__module__', '')}.{name}".removeprefix("__main__.")


def where_raised(error: BaseException, func: Any) -> str:
    """The line in the function's own file, in brackets; nothing if it was not raised there."""
    code = getattr(func, "__code__", None)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if code and frame.filename == code.co_filename]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def digest_of(func: Any) -> str:
    """Of its code and of what is bound to it: when that changes, its results do.

    Bound values count by their repr. What is looked up elsewhere, globals and the state of objects, is not seen.
    """
    return hashlib.sha256(repr(_content(func, DEEP)).encode()).hexdigest()[:12]


def _content(value: Any, depth: int) -> Any:
    if depth == 0:
        return type(value).__qualname__
    if isinstance(value, functools.partial):
        keywords = [(name, _content(bound, depth - 1)) for name, bound in sorted(value.keywords.items())]
        return _content(value.func, depth - 1), [_content(bound, depth - 1) for bound in value.args], keywords
    func = getattr(value, "__func__", value)
    if isinstance(func, types.FunctionType):
        bound = [*(func.__defaults__ or ()), *(func.__kwdefaults__ or {}).values(), *_captured(func)]
        return _code(func.__code__), [_content(one, depth - 1) for one in bound]
    told = repr(value)
    return type(value).__qualname__ if f"{id(value):x}" in told else told  # an address is another in each run


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
