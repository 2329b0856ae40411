"""What travels to the workers in place of the user's function, where the function alone would not do."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, update_wrapper
from operator import attrgetter
from types import FunctionType, ModuleType
from typing import Any

from manyhands.cli.formats import Call


@dataclass(frozen=True)
class FileFunction:
    """A function in a file that no import can find: each worker loads the file by its path, once."""

    path: str
    module: str
    name: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.load()(*args, **kwargs)

    @property
    def __wrapped__(self) -> Any:
        """The function itself, for who wants to know its code and its name."""
        return self.load()

    def load(self) -> Any:
        """Return the function, or whatever has its name."""
        return attrgetter(self.name)(load_file(self.path, self.module))


def load_file(path: str, name: str) -> ModuleType:
    """Import a file as a module of the given name, unless that was done before."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # the path ends in .py  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def fit_call(function: Callable[..., Any], call: Call) -> Callable[[Any], Any]:
    """Make a function of one item from the user's function."""
    if call is Call.ITEM:
        return function
    spread = partial(call_with_args if call is Call.ARGS else call_with_kwargs, function)
    if isinstance(function, FunctionType):
        update_wrapper(spread, function)  # what decorators have marked on the function stays marked
    return spread


def call_with_args(function: Callable[..., Any], item: list[Any]) -> Any:
    """Call with the item's values as positional arguments."""
    return function(*item)


def call_with_kwargs(function: Callable[..., Any], item: dict[str, Any]) -> Any:
    """Call with the item's values as keyword arguments."""
    return function(**item)
