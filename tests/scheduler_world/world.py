"""Everything around one scheduler: callers, the dispatcher, the workers, and time."""

from __future__ import annotations

from collections.abc import Callable

from manyhands._core import messages as m
from manyhands._core.scheduler import Limits, Scheduler
from scheduler_world.crew import Crew
from scheduler_world.lending import Errand, Lending
from scheduler_world.promises import Promises
from scheduler_world.records import STUCK, Given, Job, Nature, State, Worker


class World:
    """A scheduler and its surroundings. ``choose(n)`` picks a number below n; 0 is the dullest choice."""

    def __init__(self, limits: Limits, choose: Callable[[int], int] = lambda _n: 0) -> None:
        self.scheduler = Scheduler(limits)
        self.state = State(limits)
        self.crew = Crew(self.state, choose)
        self.lending = Lending(self.state, self.tell)
        self.meanwhile: Callable[[], object] = lambda: None  # what callers do just before something is told
        self._choose = choose
        self.closing = False
        self._promises = Promises(self.state)

    # --- callers ----------------------------------------------------------------------------------------------

    def add_job(self, policy: m.Policy, natures: list[Nature], *, closed: bool = False) -> int:
        """A new job with its first tasks."""
        self.obey()
        number = len(self.state.jobs)
        self.state.jobs[number] = Job(policy, _endable(natures, policy), closed)
        self.tell(m.JobAdded(number, policy, len(natures), closed))
        return number

    def add_tasks(self, number: int, natures: list[Nature], *, closed: bool = False) -> None:
        """More input."""
        job = self.state.jobs[number]
        if job.over or job.closed:
            return
        self.obey()
        job.natures.extend(_endable(natures, job.policy))
        job.closed = closed
        self.tell(m.TasksAdded(number, len(job.natures), closed))

    def skip_tasks(self, number: int, count: int) -> None:
        """The next ones are run elsewhere."""
        job = self.state.jobs[number]
        if job.over or job.closed:
            return
        self.obey()
        known = len(job.natures)
        job.natures.extend([Nature.GOOD] * count)
        job.ended.update(range(known, known + count))
        self.tell(m.TasksSkipped(number, known + count, 0.01 * count))

    def cancel(self, number: int, grace: float | None) -> None:
        """Nobody wants the job any more."""
        job = self.state.jobs[number]
        self.obey()
        if not job.over:
            job.over = "cancelled"
            job.stop_at = None if grace is None else self.state.now + grace
            self.tell(m.JobCancelled(number, grace))

    def shut_down(self) -> None:
        """No more work, and no more input."""
        self.closing = True
        for number in self.open_jobs():
            self.add_tasks(number, [], closed=True)
        self.obey()
        self.tell(m.ShutdownAsked())

    def call(self, policy: m.Policy, nature: Nature) -> Errand | None:
        """A single task: past the scheduler if there is a ticket, which is taken here; else as any other."""
        errand = self.lending.take(policy, *_endable([nature], policy)) if policy.timeout is None else None
        if errand is None:
            self.add_job(policy, [nature], closed=True)
        return errand

    def fail_to_send(self, errand: Errand) -> None:
        """What was noted cannot be sent: the worker never saw it."""
        worker, chunk, _ = errand.ticket
        self._drop(errand)
        self.tell(m.ResultsArrived(worker, chunk, 0, ended=True))
        self.lending.came_back(chunk)

    def tear(self, errand: Errand) -> None:
        """An exception strikes in the midst of sending: task and worker are given up."""
        worker, chunk, _ = errand.ticket
        self._drop(errand)
        if self.scheduler.chunk(worker, chunk) is not None:
            self.end_worker(worker)

    def end_worker(self, number: int) -> None:
        """Whoever sends to it past the scheduler is held up, or was torn away: nobody knows what it has."""
        self.tell(m.WorkerUnwanted(number))
        self.state.workers[number].kill_due = True

    def _drop(self, errand: Errand) -> None:
        assert errand.number is not None
        self.lending.errands.remove(errand)
        self.cancel(errand.number, None)

    def open_jobs(self) -> list[int]:
        """Those that are not over."""
        return [number for number, job in self.state.jobs.items() if not job.over]

    # --- the scheduler ----------------------------------------------------------------------------------------

    def tell(self, event: m.Event) -> list[m.Command]:
        """Tell the scheduler something, and check what it answers."""
        self.state.diary.append(f"{self.state.now:.4f} {event}")
        self._promises.hear(event)
        commands = self.scheduler.handle(event, self.state.now)
        for command in commands:
            self.state.diary.append(f"        {command}")
            self._promises.check(command, event)
        self.state.commands.extend(commands)
        self._promises.windows_are_bounded()
        assert self.scheduler.workers == len(self.state.workers)
        return commands

    def tick(self) -> None:
        """Time has passed."""
        self.obey()
        self.tell(m.Tick())

    def obey(self) -> None:
        """Before anything else is told: the books. What callers note after that comes later."""
        self.lending.keep_books()
        self.meanwhile()

    # --- the dispatcher ---------------------------------------------------------------------------------------

    def carry_out(self) -> None:
        """The oldest command."""
        command = self.state.commands.popleft()
        worker = self.state.workers.get(getattr(command, "worker", -1))
        if isinstance(command, m.SendChunk):
            self._send(command, worker)
        elif isinstance(command, m.ReserveWorker):
            self.lending.lend(command.reserved, calls=10 - self._choose(10))
        elif isinstance(command, m.ReleaseWorker):
            self.lending.take_back(command.worker)
        elif worker is None:
            return
        elif isinstance(command, m.InspectWorker):
            self.tell(m.Inspected(command.worker, *worker.stamp(), worker.since))
        elif isinstance(command, m.RevokeRest | m.LiftRevoke):
            worker.revoked = isinstance(command, m.RevokeRest)
        elif isinstance(command, m.KillWorker):
            worker.kill_due = True
        elif isinstance(command, m.RetireWorker):
            worker.inbox.append(None)

    def _send(self, command: m.SendChunk, worker: Worker | None) -> None:
        chunk = command.chunk
        if self.state.jobs[chunk.job].over == "cancelled":  # not sent: handed back
            self.tell(m.ResultsArrived(command.worker, chunk.serial, chunk.start, ended=True))
        elif worker is not None:
            worker.inbox.append(Given(chunk.serial, chunk.job, chunk.start, chunk.stop, chunk.isolated))

    def deliver(self, number: int) -> None:
        """The oldest word of a worker reaches the scheduler."""
        state = self.state
        worker = state.workers[number]
        event = worker.outbox.popleft()
        if self.lending.settle_at_once(event):
            return
        self.obey()
        if isinstance(event, m.WorkerStarted):
            state.failed_starts = 0
        elif not worker.ready:
            state.failed_starts += 1
            state.hopeless |= getattr(event, "fatal", False)
        if isinstance(event, m.StartFailed | m.WorkerDied):
            state.gone[number] = state.workers.pop(number)
        self.tell(event)
        if isinstance(event, m.ChunkRefused) or (isinstance(event, m.ResultsArrived) and event.ended):
            self.lending.came_back(event.chunk)

    # --- time, and peace --------------------------------------------------------------------------------------

    def wait_for_deadline(self) -> bool:
        """Sleep until the scheduler wants to be woken; False if it does not."""
        deadline = self.scheduler.next_deadline()
        if deadline is None:
            return False
        self.state.now = max(self.state.now, deadline) + 1e-6  # no clock stands still
        self.tick()
        return True

    def progress(self) -> bool:
        """One thing happens, and a good one; False if nothing can happen before time passes."""
        if self.state.commands:
            self.carry_out()
        elif self.lending.errands:
            self.lending.go_on(self.lending.errands[0])
        elif any(self._progress_of(number, worker) for number, worker in list(self.state.workers.items())):
            return True
        elif self.lending.books:
            self.lending.keep_books()
        else:
            return False
        return True

    def _progress_of(self, number: int, worker: Worker) -> bool:
        if worker.outbox:
            self.deliver(number)
        elif worker.alive and worker.kill_due:
            self.crew.die(number)
        elif worker.alive and not worker.ready:
            self.crew.start(number)
        elif self.crew.can_step(number):
            self.crew.step(number)
        else:
            return False
        return True

    def settle(self) -> None:
        """Everything happens that can without time passing."""
        for _ in range(50_000):
            if not self.progress():
                self._promises.nothing_is_late(self.scheduler.next_deadline())
                return
        raise AssertionError("it goes on for ever without time passing")

    def make_peace(self) -> None:
        """From here on all goes well: every job must end, every worker leave, in a bounded number of rounds."""
        self.shut_down()
        for _ in range(200 + 40 * sum(len(job.natures) * job.policy.attempts for job in self.state.jobs.values())):
            self.settle()
            if not self.state.workers and self.scheduler.idle:
                break
            assert self.wait_for_deadline(), "stuck: nothing will ever happen again"
        assert not self.open_jobs(), "there are jobs that never end"
        assert self.scheduler.idle
        assert not self.state.workers, "there are workers that never leave"


def _endable(natures: list[Nature], policy: m.Policy) -> list[Nature]:
    """Without a timeout nothing would ever end a task that is stuck."""
    return natures if policy.timeout is not None else [Nature.GOOD if n in STUCK else n for n in natures]
