"""Errors that are nobody's fault: a signal's handler has raised them, for the program as a whole."""

from __future__ import annotations

import functools
import signal
import threading
from typing import Any


def is_of_a_signal(error: BaseException) -> bool:
    """A signal's handler has raised this, and not the code that it interrupted: it is meant for the main program.

    >>> is_of_a_signal(KeyboardInterrupt()), is_of_a_signal(ValueError())
    (True, False)
    """
    if threading.current_thread() is not threading.main_thread():
        return False  # no handler runs there
    if isinstance(error, KeyboardInterrupt):
        return True
    codes = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code in codes:
            return True
        step = step.tb_next
    return False


def stops_the_call(error: BaseException) -> bool:
    """Ctrl-C where tasks run in the caller's own thread cannot be told from a task that raises it: it is no failure."""
    return isinstance(error, KeyboardInterrupt) or is_of_a_signal(error)


def _code_of(handler: Any) -> Any:
    """What runs when it is called; None if that is not written in Python."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    func = getattr(handler, "__func__", handler)
    code = getattr(func, "__code__", None)
    return code if code is not None else getattr(getattr(type(func), "__call__", None), "__code__", None)  # noqa: B004
