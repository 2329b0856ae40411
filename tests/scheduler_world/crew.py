"""What workers do, in the smallest steps."""

from __future__ import annotations

from collections.abc import Callable

from manyhands._core import messages as m
from scheduler_world.records import STUCK, Fate, Given, Nature, Run, Stage, State, Worker


class Crew:
    """Moves the workers of a world."""

    def __init__(self, state: State, choose: Callable[[int], int]) -> None:
        self._state = state
        self._choose = choose

    def start(self, number: int) -> None:
        """It becomes ready."""
        worker = self._state.workers[number]
        worker.ready = True
        worker.outbox.append(m.WorkerStarted(number))

    def fail_start(self, number: int, *, fatal: bool = False, by_death: bool = False) -> None:
        """It never becomes ready."""
        worker = self._state.workers[number]
        worker.alive = False
        worker.outbox.append(m.WorkerDied(number) if by_death else m.StartFailed(number, fatal))

    def die(self, number: int) -> None:
        """Here and now; what it has not said is lost."""
        worker = self._state.workers[number]
        worker.alive = False
        for job in self._state.jobs.values():
            for runs in job.runs.values():
                run = runs[-1]
                if run.worker == number and (run.fate is Fate.RUNNING or (run.fate is Fate.DONE and not run.sent)):
                    run.fate = Fate.LOST
        worker.outbox.append(m.WorkerDied(number, *worker.stamp()))

    def can_step(self, number: int) -> bool:
        """There is something for it to do."""
        worker = self._state.workers[number]
        if not (worker.alive and worker.ready):
            return False
        if worker.chunk is None:
            return bool(worker.inbox)
        return worker.stage is not Stage.RUNNING or not self._is_stuck(worker, worker.chunk)

    def _is_stuck(self, worker: Worker, given: Given) -> bool:
        job = self._state.jobs[given.job]
        nature = job.natures[worker.task]
        left_to_finish = bool(job.over) and job.stop_at is None
        first = len(job.runs[worker.task]) == 1
        return nature in STUCK and not left_to_finish and (first or nature is Nature.STUCK)

    def step(self, number: int) -> None:
        """The smallest thing a worker does."""
        worker = self._state.workers[number]
        if worker.chunk is None:
            self._take_chunk(number, worker)
        elif worker.stage is Stage.UNPACKING:
            self._unpack(number, worker, worker.chunk)
        elif worker.stage is Stage.SHOWING:
            self._begin(number, worker, worker.chunk)
        elif worker.stage is Stage.RUNNING:
            self._finish(number, worker, worker.chunk)
        elif worker.stage is Stage.DONE:
            worker.task += 1
            self._show_task(worker, worker.chunk)
        else:
            self.flush(number, ended=True)
            worker.stage, worker.chunk = Stage.IDLE, None

    def _take_chunk(self, number: int, worker: Worker) -> None:
        given = worker.inbox.popleft()
        if given is None:
            self.die(number)  # told to go, it goes
        else:
            worker.chunk, worker.task, worker.since = given, given.start, self._state.now
            worker.stage = Stage.UNPACKING  # of the function, even if each item comes by itself

    def _unpack(self, number: int, worker: Worker, given: Given) -> None:
        natures = self._state.jobs[given.job].natures[given.start : given.stop]
        if given.isolated:
            self._show_task(worker, given)
        elif Nature.POISON in natures:
            self.die(number)
        elif Nature.ODD in natures:
            self.refuse(number)
        else:
            self._show_task(worker, given)

    def refuse(self, number: int) -> None:
        """It could not unpack the chunk."""
        worker = self._state.workers[number]
        assert worker.chunk is not None
        worker.outbox.append(m.ChunkRefused(number, worker.chunk.serial))
        worker.stage, worker.chunk = Stage.IDLE, None

    def _show_task(self, worker: Worker, given: Given) -> None:
        worker.stage = Stage.SHOWING if worker.task < given.stop else Stage.ENDING
        worker.since = self._state.now

    def _begin(self, number: int, worker: Worker, given: Given) -> None:
        if worker.revoked:
            worker.stage = Stage.ENDING
            return
        worker.stage = Stage.RUNNING
        job = self._state.jobs[given.job]
        runs = job.runs.setdefault(worker.task, [])
        self._state.diary.append(f"        worker {number} begins task {worker.task} of job {given.job}")
        for run in runs:
            assert run.fate in {Fate.RETRIED, Fate.LOST}, "a task runs again though its result is out, or on its way"
            assert run.fate is Fate.RETRIED or job.policy.rerun_after_death, (
                "a task runs again after its worker's death"
            )
        assert not job.ended[worker.task], "a task runs that has ended"
        runs.append(Run(number))

    def _finish(self, number: int, worker: Worker, given: Given) -> None:
        job = self._state.jobs[given.job]
        nature, runs = job.natures[worker.task], job.runs[worker.task]
        first = len(runs) == 1
        if nature in {Nature.CRASHES, Nature.POISON} or (nature is Nature.CRASHES_ONCE and first):
            self.die(number)
            return
        runs[-1].fate, worker.stage = Fate.DONE, Stage.DONE
        if nature in {Nature.FAILS, Nature.FAILS_FOR_GOOD} or (nature is Nature.FAILS_ONCE and first):
            worker.failed.append((worker.task, nature is not Nature.FAILS_FOR_GOOD))

    def flush(self, number: int, *, ended: bool = False) -> None:
        """Report what has run so far."""
        worker = self._state.workers[number]
        given = worker.chunk
        assert given is not None
        upto, failed, worker.failed = worker.finished(), tuple(worker.failed), []
        if self._choose(4) == 3:  # it had to import something first
            worker.outbox.append(m.FunctionLoaded(number, b"", 10.0 ** -self._choose(5)))
        seconds = 1e-5 * (10 ** self._choose(5)) * (upto - given.start) if ended else 0.0
        for task in range(given.start, upto):
            self._state.jobs[given.job].runs[task][-1].sent = True
        waits = 0.1 * (given.serial % 3)  # some tasks turn out to wait
        worker.outbox.append(m.ResultsArrived(number, given.serial, upto, failed, ended, seconds, waits))
