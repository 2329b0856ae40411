"""Of the user's own functions, what their results depend on: another digest makes what they have made stale.

Followed from the function on: its code, what is bound to it, and whatever it looks up among the names of its file, and
so on from there, in all files that are the user's own and not installed. Data is seen if it is plain, an array, or the
state of an object: of a class of the user's own, or one that does not tell its state itself. Not seen: files that are
read, the versions of installed packages, and what is imported within a function.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import hashlib
import re
import sys
import sysconfig
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

DEEP = 50  # things that hold one another: deeper, only their types are seen
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_INSTALLED = tuple(
    Path(path).resolve()
    for path in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), Path(__file__).parents[1])
)
_UNTOLD = {"__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__static_attributes__"}  # of classes


def digest_of(func: Any) -> str:
    """Of its code and of what belongs to it: when that changes, its results do."""
    return hashlib.sha256(repr(_Reader({}, 0).content(func)).encode("utf-8", "backslashreplace")).hexdigest()[:12]


class _Reader:
    """Reads each thing once, however often and in whatever circle others refer to it."""

    def __init__(self, seen: dict[int, tuple[int, Any]], depth: int) -> None:
        self._seen = seen  # how many came before it, and itself: its id is given to others when a thing is no more
        self._depth = depth

    def content(self, value: Any) -> Any:
        """What it depends on, as text and lists of it, the same in every process."""
        if isinstance(value, _PLAIN):
            return repr(value)
        if id(value) in self._seen:
            return type(value).__qualname__, self._seen[id(value)][0]  # of several, which one it is
        if self._depth > DEEP:
            return type(value).__qualname__
        if not isinstance(value, tuple | frozenset):  # which are shared or not as Python likes
            self._seen[id(value)] = len(self._seen), value
        self._depth += 1
        try:
            return self._of(value)
        finally:
            self._depth -= 1

    @functools.singledispatchmethod
    def _of(self, value: Any) -> Any:
        """Of whatever else it is: its class, and its state, or what it tells of itself."""
        told, behind = None, None
        with contextlib.suppress(Exception):  # theirs; also a picture whose file cannot be read
            if hasattr(type(value), "__array_interface__"):  # of numpy, and pictures of Pillow
                return self._of_array(value)
            behind = getattr(value, "__wrapped__", None)
            told = _state(value) if _is_own_class(type(value)) else _shown(value)
        return self._of_many([type(value), behind, told])

    @_of.register(list)
    @_of.register(tuple)
    def _of_many(self, values: Any) -> Any:
        return [self.content(one) for one in values]

    @_of.register(set)
    @_of.register(frozenset)
    def _of_set(self, values: Any) -> Any:
        """In each run they have another order: so none may know what was seen in the others."""
        return sorted(repr(_Reader(dict(self._seen), self._depth).content(one)) for one in values)

    @_of.register
    def _of_dict(self, value: dict) -> Any:  # type: ignore[type-arg]
        return [(self.content(name), self.content(one)) for name, one in list(value.items())]

    @_of.register
    def _of_partial(self, value: functools.partial) -> Any:  # type: ignore[type-arg]
        return self._of_many([value.func, value.args, sorted(value.keywords.items())])

    @_of.register
    def _of_pattern(self, value: re.Pattern) -> Any:  # type: ignore[type-arg]
        return self._of_many([value.pattern, value.flags])  # its repr is cut off

    @_of.register
    def _of_method(self, value: types.MethodType) -> Any:
        return self._of_many([value.__func__, value.__self__])

    @_of.register
    def _of_function(self, func: types.FunctionType) -> Any:
        if not _is_own(func.__code__.co_filename):
            return func.__module__, func.__qualname__
        bound = [*(func.__defaults__ or ()), *(func.__kwdefaults__ or {}).items(), *_captured(func)]
        return _code(func.__code__), self._of_many([*bound, vars(func), *self._looked_up(func)])

    @_of.register
    def _of_class(self, value: type) -> Any:
        name = value.__module__, value.__qualname__
        if not _is_own_class(value):
            return name
        parts = [(told, vars(value)[told]) for told in sorted(vars(value).keys() - _UNTOLD)]
        kinds = self._of_many([type(value), *value.__bases__])
        return name, kinds, [(n, self.content(_behind(one))) for n, one in parts]

    def _looked_up(self, func: types.FunctionType) -> Iterator[Any]:
        """Among the names of its file, and in modules of the user's that have a name there."""
        names, attributes = _names(func.__code__)
        for name in sorted(names & func.__globals__.keys()):
            value = func.__globals__[name]
            if isinstance(value, types.ModuleType):
                yield from _used_of(value, attributes)
            else:
                yield value

    def _of_array(self, value: Any) -> Any:
        import numpy as np

        array = np.asarray(value)
        palette = value.getpalette() if hasattr(value, "getpalette") else None
        more = self._of_many([getattr(value, "mask", None), palette])
        if array.dtype.hasobject:
            return str(array.dtype), array.shape, more, self.content(array.tolist())
        return str(array.dtype), array.shape, more, hashlib.sha256(array.tobytes()).hexdigest()


def _state(value: Any) -> dict[str, Any]:
    slots = (vars(kind).get("__slots__", ()) for kind in type(value).__mro__)
    names = [name for one in slots for name in ((one,) if isinstance(one, str) else one)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)} | getattr(value, "__dict__", {})


def _shown(value: Any) -> Any:
    """What it tells of itself; if that is where it lies in memory, or what it holds does, its state as well."""
    told = repr(value)
    shown = re.sub(r"( at)? 0x[0-9a-fA-F]+", "", told)  # an address is another in each run
    return shown if shown == told else [shown, _state(value) or _held(value)]


def _held(value: Any) -> Any:
    """Of a queue or a view of a dict; not of an iterator or a source of random numbers, which go on by themselves."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) else None


def _behind(attribute: Any) -> Any:
    """What a descriptor of a class was made of."""
    if isinstance(attribute, property):
        return [attribute.fget, attribute.fset, attribute.fdel]
    return getattr(attribute, "__func__", attribute)


def _used_of(module: types.ModuleType, attributes: set[str]) -> Iterator[Any]:
    """What these names may mean in a module of the user's own, and in those within it."""
    waiting, seen = [module], set()
    while waiting:
        one = waiting.pop()
        if one in seen or not _is_own(getattr(one, "__file__", None)):
            continue
        seen.add(one)
        for name in sorted(attributes & vars(one).keys()):
            value = vars(one)[name]
            if isinstance(value, types.ModuleType):
                waiting.append(value)
            else:
                yield value


def _is_own_class(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    return kind.__module__ == "__main__" or module is None or _is_own(getattr(module, "__file__", None))


def _is_own(file: str | None) -> bool:
    """Not of Python, of an installed package, or of this one. What was typed into a notebook has no file."""
    if file is None:
        return False
    path = Path(file)
    is_package = bool({"site-packages", "dist-packages"} & set(path.parts))
    return not is_package and not any(map(path.resolve().is_relative_to, _INSTALLED))


def _names(code: types.CodeType) -> tuple[set[str], set[str]]:
    """That it, and the functions within it, look up in the file; and all that may be of attributes."""
    found = {one.argval for one in dis.get_instructions(code) if one.opname in {"LOAD_GLOBAL", "LOAD_NAME"}}
    attributes = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names, more = _names(constant)
            found |= names
            attributes |= more
    return found, attributes


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
    taken = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], code.co_posonlyargcount, code.co_argcount
    return repr((code.co_code, parts, code.co_names, taken))
