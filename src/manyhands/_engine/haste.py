"""Letting other threads have the interpreter sooner, while somebody waits for what they do.

A thread that computes passes the interpreter on every 5 ms. Starting workers takes dozens of steps, each of which lets
go of it and has to get it back: beside a caller that computes, that took a second where it takes 0.05 s alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque

SWITCH_SECONDS = 0.0005
_hasty: deque[object] = deque()  # those who want it so
_usual = 0.005


def begin(who: object) -> None:
    """From here on, until `end`. Does not take turns with others: it may be called by a signal handler."""
    global _usual  # noqa: PLW0603 - the interpreter has one setting for all
    now = sys.getswitchinterval()
    if now <= SWITCH_SECONDS and not _hasty:
        return  # somebody wants it sooner still
    if now > SWITCH_SECONDS:
        _usual = now
    _hasty.append(who)
    sys.setswitchinterval(SWITCH_SECONDS)
    if who not in _hasty:  # it has ended meanwhile, in another thread
        _settle()


def end(who: object) -> None:
    """As it was, if nobody else wants it so; and if nobody has changed it meanwhile."""
    try:
        try:
            with contextlib.suppress(ValueError):
                _hasty.remove(who)
        finally:
            _settle()
    finally:  # again: a signal's handler may have raised in the midst of that
        _settle()


def _settle() -> None:
    if not _hasty and abs(sys.getswitchinterval() - SWITCH_SECONDS) < SWITCH_SECONDS / 10:
        sys.setswitchinterval(_usual)


def _calm_down() -> None:
    """In a fork, which has none of the threads that were hasty."""
    _hasty.clear()
    _settle()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_calm_down)
