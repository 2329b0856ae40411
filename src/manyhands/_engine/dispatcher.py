"""The dispatcher: carries out on a backend what the scheduler decides.

::

    submit, map ──► add, supply, cancel ─┐                     ┌─► SendChunk, KillWorker, ... ──► backend
                                         ├─► Scheduler.handle ─┤
    backend ──► wait ──► notices ────────┘                     └─► Deliver, FailTask, ... ──► sinks

One thread, the dispatcher's own, does all of that. Everybody else leaves a request and, if that thread sleeps,
wakes it: one append, which a signal handler or a finalizer may do at any point and an exception cannot tear.
A backend that is not ``threaded`` (serial) is driven by ``pump``, by whoever waits for results. Single calls that
follow each other go past all that (`short_way`), which uses the dispatcher as its ``Loop``.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from itertools import count
from typing import Any

from manyhands._core import messages as m
from manyhands._core.scheduler import Limits, Scheduler
from manyhands._engine import context, courier, short_way
from manyhands._engine.interface import (
    Backend,
    ChunkResults,
    Full,
    Gone,
    Job,
    Loaded,
    Notice,
    NotStarted,
    Ready,
    Refused,
    Said,
    Sink,
    Weighed,
)
from manyhands._engine.latch import Latch
from manyhands._engine.payload import send_by_value
from manyhands._engine.results import Batch, Piece
from manyhands._engine.short_way import ShortWay
from manyhands._engine.threads import start_thread
from manyhands.errors import (
    ExecutorClosed,
    MemoryLimitExceeded,
    TaskTimeout,
    WorkerDied,
    WorkerStartError,
    WorkersUnavailable,
)
from manyhands.showing import MISSING, error_text

LONGEST_WAIT = 3600.0  # seconds; the system's own limit is some days
CROWD = 256  # when so many requests are waiting...
CROWD_SECONDS = 0.001  # ...who adds another pauses for a moment
ANSWER_SECONDS = 1.0  # for the loop to answer a question: it may be in the midst of a user's __reduce__
# Python 3.12 starts no thread and forks nothing from the moment on in which the program ends, though work may be left.
MUST_START_EARLY = sys.version_info[:2] == (3, 12)
EARLY_SECONDS = 1.0  # for the starts to be begun
CLOSED = "cannot take new work after shutdown: make a new executor"
_log = logging.getLogger("manyhands")
_here = threading.local()  # .pid: this thread is a dispatcher's own, in that process


def no_workers(error: OSError | RuntimeError) -> WorkerStartError:
    """What is told where the system has no descriptors, or no threads, for whoever would start them."""
    return WorkerStartError(
        f"no workers could be started: {error_text(error)}. Close files, or raise the limits (ulimit -n, -u); "
        "`manyhands doctor` shows them."
    )


def is_here() -> bool:
    """The calling thread is a dispatcher's own, in user code that packs something: nothing may be awaited here."""
    return getattr(_here, "pid", None) == os.getpid()


class Dispatcher:
    """One scheduler, one backend, and the thread between them."""

    def __init__(self, backend: Backend, limits: Limits, *, name: str = "manyhands") -> None:
        self.backend = backend
        self.broken: WorkersUnavailable | None = None
        self._scheduler = Scheduler(limits)
        self._requests: deque[Callable[[], object]] = deque()
        self._asleep = True  # a request must wake the loop; also: nothing is being decided
        self._jobs: dict[int, Job] = {}
        self._later: deque[tuple[m.Command, Notice | None]] = deque()
        self._settled: deque[tuple[Sink, Piece]] = deque()  # results of single calls, about to be set
        self._turn = threading.RLock()  # of those who pump
        self._numbers = count()
        self._started: set[int] = set()  # workers that were begun and have not ended
        self._start_error: WorkersUnavailable | None = None
        self._short_way = ShortWay(backend)
        self._expected: list[Job] = []  # that workers get ready for, before any task of these is sent to them
        self._starts_early = MUST_START_EARLY and backend.threaded
        self._closing = False  # no more work is taken
        self._closed = False  # and the scheduler knows
        self._dropping = False  # all work is dropped
        self._ended = Latch()
        self._baton = threading.Lock()  # held by the loop for ever: there is one
        self._thread: threading.Thread | None = None
        self._name = name

    # --- for callers, from any thread ---------------------------------------------------------------------------

    def number(self, job: Job) -> int:
        """The job's number here: before `add`, for whoever wants to cancel it also if that is interrupted."""
        if job.number < 0:
            job.number = next(self._numbers)
        return job.number

    def add(self, job: Job, *, stop: int = 0, closed: bool = False) -> None:
        """Take a job with its first ``stop`` tasks. Raises ExecutorClosed, or why no worker can be had."""
        short_way.let_go()
        self.check_open()
        self.number(job)
        self.backend.prepare(job)
        quick = job.single and job.policy.timeout is None and self.backend.threaded
        if not (quick and self._short_way.send(job, self)):
            self.request(partial(self.admit, job, stop, closed=closed))
        elif self._ended.is_set():
            self._obey()  # nothing will come back that would have it told
        if self._starts_early:
            self._start_early()
        if len(self._requests) > CROWD and self.backend.threaded:
            time.sleep(CROWD_SECONDS)  # the loop needs the interpreter, too
        if job.refused is not None:
            raise job.refused

    def _start_early(self) -> None:
        """Return when the workers that this job needs were begun to be started."""
        if len(self._started) >= self._scheduler.limits.max_workers:
            return
        begun = Latch()

        def start() -> None:
            self._carry_out()
            begun.set()

        self.request(start)
        self._starts_early = begun.wait(EARLY_SECONDS)  # if it is held up by user code, nobody waits for it again

    def expect(self, job: Job, workers: int) -> None:
        """Have so many workers started, if they are not there, and those get ready for this job, which may come."""
        self.backend.prepare(job)
        self._expected.append(job)
        self.request(partial(self._expect, workers))

    def _expect(self, workers: int) -> None:
        self._handle(m.WorkersWanted(workers))
        self._load_early()

    def forget(self, job: Job) -> None:
        """It is over, or will not come."""
        with contextlib.suppress(ValueError):
            self._expected.remove(job)

    @property
    def has_ready_worker(self) -> bool:
        """Some worker could begin at once."""
        return self._scheduler.has_ready_worker

    def has_loaded_worker(self, job: Job) -> bool:
        """Some worker could begin this at once, and need not first import what it uses."""
        return self._scheduler.has_loaded_worker(job.shipment.key)

    def would_wait(self, job: Job) -> bool:
        """Some worker is importing what it uses, or was lost at that; or all of them are taken by other tasks."""
        return self._scheduler.is_loading_or_lost(job.shipment.key) or self._scheduler.is_taken

    def check_open(self) -> None:
        """Raise ExecutorClosed after shutdown, or why no worker can be had."""
        if self.broken is not None:
            raise _copy(self.broken)
        if self._closing:
            raise ExecutorClosed(CLOSED)

    def supply(self, number: int, stop: int, *, closed: bool = False) -> None:
        """The job's tasks up to ``stop`` exist now."""
        self.request(lambda: self._handle(m.TasksAdded(number, stop, closed)))

    def skip(self, number: int, upto: int, seconds: float) -> None:
        """Those after the job's tasks known so far, up to this one, were run elsewhere, in so many seconds."""
        self.request(lambda: self._handle(m.TasksSkipped(number, upto, seconds)))

    def cancel(self, number: int, *, grace: float | None = None) -> None:
        """Nobody waits for this job any more; what runs is stopped after ``grace`` seconds (None: is not)."""
        self.request(lambda: self._cancel(number, grace))

    def lookahead(self, number: int) -> int:
        """How many tasks of this job should be at hand: a hint, taken without asking the loop."""
        return self._scheduler.lookahead(number)

    def drop_pending(self) -> None:
        """Cancel what has not begun; of a job of several tasks, all that is not done."""
        self.request(self._drop_pending)

    def drop_awaited(self) -> bool:
        """Cancel what somebody was waiting for, who is no more; True if anything else is left to do."""
        answers: deque[bool] = deque()
        told = Latch()

        def answer() -> None:
            answers.append(self._drop_awaited())
            told.set()

        if self._thread is None and self.backend.threaded:
            return False
        self.request(answer)
        told.wait(ANSWER_SECONDS if self.backend.threaded else 0.0)
        return bool(answers and answers[0])

    def shutdown(self, *, wait: bool = True) -> None:
        """Take no more work; with ``wait``, return when all is done and every worker has left."""
        short_way.let_go()
        self._closing = True
        if self.backend.threaded and self._thread is None and self._baton.acquire(blocking=False):
            self._end()  # there never was anything to do; a loop that would start now finds the baton gone
        self.request(self._close)
        if wait:
            self.join()

    def terminate(self, *, at_once: bool = False) -> None:
        """Drop all work and end all workers now: by SIGTERM, or ``at_once`` by SIGKILL. Returns immediately."""
        short_way.let_go()
        self._closing = True
        self.request(lambda: self._terminate(at_once=at_once))
        self.shutdown(wait=False)

    def run_soon(self, errand: Callable[[], object]) -> None:
        """Have this called on the dispatcher's thread. For finalizers, which run anywhere."""
        if self._thread is None:
            errand()  # nobody else is here
        else:
            self.request(errand)

    @property
    def usable(self) -> bool:
        """It takes work."""
        return not self._closing and self.broken is None

    @property
    def ended(self) -> bool:
        """All is over."""
        return self._ended.is_set()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the dispatcher has ended; False if it has not within ``timeout`` seconds."""
        if not self.backend.threaded:
            while not self._ended.is_set():
                self.pump()
        elif self._is_part_of_us():
            return self._ended.is_set()  # it cannot wait for the end of what it is part of
        elif not self._ended.wait(timeout):
            return False
        elif self._thread is not None:
            self._thread.join(timeout)
        return True

    def _is_part_of_us(self) -> bool:
        """This thread is one that the end would have to wait for: a callback's, or a task's on a thread of ours."""
        inside = context.worker()
        mine = inside is not None and inside.owner is self.backend
        return mine or threading.current_thread() is self._thread or courier.is_here()

    # --- requests -----------------------------------------------------------------------------------------------

    def request(self, request: Callable[[], object]) -> None:
        """Have this done by the loop, soon and in order."""
        self._requests.append(request)
        if not self.backend.threaded:
            if self._asleep and self._turn.acquire(blocking=False):
                try:
                    with self._broken_if_torn():
                        self._obey()
                finally:
                    self._turn.release()
        elif self._thread is None and not self._closing:
            try:
                start_thread(threading.Thread(target=self._run, name=self._name, daemon=True))
            except RuntimeError as error:
                with contextlib.suppress(ValueError):
                    self._requests.remove(request)  # nobody will come for it, or only when nobody waits for it any more
                raise no_workers(error) from error
        elif self._asleep:
            self.backend.wake()
        if self._ended.is_set():
            self._obey()  # the loop is over: whoever comes now is told so

    def _obey(self) -> None:
        """What was requested until now, and before it what is not told yet."""
        there = len(self._requests)  # not what comes meanwhile: that might never end
        self._short_way.tell()
        for _ in range(there):
            if (request := _first(self._requests)) is None:
                return
            request()

    def admit(self, job: Job, stop: int, *, closed: bool, sent: m.Reserved | None = None) -> None:
        """Have the scheduler know of a job, whose one task was ``sent`` already with this reservation."""
        if self._dropping or self._ended.is_set():  # it was too late, just
            job.refused = _copy(self.broken) if self.broken else ExecutorClosed(CLOSED)
            job.sink.finish(job.refused)
            return
        self._jobs[job.number] = job
        self._handle(
            m.JobAdded(job.number, job.policy, stop, closed, sent, job.start, job.seconds, job.crowd, job.shipment.key)
        )

    def fail_to_send(self, command: m.SendChunk, error: Exception) -> None:
        """Its function or an input cannot be sent in any form."""
        self._give_up(command.chunk.job, error)
        self._hand_back(command)
        self._short_way.came_back(command.chunk.serial, self)

    def abort(self, command: m.SendChunk) -> None:
        """An exception struck while this was being sent past the loop: who knows how far that came."""
        self._cancel(command.chunk.job)
        if self._scheduler.chunk(command.worker, command.chunk.serial) is not None:  # if not, it was sent, and is back
            self._end_worker(command.worker)

    def suspend(self, reserved: m.Reserved, *, came_back: bool) -> None:
        """Whoever sends to this worker past the loop is held up: end it, unless it has already begun."""
        worker = reserved.worker
        self.backend.revoke(worker)
        self.backend.take_over(worker)
        stamp = self.backend.inspect(worker)
        # A later one: then that has come back meanwhile, and what runs is not to blame.
        if came_back or (stamp is not None and stamp.chunk is not None and stamp.chunk >= reserved.chunk):
            self.backend.lift(worker)
        else:
            self._end_worker(worker)

    def _end_worker(self, worker: int) -> None:
        """That takes a moment, in which it may hand back what it has, or seem to begin it: it will not run that."""
        self._handle(m.WorkerUnwanted(worker))
        self.backend.kill(worker, at_once=True)

    def _cancel(self, number: int, grace: float | None = None) -> None:
        if self._jobs.pop(number, None) is not None:
            self._handle(m.JobCancelled(number, grace))

    def _drop_pending(self) -> None:
        for number, job in list(self._jobs.items()):
            if not (job.begun and job.single):
                self._cancel(number)
                job.sink.abandon(CancelledError())

    def _drop_awaited(self) -> bool:
        for number, job in list(self._jobs.items()):
            if job.awaited:
                self._cancel(number, grace=0.0)
        return bool(self._jobs)

    def _terminate(self, *, at_once: bool) -> None:
        self._dropping = True
        for number, job in list(self._jobs.items()):
            self._cancel(number, grace=0.0)
            job.sink.abandon(WorkersUnavailable("the executor was terminated before this task ended"))
        self._close()
        for worker in list(self._started):
            self.backend.kill(worker, at_once=at_once)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._handle(m.ShutdownAsked())

    # --- the loop -----------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """One round, for a dispatcher without a thread: callers take turns."""
        with self._turn, self._broken_if_torn():
            self._round()
            self._carry_out()  # whoever drives this looks for results next
            self._hand_over()

    @contextlib.contextmanager
    def _broken_if_torn(self) -> Iterator[None]:
        """A step without a thread of our own: whoever interrupts it, as a signal's handler may, has broken us."""
        try:
            yield
        except BaseException as error:
            let_through, self.backend.let_through = self.backend.let_through, None  # it holds all frames of the task
            if error is not let_through:
                self._break_off(
                    f"{error_text(error)}: a signal's handler raised that in the midst of a step of this executor, "
                    "which cannot go on; make another",
                    error,
                )
            raise

    def _run(self) -> None:
        if not self._baton.acquire(blocking=False):
            return  # two callers were the first, or it was shut down before it began
        self._thread = threading.current_thread()
        _here.pid = os.getpid()
        try:
            while not self._ended.is_set():
                self._round()
        except BaseException as error:  # noqa: BLE001 - a fault of ours must not leave anybody waiting
            self._fail(error)

    def _round(self) -> None:
        """Carry out, wait for something to happen, tell the scheduler."""
        self._asleep = False
        if self._requests:
            self._obey()
        self._carry_out()
        if self._closed and self._scheduler.idle and not self._scheduler.workers and not self._later:
            self._hand_over()
            self._end()
            return
        deadline = self._scheduler.next_deadline()
        self._take_all(self._wait(deadline))
        if deadline is not None and deadline <= time.monotonic():
            self._short_way.tell()
            self._handle(m.Tick(used=self._short_way.used))
            self._short_way.used = False
        self._asleep = not self.backend.threaded

    def _wait(self, deadline: float | None) -> list[Notice]:
        """What the backend has to say; at once if there is something else to do."""
        timeout = None if deadline is None else min(LONGEST_WAIT, max(0.0, deadline - time.monotonic()))
        self._asleep = True  # from here on a request wakes us, and what was requested before is seen here
        if self._later or self._requests:
            timeout = 0.0
        self._hand_over()
        notices = self.backend.wait(timeout)
        self._asleep = False
        return notices

    def _fail(self, error: BaseException) -> None:
        """A fault of ours."""
        _log.error("manyhands has failed; this is a fault in manyhands, please report it", exc_info=error)
        self._break_off(f"manyhands itself has failed ({error_text(error)})", error)

    def _break_off(self, told: str, error: BaseException) -> None:
        """Say to everybody who waits that this is the end."""
        self.broken = WorkersUnavailable(told)
        self.broken.__cause__ = error
        self._hand_over()
        for job in self._jobs.values():
            job.sink.finish(_copy(self.broken))
        self._end()

    def _end(self) -> None:
        if not self._ended.is_set():
            self._closing = self._closed = True
            try:
                self.backend.close()
            finally:
                self._ended.set()
                self._obey()  # those who came too late

    def _handle(self, event: m.Event, notice: Notice | None = None) -> None:
        """Tell the scheduler; queue its commands."""
        for command in self._scheduler.handle(event, time.monotonic()):
            self._later.append((command, notice))

    # --- notices from the backend -------------------------------------------------------------------------------

    def _take_all(self, notices: list[Notice]) -> None:
        for notice in notices:
            self._take(notice)

    def _take(self, notice: Notice) -> None:
        if isinstance(notice, Said):
            courier.say(notice)
            return
        if isinstance(notice, Weighed):
            if (chunk := self._scheduler.chunk(notice.worker, notice.serial)) is not None:
                self._handle(m.TasksWeighed(chunk.job, notice.tasks, notice.size))
            return
        if isinstance(notice, ChunkResults):
            if not self._requests and self._short_way.settle(notice, self):
                return
            self._obey()
            self._take_results(notice)
            if self._expected:
                self._load_early()
            if notice.stats is not None:
                self._short_way.came_back(notice.serial, self)
        else:
            self._obey()  # what was sent past us comes before what its worker says
            if isinstance(notice, Refused) and notice.where is not None:
                send_by_value(notice.where)
            self._handle(self._event(notice), notice)
            self._load_early()
            if isinstance(notice, Refused):
                self._short_way.came_back(notice.serial, self)

    def _load_early(self) -> None:
        """Have workers that have nothing to do get ready for what may come."""
        for job in list(self._expected):
            for worker in self._scheduler.claim_loaders(job.shipment.key, time.monotonic()):
                self.backend.load(worker, job)

    def _take_results(self, notice: ChunkResults) -> None:
        chunk = self._scheduler.chunk(notice.worker, notice.serial)
        if chunk is None:
            return  # of a worker that is given up: its tasks run elsewhere
        first, stats = chunk.start + notice.first, notice.stats
        notice.task = first
        if stats is not None and (job := self._jobs.get(chunk.job)) and job.tally is not None:
            job.tally.add(notice.worker, stats)
            _note_slow(job, chunk.start + stats.slowest_offset, stats.slowest)
        event = m.ResultsArrived(
            notice.worker,
            notice.serial,
            first + notice.batch.count,
            tuple([(first + offset, retry) for offset, retry in notice.failed]) if notice.failed else (),
            ended=stats is not None,
            seconds=stats.seconds if stats is not None else 0.0,
            busy=stats.busy if stats is not None else 0.0,
            cpu=stats.cpu if stats is not None else 0.0,
        )
        self._handle(event, notice)

    def _event(self, notice: Notice) -> m.Event:
        if isinstance(notice, Ready):
            return m.WorkerStarted(notice.worker)
        if isinstance(notice, NotStarted):
            assert isinstance(notice.error, WorkersUnavailable)  # noqa: S101 - both errors of a start are
            self._start_error = notice.error
            self.broken = notice.error if notice.fatal else self.broken
            self._started.discard(notice.worker)
            return m.StartFailed(notice.worker, notice.fatal)
        if isinstance(notice, Full):
            return m.WorkerFull(notice.worker)
        if isinstance(notice, Loaded):
            return m.FunctionLoaded(notice.worker, notice.key, notice.seconds)
        if isinstance(notice, Gone):
            self._started.discard(notice.worker)
            self._count_lost(notice)
            return m.WorkerDied(notice.worker, notice.stamp.chunk, notice.stamp.offset, notice.stamp.ran)
        assert isinstance(notice, Refused)  # noqa: S101 - no other kind is left
        return self._refused_event(notice)

    def _count_lost(self, notice: Gone) -> None:
        """What ran when its worker ended has taken time, too."""
        stamp = notice.stamp
        chunk = self._scheduler.chunk(notice.worker, stamp.chunk) if stamp.chunk is not None else None
        job = self._jobs.get(chunk.job) if chunk is not None else None
        if chunk is not None and stamp.offset is not None and job is not None and job.tally is not None:
            seconds = max(0.0, time.monotonic() - stamp.since)
            job.tally.add_lost(notice.worker, seconds)
            _note_slow(job, chunk.start + stamp.offset, seconds)

    def _refused_event(self, notice: Refused) -> m.Event:
        chunk = self._scheduler.chunk(notice.worker, notice.serial)
        job = self._jobs.get(chunk.job) if chunk is not None else None
        if notice.key is not None:
            self.backend.forget(notice.key, notice.worker)
            if job is not None and chunk is not None:
                try:
                    job.shipment.repack()
                except Exception as error:  # noqa: BLE001 - user code: it can be sent neither by name nor by value
                    self._give_up(chunk.job, error)
        return m.ChunkRefused(notice.worker, notice.serial)

    # --- commands -----------------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        while self._later:
            command, notice = self._later.popleft()
            _ACTIONS[type(command)](self, command, notice)

    def settled(self, sink: Sink, piece: Piece) -> None:
        """The result of a single call is here."""
        self._settled.append((sink, piece))

    def _hand_over(self) -> None:
        """Give results of single calls to those who wait: last of all, since they want the interpreter at once."""
        while self._settled:
            sink, piece = self._settled.popleft()
            sink.put(piece)

    def _start_worker(self, command: m.StartWorker, _notice: Notice | None) -> None:
        self._started.add(command.worker)
        try:
            self.backend.start(command.worker)
        except Exception as error:  # noqa: BLE001 - something odd in the caller's surroundings
            told = WorkerStartError(f"a worker could not be started: {error_text(error)}")
            told.__cause__ = error
            notice = NotStarted(command.worker, told)
            self._handle(self._event(notice), notice)

    def _send_chunk(self, command: m.SendChunk, _notice: Notice | None) -> None:
        job = self._jobs.get(command.chunk.job)
        if job is None or not job.sink.started():
            self._hand_back(command)
            return
        job.begun = True
        if job.tally is not None and job.tally.first_chunk is None:
            job.tally.first_chunk = time.monotonic()
        try:
            parcel = job.ready if job.ready is not None and not command.chunk.isolated else None
            if parcel is None:
                parcel = self.backend.pack(job, command.chunk)  # user code may run here
            self.backend.send(command.worker, job, command.chunk, parcel)
        except Exception as error:  # noqa: BLE001 - the function or an input cannot be sent in any form
            self.fail_to_send(command, error)

    def _give_up(self, number: int, error: BaseException) -> None:
        """This job can never run: say so to whoever waits for it."""
        job = self._jobs.get(number)
        self._cancel(number)
        if job is not None:
            job.sink.finish(error)

    def _hand_back(self, command: m.SendChunk) -> None:
        """Nobody wants this chunk any more; the worker that was to have it never saw it."""
        chunk = command.chunk
        self._cancel(chunk.job)
        self._handle(m.ResultsArrived(command.worker, chunk.serial, chunk.start, ended=True))

    def _deliver(self, command: m.Deliver, notice: Notice | None) -> None:
        job = self._jobs.get(command.job)
        if job is None:
            return
        assert isinstance(notice, ChunkResults)  # noqa: S101 - results are delivered as they are reported
        if job.single and not command.retried:
            self.settled(job.sink, Piece(0, 1, notice.batch, 0))
            return
        start = command.start
        for hole in (*sorted(command.retried), command.stop):
            if start < hole:
                job.sink.put(Piece(start, hole, notice.batch, start - notice.task))
                job.source.discard(start, hole)
            start = hole + 1

    def _fail_task(self, command: m.FailTask, notice: Notice | None) -> None:
        job = self._jobs.get(command.job)
        if job is not None:
            error = self._failure(command, job, notice)
            job.sink.put(Piece(command.task, command.task + 1, Batch.failed(error), 0))
            job.source.discard(command.task, command.task + 1)

    def _failure(self, command: m.FailTask, job: Job, notice: Notice | None) -> BaseException:
        if command.cause is m.Cause.TIMEOUT:
            return TaskTimeout(seconds=job.policy.timeout or 0.0, index=command.task)
        gone = notice if isinstance(notice, Gone) else None
        pid, exitcode = (gone.pid, gone.exitcode) if gone else (None, None)
        died: Callable[..., WorkerDied] = WorkerDied
        if gone is not None and gone.too_large is not None:
            died = partial(MemoryLimitExceeded, memory=gone.too_large)
        return died(pid=pid, exitcode=exitcode, index=command.task, attempts=command.attempts)

    def _retry_task(self, command: m.RetryTask, _notice: Notice | None) -> None:
        if (job := self._jobs.get(command.job)) and job.tally is not None:
            job.tally.retried[command.task] = job.tally.retried.get(command.task, 0) + 1

    def _finish_job(self, command: m.FinishJob, _notice: Notice | None) -> None:
        job = self._jobs.pop(command.job, None)
        if job is not None:
            job.sink.finish(None)

    def _break_job(self, command: m.BreakJob, _notice: Notice | None) -> None:
        job = self._jobs.pop(command.job, None)
        if job is not None:
            job.sink.finish(_copy(self._start_error or WorkerStartError("no worker could be started")))

    def _revoke_rest(self, command: m.RevokeRest, _notice: Notice | None) -> None:
        self.backend.revoke(command.worker)

    def _lift_revoke(self, command: m.LiftRevoke, _notice: Notice | None) -> None:
        self.backend.lift(command.worker)

    def _inspect_worker(self, command: m.InspectWorker, _notice: Notice | None) -> None:
        stamp = self.backend.inspect(command.worker)
        if stamp is not None:
            self._handle(m.Inspected(command.worker, stamp.chunk, stamp.offset, stamp.since))

    def _reserve_worker(self, command: m.ReserveWorker, _notice: Notice | None) -> None:
        self._short_way.lend(command.reserved)

    def _release_worker(self, command: m.ReleaseWorker, _notice: Notice | None) -> None:
        self._short_way.take_back(command.worker, self)

    def released(self, worker: int) -> None:
        """The reservation of this worker is over."""
        self._handle(m.Released(worker))
        self._load_early()

    def _retire_worker(self, command: m.RetireWorker, _notice: Notice | None) -> None:
        self.backend.retire(command.worker)

    def _kill_worker(self, command: m.KillWorker, _notice: Notice | None) -> None:
        self.backend.kill(command.worker)


def _note_slow(job: Job, task: int, seconds: float) -> None:
    if job.tally is not None and job.tally.is_slow(task, seconds):
        job.tally.arguments[task] = next(iter(job.source.items(task, task + 1)), MISSING)


def _first(requests: deque[Callable[[], object]]) -> Callable[[], object] | None:
    """Taken off; None if another thread was quicker."""
    try:
        return requests.popleft()
    except IndexError:
        return None


def _copy(error: WorkersUnavailable) -> WorkersUnavailable:
    """An error to raise: the one that is kept must not collect the frames of all who are told."""
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    return copied


_ACTIONS: dict[type, Callable[[Dispatcher, Any, Notice | None], None]] = {
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
    m.ReserveWorker: Dispatcher._reserve_worker,
    m.ReleaseWorker: Dispatcher._release_worker,
    m.RetireWorker: Dispatcher._retire_worker,
    m.KillWorker: Dispatcher._kill_worker,
}
