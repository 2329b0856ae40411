"""Where workers come from, found by name.

Other packages add backends by the entry point group ``manyhands.backends``: a callable that takes a
`Plan` and returns a backend.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, cast

from manyhands._engine.first_use import undisturbed
from manyhands._engine.interface import Backend
from manyhands.errors import OptionError

BUILT_IN = ("serial", "threads", "processes")


class Plan(NamedTuple):
    """What a backend is asked for. ``threads``: each worker's share of the cores."""

    workers: int
    threads: int = 1
    start_method: str | None = None
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()
    name: str = ""
    memory_limit: int | None = None  # bytes of each worker's own


def make(name: str, plan: Plan) -> Backend:
    """The backend of that name. Raises OptionError for an unknown one."""
    if name == "serial":
        from manyhands.backends.serial import Serial

        return Serial(plan.initializer, plan.initargs)
    if name == "threads":
        threads = undisturbed(lambda: import_module("manyhands.backends.threads"))
        return cast("Backend", threads.Threads(plan.initializer, plan.initargs, name=plan.name))
    if name == "processes":
        return cast("Backend", undisturbed(lambda: import_module("manyhands.backends.processes").make(plan)))
    for entry in _added():
        if entry.name != name:
            continue
        return cast("Backend", entry.load()(plan))
    raise OptionError(f"there is no backend {name!r}; choose one of {', '.join(names())}")


def names() -> list[str]:
    """All backends there are, ``auto`` first."""
    return ["auto", *BUILT_IN, *sorted({entry.name for entry in _added()})]


def _added() -> Any:
    from importlib.metadata import entry_points  # takes 20 ms, and is rarely needed

    return entry_points(group="manyhands.backends")
