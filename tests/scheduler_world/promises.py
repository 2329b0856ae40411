"""What the scheduler promises, checked at every command it gives."""

from __future__ import annotations

from collections import Counter

from manyhands._core import messages as m
from manyhands._core.chunking import MAX_DEPTH
from manyhands._core.scheduler import FINAL_STRIKES, START_TRIES
from scheduler_world.records import Fate, Run, Stage, State, Worker

SLACK = 0.1  # seconds that something due may be late, when nothing holds it up


class Promises:
    """Looks at each command as it is given, and notes what follows from it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._strikes: Counter[tuple[int, int]] = Counter()  # deaths without a task to charge, by (job, task)
        self._reserved: set[int] = set()  # workers that somebody may be sending to
        self._last_chunk = 0
        self._checks = {
            m.StartWorker: self._worker_is_wanted,
            m.SendChunk: self._chunk_is_in_order,
            m.Deliver: self._results_are_due,
            m.FailTask: self._failure_is_just,
            m.RetryTask: self._retry_is_just,
            m.FinishJob: self._job_is_finished,
            m.BreakJob: self._job_is_beyond_hope,
            m.ReserveWorker: self._reservation_is_safe,
            m.KillWorker: self._note_kill,
            m.RetireWorker: self._note_retirement,
        }

    def hear(self, event: m.Event) -> None:
        """This is about to be told to the scheduler."""
        if isinstance(event, m.WorkerDied) and event.offset is None:
            self._strikes.update(self._state.gone[event.worker].assigned)
        if isinstance(event, m.WorkerDied | m.Released):
            self._reserved.discard(event.worker)

    def check(self, command: m.Command, event: m.Event) -> None:
        """The scheduler's answer to the event."""
        check = self._checks.get(type(command))
        if check is not None:
            check(command, event)

    # --- sending ----------------------------------------------------------------------------------------------

    def _worker_is_wanted(self, command: m.StartWorker, _event: m.Event) -> None:
        assert not self._state.hopeless, "workers are started though none can be had"
        self._state.workers[command.worker] = Worker()

    def _chunk_is_in_order(self, command: m.SendChunk, _event: m.Event) -> None:
        worker, chunk = self._state.workers[command.worker], command.chunk
        job, limit = self._state.jobs[chunk.job], self._state.limits.tasks_per_worker
        worker.assigned += [(chunk.job, task) for task in range(chunk.start, chunk.stop)]
        assert not worker.told_to_go, "work is given to a worker that was told to go"
        assert command.worker not in self._reserved, "work is given to a worker that somebody may be sending to"
        assert chunk.serial > self._last_chunk, "two chunks have the same number"
        self._last_chunk = chunk.serial
        assert not job.over, "work of a job that is over is sent"
        assert 0 <= chunk.start < chunk.stop <= len(job.natures), "the chunk is not of tasks that exist"
        size, fixed = chunk.stop - chunk.start, job.policy.chunksize
        may_grow = job.closed and job.policy.rerun_after_death and any(job.runs.values())
        assert fixed is None or size <= fixed or may_grow, "a fixed chunk size grew before it was known why, or at all"
        assert limit is None or len(worker.assigned) <= limit, "more tasks than one worker may have"

    def _reservation_is_safe(self, command: m.ReserveWorker, _event: m.Event) -> None:
        number, first, last = command.reserved
        worker = self._state.workers[number]
        assert worker.ready
        assert not worker.told_to_go, "a worker is reserved that was told to go"
        assert not self._reserved, "two workers are reserved"
        assert self._state.limits.tasks_per_worker is None, "a worker may be sent more than it may have"
        assert self._last_chunk < first < last, "two chunks have the same number"
        self._last_chunk = last - 1
        self._reserved.add(number)

    # --- ends of tasks ----------------------------------------------------------------------------------------

    def _results_are_due(self, command: m.Deliver, event: m.Event) -> None:
        assert isinstance(event, m.ResultsArrived)
        job, failed = self._state.jobs[command.job], dict(event.failed)
        for task in range(command.start, command.stop):
            run = job.runs[task][-1]
            assert run.fate is Fate.DONE, "a result is delivered that nobody has produced, or twice"
            assert run.worker == event.worker, "a result is taken from the wrong worker"
            again = failed.get(task, False) and job.retries(task) + 1 < job.policy.attempts
            assert (task in command.retried) == again, "a retry against the policy"
            run.fate = Fate.RETRIED if again else Fate.ENDED
            if not again:
                self._end(command.job, task)

    def _failure_is_just(self, command: m.FailTask, event: m.Event) -> None:
        assert isinstance(event, m.WorkerDied), "a task fails though no worker died"
        self._blame_is_just(command.job, command.task, event, command.cause)
        job = self._state.jobs[command.job]
        assert not job.settled, "a task fails whose result is out"
        assert command.attempts == job.retries(command.task) + 1, "attempts are miscounted"
        self._end(command.job, command.task)

    def _retry_is_just(self, command: m.RetryTask, event: m.Event) -> None:
        if not isinstance(event, m.WorkerDied):
            return  # of a task that failed by itself: checked with the results
        self._blame_is_just(command.job, command.task, event, None)
        job = self._state.jobs[command.job]
        runs = job.runs.setdefault(command.task, [])
        if not runs or runs[-1].fate is not Fate.LOST or runs[-1].worker != event.worker:
            runs.append(Run(event.worker))  # it was shown, though not begun: that counts as an attempt
        runs[-1].fate = Fate.RETRIED
        assert job.retries(command.task) < job.policy.attempts, "more attempts than allowed"

    def _blame_is_just(self, number: int, task: int, event: m.WorkerDied, cause: m.Cause | None) -> None:
        """A death is charged to the task that ran, and only if we did not cause it ourselves for another reason."""
        worker, policy = self._state.gone[event.worker], self._state.jobs[number].policy
        if (number, task) in worker.overdue:
            assert cause is not m.Cause.DIED or not policy.rerun_after_death, "a timeout is told as a death"
            return
        unpacked_late = event.offset is None and event.chunk is not None and event.chunk == worker.unpacks_late
        assert cause is not m.Cause.TIMEOUT or unpacked_late, "a task that was in time is told to have timed out"
        shown = (
            event.offset is not None and worker.chunk is not None and (worker.chunk.job, worker.task) == (number, task)
        )
        if shown and not worker.killed:
            return
        runs = self._state.jobs[number].runs.get(task, [])
        lost = bool(runs) and runs[-1].worker == event.worker and runs[-1].fate is Fate.LOST
        maybe_begun = event.chunk is None and (number, task) in worker.assigned
        if not policy.rerun_after_death and (lost or shown or maybe_begun):
            return
        assert event.offset is None, "the death is charged to an innocent"
        assert self._strikes[number, task] >= FINAL_STRIKES, "an unexplained death is charged too early"

    def _end(self, number: int, task: int) -> None:
        job = self._state.jobs[number]
        assert not job.over, f"a task ended after its job was {job.over}"
        job.ended[task] += 1
        assert job.ended[task] == 1, "a task ended twice"

    # --- ends of jobs -----------------------------------------------------------------------------------------

    def _job_is_finished(self, command: m.FinishJob, _event: m.Event) -> None:
        job = self._state.jobs[command.job]
        assert not job.over, f"the job is finished after it was {job.over}"
        assert job.closed, "a job is finished before all its tasks are known"
        assert len(job.ended) == len(job.natures), "a job is finished before all its tasks have ended"
        job.over = "finished"

    def _job_is_beyond_hope(self, command: m.BreakJob, _event: m.Event) -> None:
        job = self._state.jobs[command.job]
        assert not job.over, f"the job is broken after it was {job.over}"
        job.over = "broken"
        if not self._state.hopeless:
            assert not self._state.workers, "work is given up though there are workers"
            assert self._state.failed_starts >= START_TRIES, "work is given up too early"

    # --- workers ----------------------------------------------------------------------------------------------

    def _note_retirement(self, command: m.RetireWorker, _event: m.Event) -> None:
        assert command.worker not in self._reserved, "a worker is let go that somebody may be sending to"
        self._state.workers[command.worker].told_to_go = True

    def _note_kill(self, command: m.KillWorker, _event: m.Event) -> None:
        worker = self._state.workers[command.worker]
        worker.told_to_go = True
        worker.killed |= worker.alive
        chunk, offset = worker.stamp()
        if worker.chunk is not None and chunk is not None:
            job = self._state.jobs[worker.chunk.job]
            limit = job.policy.timeout
            if not job.over and limit is not None and self._state.now >= worker.since + limit:
                if offset is None:
                    worker.unpacks_late = chunk
                else:
                    worker.overdue.add((worker.chunk.job, worker.task))

    def windows_are_bounded(self) -> None:
        """Neither workers nor the chunks in them are more than allowed."""
        most, workers = self._state.limits.max_workers, self._state.workers
        assert sum(not worker.told_to_go for worker in workers.values()) <= most, "more workers than allowed"
        assert len(workers) <= 2 * most, "more workers than allowed, with those on their way out"
        on_the_way = Counter(c.worker for c in self._state.commands if isinstance(c, m.SendChunk))
        for number, worker in workers.items():
            held = len(worker.inbox) + (worker.chunk is not None) + on_the_way[number]
            assert held <= MAX_DEPTH, "more chunks at once than a worker should hold"

    def nothing_is_late(self, deadline: float | None) -> None:
        """When nothing more happens by itself: what is over its time, or cancelled, will be looked at in time."""
        for worker in self._state.workers.values():
            if worker.stage is not Stage.RUNNING or worker.chunk is None or worker.told_to_go:
                continue
            job = self._state.jobs[worker.chunk.job]
            limit = job.policy.timeout
            end = job.stop_at if job.over else None if limit is None else worker.since + limit
            if end is not None:
                late = deadline is None or deadline > max(end, self._state.now) + SLACK
                assert not late, "a task that is over its time, or of a cancelled job, is left running"
