"""The user's own functions, as far as files depend on them."""

from __future__ import annotations

import functools
import hashlib
import types
from typing import Any


def digest_of(func: Any) -> str:
    """Of its code and of what is bound to it: when that changes, its results do."""
    return hashlib.sha256(repr(_told(func)).encode()).hexdigest()[:12]


def _told(func: Any) -> Any:
    if isinstance(func, functools.partial):
        return _told(func.func), repr(func.args), repr(sorted(func.keywords.items()))
    code = getattr(getattr(func, "__func__", func), "__code__", None)
    return repr(func.__defaults__) + _code_told(code) if code is not None else type(func).__qualname__


def _code_told(code: types.CodeType) -> str:
    parts = []
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            parts.append(_code_told(constant))
        else:  # a set has another order in each run
            parts.append(repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant))
    return repr((code.co_code, parts, code.co_names))
