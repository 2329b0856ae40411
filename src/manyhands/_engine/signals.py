"""Ctrl-C while we clean up after Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType

MOMENT_SECONDS = 1.0  # in which the interpreter prints the one traceback


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """A further Ctrl-C has nothing to add: not during this block, and not for a moment after it."""
    try:
        before = signal.getsignal(signal.SIGINT)
        if before is None:  # a handler of C code, which could not be put back
            yield
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except (ValueError, OSError):  # not the main thread, which alone hears of signals
        yield
        return
    try:
        yield
    finally:
        until = time.monotonic() + MOMENT_SECONDS

        def hear_again(number: int, frame: FrameType | None) -> None:
            if time.monotonic() <= until:
                return
            signal.signal(signal.SIGINT, before)
            if callable(before):
                before(number, frame)
            elif before is not signal.SIG_IGN:
                os.kill(os.getpid(), number)

        signal.signal(signal.SIGINT, hear_again)
