"""Modules that were reloaded in the caller: workers that imported them before have the old code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

_specs: dict[str, Any] = {}  # module name: its __spec__ when it was last looked at; a reload makes a new one


def reloaded(func: Callable[..., Any]) -> bool:
    """A module that this function stands in, or that is a global there, was reloaded since it was last asked."""
    found = False
    for module in _used_by(func):
        spec = getattr(module, "__spec__", None)
        found |= _specs.setdefault(module.__name__, spec) is not spec
        _specs[module.__name__] = spec
    return found


def importing() -> str | None:
    """The name of a module whose import this call is part of, in this thread; None if it is part of none."""
    frame = sys._getframe(1)  # noqa: SLF001 - the one way to see one's callers
    while frame is not None:
        if frame.f_code.co_name == "<module>" and is_initializing(frame.f_globals.get("__spec__")):
            return str(frame.f_globals.get("__name__"))
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return None


def is_initializing(spec: Any) -> bool:
    """The module of this spec is being imported."""
    return bool(getattr(spec, "_initializing", False))


def _used_by(func: Callable[..., Any]) -> Iterator[ModuleType]:
    inner = getattr(func, "func", func)  # of a partial
    inner = getattr(inner, "__func__", inner)  # of a method
    names = {getattr(inner, "__module__", None)}
    for value in list(getattr(inner, "__globals__", {}).values()):
        names.add(value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None))
    for name in names:
        module = sys.modules.get(name) if isinstance(name, str) else None
        if module is not None and isinstance(getattr(module, "__name__", None), str):
            yield module
