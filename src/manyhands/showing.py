"""Arguments in words, for notes, failures and reports: short, and never an error."""

from __future__ import annotations

import reprlib
from typing import Any

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_short.maxlist = _short.maxtuple = _short.maxdict = _short.maxset = 4
_short.maxlevel = 3
MISSING: Any = object()


def short_repr(value: object) -> str:
    """At most about a hundred characters, whatever the object's own repr does."""
    if value is MISSING:
        return "?"
    try:
        return " ".join(_short.repr(value).split())
    except BaseException:  # noqa: BLE001 - user code in __repr__
        return f"<{type(value).__name__}, whose repr fails>"


def add_note(error: BaseException, index: int, argument: str) -> None:
    """Say in the exception itself which task it came from, once."""
    text = f"manyhands: this was task {index}, argument {argument}"
    try:
        if text not in getattr(error, "__notes__", ()):
            error.add_note(text)
    except BaseException:  # noqa: BLE001, S110 - an exception class may forbid even that
        pass
