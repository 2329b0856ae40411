"""Objects that do not travel, or not well. A module of their own: workers import it, and it costs them little."""

from __future__ import annotations

import os
import threading


class NeedsTwo(Exception):
    """Cannot be made from its ``args``: those hold one text, the constructor wants two."""

    def __init__(self, code, place):
        super().__init__(f"{code} at {place}")
        self.code, self.place = code, place


class KeywordOnly(ValueError):
    def __init__(self, *, reason):
        super().__init__()
        self.reason = reason

    def __str__(self):
        return f"because of {self.reason}"


class HoldsLock(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.text = text
        self.lock = threading.Lock()


class Quit(BaseException):
    """Not an Exception."""


class Mute(Exception):
    """Whatever it is asked, it fails."""

    def __str__(self):
        raise RuntimeError("no str")

    __repr__ = __str__

    def __reduce__(self):
        raise RuntimeError("no pickle")

    def add_note(self, note):
        raise RuntimeError("no notes")


class Nameless:
    """An argument whose repr fails."""

    def __repr__(self):
        raise RuntimeError("no repr")


def explode(kind, text):
    raise kind(text)


class ExplodesOnPacking:
    def __init__(self, kind=RuntimeError):
        self.kind = kind

    def __reduce__(self):
        raise self.kind("will not be packed")


class ExplodesOnUnpacking:
    def __init__(self, kind=RuntimeError):
        self.kind = kind

    def __reduce__(self):
        return explode, (self.kind, "will not be unpacked")


def explode_in(pid):
    if os.getpid() == pid:
        raise RuntimeError("not in this process")
    return "unpacked elsewhere"


class ExplodesIn:
    """Cannot be unpacked in this process, but in any other."""

    def __init__(self, pid):
        self.pid = pid

    def __reduce__(self):
        return explode_in, (self.pid,)


def nested(depth):
    """Too deep for pickle."""
    value = []
    for _ in range(depth):
        value = [value]
    return value
