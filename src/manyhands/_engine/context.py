"""What a task may know of its surroundings: its number, its seed, and what its worker keeps for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from manyhands._engine import board


class WorkerContext:
    """The state of one worker: kept by the runner, read by ``task_rng`` and ``per_worker``."""

    def __init__(self, slot: Any = None, owner: object = None) -> None:
        self.slot = board.new_slot() if slot is None else slot
        self.owner = owner  # the backend, where the worker is a thread of the caller
        self.seed: int | None = None
        self.share = 1  # of the cores
        self.first_tag = 0  # tag of the task number ``first_task``
        self.first_task = 0
        self.kept: dict[Any, Any] = {}
        self._closers: list[Callable[[], object]] = []
        self._rng: tuple[int, Any] = (board.IDLE, None)

    def task(self) -> int | None:
        """Number of the running task within its job; None when none runs."""
        tag = board.tag(self.slot)
        return None if tag == board.IDLE else self.first_task + tag - self.first_tag

    def rng(self) -> Any:
        """The running task's random generator: the same one however often it is asked for."""
        tag = board.tag(self.slot)
        if tag == board.IDLE or self._rng[0] != tag:
            self._rng = (tag, generator(self.seed, self.task()))
        return self._rng[1]

    def keep(self, key: Any, value: Any, closer: Callable[[], object] | None) -> None:
        """Hold a value for the worker's life."""
        self.kept[key] = value
        if closer is not None:
            self._closers.append(closer)

    def close(self) -> None:
        """Let go of what is held, the newest first. One closer's failure does not stop the others."""
        while self._closers:
            closer = self._closers.pop()
            try:
                closer()
            except Exception:
                logging.getLogger("manyhands").exception("closing what per_worker made has failed")
        self.kept.clear()


def generator(seed: int | None, task: int | None) -> Any:
    """A numpy Generator that depends on seed and task alone; without a seed, one like no other."""
    try:
        import numpy as np
    except ImportError as error:
        raise ImportError("task_rng gives numpy generators, and numpy is not installed: pip install numpy") from error

    if seed is None or task is None:
        return np.random.default_rng()
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(task,))))


_local = threading.local()
_process: WorkerContext | None = None  # in a worker process: also for the threads that tasks start
_home = WorkerContext()  # the caller's own process, outside any task


def enter(context: WorkerContext, *, whole_process: bool = False) -> WorkerContext | None:
    """Make this the context of the thread (or of the whole worker process); returns the one before."""
    global _process  # noqa: PLW0603 - one process has one context of its own
    before = mine()
    _local.context = context
    if whole_process:
        _process = context
    return before


def mine() -> WorkerContext | None:
    """That of this thread, if it has one of its own."""
    return getattr(_local, "context", None)


def leave(before: WorkerContext | None) -> None:
    """Undo ``enter`` on this thread."""
    _local.context = before


def drop(context: WorkerContext, before: WorkerContext | None) -> None:
    """Undo ``enter`` on this thread, if that has not been done."""
    if mine() is context:
        _local.context = before


def worker() -> WorkerContext | None:
    """The context of the worker that this code runs in; None in the caller."""
    return mine() or _process


def here() -> WorkerContext:
    """The worker's context, or the caller's own."""
    return worker() or _home
