"""The threads backend: workers are threads of this process.

A thread cannot be killed. A task that is over its time, or whose job is cancelled, is left behind: its worker
counts as gone, another takes its place, and what the task returns later is dropped.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from manyhands._core.messages import Chunk
from manyhands._engine import board, context, runner, shared
from manyhands._engine.board import Stamp
from manyhands._engine.context import WorkerContext
from manyhands._engine.interface import ChunkResults, Gone, Job, Loaded, Notice, NotStarted, Ready
from manyhands._engine.threads import start_thread
from manyhands.backends import local
from manyhands.errors import InitializerError, WorkerStartError
from manyhands.showing import error_text


class _Running:
    def __init__(self, chunk: Chunk) -> None:
        self.chunk, self.outcome = chunk, runner.Outcome()
        self.began = time.monotonic()
        self.sent = 0
        self.lock = threading.Lock()
        self.ended = False


class _Worker:
    thread: threading.Thread

    def __init__(self, context: WorkerContext) -> None:
        self.inbox: queue.SimpleQueue[tuple[Chunk, runner.Work] | None] = queue.SimpleQueue()
        self.context = context
        self.running: _Running | None = None
        self.gone = False


class Threads:
    """Feeds and watches worker threads."""

    threaded = True
    let_through: BaseException | None = None

    def __init__(
        self,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        name: str = "",
    ) -> None:
        self._initializer, self._initargs = initializer, initargs
        self._name = name or "manyhands-worker"
        self._workers: dict[int, _Worker] = {}
        self._outbox: queue.SimpleQueue[Notice | None] = queue.SimpleQueue()
        self._long: dict[int, int] = {}  # chunks of several tasks that are out, with their workers: fetched early

    def ship(self, func: Callable[..., Any]) -> Any:
        """The function itself."""
        return local.ship(func)

    def start(self, worker: int) -> None:
        """Start a thread."""
        record = _Worker(WorkerContext(owner=self))
        self._workers[worker] = record
        thread = threading.Thread(target=self._live, args=(worker, record), name=f"{self._name}_{worker}", daemon=True)
        record.thread = thread
        try:
            start_thread(thread)
        except RuntimeError as error:
            del self._workers[worker]
            told = WorkerStartError(f"a thread could not be started: {error}")
            told.__cause__ = error
            self._outbox.put(NotStarted(worker, told))

    # --- in the worker thread -----------------------------------------------------------------------------------

    def _live(self, worker: int, record: _Worker) -> None:
        context.enter(record.context)
        try:
            if self._initializer is not None:
                self._initializer(*self._initargs)
        except BaseException as error:  # noqa: BLE001
            self._workers.pop(worker, None)
            told = InitializerError(f"the initializer failed in a worker ({error_text(error)}).")
            told.__cause__ = error
            self._outbox.put(NotStarted(worker, told, fatal=True))
            return
        self._outbox.put(Ready(worker))
        while not record.gone and (given := record.inbox.get()) is not None:
            self._run(worker, record, *given)
            del given  # nothing of the user's is held while waiting
        record.context.close()
        self._end(worker, record)

    def _run(self, worker: int, record: _Worker, chunk: Chunk, parcel: runner.Work) -> None:
        running = _Running(chunk)
        record.running = running
        runner.run(parcel, record.context, running.outcome, seal=None, describe=local.describe)
        record.running = None
        self._flush(worker, record, running, ended=True)

    def _flush(self, worker: int, record: _Worker, running: _Running, *, ended: bool) -> None:
        with running.lock:
            if record.gone or running.ended:
                return
            running.ended = ended
            seconds = time.monotonic() - running.began if ended else None
            notice = local.results(worker, running.chunk.serial, running.outcome, running.sent, seconds)
            running.sent += notice.batch.count
            if ended:
                running.outcome.clear()
            self._outbox.put(notice)

    def _end(self, worker: int, record: _Worker) -> None:
        if not record.gone:
            record.gone = True
            self._outbox.put(Gone(worker, None, None, board.read(record.context.slot)))

    # --- in the dispatcher's thread -----------------------------------------------------------------------------

    def pack(self, job: Job, chunk: Chunk) -> runner.Work:
        """Nothing travels."""
        return local.pack(job, chunk)

    def prepare(self, job: Job) -> None:
        """Nothing travels: all is as it is."""

    def load(self, worker: int, job: Job) -> None:
        """It is all there."""
        self._outbox.put(Loaded(worker, job.shipment.key, 0.0))

    def send(self, worker: int, job: Job, chunk: Chunk, parcel: runner.Work) -> None:  # noqa: ARG002
        """Put the chunk into the worker's inbox."""
        record = self._workers.get(worker)
        if record is not None:
            if chunk.stop - chunk.start > 1:
                self._long[chunk.serial] = worker
            record.inbox.put((chunk, parcel))

    def revoke(self, worker: int) -> None:
        """Begin nothing further."""
        if (record := self._workers.get(worker)) is not None:
            record.context.slot[board.LIMIT] = 0

    def lift(self, worker: int) -> None:
        """Begin again."""
        if (record := self._workers.get(worker)) is not None:
            record.context.slot[board.LIMIT] = board.NO_LIMIT

    def inspect(self, worker: int) -> Stamp | None:
        """What the worker's slot shows."""
        record = self._workers.get(worker)
        return None if record is None else board.read(record.context.slot)

    def take_over(self, worker: int) -> None:
        """To put something into an inbox is one step: nobody is in the midst of it."""

    def retire(self, worker: int) -> None:
        """Let the thread end."""
        if (record := self._workers.get(worker)) is not None:
            record.inbox.put(None)

    def kill(self, worker: int, *, at_once: bool = False) -> None:  # noqa: ARG002
        """Leave the thread behind."""
        record = self._workers.pop(worker, None)
        if record is None or record.gone:
            return
        running = record.running
        if running is not None:
            self._flush(worker, record, running, ended=False)
            shared.leave_behind(record.thread)
        record.context.slot[board.LIMIT] = 0
        stamp = board.read(record.context.slot)
        record.gone = True
        record.inbox.put(None)
        self._outbox.put(Gone(worker, None, None, stamp))

    def forget(self, key: bytes, worker: int) -> None:
        """Nothing is sent, so nothing is missing."""

    def pids(self) -> list[int]:
        """None of their own."""
        return []

    def wait(self, timeout: float | None) -> list[Notice]:
        """The next notices; finished results of long chunks are fetched on the way."""
        notices = self._next(timeout)
        if not notices and self._flush_long_ones():
            notices = self._next(0.0)
        for notice in notices:
            if isinstance(notice, Gone):
                self._workers.pop(notice.worker, None)
                self._long = {serial: worker for serial, worker in self._long.items() if worker != notice.worker}
            elif isinstance(notice, ChunkResults) and notice.stats is not None:
                self._long.pop(notice.serial, None)
        return notices

    def _next(self, timeout: float | None) -> list[Notice]:
        if self._long:
            timeout = runner.FLUSH_SECONDS if timeout is None else min(timeout, runner.FLUSH_SECONDS)
        notices: list[Notice] = []
        try:
            notice = self._outbox.get(timeout=timeout) if timeout != 0 else self._outbox.get_nowait()
            while True:
                if notice is not None:
                    notices.append(notice)
                notice = self._outbox.get_nowait()
        except queue.Empty:
            return notices

    def _flush_long_ones(self) -> bool:
        now = time.monotonic()
        found = False
        for worker, record in list(self._workers.items()):
            running = record.running
            if running is None or now - running.began < runner.FLUSH_SECONDS:
                continue
            if len(running.outcome.values) > running.sent:
                self._flush(worker, record, running, ended=False)
                found = True
        return found

    def wake(self) -> None:
        """Make wait return."""
        self._outbox.put(None)

    def close(self) -> None:
        """Let idle threads end; what still runs is left behind."""
        for worker in list(self._workers):
            self.kill(worker)
