"""Dispatchers that outlive a call, so that the next one finds warm workers; and how all of them end."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any

from manyhands._engine.dispatcher import Dispatcher
from manyhands._engine.signals import deaf

KEPT = 4  # sets of warm workers
EXIT_SECONDS = 0.5  # for workers to leave at exit by themselves, and again when killed; then the lifeline ends them

_lock = threading.RLock()  # a signal handler may strike while it is held
_warm: OrderedDict[Hashable, _Warm] = OrderedDict()
_finished_at_exit: weakref.WeakSet[Dispatcher] = weakref.WeakSet()
_dropped_at_exit: weakref.WeakSet[Dispatcher] = weakref.WeakSet()
_left_behind: deque[weakref.ref[threading.Thread]] = deque(maxlen=64)  # by any thread, while another looks


def register(dispatcher: Dispatcher, *, finish_at_exit: bool) -> Dispatcher:
    """See to it that this dispatcher ends before the interpreter does: its work done, or dropped."""
    (_finished_at_exit if finish_at_exit else _dropped_at_exit).add(dispatcher)
    return dispatcher


def leave_behind(thread: threading.Thread) -> None:
    """This one is in a task that nobody waits for any more."""
    _left_behind.append(weakref.ref(thread))


class _Warm:
    """A warm dispatcher and how many calls use it now; one that was put aside ends with the last of them."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.users = 0
        self.aside = False

    def release(self) -> None:
        with _lock:
            self.users -= 1
            over = self.aside and self.users == 0
        if over:
            self.dispatcher.shutdown(wait=False)


def renew() -> None:
    """Let the warm workers go when they are idle; calls from now on get fresh ones."""
    with _lock:
        over = _put_aside(len(_warm))
    for dispatcher in over:
        dispatcher.shutdown(wait=False)


def put_aside(dispatcher: Dispatcher) -> None:
    """Let nobody get this one any more: Ctrl-C may have struck while it was being told something."""
    with _lock:
        for key, entry in list(_warm.items()):
            if entry.dispatcher is dispatcher:
                entry.aside = True
                del _warm[key]


def _put_aside(count: int) -> list[Dispatcher]:
    """Forget the oldest so many; those that nobody uses are to be shut down now."""
    over = []
    for _ in range(count):
        entry = _warm.popitem(last=False)[1]
        entry.aside = True
        if entry.users == 0:
            over.append(entry.dispatcher)
    return over


def warm(
    key: Hashable, make: Callable[[], Dispatcher], *, alone: bool = False
) -> tuple[Dispatcher, Callable[[], None]]:
    """The warm dispatcher of this kind, made now if there is none that takes work, and what to call when done.

    ``alone``: share it with no other call, which might be waiting for this one: then one is made for this call.
    """
    with _lock:
        entry = _warm.get(key)
        if entry is not None and entry.users and alone:
            made = register(make(), finish_at_exit=False)
            return made, lambda: made.shutdown(wait=False)
        if entry is None or not entry.dispatcher.usable:
            entry = _warm[key] = _Warm(register(make(), finish_at_exit=False))
        _warm.move_to_end(key)
        entry.users += 1
        over = _put_aside(len(_warm) - KEPT)
    for dispatcher in over:
        dispatcher.shutdown(wait=False)
    return entry.dispatcher, entry.release


def is_warm(key: Hashable) -> bool:
    """A call of this kind would find a worker that is ready."""
    with _lock:
        entry = _warm.get(key)
    return entry is not None and entry.dispatcher.usable and entry.dispatcher.has_ready_worker


def all_warm() -> list[Dispatcher]:
    """Those that wait for the next call."""
    with _lock:
        return [entry.dispatcher for entry in _warm.values()]


@atexit.register
def _end_all() -> None:
    try:
        if getattr(sys, "last_type", None) is not KeyboardInterrupt:
            _finish()
    except KeyboardInterrupt:  # from here it would only be shown as ignored: die of it, as any program does
        _insist(_drop_all)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    _insist(_drop_all)
    _insist(_wait_for_those_left_behind)


def _insist(clean_up: Callable[[], object]) -> None:
    """Do it, even if Ctrl-C strikes again before it is shut out."""
    while True:
        try:
            with deaf():
                clean_up()
        except KeyboardInterrupt:
            continue
        return


def _finish() -> None:
    """What was submitted is finished; workers that are idle leave by themselves."""
    for dispatcher in list(_dropped_at_exit):
        if dispatcher.drop_awaited():
            _finished_at_exit.add(dispatcher)
    for dispatcher in list(_finished_at_exit):
        dispatcher.shutdown(wait=True)
    for dispatcher in list(_dropped_at_exit):
        dispatcher.shutdown(wait=False)
    for dispatcher in list(_dropped_at_exit):
        dispatcher.join(EXIT_SECONDS)


def _drop_all() -> None:
    """What is left is ended now."""
    for at_once in (False, True):
        left = [d for d in [*_dropped_at_exit, *_finished_at_exit] if not d.ended]
        for dispatcher in left:
            dispatcher.terminate(at_once=at_once)
        for dispatcher in left:
            dispatcher.join(EXIT_SECONDS)


def _wait_for_those_left_behind() -> None:
    """For a moment: Python ends threads that come back to it later so roughly that C++ code has the program aborted."""
    until = time.monotonic() + EXIT_SECONDS
    for thread in [left() for left in tuple(_left_behind)]:
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, until - time.monotonic()))


def _forget() -> None:
    """In a forked child: the dispatchers are the parent's."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()
    known: Any
    for known in (_warm, _finished_at_exit, _dropped_at_exit, _left_behind):
        known.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
