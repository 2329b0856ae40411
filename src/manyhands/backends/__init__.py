"""Where workers come from, found by name.

Other packages add backends by the entry point group ``manyhands.backends``: a callable that takes a
`Plan` and returns a backend.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from manyhands._engine import forks
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
        with forks.held_off():  # in a child forked meanwhile by another thread, nobody would finish the import
            from manyhands.backends.threads import Threads

        return Threads(plan.initializer, plan.initargs, name=plan.name)
    if name == "processes":
        with forks.held_off():
            from manyhands.backends.processes import make as make_processes

            return make_processes(plan)
    for entry in _added():
        if entry.name != name:
            continue
        made: Backend = entry.load()(plan)
        return made
    raise OptionError(f"there is no backend {name!r}; choose one of {', '.join(names())}")


def names() -> list[str]:
    """All backends there are, ``auto`` first."""
    return ["auto", *BUILT_IN, *sorted({entry.name for entry in _added()})]


def _added() -> Any:
    from importlib.metadata import entry_points  # takes 20 ms, and is rarely needed

    return entry_points(group="manyhands.backends")
