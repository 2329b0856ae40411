"""Signal handlers that raise: Ctrl-C while we clean up after Ctrl-C, and an alarm in the midst of user code."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

MOMENT_SECONDS = 1.0  # in which the interpreter prints the one traceback


def raised(error: BaseException) -> bool:
    """A signal handler has raised this, and not the code that it interrupted: it is meant for the main program."""
    if threading.current_thread() is not threading.main_thread():
        return False
    if isinstance(error, KeyboardInterrupt):
        return True
    handlers = [getattr(handler, "__func__", handler) for handler in map(signal.getsignal, signal.valid_signals())]
    codes = {getattr(handler, "__code__", None) for handler in handlers} - {None}
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code in codes:
            return True
        step = step.tb_next
    return False


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
