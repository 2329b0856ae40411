"""The serial backend: one worker, which is whoever waits for the results. For debugging, and inside workers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from manyhands._core.messages import Chunk
from manyhands._engine import board, context, runner
from manyhands._engine.board import Stamp
from manyhands._engine.context import WorkerContext
from manyhands._engine.interface import Gone, Job, Loaded, Notice, NotStarted, Ready
from manyhands.backends import local
from manyhands.errors import InitializerError
from manyhands.interrupts import stops_the_call
from manyhands.showing import error_text


class Serial:
    """Runs chunks inside ``wait``."""

    threaded = False

    def __init__(self, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()) -> None:
        self._initializer, self._initargs = initializer, initargs
        self._context = WorkerContext(owner=self)
        self._queue: deque[tuple[int, Chunk, runner.Work]] = deque()
        self._notices: list[Notice] = []
        self._outside: WorkerContext | None = None  # the context that ours is in
        self.let_through: BaseException | None = None

    def ship(self, func: Callable[..., Any]) -> Any:
        """The function itself."""
        return local.ship(func)

    def start(self, worker: int) -> None:
        """The worker is there already; it only has to be initialised."""
        try:
            if self._initializer is not None:
                self._inside(lambda: self._initializer(*self._initargs))  # type: ignore[misc]
        except Exception as error:
            if stops_the_call(error):
                raise
            told = InitializerError(f"the initializer failed ({error_text(error)}); no task was run.")
            told.__cause__ = error
            self._notices.append(NotStarted(worker, told, fatal=True))
        else:
            self._notices.append(Ready(worker))

    def _inside(self, call: Callable[[], object]) -> None:
        before = context.mine()
        if before is not self._context:
            self._outside = before
        try:
            context.enter(self._context)
            call()
        finally:
            context.leave(before)

    def pack(self, job: Job, chunk: Chunk) -> runner.Work:
        """Nothing travels."""
        return local.pack(job, chunk)

    def prepare(self, job: Job) -> None:
        """Nothing travels: all is as it is."""

    def load(self, worker: int, job: Job) -> None:
        """It is all there."""
        self._notices.append(Loaded(worker, job.shipment.key, 0.0))

    def send(self, worker: int, job: Job, chunk: Chunk, parcel: runner.Work) -> None:  # noqa: ARG002
        """Queue the chunk."""
        self._queue.append((worker, chunk, parcel))

    def wait(self, timeout: float | None) -> list[Notice]:
        """Run the next chunk; only without one, let time pass."""
        if self._queue and not self._notices:
            self._run(*self._queue.popleft())
        elif not self._notices and timeout:
            time.sleep(timeout)
        notices, self._notices = self._notices, []
        return notices

    def _run(self, worker: int, chunk: Chunk, parcel: runner.Work) -> None:
        outcome = runner.Outcome()
        began = time.monotonic()
        try:
            self._inside(lambda: self._call(parcel, outcome))
        except BaseException as error:  # an interrupted chunk ends here, too
            self._note(worker, chunk, outcome, began)
            self.let_through = error  # now all is in order
            raise
        self._note(worker, chunk, outcome, began)

    def _note(self, worker: int, chunk: Chunk, outcome: runner.Outcome, began: float) -> None:
        self._notices.append(local.results(worker, chunk.serial, outcome, 0, time.monotonic() - began))
        outcome.clear()

    def _call(self, work: runner.Work, outcome: runner.Outcome) -> None:
        runner.run(work, self._context, outcome, seal=None, describe=local.describe, passes=stops_the_call)

    def revoke(self, worker: int) -> None:  # noqa: ARG002
        """Begin nothing further."""
        self._context.slot[board.LIMIT] = 0

    def lift(self, worker: int) -> None:  # noqa: ARG002
        """Begin again."""
        self._context.slot[board.LIMIT] = board.NO_LIMIT

    def take_over(self, worker: int) -> None:
        """Nothing is sent."""

    def inspect(self, worker: int) -> Stamp | None:  # noqa: ARG002
        """What it is doing."""
        return board.read(self._context.slot)

    def retire(self, worker: int) -> None:
        """Let go of what the worker kept."""
        self._context.close()
        self._notices.append(Gone(worker, None, None, Stamp(None, None, 0.0)))

    def kill(self, worker: int, *, at_once: bool = False) -> None:  # noqa: ARG002
        """One cannot kill oneself and go on; the worker just leaves."""
        self.retire(worker)

    def forget(self, key: bytes, worker: int) -> None:
        """Nothing is sent, so nothing is missing."""

    def pids(self) -> list[int]:
        """None of its own."""
        return []

    def wake(self) -> None:
        """Nobody sleeps here for long."""

    def close(self) -> None:
        """Let go."""
        context.drop(self._context, self._outside)  # a signal's handler may have kept us from that
        self._context.close()
