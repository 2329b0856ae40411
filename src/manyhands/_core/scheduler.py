"""The scheduler: every decision about tasks and workers, and nothing else.

It is told what happened and answers with what to do. It owns no thread, pipe or clock, so that any order of
events can be played to it in a test. What it guarantees, whatever the order:

- every task of a job that is not cancelled ends exactly once: delivered, or failed with a cause;
- a task runs a second time only if a retry policy says so, or if its worker died before its result was out;
- a death or a timeout is charged to the one task that was running; the others of its chunk are sent again;
- workers are bounded by ``max_workers``, chunks in a worker by ``Chunker.depth``.

Jobs are served first come, first served. A worker is *starting*, *ready*, or *leaving* (told to go, or being
killed); a ready worker is *held* while its unstarted tasks are being taken back.

Taking tasks back without asking the worker: RevokeRest forbids it to begin anything further; a moment later
(HOLD_SECONDS, far longer than a store takes to become visible) an inspection shows the task it is in. All
behind that one, and its slice, cannot have begun, and can run elsewhere.

When a single task has ended and nothing else is open, its worker is *reserved*: single tasks that follow, one
after the other, may be sent to it without asking, and the scheduler be told later (JobAdded.sent). That is what
makes one call after the other quick. As soon as there is anything else to do, the reservation is asked back; until
it is given back nothing else is sent to that worker, so that nothing can run there that is not known here.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, NamedTuple

from manyhands._core.chunking import SLICE, Chunker, in_slices
from manyhands._core.messages import (
    BreakJob,
    Cause,
    Chunk,
    ChunkRefused,
    Command,
    Deliver,
    Event,
    FailTask,
    FinishJob,
    FunctionLoaded,
    Inspected,
    InspectWorker,
    JobAdded,
    JobCancelled,
    KillWorker,
    LiftRevoke,
    Released,
    ReleaseWorker,
    Reserved,
    ReserveWorker,
    ResultsArrived,
    RetireWorker,
    RetryTask,
    RevokeRest,
    SendChunk,
    ShutdownAsked,
    StartFailed,
    StartWorker,
    TasksAdded,
    TasksSkipped,
    TasksWeighed,
    Tick,
    WorkerDied,
    WorkerFull,
    WorkerStarted,
    WorkersWanted,
    WorkerUnwanted,
)
from manyhands._core.strategy import SURE_SECONDS, pays, waits, workers_for_waiting

STEAL_SECONDS = 0.005  # a worker stuck this long in one task, while another idles, gives up what it has not begun
HOLD_SECONDS = 0.002  # between forbidding and looking; see above
START_TRIES = 10  # failed starts in a row before work that has no worker at all is given up
PAUSE_TRIES = 3  # or, where some workers run, before the next try waits a while
START_PAUSE_SECONDS = 1.0
RESERVED_CHUNKS = 1 << 12  # then it is made anew
RELEASE_SECONDS = 1.0  # a reservation that is not given back, because an exception struck, costs the worker
STUCK_SECONDS = 5.0  # a worker that has begun nothing for so long is ended, if its tasks have a timeout
LOAD_SECONDS = 60.0  # a worker that imports for so long, and has no chunk for that, is ended
LEAVE_SECONDS = 3.0  # a retiring worker that is still there is killed
ISOLATE_STRIKES = 2  # unexplained deaths around a chunk before its tasks are sent one by one
FINAL_STRIKES = 4  # and before a task is given up for it
KNOWN = 64  # functions of which it is noted who has imported for them; then all is forgotten
_NO_TASK = -1  # of a chunk, which is being unpacked
_NOBODY = (0, _NO_TASK)  # no task is to blame for the end of a worker


class Limits(NamedTuple):
    """Bounds the scheduler keeps; times in seconds, None for no bound.

    With ``few_workers`` so many are started, and up to ``max_workers`` only for tasks that turn out to wait.
    ``loaders``: no more are started at a time than so many, until they have imported what their tasks need.
    """

    max_workers: int
    tasks_per_worker: int | None = None
    idle_seconds: float | None = None
    few_workers: int | None = None
    loaders: int | None = None


class _Span(NamedTuple):
    start: int
    stop: int
    isolated: bool = False
    strikes: int = 0


class _Job:
    def __init__(self, event: JobAdded, chunker: Chunker, *, patient: bool) -> None:
        self.policy, self.key = event.policy, event.key
        self.chunker = chunker
        self.patient = patient  # its caller could do without workers that never come to the end of their imports
        self.known = self.issued = self.ended = event.start
        self.closed = False
        self.again: deque[_Span] = deque()
        self.again_tasks = 0  # in ``again``
        self.attempts: dict[int, int] = {}

    def waiting(self) -> int:
        """Tasks that could be sent now."""
        return self.known - self.issued + self.again_tasks


class _State(Enum):
    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"


class _Worker:
    def __init__(self) -> None:
        self.state = _State.STARTING
        self.chunks: deque[Chunk] = deque()
        self.given = 0
        self.held = self.reserved = False
        self.loaded: set[bytes] = set()  # functions for which it has imported what they need
        self.loading: bytes | None = None  # the one for which it does so now, ahead of any chunk: nobody may wait
        self.load_until: float | None = None  # when it is ended if it still does
        self.full = False  # it has too much memory: nothing more is sent to it, and then it leaves
        self.may_be_stuck = False  # take back what it has not begun if the next inspection shows it in a task
        self.stop_cancelled = False  # kill it if the next inspection shows a task of a cancelled job
        self.doomed: tuple[int, int] | None = None  # (chunk, task) that it is being killed for; see _NOBODY
        self.waiting: tuple[int, float] | None = None  # the chunk that it had not begun when looked at, and when first
        self.idle_since = 0.0
        self.inspect_at: float | None = None  # after RevokeRest
        self.looks = 0  # inspections that were asked for and are not answered yet
        self.timeout_at: float | None = None  # when a running task may be over its time
        self.steal_at: float | None = None
        self.kill_at: float | None = None  # for a task of a cancelled job, or for not leaving


class _Reservation:
    """A worker that single calls may be sent to past the scheduler."""

    def __init__(self, worker: int) -> None:
        self.worker = worker
        self.asked_back = False
        self.lost_at: float | None = None  # if it was asked back and nothing is heard of it by then


class Scheduler:
    """Events in, commands out; see the module's text for what it keeps.

    >>> from manyhands._core.messages import Policy
    >>> s = Scheduler(Limits(max_workers=1))
    >>> s.handle(JobAdded(0, Policy(), stop=1, closed=True), now=0.0)
    [StartWorker(worker=0)]
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.broken = False
        self._jobs: dict[int, _Job] = {}
        self._keys: Counter[bytes] = Counter()  # functions of these jobs; counted, since there may be many thousands
        self._ready: dict[int, _Job] = {}  # those with tasks to send, oldest first
        self._workers: dict[int, _Worker] = {}
        self._delayed: list[tuple[float, int, int]] = []  # (when, job, task): a heap of retries
        self._single = Chunker()  # what jobs of one task have in common: how long such a task takes
        self._open = 0  # tasks that have not ended, over all jobs
        self._reservation: _Reservation | None = None
        self._next_worker = 0
        self._next_chunk = 1
        self._failed_starts = 0
        self._start_again_at: float | None = None
        self._closing = False
        self._some_full = False
        self._crowd = self._few  # workers that are of use for what is being done
        self._busy = self._cpu = 0.0  # seconds in tasks, and of these on a processor, since no job was open
        self._ran, self._spent = 0, 0.0  # tasks since then, and the seconds in them, in the caller, too
        self._loading: dict[bytes, float] = {}  # seconds that a worker's imports for a function took
        self._lost: set[bytes] = set()  # functions at whose imports a worker was lost, and nobody came to their end
        self._noted = 0  # functions that are noted with workers, or nearly so
        self._handlers: dict[type, Callable[[Any, float], Iterable[Command]]] = {
            JobAdded: self._job_added,
            TasksAdded: self._tasks_added,
            TasksSkipped: self._tasks_skipped,
            TasksWeighed: self._tasks_weighed,
            WorkersWanted: self._workers_wanted,
            JobCancelled: self._job_cancelled,
            WorkerStarted: self._worker_started,
            StartFailed: self._start_failed,
            WorkerDied: self._worker_died,
            ResultsArrived: self._results_arrived,
            FunctionLoaded: self._function_loaded,
            WorkerFull: self._worker_full,
            WorkerUnwanted: self._worker_unwanted,
            ChunkRefused: self._chunk_refused,
            Inspected: self._inspected,
            Released: self._released,
            Tick: self._tick,
            ShutdownAsked: self._shutdown_asked,
        }

    # --- what others may look at ------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """No job is open."""
        return not self._jobs

    @property
    def has_ready_worker(self) -> bool:
        """Somebody could begin at once. A hint, for any thread."""
        return any(worker.state is _State.READY for worker in list(self._workers.values()))

    def has_loaded_worker(self, key: bytes) -> bool:
        """Somebody could begin at once, and has imported what this function needs. A hint, for any thread."""
        return any(key in worker.loaded and self._may_leave(worker) for worker in list(self._workers.values()))

    def is_loading_or_lost(self, key: bytes) -> bool:
        """Somebody is importing what this function needs, or was lost at that. A hint, for any thread."""
        return key in self._lost or any(worker.loading == key for worker in list(self._workers.values()))

    @property
    def is_taken(self) -> bool:
        """Workers are there, and all have other tasks. A hint, for any thread."""
        ready = [worker for worker in list(self._workers.values()) if worker.state is _State.READY]
        return bool(ready) and all(worker.chunks for worker in ready)

    def claim_loaders(self, key: bytes, now: float) -> list[int]:
        """Workers that have nothing to do, and are to import meanwhile what this function needs."""
        free = [n for n, worker in self._workers.items() if self._may_leave(worker) and worker.loading is None]
        busy = sum(worker.loading == key for worker in self._workers.values())
        most = len(free) if self.limits.loaders is None else max(0, self.limits.loaders - busy)
        claimed = [number for number in free if key not in self._workers[number].loaded][:most]
        for number in claimed:
            self._workers[number].loading, self._workers[number].load_until = key, now + LOAD_SECONDS
        return claimed

    @property
    def _few(self) -> int:
        return self.limits.few_workers or self.limits.max_workers

    @property
    def workers(self) -> int:
        """Workers that exist, in any state."""
        return len(self._workers)

    def chunk(self, worker: int, serial: int) -> Chunk | None:
        """The chunk of this serial that the worker holds."""
        return _find(self._workers.get(worker), serial)

    def lookahead(self, job: int) -> int:
        """Tasks of this job that should be at hand when its input is read lazily; of one not known yet, a few."""
        record = self._jobs.get(job)
        chunker = record.chunker if record else Chunker()
        return chunker.lookahead(self._crowd)

    def next_deadline(self) -> float | None:
        """When a Tick is due, if nothing else happens before."""
        times = [self._delayed[0][0]] if self._delayed else []
        if self._start_again_at is not None:
            times.append(self._start_again_at)
        if self._reservation is not None and self._reservation.lost_at is not None:
            times.append(self._reservation.lost_at)
        for worker in self._workers.values():
            times.extend(self._deadlines(worker))
        return min(times, default=None)

    def _deadlines(self, worker: _Worker) -> Iterator[float]:
        for time in (worker.inspect_at, worker.timeout_at, worker.steal_at, worker.kill_at, worker.load_until):
            if time is not None:
                yield time
        if (self._is_unused(worker) or self._may_leave(worker)) and self.limits.idle_seconds is not None:
            yield worker.idle_since + self.limits.idle_seconds

    # --- events -----------------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take in one event; the commands are to be carried out in order."""
        commands = list(self._handlers[type(event)](event, now))
        commands.extend(self._after(now))
        return commands

    def _job_added(self, event: JobAdded, _now: float) -> Iterable[Command]:
        single = event.closed and event.stop == 1
        policy = event.policy
        shares = single and not event.start
        chunker = self._single if shares else Chunker(policy.chunksize, exact=not policy.rerun_after_death)
        job = self._jobs[event.job] = _Job(event, chunker, patient=event.start > 0)
        self._keys[event.key] += 1
        chunker.learn(event.start, event.seconds)
        self._crowd = max(self._crowd, min(self.limits.max_workers, event.crowd))
        self._ran, self._spent = self._ran + event.start, self._spent + event.seconds
        if not any(event.key in worker.loaded for worker in self._workers.values()):  # else nobody need wait for others
            self._end_loading(event.key)
        was_sent = event.sent is not None and self._was_sent(event.job, job, event.sent)
        if self.broken:
            return self._break_all()
        return () if was_sent else self._add_tasks(event.job, job, event.stop, closed=event.closed, is_new=True)

    def _was_sent(self, number: int, job: _Job, sent: Reserved) -> bool:
        """Take in that this job's one task is with a worker; False if that one is no more, and never had it."""
        worker = self._workers.get(sent.worker)
        if worker is None:
            return False
        self._open += 1
        job.known = job.issued = 1
        job.closed = True
        worker.chunks.append(Chunk(sent.chunk, number, 0, 1, 0))
        worker.given += 1
        return True

    def _tasks_added(self, event: TasksAdded, _now: float) -> Iterable[Command]:
        job = self._jobs.get(event.job)
        return () if job is None else self._add_tasks(event.job, job, event.stop, closed=event.closed)

    def _add_tasks(self, number: int, job: _Job, stop: int, *, closed: bool, is_new: bool = False) -> Iterable[Command]:
        stop, closed = max(job.known, stop), job.closed or closed  # whoever tells may be late
        self._open += stop - job.known
        job.known, job.closed = stop, closed
        if job.waiting():
            self._make_ready(number, job, is_new=is_new)
        return self._maybe_finish(number, job)

    def _tasks_skipped(self, event: TasksSkipped, _now: float) -> Iterable[Command]:
        job = self._jobs.get(event.job)
        if job is None:
            return ()
        count = event.upto - job.known
        if job.issued < job.known:  # those before
            self._put_back(event.job, _Span(job.issued, job.known))
        job.issued = job.known = event.upto
        job.ended += count
        job.chunker.learn(count, event.seconds)
        self._ran, self._spent = self._ran + count, self._spent + event.seconds
        return self._maybe_finish(event.job, job)

    def _tasks_weighed(self, event: TasksWeighed, _now: float) -> Iterable[Command]:
        if event.job in self._jobs:
            self._jobs[event.job].chunker.weigh(event.tasks, event.size)
        return ()

    def _workers_wanted(self, event: WorkersWanted, _now: float) -> Iterator[Command]:
        if self._closing:
            return
        if self._reservation is not None:
            yield from self._ask_back(self._reservation)
        yield from self._start_workers(event.workers, ahead=True)

    def _end_loading(self, key: bytes, only: int | None = None) -> None:
        """These workers have imported for this function, or its chunks may wait for them to."""
        for number, worker in self._workers.items():
            if worker.loading == key and only in {None, number}:
                worker.loading = worker.load_until = None

    def _function_loaded(self, event: FunctionLoaded, now: float) -> Iterable[Command]:
        if event.worker in self._workers:
            self._workers[event.worker].loaded.add(event.key)
            self._workers[event.worker].idle_since = now
            self._end_loading(event.key, event.worker)
            self._noted += 1
        self._lost.discard(event.key)
        if event.seconds:
            self._loading[event.key] = event.seconds
        return ()

    def _worker_full(self, event: WorkerFull, now: float) -> Iterator[Command]:
        worker = self._workers.get(event.worker)
        if worker is not None and worker.state is _State.READY and not worker.full:
            worker.full = self._some_full = True
            if worker.reserved and self._reservation is not None:
                yield from self._ask_back(self._reservation)
            yield from self._hold(event.worker, worker, now)

    def _worker_unwanted(self, event: WorkerUnwanted, _now: float) -> Iterator[Command]:
        worker = self._workers.get(event.worker)
        if worker is not None:
            worker.doomed = _NOBODY
            yield from self._kill(event.worker, worker)

    def _job_cancelled(self, event: JobCancelled, now: float) -> Iterator[Command]:
        self._drop_job(event.job)
        for number, worker in self._workers.items():
            if worker.state is _State.READY and any(chunk.job == event.job for chunk in worker.chunks):
                yield from self._hold(number, worker, now)
                if event.grace is not None:
                    worker.kill_at = _earlier(worker.kill_at, now + event.grace)

    def _worker_started(self, event: WorkerStarted, now: float) -> Iterable[Command]:
        worker = self._workers.get(event.worker)
        if worker is not None and worker.state is _State.STARTING:
            worker.state, worker.idle_since = _State.READY, now
            self._failed_starts, self._start_again_at = 0, None
        return ()

    def _start_failed(self, event: StartFailed, now: float) -> Iterator[Command]:
        self._workers.pop(event.worker, None)
        self._failed_starts += 1
        if event.fatal:
            self.broken = True
            yield from self._break_all()
        elif not self._workers and self._failed_starts >= START_TRIES:
            self._failed_starts, self._start_again_at = 0, None
            yield from self._break_all()
        elif self._failed_starts >= (PAUSE_TRIES if self.has_ready_worker else START_TRIES):
            self._start_again_at = now + START_PAUSE_SECONDS

    def _worker_died(self, event: WorkerDied, now: float) -> Iterator[Command]:
        worker = self._workers.pop(event.worker, None)
        if worker is None:
            return
        if worker.loading is not None and worker.state is _State.READY:
            self._lost.add(worker.loading)
        if worker.reserved and self._reservation is not None:
            yield from self._ask_back(self._reservation)
            self._end_reservation(worker)
        if worker.state is _State.STARTING:
            yield from self._start_failed(StartFailed(event.worker), now)
            return
        for chunk in worker.chunks:
            strikes = chunk.strikes
            if chunk.serial == event.chunk and event.offset is not None:
                yield from self._death_in_task(worker, chunk, chunk.start + event.offset, now)
                continue
            silent = event.ran if chunk.serial == event.chunk else event.chunk is None and chunk is worker.chunks[0]
            if silent and self._runs_at_most_once(chunk):
                yield from self._lose(chunk, chunk.stop)  # they may have run: it was never heard
                continue
            unpacking = chunk.serial == event.chunk
            between = event.chunk is None and chunk is worker.chunks[0] and worker.state is not _State.LEAVING
            if between or (unpacking and chunk.isolated):
                strikes += 1
            cause = Cause.TIMEOUT if unpacking and worker.doomed == (chunk.serial, _NO_TASK) else Cause.DIED
            yield from self._resend(chunk, chunk.done, chunk.stop, strikes=strikes, isolated=unpacking, cause=cause)

    def _death_in_task(self, worker: _Worker, chunk: Chunk, task: int, now: float) -> Iterator[Command]:
        job = self._jobs.get(chunk.job)
        if job is None:
            return
        if task >= chunk.stop and not job.policy.rerun_after_death:
            yield from self._lose(chunk, chunk.stop)
            return
        if not chunk.done <= task < chunk.stop:  # its result is out already: it died behind that task
            yield from self._resend(chunk, chunk.done, chunk.stop)
            return
        if job.policy.rerun_after_death:
            self._requeue(chunk, chunk.done, task)
        else:
            yield from self._lose(chunk, task)
        self._requeue(chunk, task + 1, chunk.stop)
        if worker.doomed is not None and worker.doomed != (chunk.serial, task) and job.policy.rerun_after_death:
            self._requeue(chunk, task, task + 1)  # killed for a task that had just ended: this one is innocent
        else:
            cause = Cause.TIMEOUT if worker.doomed == (chunk.serial, task) else Cause.DIED
            yield from self._charge(chunk.job, job, task, cause, now)

    def _runs_at_most_once(self, chunk: Chunk) -> bool:
        job = self._jobs.get(chunk.job)
        return job is not None and not job.policy.rerun_after_death

    def _lose(self, chunk: Chunk, stop: int) -> Iterator[Command]:
        """Give up tasks that may have run, and may not run again, since nothing was heard of their end."""
        for task in range(chunk.done, stop):
            if (job := self._jobs.get(chunk.job)) is not None:
                yield from self._fail(chunk.job, job, task, Cause.DIED)

    def _charge(self, number: int, job: _Job, task: int, cause: Cause, now: float) -> Iterator[Command]:
        policy = job.policy
        allowed = policy.retry_timeouts if cause is Cause.TIMEOUT else policy.rerun_after_death
        if allowed and self._retry(number, job, task, now):
            yield RetryTask(number, task)
        else:
            yield from self._fail(number, job, task, cause)

    def _fail(self, number: int, job: _Job, task: int, cause: Cause) -> Iterator[Command]:
        yield FailTask(number, task, cause, job.attempts.pop(task, 0) + 1)
        yield from self._end_tasks(number, job, 1)

    def _retry(self, number: int, job: _Job, task: int, now: float) -> bool:
        made = job.attempts.get(task, 0) + 1
        if made >= job.policy.attempts:
            return False
        job.attempts[task] = made
        heapq.heappush(self._delayed, (now + job.policy.backoff(made), number, task))
        return True

    def _results_arrived(self, event: ResultsArrived, now: float) -> Iterator[Command]:
        worker = self._workers.get(event.worker)
        chunk = _find(worker, event.chunk)
        if worker is None or chunk is None:
            return
        worker.steal_at = None
        job = self._jobs.get(chunk.job)
        if job is not None and job.key not in worker.loaded and self.limits.loaders is not None:
            worker.loaded.add(job.key)
            self._noted += 1
        upto = min(event.upto, chunk.stop)
        if job is not None and upto > chunk.done:
            yield from self._take_results(chunk, job, upto, event.failed, now)
        chunk.done = max(chunk.done, upto)
        if event.ended:
            worker.chunks.remove(chunk)
            worker.idle_since = now
            if job is not None:
                job.chunker.learn(event.upto - chunk.start, event.seconds)
                self._ran, self._spent = self._ran + event.upto - chunk.start, self._spent + event.busy
                self._learn_whether_tasks_wait(event)
                yield from self._resend(chunk, chunk.done, chunk.stop)
            if worker.held:
                yield from self._maybe_lift(event.worker, worker)
            elif job is not None and job.chunker is self._single:
                yield from self._reserve(event.worker, worker)

    def _learn_whether_tasks_wait(self, event: ResultsArrived) -> None:
        """If they do, more workers than cores are of use."""
        if self._crowd == self.limits.max_workers:
            return
        self._busy, self._cpu = self._busy + event.busy, self._cpu + event.cpu
        if self._busy > SURE_SECONDS and waits(self._busy, self._cpu):
            self._crowd = min(self.limits.max_workers, workers_for_waiting(self._busy, self._cpu, self._few))

    def _reserve(self, number: int, worker: _Worker) -> Iterator[Command]:
        busy = self._open or self._closing or self._reservation is not None
        if not busy and not worker.chunks and self._can_take(worker) and self.limits.tasks_per_worker is None:
            self._reservation, worker.reserved = _Reservation(number), True
            first, self._next_chunk = self._next_chunk, self._next_chunk + RESERVED_CHUNKS
            yield ReserveWorker(Reserved(number, first, self._next_chunk))

    def _ask_back(self, reservation: _Reservation) -> Iterator[Command]:
        if not reservation.asked_back:
            reservation.asked_back = True
            yield ReleaseWorker(reservation.worker)

    def _end_reservation(self, worker: _Worker) -> None:
        self._reservation, worker.reserved = None, False

    def _mind_reservation(self, reservation: _Reservation, now: float) -> Iterator[Command]:
        """Ask it back if there is anything else to do; wait for it as long as it is not known to be in use."""
        worker = self._workers[reservation.worker]
        if self._closing or worker.held or self._open > len(worker.chunks):
            yield from self._ask_back(reservation)
        if worker.chunks:
            reservation.lost_at = None
        elif reservation.asked_back and reservation.lost_at is None and worker.state is _State.READY:
            reservation.lost_at = now + RELEASE_SECONDS

    def _is_unused(self, worker: _Worker) -> bool:
        """It is reserved, and nobody is known to use it."""
        reservation = self._reservation
        return worker.reserved and not worker.chunks and reservation is not None and not reservation.asked_back

    def _released(self, event: Released, _now: float) -> Iterable[Command]:
        worker = self._workers.get(event.worker)
        if worker is not None and worker.reserved:
            self._end_reservation(worker)
        return ()

    def _take_results(
        self, chunk: Chunk, job: _Job, upto: int, failed: tuple[tuple[int, bool], ...], now: float
    ) -> Iterator[Command]:
        retried: frozenset[int] = frozenset()
        if failed:
            retried = frozenset(
                task
                for task, retryable in failed
                if retryable and chunk.done <= task < upto and self._retry(chunk.job, job, task, now)
            )
        yield Deliver(chunk.job, chunk.done, upto, retried)
        for task in retried:
            yield RetryTask(chunk.job, task)
        if job.attempts:
            for task in range(chunk.done, upto):
                if task not in retried:
                    job.attempts.pop(task, None)
        yield from self._end_tasks(chunk.job, job, upto - chunk.done - len(retried))

    def _chunk_refused(self, event: ChunkRefused, _now: float) -> Iterator[Command]:
        worker = self._workers.get(event.worker)
        chunk = _find(worker, event.chunk)
        if worker is None or chunk is None:
            return
        worker.chunks.remove(chunk)
        yield from self._resend(chunk, chunk.done, chunk.stop, isolated=True)
        yield from self._maybe_lift(event.worker, worker)

    def _inspected(self, event: Inspected, now: float) -> Iterator[Command]:
        worker = self._workers.get(event.worker)
        if worker is None or worker.state is not _State.READY:
            return
        chunk = _find(worker, event.chunk)
        worker.looks = max(0, worker.looks - 1)
        if worker.held and worker.inspect_at is None and not worker.looks and chunk is not None:
            self._take_back(worker, chunk, event.offset)
        if worker.may_be_stuck:
            worker.may_be_stuck = False
            if chunk is not None and event.offset is not None:
                yield from self._hold(event.worker, worker, now)
            elif worker.chunks:  # it is receiving, or unpacking: if it were held now, it would never begin anything
                worker.steal_at = now + STEAL_SECONDS
        if worker.stop_cancelled:
            worker.stop_cancelled = False
            if chunk is not None and chunk.job not in self._jobs:
                worker.doomed = _NOBODY  # whatever task it dies in
                yield from self._kill(event.worker, worker)
                return
        yield from self._check_timeout(event, worker, chunk, now)

    def _take_back(self, worker: _Worker, running: Chunk, offset: int | None) -> None:
        """Requeue what the held worker has not begun: all behind the task it is in."""
        behind = False
        for chunk in worker.chunks:
            first = chunk.stop if not behind else chunk.done
            if chunk is running:
                behind = True
                begun = chunk.stop if offset is None else (offset // chunk.slice + 1) * chunk.slice
                first = min(chunk.stop, chunk.start + begun)
            if first < chunk.stop:
                self._requeue(chunk, max(first, chunk.done), chunk.stop)
                chunk.stop = max(first, chunk.done)

    def _check_timeout(self, event: Inspected, worker: _Worker, chunk: Chunk | None, now: float) -> Iterator[Command]:
        timeouts = [t for t in (self._timeout_of(c) for c in worker.chunks) if t is not None]
        worker.timeout_at = None
        if not timeouts:
            return
        limit = self._timeout_of(chunk) if chunk is not None else None
        if chunk is None and self._takes_up_nothing(worker, now):
            worker.doomed = _NOBODY  # should a task begin after all
            yield from self._kill(event.worker, worker)
        elif chunk is None or limit is None:
            worker.timeout_at = now + min(timeouts)
        elif now < event.since + limit:
            # A function that loads is stamped ahead of time; and what comes next may have less.
            worker.timeout_at = min(min(event.since, now) + limit, now + min(timeouts))
        else:
            task = chunk.start + event.offset if event.offset is not None else _NO_TASK
            worker.doomed = (chunk.serial, task)
            yield from self._kill(event.worker, worker)

    def _takes_up_nothing(self, worker: _Worker, now: float) -> bool:
        """Something outside its tasks holds it up: it was stopped, or a destructor does not end."""
        first = worker.chunks[0].serial
        if worker.waiting is None or worker.waiting[0] != first:
            worker.waiting = first, now
        return now - worker.waiting[1] > STUCK_SECONDS

    def _timeout_of(self, chunk: Chunk) -> float | None:
        job = self._jobs.get(chunk.job)
        return job.policy.timeout if job else None

    def _tick(self, event: Tick, now: float) -> Iterator[Command]:
        if self._reservation is not None:
            yield from self._tick_reservation(self._reservation, now, used=event.used)
        while self._delayed and self._delayed[0][0] <= now:
            _, number, task = heapq.heappop(self._delayed)
            if number in self._jobs:
                self._put_back(number, _Span(task, task + 1))
        if self._start_again_at is not None and self._start_again_at <= now:
            self._start_again_at = None
        for number, worker in self._workers.items():
            yield from self._tick_worker(number, worker, now)

    def _tick_reservation(self, reservation: _Reservation, now: float, *, used: bool) -> Iterator[Command]:
        worker = self._workers[reservation.worker]
        if used:
            worker.idle_since = now
        if reservation.lost_at is not None and reservation.lost_at <= now:
            reservation.lost_at = None
            worker.doomed = _NOBODY  # should a task still come
            yield from self._kill(reservation.worker, worker)

    def _tick_worker(self, number: int, worker: _Worker, now: float) -> Iterator[Command]:
        if worker.load_until is not None and worker.loading is not None and worker.load_until <= now:
            self._lost.add(worker.loading)
            worker.load_until, worker.doomed = None, _NOBODY
            yield from self._kill(number, worker)
        if worker.kill_at is not None and worker.kill_at <= now:
            worker.kill_at = None
            if worker.state is _State.LEAVING:
                yield from self._kill(number, worker)
            elif worker.chunks:
                worker.stop_cancelled = True
                yield self._look(number, worker)
        if worker.steal_at is not None and worker.steal_at <= now:
            worker.steal_at = None
            if self._has_idle_worker() and not self._ready:
                worker.may_be_stuck = True
                yield self._look(number, worker)
        if worker.inspect_at is not None and worker.inspect_at <= now:
            worker.inspect_at = None
            yield self._look(number, worker)
        elif worker.timeout_at is not None and worker.timeout_at <= now:
            worker.timeout_at = None
            yield self._look(number, worker)
        idle = self.limits.idle_seconds
        if idle is not None and worker.idle_since + idle <= now:
            yield from self._tick_idle(number, worker, now)

    def _tick_idle(self, number: int, worker: _Worker, now: float) -> Iterator[Command]:
        if self._may_leave(worker):
            yield from self._retire(number, worker, now)
        elif self._is_unused(worker) and self._reservation is not None:
            yield from self._ask_back(self._reservation)  # and at the next look it leaves

    def _look(self, number: int, worker: _Worker) -> Command:
        worker.looks += 1
        return InspectWorker(number)

    def _shutdown_asked(self, _event: ShutdownAsked, _now: float) -> Iterable[Command]:
        self._closing = True
        return ()

    # --- jobs -------------------------------------------------------------------------------------------------

    def _end_tasks(self, number: int, job: _Job, count: int) -> Iterator[Command]:
        job.ended += count
        self._open -= count
        yield from self._maybe_finish(number, job)

    def _maybe_finish(self, number: int, job: _Job) -> Iterator[Command]:
        if job.closed and job.ended == job.known and self._take_out(number) is not None:
            yield FinishJob(number)

    def _take_out(self, number: int) -> _Job | None:
        self._ready.pop(number, None)
        job = self._jobs.pop(number, None)
        if job is not None:
            self._keys[job.key] -= 1
            if not self._keys[job.key]:
                del self._keys[job.key]
        return job

    def _drop_job(self, number: int) -> None:
        if (job := self._take_out(number)) is not None:
            self._open -= job.known - job.ended

    def _break_all(self) -> Iterator[Command]:
        for number in list(self._jobs):
            self._drop_job(number)
            yield BreakJob(number)

    # --- chunks -----------------------------------------------------------------------------------------------

    def _requeue(self, chunk: Chunk, start: int, stop: int, *, isolated: bool = False) -> None:
        if start < stop:
            self._put_back(chunk.job, _Span(start, stop, isolated or chunk.isolated, chunk.strikes))

    def _put_back(self, number: int, span: _Span) -> None:
        job = self._jobs.get(number)
        if job is not None:
            job.again.append(span)
            job.again_tasks += span.stop - span.start
            self._make_ready(number, job)

    def _make_ready(self, number: int, job: _Job, *, is_new: bool = False) -> None:
        """It has something to send. One that comes back does not queue behind younger ones."""
        if number not in self._ready:
            late = not is_new and bool(self._ready) and number < next(reversed(self._ready))
            self._ready[number] = job
            if late:
                self._ready = dict(sorted(self._ready.items()))

    def _resend(
        self,
        chunk: Chunk,
        start: int,
        stop: int,
        *,
        strikes: int = 0,
        isolated: bool = False,
        cause: Cause = Cause.DIED,
    ) -> Iterator[Command]:
        job = self._jobs.get(chunk.job)
        if job is None or start >= stop:
            return
        chunk.strikes = max(strikes, chunk.strikes)
        if chunk.strikes >= max(FINAL_STRIKES, job.policy.attempts):
            for task in range(start, stop):
                yield from self._fail(chunk.job, job, task, cause)
        else:
            self._requeue(chunk, start, stop, isolated=isolated or chunk.strikes >= ISOLATE_STRIKES)

    def _cut(self, number: int, job: _Job, size: int) -> Chunk:
        """The next chunk, of at most so many tasks, of a job that has tasks to send."""
        if job.again:
            span = job.again.popleft()
            size = 1 if span.strikes >= ISOLATE_STRIKES else size
            stop = min(span.stop, span.start + size)
            if stop < span.stop:
                job.again.appendleft(_Span(stop, span.stop, span.isolated, span.strikes))
            job.again_tasks -= stop - span.start
            start, isolated, strikes = span.start, span.isolated, span.strikes
        else:
            start, stop = job.issued, min(job.known, job.issued + size)
            job.issued, isolated, strikes = stop, False, 0
        if not job.again and job.issued == job.known:
            self._ready.pop(number, None)
        serial, self._next_chunk = self._next_chunk, self._next_chunk + 1
        sliced = in_slices(stop - start, timed=job.policy.timeout is not None)
        return Chunk(serial, number, start, stop, start, isolated, strikes, SLICE if sliced else 1)

    # --- workers ----------------------------------------------------------------------------------------------

    def _after(self, now: float) -> Iterator[Command]:
        """What any event may have made possible: send, start, steal, let go."""
        if self._reservation is not None:
            yield from self._mind_reservation(self._reservation, now)
        if self._ready:
            yield from self._send(now)
        if self.limits.tasks_per_worker is not None or self._closing or self._some_full:
            yield from self._let_go(now)
        if not self._jobs:
            if self._noted > KNOWN * self.limits.max_workers:
                self._forget_loaded()
            if self.limits.few_workers is not None:
                yield from self._thin_out(now)
        if self._open:
            yield from self._start_workers(self._open)
            self._plan_steals(now)

    def _let_go(self, now: float) -> Iterator[Command]:
        """Retire workers that have had all their tasks, or that will get no more, even if they are not ready yet."""
        over = self._closing and not self._jobs
        for number, worker in self._workers.items():
            starts = over and worker.state is _State.STARTING
            if starts or (self._may_leave(worker) and (over or self._room(worker) == 0)):
                yield from self._retire(number, worker, now)

    def _forget_loaded(self) -> None:
        """Functions come and go: what is known of so many is not kept."""
        self._noted = 0
        self._loading.clear()
        self._lost.clear()
        for worker in self._workers.values():
            worker.loaded.clear()

    def _thin_out(self, now: float) -> Iterator[Command]:
        """What waited is done, and what comes next may compute."""
        self._crowd, self._busy, self._cpu = self._few, 0.0, 0.0
        self._ran, self._spent = 0, 0.0
        there = self._workers.items()
        staying = [n for n, worker in there if worker.state is not _State.LEAVING and worker.loading is None]
        for number in staying[self._crowd :]:
            if self._may_leave(self._workers[number]):
                yield from self._retire(number, self._workers[number], now)

    def _send(self, now: float) -> Iterator[Command]:
        while self._ready:
            number, job = next(iter(self._ready.items()))
            size = job.chunker.size(job.waiting(), self._crowd, more_to_come=not job.closed)
            target = self._freest(job.chunker.depth(size), self._needed(job))
            if target is None:
                return
            name, worker = target
            room = self._room(worker)
            chunk = self._cut(number, job, size if room is None else min(size, room))
            worker.chunks.append(chunk)
            worker.given += chunk.stop - chunk.start
            if job.policy.timeout is not None:
                worker.timeout_at = _earlier(worker.timeout_at, now + job.policy.timeout)
            yield SendChunk(name, chunk)

    def _needed(self, job: _Job) -> bytes | None:
        """The function that a worker must have loaded to be given tasks of this job; None if any worker will do."""
        if not job.patient:
            return None
        ready = (worker for worker in self._workers.values() if worker.state is _State.READY)
        return job.key if any(job.key in worker.loaded for worker in ready) else None

    def _freest(self, depth: int, needed: bytes | None) -> tuple[int, _Worker] | None:
        best: tuple[int, _Worker] | None = None
        fewest = depth
        for number, worker in self._workers.items():
            if len(worker.chunks) < fewest and self._can_take(worker) and (needed is None or needed in worker.loaded):
                best, fewest = (number, worker), len(worker.chunks)
                if not fewest:
                    break
        return best

    def _can_take(self, worker: _Worker) -> bool:
        ready = worker.state is _State.READY and not worker.held and not worker.reserved and worker.loading is None
        return ready and self._room(worker) != 0

    def _room(self, worker: _Worker) -> int | None:
        """Tasks that it may still be given; None for any number."""
        if worker.full:
            return 0
        limit = self.limits.tasks_per_worker
        return None if limit is None else max(0, limit - worker.given)

    def _start_workers(self, tasks: int, *, ahead: bool = False) -> Iterator[Command]:
        """As many as such a number of tasks can use. ``ahead``: they may come, and those that import will do."""
        if self.broken or self._start_again_at is not None:
            return
        useful = leaving = 0  # a worker that has had all its tasks counts until it has run them
        for worker in self._workers.values():
            for_others = worker.loading is not None and worker.loading not in self._keys and not ahead
            if worker.state is _State.LEAVING or for_others:
                leaving += 1
            elif worker.chunks or worker.reserved or self._room(worker) != 0:
                useful += 1
        wanted = min(self._crowd, tasks) - useful
        if wanted <= 0:  # as mostly; what comes now looks at the functions of all jobs
            return
        if useful and not ahead and self._lost.issuperset(self._keys):
            return  # others were lost at their imports, as new ones might be
        if self.limits.loaders is not None:
            wanted = min(wanted, self._growth(useful, self.limits.loaders))
        room = 2 * self.limits.max_workers - useful - leaving
        if wanted > max(0, room):
            yield from self._end_loaders()
        for _ in range(min(wanted, room)):
            number, self._next_worker = self._next_worker, self._next_worker + 1
            self._workers[number] = _Worker()
            yield StartWorker(number)

    def _end_loaders(self) -> Iterator[Command]:
        """They import what nobody may need any more, and others need their places."""
        for number, worker in self._workers.items():
            if worker.loading is not None and worker.state is _State.READY:
                worker.load_until, worker.doomed = None, _NOBODY
                yield from self._kill(number, worker)

    def _growth(self, useful: int, loaders: int) -> int:
        """Workers to start: as many at a time as the cores can get ready, and where nobody asked for more, if it pays.

        All at once they would be in one another's way, each with a task that waits behind its imports.
        """
        keys = self._keys
        loading = sum(_has_yet_to_load(worker, keys) for worker in self._workers.values())
        needs = max((self._loading.get(key, 0.0) for key in keys), default=0.0)
        is_extra = self.limits.few_workers is not None and useful >= self._few
        if is_extra and not pays(self._open, self._spent / max(self._ran, 1), useful, needs):
            return 0
        return loaders - loading

    def _has_idle_worker(self) -> bool:
        return any(self._can_take(w) and not w.chunks for w in self._workers.values())

    def _plan_steals(self, now: float) -> None:
        """Note when to take tasks back from those who have some at hand, if another worker has nothing."""
        if self._open < 2 or self._ready or not self._has_idle_worker():
            return
        for worker in self._workers.values():
            unstarted = sum(chunk.stop - chunk.done for chunk in worker.chunks) > 1
            if unstarted and worker.state is _State.READY and not worker.held and worker.steal_at is None:
                worker.steal_at = now + STEAL_SECONDS

    def _hold(self, number: int, worker: _Worker, now: float) -> Iterator[Command]:
        if worker.chunks and not worker.held:
            worker.held, worker.inspect_at = True, now + HOLD_SECONDS
            yield RevokeRest(number)

    def _maybe_lift(self, number: int, worker: _Worker) -> Iterator[Command]:
        if worker.held and not worker.chunks and worker.state is _State.READY:
            worker.held, worker.inspect_at, worker.kill_at = False, None, None
            yield LiftRevoke(number)

    def _may_leave(self, worker: _Worker) -> bool:
        return worker.state is _State.READY and not worker.chunks and not worker.reserved

    def _retire(self, number: int, worker: _Worker, now: float) -> Iterator[Command]:
        worker.state, worker.kill_at = _State.LEAVING, now + LEAVE_SECONDS
        yield RetireWorker(number)

    def _kill(self, number: int, worker: _Worker) -> Iterator[Command]:
        worker.state = _State.LEAVING
        yield KillWorker(number)


def _has_yet_to_load(worker: _Worker, keys: Counter[bytes]) -> bool:
    """It has not imported what any of these functions needs, and will have to."""
    if worker.state is not _State.READY or not keys:
        return worker.state is _State.STARTING
    return worker.loading in keys or (worker.loading is None and worker.loaded.isdisjoint(keys))


def _earlier(time: float | None, other: float) -> float:
    return other if time is None else min(time, other)


def _find(worker: _Worker | None, serial: int | None) -> Chunk | None:
    if worker is None:
        return None
    return next((chunk for chunk in worker.chunks if chunk.serial == serial), None)
