"""The courier: the thread on which user code is called back.

Done-callbacks may block, raise, submit or shut things down, and a terminal may be slow to take what is printed;
none of that may hold up a dispatcher. The thread starts when there is something to do and ends when it has
been idle for a while.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from manyhands._engine import words
from manyhands._engine.interface import Said

IDLE_SECONDS = 1.0

# How a line is printed while a progress bar is on the screen; the progress module sets it.
around_output: Callable[[Any], AbstractContextManager[object]] = contextlib.nullcontext

_lock = threading.Lock()
_queue: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
_thread: threading.Thread | None = None
_pending = 0  # errands that are not done
_log = logging.getLogger("manyhands")


def busy() -> bool:
    """Something that was asked is not done yet."""
    return _pending > 0


def run(errand: Callable[[], object]) -> None:
    """Have this called soon, after all that was asked before; what it raises is logged."""
    global _thread, _pending  # noqa: PLW0603 - one courier a process
    with _lock:
        _pending += 1
        _queue.put(errand)
        if _thread is None:
            _thread = threading.Thread(target=_work, name="manyhands-courier", daemon=True)
            try:
                _thread.start()
            except RuntimeError:  # the interpreter is shutting down and starts no more threads
                _thread = None
    if _thread is None:
        _drain()


def is_here() -> bool:
    """The calling thread is the courier."""
    return threading.current_thread() is _thread


def flush(timeout: float | None = 1.0) -> None:
    """Wait until all that was asked so far is done, but not for ever: user code may be slow."""
    if busy() and not is_here():
        done = threading.Event()
        run(done.set)
        done.wait(timeout)


def say(said: Said) -> None:
    """Have a worker's words delivered."""
    run(lambda: _deliver(said))


def _work() -> None:
    global _thread  # noqa: PLW0603
    while True:
        try:
            errand = _queue.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            with _lock:
                if _queue.empty():
                    _thread = None
                    return
            continue
        _call(errand)
        del errand  # nothing of the user's is held while waiting


def _drain() -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            _call(_queue.get_nowait())


def _call(errand: Callable[[], object]) -> None:
    global _pending  # noqa: PLW0603
    try:
        errand()
    except BaseException:  # noqa: BLE001 - sys.exit() in a callback ends neither thread nor program
        _log.exception("a callback raised; everything else goes on")
    finally:
        with _lock:
            _pending -= 1


def _deliver(said: Said) -> None:
    if said.kind == "record":
        words.deliver_record(said.words)
    elif said.kind == "warning":
        words.deliver_warning(said.words)
    else:
        _print(sys.stdout if said.kind == 1 else sys.stderr, said.words)


def _print(stream: Any, text: str) -> None:
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError), around_output(stream):  # closed: nobody wants to read it
        stream.write(text)
        stream.flush()


def _forget() -> None:
    """In a forked child, the thread and what it had to do are the parent's."""
    global _thread, _lock, _queue, _pending
    _thread, _lock, _queue, _pending = None, threading.Lock(), queue.SimpleQueue(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
