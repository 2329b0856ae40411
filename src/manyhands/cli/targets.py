"""Finding the user's function from `module:function` or `file.py:function`."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import itertools
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from manyhands.cli.calls import FileFunction, load_file
from manyhands.cli.problems import CommandError

MACHINERY = (os.path.dirname(__file__), os.path.dirname(importlib.__file__), "<frozen importlib")  # noqa: PTH120
NAMES_SHOWN = 8


@dataclass(frozen=True)
class Address:
    """TARGET, taken apart: a module or a file, and the name of a function in it."""

    text: str
    place: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether the place is a file and not a module."""
        return self.place.endswith(".py")


@dataclass(frozen=True)
class Target:
    """The user's function, in a form that workers can load, and where it was found."""

    text: str
    function: Callable[..., Any]
    place: str


def parse_address(text: str) -> Address:
    """Take TARGET apart.

    Raises:
        CommandError: it is not written as module:function or file.py:function.
    """
    place, _, name = text.rpartition(":")
    if not place or not _is_dotted(name):
        raise CommandError(f"{text!r} names no function: write module:function or file.py:function")
    address = Address(text, place, name)
    if not address.is_file and not _is_dotted(place):
        raise CommandError(f"{place!r} is neither a module nor a file that ends in .py")
    return address


def load_target(address: Address) -> Target:
    """Import what TARGET names.

    Raises:
        CommandError: there is no such module, file or function, or it cannot be imported or called.
    """
    module = _import_file(address.place) if address.is_file else _import_module(address.place)
    function = _find(module, address)
    _check_callable(function, address.text)
    if address.is_file and module.__name__ != Path(address.place).stem:
        function = FileFunction(str(module.__file__), module.__name__, address.name)
    return Target(address.text, function, str(getattr(module, "__file__", None) or "built in"))


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _import_module(name: str) -> ModuleType:
    with contextlib.suppress(FileNotFoundError):  # somebody has removed it
        _put_first(os.getcwd())  # noqa: PTH109 - as `python -m` does; an installed command has its own folder there
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _import_failed(name, error) from error
        message = f"there is no module {error.name!r} in this folder or among the installed packages"
        raise CommandError(f"{message}; a file is given as path/to/file.py:function") from error
    except (Exception, SystemExit) as error:
        raise _import_failed(name, error) from error


def _import_file(path: str) -> ModuleType:
    """Import a file under its own name, so that workers can import it too.

    A file may be called like a module that exists, json.py for one. It is then loaded under a name of its
    own, and its folder comes last on the path, so that whoever imports json still gets the real one.
    """
    try:
        file = Path(path).absolute()
    except FileNotFoundError:
        raise CommandError(f"there is no file {path!r}: this folder has been removed, go to another") from None
    if not file.is_file():
        raise CommandError(f"there is no file {path!r} in the folder {os.getcwd()}")  # noqa: PTH109
    importable = _becomes_importable(file)
    try:
        return importlib.import_module(file.stem) if importable else load_file(str(file), _name_for(file))
    except (Exception, SystemExit) as error:
        raise _import_failed(path, error) from error


def _put_first(folder: str) -> None:
    sys.path[:] = [folder, *(other for other in sys.path if other != folder)]


def _name_for(file: Path) -> str:
    """A name that no other file has been loaded under: there may be several src/json.py."""
    first = f"{file.stem.replace('.', '_')}_in_{file.parent.name.replace('.', '_')}"
    names = itertools.chain([first], (f"{first}_{number}" for number in itertools.count(2)))
    return next(name for name in names if _is_free(name, file))


def _is_free(name: str, file: Path) -> bool:
    return name not in sys.modules or _same_file(getattr(sys.modules[name], "__file__", None), file)


def _becomes_importable(file: Path) -> bool:
    """Put the file's folder on the path; say whether the file's name now imports it and ever did nothing else."""
    folder = str(file.parent)
    if not _is_taken(file):
        _put_first(folder)
        if not _is_taken(file):
            return True
        sys.path.remove(folder)
    sys.path.append(folder)
    return False


def _is_taken(file: Path) -> bool:
    """Say whether the file's name imports something else, or cannot be imported at all."""
    if "." in file.stem or file.stem in sys.stdlib_module_names:
        return True
    try:
        found = importlib.util.find_spec(file.stem)
    except (ImportError, ValueError):  # ValueError: a module that was not imported, such as __main__
        return True
    return found is not None and not _same_file(found.origin, file)


def _same_file(origin: str | None, file: Path) -> bool:
    return origin is not None and os.path.exists(origin) and file.samefile(origin)  # noqa: PTH110


def _find(module: ModuleType, address: Address) -> Any:
    found: Any = module
    where = f"{address.place}:"
    for part in address.name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise CommandError(f"{where[:-1]} has no {part!r}{_suggestion(found, part)}") from None
        except Exception as error:  # a module may load its parts on use
            raise _import_failed(where[:-1], error) from error
        where += f"{part}."
    return found


def _suggestion(holder: object, name: str) -> str:
    known = {key: value for key, value in getattr(holder, "__dict__", {}).items() if callable(value)}
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    public = [key for key in known if not key.startswith("_")]
    home = getattr(holder, "__name__", None)
    names = [key for key in public if getattr(known[key], "__module__", None) == home] or public
    shown = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
    return f"; it has {shown}" if names else "; it has no functions at all"


def _check_callable(found: object, text: str) -> None:
    if not callable(found):
        kind = type(found).__name__
        raise CommandError(f"{text!r} is not a function but a value of type {kind}: name a function")
    if inspect.iscoroutinefunction(found):
        raise CommandError(f"{text!r} is an async function: name a plain one that calls asyncio.run on it")


def _import_failed(place: str, error: BaseException) -> CommandError:
    hint = "mend the error above in your own code"
    if isinstance(error, SystemExit):
        hint = "it ended the program while being imported: put that behind `if __name__ == '__main__':`"
    elif "relative import" in str(error):
        hint = "a file inside a package is given as a module, package.module:function"
    return CommandError(f"{place} cannot be imported: {hint}", detail=user_traceback(error))


def user_traceback(error: BaseException) -> str:
    """Format an error without the frames of the machinery that led to the user's code."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(MACHINERY):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()
