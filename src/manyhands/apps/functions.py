"""The user's own functions, as they are told of."""

from __future__ import annotations

import functools
import traceback
from pathlib import Path
from typing import Any


def name_of(func: Any) -> str:
    """As its file and its own name tell."""
    named = _within(func)
    name = getattr(named, "__qualname__", type(named).__qualname__)
    return f"{getattr(named, '__module__', '')}.{name}".removeprefix("__main__.")


def where_raised(error: BaseException, func: Any) -> str:
    """The line in the function's own file, in brackets; nothing if it was not raised there."""
    code = getattr(_within(func), "__code__", None)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if code and frame.filename == code.co_filename]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _within(func: Any) -> Any:
    """The function that a wrapper or a partial was made of."""
    inner = getattr(func, "__wrapped__", func)
    return inner.func if isinstance(inner, functools.partial) else inner
