"""Letting other threads have the interpreter sooner, while somebody waits for what they do.

A thread that computes passes the interpreter on every 5 ms. Starting workers takes dozens of steps, each of which lets
go of it and has to get it back: beside a caller that computes, that took a second where it takes 0.05 s alone.
"""

from __future__ import annotations

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


def end(who: object) -> None:
    """As it was, if nobody else wants it so; and if nobody has changed it meanwhile."""
    try:
        _hasty.remove(who)
    except ValueError:
        return
    if not _hasty and abs(sys.getswitchinterval() - SWITCH_SECONDS) < SWITCH_SECONDS / 10:
        sys.setswitchinterval(_usual)
