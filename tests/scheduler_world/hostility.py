"""Random histories: whatever can happen, happens, at any moment and in any order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from manyhands._core import messages as m
from manyhands._core.scheduler import Limits
from scheduler_world.lending import Errand
from scheduler_world.records import Nature, Stage, Worker
from scheduler_world.world import World

T = TypeVar("T")
Choose = Callable[[int], int]

_NATURES = list(Nature)
_ACTIONS: list[Callable[[History], None]] = []
_CALLS: list[Callable[[History], None]] = []  # of these: what callers with single tasks do
MOST_JOBS = 6
MOST_CALLS = 40


class History:
    """One world and what befalls it. Each history prefers some kinds of event and knows nothing of others."""

    def __init__(self, choose: Choose) -> None:
        self.choose = choose
        self.of_calls = of_calls = choose(2)  # one after the other, for the most part
        limits = Limits(1 + choose(3), self.one_of([None, None, 1, 3]), self.one_of([None, 5.0]))
        limits = limits._replace(tasks_per_worker=None) if of_calls else limits
        limits = limits._replace(few_workers=self.one_of([None, None, 1]), loaders=self.one_of([None, 1, 2]))
        self.world = World(limits, choose)
        weights = [self.one_of([0, 1, 3, 10]) for _ in _ACTIONS]
        self.world.meanwhile = self._callers_come
        self._actions = [a for a, weight in zip(_ACTIONS, weights, strict=True) for _ in range(weight)] or _ACTIONS
        self._actions += (_CALLS * 5 + [all_goes_well_for_a_while] * 10) * of_calls
        self.jobs = MOST_JOBS
        self.calls = MOST_CALLS
        if not of_calls:
            new_job(self)

    def go_on(self) -> None:
        """The next thing happens."""
        self.one_of(self._actions)(self)

    def _callers_come(self) -> None:
        if self.choose(8) == 7:
            self.one_of([a_ticket_is_taken, a_caller_goes_on])(self)

    def one_of(self, things: Iterable[T]) -> T:
        """Any of them."""
        things = list(things)
        return things[self.choose(len(things))]

    def worker(self, fits: Callable[[Worker], object]) -> int | None:
        """Any worker of this kind."""
        found = [number for number, worker in self.world.state.workers.items() if fits(worker)]
        return self.one_of(found) if found else None

    def able(self) -> int | None:
        """Any worker that has something to do."""
        found = [number for number in self.world.state.workers if self.world.crew.can_step(number)]
        return self.one_of(found) if found else None

    def natures(self) -> list[Nature]:
        """Some tasks: all good, a few not, or of all kinds."""
        odd = self.choose(3)
        kinds = [self.one_of(_NATURES) for _ in range(4)] if odd else [Nature.GOOD]
        count = self.one_of([0, 1, 2, 3, 10, 60])
        return [self.one_of(kinds) if odd == 2 or self.choose(8) == 7 else Nature.GOOD for _ in range(count)]

    def nature(self) -> Nature:
        """Of one task; most are good."""
        return self.one_of([Nature.GOOD, Nature.GOOD, self.one_of(_NATURES)])

    def errand(self, *, noted: bool) -> Errand | None:
        """Any caller that has a ticket, and has noted what it sends, or has not."""
        found = [errand for errand in self.world.lending.errands if (errand.number is not None) == noted]
        return self.one_of(found) if found else None

    def may_call(self) -> bool:
        """There are not too many calls yet; this is one more."""
        self.calls -= 1
        return self.calls >= 0 and not self.world.closing

    def policy(self) -> m.Policy:
        """Any."""
        return m.Policy(
            chunksize=self.one_of([None, None, 1, 3, 20]),
            timeout=self.one_of([None, None, 1.0, 50.0]),
            attempts=1 + self.choose(3),
            backoff=self.one_of([m.no_backoff, lambda made: 0.5 * made]),
            rerun_after_death=self.choose(3) < 2,
            retry_timeouts=bool(self.choose(2)),
        )


def _action(function: Callable[[History], None]) -> Callable[[History], None]:
    _ACTIONS.append(function)
    return function


def _call(function: Callable[[History], None]) -> Callable[[History], None]:
    _CALLS.append(function)
    return _action(function)


@_action
def all_goes_well_for_a_while(history: History) -> None:
    for _ in range(history.choose(30)):
        history.world.progress()


@_action
def one_command_is_carried_out(history: History) -> None:
    if history.world.state.commands:
        history.world.carry_out()


@_action
def all_commands_are_carried_out(history: History) -> None:
    while history.world.state.commands:
        history.world.carry_out()


@_action
def something_is_heard(history: History) -> None:
    number = history.worker(lambda worker: worker.outbox)
    if number is not None:
        history.world.deliver(number)


@_action
def a_worker_does_something(history: History) -> None:
    number = history.able()
    if number is not None:
        history.world.crew.step(number)


@_action
def a_worker_does_many_things(history: History) -> None:
    number, crew = history.able(), history.world.crew
    for _ in range(history.choose(20)):
        if number is not None and crew.can_step(number):
            crew.step(number)


@_action
def some_results_are_flushed(history: History) -> None:
    stages = {Stage.SHOWING, Stage.RUNNING, Stage.DONE}
    number = history.worker(lambda worker: worker.alive and worker.chunk and worker.stage in stages)
    if number is not None:
        history.world.crew.flush(number)


@_action
def a_worker_dies(history: History) -> None:
    number = history.worker(lambda worker: worker.alive and worker.ready)
    if number is not None:
        history.world.crew.die(number)


@_action
def a_killed_worker_dies(history: History) -> None:
    number = history.worker(lambda worker: worker.alive and worker.kill_due)
    if number is not None:
        history.world.crew.die(number)


@_action
def a_worker_starts(history: History) -> None:
    number = history.worker(lambda worker: worker.alive and not worker.ready)
    if number is not None:
        history.world.crew.start(number)


@_action
def a_start_fails(history: History) -> None:
    number = history.worker(lambda worker: worker.alive and not worker.ready)
    if number is not None:
        history.world.crew.fail_start(number, fatal=history.choose(30) == 29, by_death=bool(history.choose(2)))


@_action
def a_chunk_is_refused(history: History) -> None:
    unpacking = lambda w: w.alive and w.stage is Stage.UNPACKING and not w.chunk.isolated  # noqa: E731
    number = history.worker(unpacking)
    if number is not None:
        history.world.crew.refuse(number)


@_action
def a_worker_is_ended_for_no_fault_of_a_task(history: History) -> None:
    number = history.worker(lambda worker: worker.alive and worker.assigned)
    if number is not None:
        history.world.obey()
        history.world.end_worker(number)


@_action
def a_worker_has_grown_too_large(history: History) -> None:
    number = history.worker(lambda worker: worker.alive and worker.ready)
    if number is not None:
        history.world.obey()
        history.world.tell(m.WorkerFull(number))


@_action
def tasks_turn_out_to_be_heavy(history: History) -> None:
    history.world.obey()
    history.world.tell(m.TasksWeighed(history.choose(MOST_JOBS), 1 + history.choose(9), history.choose(1 << 24)))


@_action
def time_passes_unnoticed(history: History) -> None:
    history.world.state.now += history.one_of([0.0005, 0.001, 0.01, 0.1, 1.0, 10.0])


@_action
def a_tick_comes_early(history: History) -> None:
    history.world.tick()


@_action
def a_deadline_comes(history: History) -> None:
    history.world.wait_for_deadline()


@_action
def new_job(history: History) -> None:
    history.jobs -= 1
    if history.jobs >= 0 and not history.world.closing:
        history.world.add_job(
            history.policy(),
            history.natures() if history.choose(4) else [],
            closed=bool(history.of_calls or history.choose(2)),
        )


@_call
def a_call(history: History) -> None:
    if history.may_call():
        history.world.call(history.policy(), history.nature())


@_call
def one_call_after_the_other(history: History) -> None:
    for _ in range(history.choose(8)):
        if history.may_call():
            history.world.call(m.Policy(), Nature.GOOD)
        for _ in range(history.choose(40)):
            history.world.progress()


@_call
def a_ticket_is_taken(history: History) -> None:
    if history.may_call():
        history.world.lending.take(history.policy()._replace(timeout=None), Nature.GOOD)


@_call
def a_caller_goes_on(history: History) -> None:
    if history.world.lending.errands:
        history.world.lending.go_on(history.one_of(history.world.lending.errands))


@_call
def a_ticket_is_lost(history: History) -> None:
    errand = history.errand(noted=False)
    if errand is not None and history.choose(3) == 2:
        history.world.lending.lose(errand)


@_call
def a_call_cannot_be_sent(history: History) -> None:
    errand = history.errand(noted=True)
    if errand is not None:
        history.world.fail_to_send(errand)


@_call
def the_sending_of_a_call_is_torn(history: History) -> None:
    errand = history.errand(noted=True)
    if errand is not None:
        history.world.tear(errand)


@_action
def more_input(history: History) -> None:
    jobs = history.world.open_jobs()
    if jobs:
        history.world.add_tasks(history.one_of(jobs), history.natures(), closed=history.choose(3) == 2)


@_action
def some_tasks_are_run_elsewhere(history: History) -> None:
    jobs = history.world.open_jobs()
    if jobs:
        history.world.skip_tasks(history.one_of(jobs), history.choose(4))


@_action
def a_job_is_cancelled(history: History) -> None:
    jobs = history.world.open_jobs()
    if jobs and history.choose(3) == 2:
        history.world.cancel(history.one_of(jobs), history.one_of([None, 0.0, 1.0]))


@_action
def a_shutdown_is_asked_for(history: History) -> None:
    if history.choose(30) == 29:
        history.world.shut_down()
