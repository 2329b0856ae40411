"""Dispatchers that outlive a call, so that the next one finds warm workers; and how all of them end."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable

from manyhands._engine.dispatcher import Dispatcher

KEPT = 4  # sets of warm workers
EXIT_SECONDS = 0.5  # for workers to leave at exit by themselves, and again when killed; then the lifeline ends them

_lock = threading.Lock()
_warm: OrderedDict[Hashable, Dispatcher] = OrderedDict()
_living: weakref.WeakSet[Dispatcher] = weakref.WeakSet()
_impatient: weakref.WeakSet[Dispatcher] = weakref.WeakSet()


def register(dispatcher: Dispatcher, *, finish_at_exit: bool) -> Dispatcher:
    """See to it that this dispatcher ends before the interpreter does: its work done, or dropped."""
    (_living if finish_at_exit else _impatient).add(dispatcher)
    return dispatcher


def renew() -> None:
    """Let the warm workers go when they are idle; calls from now on get fresh ones."""
    with _lock:
        old = list(_warm.values())
        _warm.clear()
    for dispatcher in old:
        dispatcher.shutdown(wait=False)


def warm(key: Hashable, make: Callable[[], Dispatcher]) -> Dispatcher:
    """The warm dispatcher of this kind, made now if there is none that still takes work."""
    with _lock:
        dispatcher = _warm.get(key)
        if dispatcher is None or not dispatcher.usable:
            dispatcher = _warm[key] = register(make(), finish_at_exit=False)
        _warm.move_to_end(key)
        gone = [_warm.popitem(last=False)[1] for _ in range(len(_warm) - KEPT)]
    for old in gone:
        old.shutdown(wait=False)
    return dispatcher


@atexit.register
def _end_all() -> None:
    # A second Ctrl-C has nothing to add: what follows is short.
    if threading.current_thread() is threading.main_thread():
        with contextlib.suppress(ValueError, OSError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    for dispatcher in list(_impatient):
        if dispatcher.drop_awaited() and not interrupted:
            _living.add(dispatcher)  # something was submitted that nobody waits for: it is finished
    for dispatcher in list(_living):
        dispatcher.terminate() if interrupted else dispatcher.shutdown(wait=True)
    for dispatcher in list(_impatient):
        dispatcher.shutdown(wait=False)
    for dispatcher in [*_impatient, *_living]:
        if not dispatcher.join(EXIT_SECONDS):
            dispatcher.terminate(at_once=True)
            dispatcher.join(EXIT_SECONDS)


def _forget() -> None:
    """In a forked child: the dispatchers are the parent's."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    for known in (_warm, _living, _impatient):
        known.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
