"""The dispatcher: carries out on a backend what the scheduler decides.

::

    submit, map ──► add, supply, cancel ─┐                     ┌─► SendChunk, KillWorker, ... ──► backend
                                         ├─► Scheduler.handle ─┤
    backend ──► wait ──► reports ────────┘                     └─► Deliver, FailTask, ... ──► sinks

The scheduler is entered under one lock, from any thread. Its commands are carried out on the dispatcher's own
thread only, in order; the one exception is a chunk whose single input was packed beforehand (``submit``),
which goes straight to the worker from the thread that submits it. User code never runs under the lock.
A backend that is not ``threaded`` (serial) is driven by ``pump``, by whoever waits for results.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from itertools import count
from typing import Any

from manyhands._core import messages as m
from manyhands._core.scheduler import Limits, Scheduler
from manyhands._engine import context, courier
from manyhands._engine.interface import (
    Backend,
    Batch,
    Gone,
    Job,
    NotStarted,
    Piece,
    Ready,
    Refused,
    Report,
    Results,
    Said,
    Sink,
)
from manyhands._engine.payload import send_by_value
from manyhands.errors import ExecutorClosed, TaskTimeout, WorkerDied, WorkerStartError, WorkersUnavailable
from manyhands.showing import MISSING

LONGEST_WAIT = 3600.0  # seconds; the system's own limit is some days
_log = logging.getLogger("manyhands")


class Dispatcher:
    """One scheduler, one backend, and the thread between them."""

    def __init__(self, backend: Backend, limits: Limits, *, name: str = "manyhands") -> None:
        self.backend = backend
        self.limits = limits
        self.broken: WorkersUnavailable | None = None
        self._scheduler = Scheduler(limits)
        self._lock = threading.RLock()
        self._jobs: dict[int, Job] = {}
        self._later: deque[tuple[m.Command, Report | None]] = deque()
        self._settled: deque[tuple[Sink, Piece]] = deque()  # results of single calls, about to be set
        self._dropped: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._turn = threading.RLock()
        self._numbers = count()
        self._started: dict[int, float] = {}  # worker: when its start was asked
        self._start_error: WorkersUnavailable | None = None
        self._sleeps_until = 0.0  # when the loop looks at the clock again
        self._closing = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._name = name

    # --- for callers, from any thread ---------------------------------------------------------------------------

    def add(
        self, job: Job, *, stop: int = 0, closed: bool = False, known_as: Callable[[int], object] | None = None
    ) -> int:
        """Take a job with its first ``stop`` tasks. Raises ExecutorClosed, or why no worker can be had.

        ``known_as`` is told the job's number before anything is sent: what the caller does after that competes
        with the dispatcher's own thread for the interpreter.
        """
        with self._lock:
            self.check_open()
            number = next(self._numbers)
            self._jobs[number] = job
            event = m.JobAdded(number, job.policy, stop, closed)
            direct = self._handle(event, direct=number if job.ready is not None else None)
            if known_as is not None:
                known_as(number)
            self._go_on()
            if direct is not None:
                self._send(direct, job.ready)
        return number

    def check_open(self) -> None:
        """Raise ExecutorClosed after shutdown, or why no worker can be had."""
        if self.broken is not None:
            raise _copy(self.broken)
        if self._closing:
            raise ExecutorClosed("cannot take new work after shutdown: make a new executor")

    def supply(self, number: int, stop: int, *, closed: bool = False) -> None:
        """The job's tasks up to ``stop`` exist now."""
        with self._lock:
            self._handle(m.TasksAdded(number, stop, closed))
        self._go_on()

    def cancel(self, number: int, *, grace: float | None = None) -> None:
        """Nobody waits for this job any more; what runs is stopped after ``grace`` seconds (None: is not)."""
        with self._lock:
            if self._jobs.pop(number, None) is not None:
                self._handle(m.JobCancelled(number, grace))
        self._go_on()

    def drop_pending(self) -> None:
        """Cancel what has not begun; of a job of several tasks, all that is not done."""
        if self._interrupts(self.drop_pending):
            return
        with self._lock:
            pending = [(n, job) for n, job in self._jobs.items() if not (job.begun and job.single)]
            for number, _ in pending:
                self.cancel(number)
        for _, job in pending:
            job.sink.abandon(CancelledError())

    def drop_awaited(self) -> bool:
        """Cancel what somebody was waiting for, who is no more; True if anything else is left to do."""
        with self._lock:
            for number, job in list(self._jobs.items()):
                if job.awaited:
                    self.cancel(number, grace=0.0)
            return bool(self._jobs)

    def lookahead(self, number: int) -> int:
        """How many tasks of this job should be at hand."""
        with self._lock:
            return self._scheduler.lookahead(number)

    def shutdown(self, *, wait: bool = True) -> None:
        """Take no more work; with ``wait``, return when all is done and every worker has left."""
        if self._interrupts(lambda: self.shutdown(wait=False)):
            return
        with self._lock:
            if not self._closing:
                self._closing = True
                self._handle(m.ShutdownAsked())
            started = self._thread is not None
        if self.backend.threaded and not started:
            self._end()
            return
        self._go_on()
        if wait:
            self.join()

    @property
    def usable(self) -> bool:
        """It takes work."""
        return not self._closing and self.broken is None

    def _is_part_of_us(self) -> bool:
        """This thread is one that the end would have to wait for: a callback's, or a task's on a thread of ours."""
        inside = context.worker()
        mine = inside is not None and inside.owner is self.backend
        return mine or threading.current_thread() is self._thread or courier.is_here()

    @property
    def ended(self) -> bool:
        """All is over."""
        return self._ended.is_set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the dispatcher has ended; False if it has not within ``timeout`` seconds."""
        if not self.backend.threaded:
            while not self._ended.is_set():
                self.pump()
        elif self._is_part_of_us() or self._lock._is_owned():  # type: ignore[attr-defined]
            return self._ended.is_set()  # a callback cannot wait for the end of what it is part of
        elif self._thread is not None:
            if not self._ended.wait(timeout):
                return False
            self._thread.join(timeout)
        return True

    def terminate(self, *, at_once: bool = False) -> None:
        """Drop all work and end all workers now: by SIGTERM, or ``at_once`` by SIGKILL. Returns immediately."""
        if self._interrupts(lambda: self.terminate(at_once=at_once)):
            return
        error = WorkersUnavailable("the executor was terminated before this task ended")
        with self._lock:
            self._closing = True
            dropped = list(self._jobs.items())
            for number, _ in dropped:
                self.cancel(number, grace=0.0)
            self._handle(m.ShutdownAsked())
            for worker in list(self._started):
                self.backend.kill(worker, at_once=at_once)
        for _, job in dropped:
            job.sink.abandon(error)
        self.shutdown(wait=False)

    # --- the loop -----------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """One round, for a dispatcher without a thread: callers take turns."""
        with self._turn:
            self._round()
            self._carry_out()  # whoever drives this looks for results next

    def _round(self) -> None:
        """Carry out, wait for something to happen, tell the scheduler.

        Results are delivered last before the wait: whoever waits for one needs the interpreter's lock next.
        """
        self._drop()
        self._carry_out()
        with self._lock:  # only now: carrying out may have been all that was left to do
            if self._closing and self._scheduler.idle and not self._scheduler.workers and not self._later:
                self._end()
                return
            deadline = self._next_deadline()
        timeout = None if deadline is None else min(LONGEST_WAIT, max(0.0, deadline - time.monotonic()))
        for report in self.backend.wait(0.0 if self._later else timeout):
            self._take(report)
        if deadline is not None and deadline <= time.monotonic():
            with self._lock:
                self._handle(m.Tick())

    def _interrupts(self, request: Callable[[], object]) -> bool:
        """This is a signal handler in the midst of our own work on this thread: it is put off until that is done."""
        if not self._lock._is_owned():  # type: ignore[attr-defined]  # of every RLock
            return False
        self._dropped.put(request)
        self.backend.wake()
        return True

    def drop_soon(self, errand: Callable[[], object]) -> None:
        """Have this called on the dispatcher's thread. For finalizers, which run anywhere: takes no lock."""
        if self._thread is None:
            errand()  # nobody else is here
        else:
            self._dropped.put(errand)
            self.backend.wake()

    def _drop(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._dropped.get_nowait()()

    def _next_deadline(self) -> float | None:
        deadline = self._scheduler.next_deadline()
        self._sleeps_until = math.inf if deadline is None else deadline
        return deadline

    def _run(self) -> None:
        try:
            while not self._ended.is_set():
                self._round()
        except BaseException as error:  # noqa: BLE001 - a fault of ours must not leave anybody waiting
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Say to everybody who waits that this is the end."""
        _log.error("manyhands has failed; this is a fault in manyhands, please report it", exc_info=error)
        with self._lock:
            self.broken = WorkersUnavailable(f"manyhands itself has failed ({type(error).__name__}: {error})")
            self.broken.__cause__ = error
            jobs, self._jobs = list(self._jobs.values()), {}
        while self._settled:
            sink, piece = self._settled.popleft()
            sink.put(piece)
        for job in jobs:
            job.sink.finish(_copy(self.broken))
        self._end()

    def _end(self) -> None:
        if not self._ended.is_set():
            self._closing = True
            try:
                self.backend.close()
            finally:
                self._ended.set()

    def _go_on(self) -> None:
        """Let the loop see what was added; start it if this is the first time."""
        if not self.backend.threaded or self._ended.is_set():
            return
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    thread.start()
                    self._thread = thread
        elif self._later or self._closing or self._is_due_sooner():
            self.backend.wake()

    def _is_due_sooner(self) -> bool:
        """Something will be due before the loop means to look again."""
        with self._lock:
            deadline = self._scheduler.next_deadline()
            return deadline is not None and deadline < self._sleeps_until

    def _handle(self, event: m.Event, report: Report | None = None, *, direct: int | None = None) -> m.SendChunk | None:
        """Tell the scheduler; queue its commands. A chunk of job ``direct`` is not queued but returned."""
        found = None
        for command in self._scheduler.handle(event, time.monotonic()):
            if direct is not None and type(command) is m.SendChunk and command.chunk.job == direct and not self._later:
                found = command
            else:
                self._later.append((command, report))
        return found

    # --- reports from the backend -------------------------------------------------------------------------------

    def _take(self, report: Report) -> None:
        if isinstance(report, Said):
            courier.say(report)
            return
        if isinstance(report, Refused) and report.where is not None:
            send_by_value(report.where)
        with self._lock:
            if isinstance(report, Results):
                self._take_results(report)
            else:
                self._handle(self._event(report), report)

    def _take_results(self, report: Results) -> None:
        chunk = self._scheduler.chunk(report.worker, report.serial)
        if chunk is None:
            return  # of a worker that is given up: its tasks run elsewhere
        first, stats = chunk.start + report.first, report.stats
        report.task = first
        if stats is not None and (job := self._jobs.get(chunk.job)) and job.tally is not None:
            slowest = chunk.start + stats.slowest_offset
            if job.tally.add(report.worker, slowest, stats):
                job.tally.arguments[slowest] = next(iter(job.source.items(slowest, slowest + 1)), MISSING)
        event = m.ResultsArrived(
            report.worker,
            report.serial,
            first + report.batch.count,
            tuple([(first + offset, retry) for offset, retry in report.failed]) if report.failed else (),
            ended=stats is not None,
            seconds=stats.seconds if stats is not None else 0.0,
        )
        self._handle(event, report)

    def _event(self, report: Report) -> m.Event:
        if isinstance(report, Ready):
            return m.WorkerStarted(report.worker)
        if isinstance(report, NotStarted):
            assert isinstance(report.error, WorkersUnavailable)  # noqa: S101 - both errors of a start are
            self._start_error = report.error
            self.broken = report.error if report.fatal else self.broken
            self._started.pop(report.worker, None)
            return m.StartFailed(report.worker, report.fatal)
        if isinstance(report, Gone):
            self._started.pop(report.worker, None)
            return m.WorkerDied(report.worker, report.stamp.chunk, report.stamp.offset)
        assert isinstance(report, Refused)  # noqa: S101 - no other kind is left
        return self._refused_event(report)

    def _refused_event(self, report: Refused) -> m.Event:
        chunk = self._scheduler.chunk(report.worker, report.serial)
        job = self._jobs.get(chunk.job) if chunk is not None else None
        if report.key is not None:
            self.backend.forget(report.key, report.worker)
            if job is not None and chunk is not None:
                try:
                    job.shipment.repack()
                except Exception as error:  # noqa: BLE001 - user code: it can be sent neither by name nor by value
                    self._give_up(chunk.job, error)
        return m.ChunkRefused(report.worker, report.serial)

    # --- commands -----------------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        while self._later:
            command, report = self._later.popleft()
            _ACTIONS[type(command)](self, command, report)
        while self._settled:  # last of all: who waits for a future goes on at once, and wants the interpreter
            sink, piece = self._settled.popleft()
            sink.put(piece)

    def _start_worker(self, command: m.StartWorker, _report: Report | None) -> None:
        with self._lock:
            self._started[command.worker] = time.monotonic()
            try:
                self.backend.start(command.worker)
            except Exception as error:  # noqa: BLE001 - something odd in the caller's surroundings
                told = WorkerStartError(f"a worker could not be started: {type(error).__name__}: {error}")
                told.__cause__ = error
                report = NotStarted(command.worker, told)
                self._handle(self._event(report), report)

    def _send_chunk(self, command: m.SendChunk, _report: Report | None) -> None:
        with self._lock:
            job = self._jobs.get(command.chunk.job)
            if job is None or not job.sink.started():
                self._hand_back(command)
                return
            job.begun = True
        parcel = job.ready if job.ready is not None and not command.chunk.isolated else None
        if parcel is None:
            try:
                parcel = self.backend.pack(job, command.chunk)  # user code may run here: not under the lock
            except Exception as error:  # noqa: BLE001
                self._give_up(command.chunk.job, error)
                self._hand_back(command)
                return
        with self._lock:
            if command.chunk.job in self._jobs:
                self._send(command, parcel)
            else:
                self._hand_back(command)

    def _send(self, command: m.SendChunk, parcel: Any) -> None:
        job = self._jobs[command.chunk.job]
        if not job.sink.started():
            self._hand_back(command)
            return
        if job.tally is not None and job.tally.first_chunk is None:
            job.tally.first_chunk = time.monotonic()
        job.begun = True
        try:
            self.backend.send(command.worker, job, command.chunk, parcel)
        except Exception as error:  # noqa: BLE001 - a function that was found to need another form, and has none
            self._give_up(command.chunk.job, error)
            self._hand_back(command)

    def _give_up(self, number: int, error: BaseException) -> None:
        """This job can never run: say so to whoever waits for it."""
        with self._lock:
            job = self._jobs.get(number)
            self.cancel(number)
        if job is not None:
            job.sink.finish(error)

    def _hand_back(self, command: m.SendChunk) -> None:
        """Nobody wants this chunk any more; the worker that was to have it never saw it."""
        chunk = command.chunk
        with self._lock:
            self.cancel(chunk.job)
            self._handle(m.ResultsArrived(command.worker, chunk.serial, chunk.start, ended=True))

    def _deliver(self, command: m.Deliver, report: Report | None) -> None:
        job = self._jobs.get(command.job)
        if job is None:
            return
        assert isinstance(report, Results)  # noqa: S101 - results are delivered as they are reported
        if job.single and not command.retried:
            self._settled.append((job.sink, Piece(0, 1, report.batch, 0)))
            return
        start = command.start
        for hole in (*sorted(command.retried), command.stop):
            if start < hole:
                job.sink.put(Piece(start, hole, report.batch, start - report.task))
                job.source.discard(start, hole)
            start = hole + 1

    def _fail_task(self, command: m.FailTask, report: Report | None) -> None:
        job = self._jobs.get(command.job)
        if job is not None:
            error = self._failure(command, job, report)
            job.sink.put(Piece(command.task, command.task + 1, Batch.failed(error), 0))
            job.source.discard(command.task, command.task + 1)

    def _failure(self, command: m.FailTask, job: Job, report: Report | None) -> BaseException:
        if command.cause is m.Cause.TIMEOUT:
            return TaskTimeout(seconds=job.policy.timeout or 0.0, index=command.task)
        gone = report if isinstance(report, Gone) else None
        return WorkerDied(
            pid=gone.pid if gone else None,
            exitcode=gone.exitcode if gone else None,
            index=command.task,
            attempts=command.attempts,
        )

    def _retry_task(self, command: m.RetryTask, _report: Report | None) -> None:
        if (job := self._jobs.get(command.job)) and job.tally is not None:
            job.tally.retried[command.task] = job.tally.retried.get(command.task, 0) + 1

    def _finish_job(self, command: m.FinishJob, _report: Report | None) -> None:
        job = self._jobs.pop(command.job, None)
        if job is not None:
            job.sink.finish(None)

    def _break_job(self, command: m.BreakJob, _report: Report | None) -> None:
        job = self._jobs.pop(command.job, None)
        if job is not None:
            job.sink.finish(_copy(self._start_error or WorkerStartError("no worker could be started")))

    def _revoke_rest(self, command: m.RevokeRest, _report: Report | None) -> None:
        self.backend.revoke(command.worker)

    def _lift_revoke(self, command: m.LiftRevoke, _report: Report | None) -> None:
        self.backend.lift(command.worker)

    def _inspect_worker(self, command: m.InspectWorker, _report: Report | None) -> None:
        stamp = self.backend.inspect(command.worker)
        if stamp is not None:
            with self._lock:
                self._handle(m.Inspected(command.worker, stamp.chunk, stamp.offset, stamp.since))

    def _retire_worker(self, command: m.RetireWorker, _report: Report | None) -> None:
        with self._lock:
            self.backend.retire(command.worker)

    def _kill_worker(self, command: m.KillWorker, _report: Report | None) -> None:
        self.backend.kill(command.worker)


def _copy(error: WorkersUnavailable) -> WorkersUnavailable:
    """An error to raise: the one that is kept must not collect the frames of all who are told."""
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    return copied


_ACTIONS: dict[type, Callable[[Dispatcher, Any, Report | None], None]] = {
    m.StartWorker: Dispatcher._start_worker,
    m.SendChunk: Dispatcher._send_chunk,
    m.Deliver: Dispatcher._deliver,
    m.FailTask: Dispatcher._fail_task,
    m.RetryTask: Dispatcher._retry_task,
    m.FinishJob: Dispatcher._finish_job,
    m.BreakJob: Dispatcher._break_job,
    m.RevokeRest: Dispatcher._revoke_rest,
    m.LiftRevoke: Dispatcher._lift_revoke,
    m.InspectWorker: Dispatcher._inspect_worker,
    m.RetireWorker: Dispatcher._retire_worker,
    m.KillWorker: Dispatcher._kill_worker,
}
