"""The pure part: scheduler, chunk sizes, order and retries. No process, no thread, no clock."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from scheduler_world.hostility import History
from scheduler_world.records import Nature
from scheduler_world.world import World

from manyhands._core import messages as m
from manyhands._core.chunking import JOINED_SECONDS, MAX_CHUNK, MAX_DEPTH, MAX_FIXED, MIN_DEPTH, TARGET_SECONDS, Chunker
from manyhands._core.ordering import Reorder
from manyhands._core.retry import Retry
from manyhands._core.scheduler import (
    FINAL_STRIKES,
    HOLD_SECONDS,
    ISOLATE_STRIKES,
    LEAVE_SECONDS,
    RELEASE_SECONDS,
    START_TRIES,
    STEAL_SECONDS,
    Limits,
    Scheduler,
)
from manyhands.errors import OptionError

# --- whatever happens -------------------------------------------------------------------------------------------


def live_through(history: History, events: int) -> None:
    """Let these many things happen, then let all go well; what the scheduler promises is checked at each step."""
    try:
        for _ in range(events):
            history.go_on()
        history.world.make_peace()
    except AssertionError as error:
        error.add_note("\n".join(history.world.state.diary[-60:]))
        raise


def choices(data: bytes) -> Any:
    """A chooser that takes its choices from these bytes, and the dullest when there are no more."""
    left = iter(data)
    return lambda n: next(left, 0) % n


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=200, max_size=800), st.integers(20, 200))
def test_the_scheduler_keeps_its_promises_whatever_happens(data: bytes, events: int) -> None:
    live_through(History(choices(data)), events)


def test_the_scheduler_keeps_its_promises_in_many_random_histories() -> None:
    for seed in range(300):
        source = random.Random(seed)
        try:
            live_through(History(source.randrange), source.randrange(20, 250))
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.stress
@pytest.mark.timeout(1200)
@settings(max_examples=10_000, deadline=None)
@given(st.binary(min_size=400, max_size=3000), st.integers(20, 1000))
def test_the_scheduler_keeps_its_promises_whatever_happens_for_long(data: bytes, events: int) -> None:
    live_through(History(choices(data)), events)


@pytest.mark.stress
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(4))
def test_the_scheduler_keeps_its_promises_in_very_many_random_histories(part: int) -> None:
    for seed in range(1000 + part * 10_000, 1000 + (part + 1) * 10_000):
        source = random.Random(seed)
        try:
            live_through(History(source.randrange), source.randrange(20, 400))
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise


@settings(max_examples=60, deadline=None)
@given(
    natures=st.lists(st.sampled_from(list(Nature)), max_size=40),
    workers=st.integers(1, 3),
    policy=st.builds(
        m.Policy,
        chunksize=st.none() | st.integers(1, 20),
        timeout=st.just(1.0),
        attempts=st.integers(1, 3),
        backoff=st.just(m.no_backoff),
        rerun_after_death=st.booleans(),
        retry_timeouts=st.booleans(),
    ),
)
def test_every_task_ends_whatever_tasks_do(natures: list[Nature], workers: int, policy: m.Policy) -> None:
    world = World(Limits(workers))
    number = world.add_job(policy, natures, closed=True)
    note(str(natures))
    world.make_peace()
    assert world.state.jobs[number].over == "finished"
    assert len(world.state.jobs[number].ended) == len(natures)


# --- one thing at a time ----------------------------------------------------------------------------------------


class Play:
    """A scheduler and a clock."""

    def __init__(self, workers: int = 1, **limits: Any) -> None:
        self.scheduler = Scheduler(Limits(workers, **limits))
        self.now = 0.0
        self._jobs = itertools.count()

    def tell(self, event: m.Event) -> list[m.Command]:
        return self.scheduler.handle(event, self.now)

    def job(self, tasks: int, *, closed: bool = True, **policy: Any) -> list[m.Command]:
        number = next(self._jobs)
        return self.tell(m.JobAdded(number, m.Policy(**policy), tasks, closed))

    def start(self, *workers: int) -> list[m.Chunk]:
        """Let workers become ready; the chunks they are given."""
        return [c.chunk for worker in workers for c in sent(self.tell(m.WorkerStarted(worker)))]

    def end(
        self, worker: int, chunk: m.Chunk, *, failed: tuple[tuple[int, bool], ...] = (), seconds: float = 1.0
    ) -> Any:
        """A chunk has run to its end."""
        return self.tell(m.ResultsArrived(worker, chunk.serial, chunk.stop, failed, ended=True, seconds=seconds))

    def reserved(self) -> m.Reserved:
        """A first single task has run, on the worker that is reserved by that."""
        ((chunk,), *_) = [self.start(command.worker) for command in self.job(1)]
        return only(self.end(0, chunk), m.ReserveWorker)[0].reserved

    def sent(self, reserved: m.Reserved, **policy: Any) -> list[m.Command]:
        """A single task was sent with a reservation."""
        return self.tell(m.JobAdded(next(self._jobs), m.Policy(**policy), 1, True, reserved))

    def came_back(self, reserved: m.Reserved, **results: Any) -> list[m.Command]:
        """And has run."""
        return self.tell(m.ResultsArrived(reserved.worker, reserved.chunk, 1, ended=True, **results))

    def give_back(self, worker: int, commands: list[m.Command]) -> list[m.Command]:
        """The reservation was asked for, and nobody has it."""
        assert m.ReleaseWorker(worker) in commands
        return self.tell(m.Released(worker))

    def later(self, seconds: float) -> list[m.Command]:
        self.now += seconds
        return self.tell(m.Tick())

    def until_deadline(self) -> list[m.Command]:
        deadline = self.scheduler.next_deadline()
        assert deadline is not None
        return self.later(max(0.0, deadline - self.now))


def sent(commands: list[m.Command]) -> list[m.SendChunk]:
    return [command for command in commands if isinstance(command, m.SendChunk)]


def ranges(commands: list[m.Command]) -> list[tuple[int, int]]:
    return [(command.chunk.start, command.chunk.stop) for command in sent(commands)]


def only(commands: list[m.Command], kind: type) -> list[Any]:
    return [command for command in commands if isinstance(command, kind)]


class TestJobs:
    def test_a_job_without_tasks_is_finished_at_once_and_starts_nobody(self) -> None:
        assert Play(4).job(0) == [m.FinishJob(0)]

    def test_the_tasks_of_a_job_may_be_told_later(self) -> None:
        play = Play()
        assert play.job(0, closed=False) == []
        assert play.tell(m.TasksAdded(0, 1)) == [m.StartWorker(0)]
        assert ranges(play.tell(m.WorkerStarted(0))) == [(0, 1)]
        assert ranges(play.tell(m.TasksAdded(0, 3, closed=True))) == [(1, 2)]

    def test_tasks_that_were_run_elsewhere_are_left_out(self) -> None:
        play = Play()
        play.job(3, closed=False, chunksize=1)
        assert ranges(play.tell(m.WorkerStarted(0))) == [(0, 1), (1, 2)]
        assert play.tell(m.TasksSkipped(0, 7, 0.1)) == []
        play.tell(m.TasksAdded(0, 8, closed=True))
        assert ranges(play.tell(m.ResultsArrived(0, 1, 1, ended=True))) == [(2, 3)]
        assert ranges(play.tell(m.ResultsArrived(0, 2, 2, ended=True))) == [(7, 8)]
        play.tell(m.ResultsArrived(0, 3, 3, ended=True))
        assert only(play.tell(m.ResultsArrived(0, 4, 8, ended=True)), m.FinishJob)

    def test_a_job_is_finished_when_its_last_task_has_ended(self) -> None:
        play = Play()
        play.job(2, chunksize=1)
        first, second = play.start(0)
        assert play.end(0, first) == [m.Deliver(0, 0, 1, frozenset())]
        assert play.end(0, second) == [m.Deliver(0, 1, 2, frozenset()), m.FinishJob(0)]
        assert play.scheduler.idle

    def test_a_job_whose_input_goes_on_is_not_finished(self) -> None:
        play = Play()
        play.job(1, closed=False)
        (chunk,) = play.start(0)
        assert not only(play.end(0, chunk), m.FinishJob)
        assert play.tell(m.TasksAdded(0, 1, closed=True)) == [m.FinishJob(0)]

    def test_results_are_delivered_as_they_arrive(self) -> None:
        play = Play()
        play.job(10, chunksize=10)
        (chunk,) = play.start(0)
        assert play.tell(m.ResultsArrived(0, chunk.serial, 4)) == [m.Deliver(0, 0, 4, frozenset())]
        assert play.tell(m.ResultsArrived(0, chunk.serial, 4)) == []
        assert play.end(0, chunk) == [m.Deliver(0, 4, 10, frozenset()), m.FinishJob(0)]

    def test_jobs_are_served_first_come_first_served(self) -> None:
        play = Play()
        play.job(2, chunksize=2)
        play.job(2, chunksize=2)
        assert [chunk.job for chunk in play.start(0)] == [0, 1]

    def test_a_task_to_run_again_comes_before_newer_jobs(self) -> None:
        play = Play()
        play.job(1, attempts=2)
        (chunk,) = play.start(0)
        play.job(50, chunksize=1)
        play.end(0, chunk, failed=((0, True),))
        play.until_deadline()
        first, *_ = sent(play.tell(m.ResultsArrived(0, 2, 1, ended=True)))
        assert first.chunk.job == 0

    def test_more_input_of_an_older_job_comes_before_newer_jobs(self) -> None:
        play = Play()
        play.job(1, closed=False)
        play.start(0)
        play.job(50, chunksize=1)
        play.tell(m.TasksAdded(0, 2))
        assert [c.chunk.job for c in sent(play.tell(m.ResultsArrived(0, 1, 1, ended=True)))] == [0]

    def test_what_is_not_known_is_ignored(self) -> None:
        play = Play()
        for event in (
            m.TasksAdded(7, 3),
            m.TasksSkipped(7, 3, 0.0),
            m.JobCancelled(7),
            m.WorkerStarted(7),
            m.WorkerDied(7),
            m.ResultsArrived(7, 1, 3, ended=True),
            m.ChunkRefused(7, 1),
            m.Inspected(7, 1, 0, 0.0),
            m.Released(7),
            m.Tick(),
        ):
            assert play.tell(event) == []
        assert play.scheduler.chunk(7, 1) is None
        assert play.scheduler.lookahead(7) == Chunker().lookahead(1)
        assert play.scheduler.next_deadline() is None


class TestWorkers:
    def test_there_are_no_more_workers_than_tasks(self) -> None:
        assert len(only(Play(8).job(3), m.StartWorker)) == 3

    def test_there_are_no_more_workers_than_allowed(self) -> None:
        play = Play(2)
        assert len(only(play.job(100), m.StartWorker)) == 2
        assert not only(play.job(100), m.StartWorker)
        assert play.scheduler.workers == 2

    def test_work_is_spread_over_the_workers(self) -> None:
        play = Play(2)
        play.job(4, chunksize=1)
        assert len(play.start(0)) == MIN_DEPTH
        assert len(play.start(1)) == MIN_DEPTH

    def test_a_dead_worker_is_replaced_while_there_is_work(self) -> None:
        play = Play()
        play.job(5)
        play.start(0)
        assert m.StartWorker(1) in play.tell(m.WorkerDied(0))

    def test_a_worker_is_replaced_after_its_share_of_tasks(self) -> None:
        play = Play(tasks_per_worker=2)
        play.job(3, chunksize=5)
        (chunk,) = play.start(0)
        assert chunk.stop == 2
        commands = play.end(0, chunk)
        assert m.RetireWorker(0) in commands
        assert m.StartWorker(1) in commands
        assert ranges(play.tell(m.WorkerStarted(1))) == [(2, 3)]

    def test_those_on_their_way_out_count_when_workers_are_replaced(self) -> None:
        play = Play(tasks_per_worker=1)
        play.job(9)
        for worker in (0, 1):
            (chunk,) = play.start(worker)
            play.end(worker, chunk)
        assert play.scheduler.workers <= 2

    def test_an_idle_worker_leaves_after_a_while(self) -> None:
        play = Play(idle_seconds=60.0)
        play.job(1)
        (chunk,) = play.start(0)
        play.end(0, chunk)
        assert play.later(59.0) == []
        play.give_back(0, play.until_deadline())
        assert play.until_deadline() == [m.RetireWorker(0)]
        assert play.now == pytest.approx(60.0)

    def test_a_worker_that_does_not_leave_is_killed(self) -> None:
        play = Play(idle_seconds=0.0)
        play.job(1)
        (chunk,) = play.start(0)
        play.end(0, chunk)
        play.give_back(0, play.later(0.0))
        assert play.later(0.0) == [m.RetireWorker(0)]
        assert play.later(LEAVE_SECONDS) == [m.KillWorker(0)]

    def test_a_worker_that_leaves_just_as_work_arrives_costs_nothing(self) -> None:
        play = Play(idle_seconds=0.0)
        play.job(1)
        (chunk,) = play.start(0)
        play.end(0, chunk)
        play.give_back(0, play.later(0.0))
        assert play.later(0.0) == [m.RetireWorker(0)]
        assert play.job(1) == [m.StartWorker(1)]
        assert play.tell(m.WorkerDied(0)) == []
        assert len(play.start(1)) == 1

    def test_shutdown_lets_the_work_be_done_first(self) -> None:
        play = Play()
        play.job(1)
        (chunk,) = play.start(0)
        assert play.tell(m.ShutdownAsked()) == []
        assert play.end(0, chunk)[-1] == m.RetireWorker(0)
        play.tell(m.WorkerDied(0))
        assert play.scheduler.workers == 0

    def test_shutdown_lets_workers_go_that_are_still_starting(self) -> None:
        play = Play(2)
        play.job(2)
        play.tell(m.JobCancelled(0))
        assert play.tell(m.ShutdownAsked()) == [m.RetireWorker(0), m.RetireWorker(1)]
        assert play.tell(m.WorkerStarted(0)) == []
        assert play.later(LEAVE_SECONDS) == [m.KillWorker(0), m.KillWorker(1)]  # its initializer may never end


class TestStarts:
    def test_a_failed_start_is_tried_again(self) -> None:
        play = Play()
        play.job(1)
        assert play.tell(m.StartFailed(0)) == [m.StartWorker(1)]

    def test_a_worker_that_dies_before_it_is_ready_is_a_failed_start(self) -> None:
        play = Play()
        play.job(1)
        assert play.tell(m.WorkerDied(0)) == [m.StartWorker(1)]

    def test_work_that_no_worker_can_be_had_for_is_given_up(self) -> None:
        play = Play()
        play.job(1)
        play.job(1)
        for worker in range(START_TRIES - 1):
            assert play.tell(m.StartFailed(worker)) == [m.StartWorker(worker + 1)]
        assert play.tell(m.StartFailed(START_TRIES - 1)) == [m.BreakJob(0), m.BreakJob(1)]

    def test_the_next_job_tries_anew(self) -> None:
        play = Play()
        play.job(1)
        for worker in range(START_TRIES):
            play.tell(m.StartFailed(worker))
        assert play.job(1) == [m.StartWorker(START_TRIES)]

    def test_a_fatal_failure_breaks_every_job_present_and_to_come(self) -> None:
        play = Play(2)
        play.job(1)
        play.job(1)
        assert play.tell(m.StartFailed(0, fatal=True)) == [m.BreakJob(0), m.BreakJob(1)]
        assert play.scheduler.broken
        assert play.job(1) == [m.BreakJob(2)]

    def test_one_worker_that_runs_is_enough_to_go_on(self) -> None:
        play = Play(2)
        play.job(10, chunksize=1)
        play.start(0)
        for worker in range(1, 20):
            commands = play.tell(m.StartFailed(worker))
            assert not only(commands, m.BreakJob)
            while not only(commands, m.StartWorker):
                commands = play.until_deadline()

    def test_failing_starts_are_not_tried_without_a_pause_for_ever(self) -> None:
        play = Play(2)
        play.job(10, chunksize=1)
        play.start(0)
        tries = 0
        while only(play.tell(m.StartFailed(1 + tries)), m.StartWorker):
            tries += 1
            assert tries < 20
        assert play.scheduler.next_deadline() > play.now


class TestDeaths:
    def test_a_death_is_charged_to_the_task_that_ran_and_the_others_run_again(self) -> None:
        play = Play()
        play.job(10, chunksize=5)
        first, _ = play.start(0)
        commands = play.tell(m.WorkerDied(0, first.serial, 2))
        assert only(commands, m.FailTask) == [m.FailTask(0, 2, m.Cause.DIED, 1)]
        again = [c.chunk for c in sent(play.tell(m.WorkerStarted(1)))]
        while len(again) < 20 and (more := sent(play.end(1, again[-1]))):
            again += [c.chunk for c in more]
        assert sorted(t for c in again for t in range(c.start, c.stop)) == [0, 1, 3, 4, 5, 6, 7, 8, 9]

    def test_results_that_are_out_stand(self) -> None:
        play = Play()
        play.job(5, chunksize=5)
        (chunk,) = play.start(0)
        play.tell(m.ResultsArrived(0, chunk.serial, 3))
        play.tell(m.WorkerDied(0, chunk.serial, 3))
        assert ranges(play.tell(m.WorkerStarted(1))) == [(4, 5)]

    def test_a_death_behind_a_task_whose_result_is_out_is_not_charged_to_it(self) -> None:
        play = Play()
        play.job(5, chunksize=5)
        (chunk,) = play.start(0)
        play.tell(m.ResultsArrived(0, chunk.serial, 3))
        assert play.tell(m.WorkerDied(0, chunk.serial, 2)) == [m.StartWorker(1)]
        assert ranges(play.tell(m.WorkerStarted(1))) == [(3, 5)]

    def test_a_worker_that_is_ended_on_purpose_gets_nothing_more_and_no_task_is_to_blame(self) -> None:
        play = Play()
        play.job(1)
        (chunk,) = play.start(0)
        assert play.tell(m.WorkerUnwanted(0)) == [m.KillWorker(0), m.StartWorker(1)]
        assert not play.tell(m.ResultsArrived(0, chunk.serial, 0, ended=True))  # it hands that back meanwhile
        assert not only(play.tell(m.WorkerDied(0, chunk.serial, 0)), m.FailTask)
        assert ranges(play.tell(m.WorkerStarted(1))) == [(0, 1)]

    def test_a_task_that_an_unwanted_worker_seems_to_be_in_runs_elsewhere(self) -> None:
        play = Play()
        play.job(1)
        (chunk,) = play.start(0)
        play.tell(m.WorkerUnwanted(0))
        assert not only(play.tell(m.WorkerDied(0, chunk.serial, 0)), m.FailTask)
        assert ranges(play.tell(m.WorkerStarted(1))) == [(0, 1)]

    def test_a_task_whose_worker_died_runs_as_often_as_the_policy_says(self) -> None:
        play = Play()
        play.job(1, attempts=3)
        for attempt in (1, 2):
            (chunk,) = play.start(attempt - 1)
            assert m.RetryTask(0, 0) in play.tell(m.WorkerDied(attempt - 1, chunk.serial, 0))
            play.later(0.0)
        (chunk,) = play.start(2)
        assert play.tell(m.WorkerDied(2, chunk.serial, 0)) == [m.FailTask(0, 0, m.Cause.DIED, 3), m.FinishJob(0)]

    def test_a_worker_that_dies_while_unpacking_is_charged_to_no_task_but_the_items_travel_apart(self) -> None:
        play = Play()
        play.job(3, chunksize=3)
        (chunk,) = play.start(0)
        assert not only(play.tell(m.WorkerDied(0, chunk.serial, None)), m.FailTask)
        (again,) = play.start(1)
        assert again.isolated

    def test_a_task_around_which_workers_die_unseen_is_given_up_in_the_end(self) -> None:
        play = Play()
        play.job(3, chunksize=3)
        failed: list[int] = []
        for worker in range(50):
            chunks = play.start(worker)
            if not chunks:
                break
            failed += [c.task for c in only(play.tell(m.WorkerDied(worker)), m.FailTask)]
        assert sorted(failed) == [0, 1, 2]
        assert worker >= FINAL_STRIKES

    def test_tasks_around_which_workers_die_unseen_travel_apart_soon(self) -> None:
        play = Play()
        play.job(3, chunksize=3)
        for worker in range(ISOLATE_STRIKES):
            play.start(worker)
            play.tell(m.WorkerDied(worker))
        chunk, *_ = play.start(ISOLATE_STRIKES)
        assert (chunk.stop - chunk.start, chunk.isolated) == (1, True)


class TestAtMostOnce:
    """With ``rerun_after_death=False`` no task whose worker died runs again."""

    def play(self) -> tuple[Play, m.Chunk, m.Chunk]:
        play = Play()
        play.job(6, chunksize=3, attempts=5, rerun_after_death=False)
        first, second = play.start(0)
        return play, first, second

    def rest(self, play: Play) -> list[int]:
        play.later(0.0)
        commands = play.tell(m.WorkerStarted(1))
        return [task for start, stop in ranges(commands) for task in range(start, stop)]

    def test_those_that_ran_before_it_in_its_chunk_fail_too(self) -> None:
        play, first, _ = self.play()
        failed = only(play.tell(m.WorkerDied(0, first.serial, 1)), m.FailTask)
        assert [command.task for command in failed] == [0, 1]
        assert sorted(self.rest(play)) == [2, 3, 4, 5]

    def test_those_whose_end_was_never_heard_of_fail_too(self) -> None:
        play, _, _ = self.play()
        failed = only(play.tell(m.WorkerDied(0, None, None)), m.FailTask)
        assert [command.task for command in failed] == [0, 1, 2]
        assert sorted(self.rest(play)) == [3, 4, 5]

    def test_those_whose_results_were_on_their_way_fail_too(self) -> None:
        play, first, _ = self.play()
        failed = only(play.tell(m.WorkerDied(0, first.serial, None, ran=True)), m.FailTask)
        assert [command.task for command in failed] == [0, 1, 2]
        assert sorted(self.rest(play)) == [3, 4, 5]

    def test_those_that_were_only_being_unpacked_run(self) -> None:
        play, first, _ = self.play()
        assert not only(play.tell(m.WorkerDied(0, first.serial, None)), m.FailTask)
        assert sorted(self.rest(play)) == [0, 1, 2, 3, 4, 5]

    def test_those_that_ran_before_one_that_was_taken_back_fail_too(self) -> None:
        play = Play(2)
        play.job(6, chunksize=6, rerun_after_death=False)
        (chunk,) = play.start(0)
        play.start(1)
        play.later(STEAL_SECONDS)
        play.tell(m.Inspected(0, chunk.serial, 1, 0.0))
        play.later(HOLD_SECONDS)
        play.tell(m.Inspected(0, chunk.serial, 1, 0.0))
        failed = only(play.tell(m.WorkerDied(0, chunk.serial, 2)), m.FailTask)  # shown, but not begun
        assert [command.task for command in failed] == [0, 1]


class TestRetries:
    def test_a_failed_task_runs_again_if_it_is_worth_it(self) -> None:
        play = Play()
        play.job(4, chunksize=4, attempts=2)
        (chunk,) = play.start(0)
        commands = play.end(0, chunk, failed=((1, True), (2, False)))
        assert commands == [m.Deliver(0, 0, 4, frozenset({1})), m.RetryTask(0, 1)]
        assert ranges(play.later(0.0)) == [(1, 2)]

    def test_no_more_attempts_than_the_policy_says(self) -> None:
        play = Play()
        play.job(1, attempts=3)
        (chunk,) = play.start(0)
        for _ in range(2):
            assert m.RetryTask(0, 0) in play.end(0, chunk, failed=((0, True),))
            (chunk,) = [c.chunk for c in sent(play.later(0.0))]
        done = [m.Deliver(0, 0, 1, frozenset()), m.FinishJob(0)]
        assert play.end(0, chunk, failed=((0, True),))[:-1] == done  # and then the worker is reserved

    def test_the_pause_before_a_retry_is_kept(self) -> None:
        play = Play()
        play.job(1, attempts=3, backoff=lambda made: 10.0 * made)
        (chunk,) = play.start(0)
        play.end(0, chunk, failed=((0, True),))
        assert play.later(9.9) == []
        (command,) = play.until_deadline()
        assert play.now == pytest.approx(10.0)
        play.end(0, command.chunk, failed=((0, True),))
        assert play.scheduler.next_deadline() == pytest.approx(30.0)

    def test_attempts_by_error_and_by_death_count_together(self) -> None:
        play = Play()
        play.job(1, attempts=2)
        (chunk,) = play.start(0)
        play.end(0, chunk, failed=((0, True),))
        (command,) = play.later(0.0)
        assert m.FailTask(0, 0, m.Cause.DIED, 2) in play.tell(m.WorkerDied(0, command.chunk.serial, 0))

    def test_the_retry_of_a_cancelled_job_does_not_come(self) -> None:
        play = Play()
        play.job(1, attempts=3, backoff=lambda _made: 5.0)
        (chunk,) = play.start(0)
        play.end(0, chunk, failed=((0, True),))
        play.tell(m.JobCancelled(0))
        assert play.later(5.0) == []


class TestTimeouts:
    def test_a_task_over_its_time_is_stopped_and_the_others_run_again(self) -> None:
        play = Play()
        play.job(3, chunksize=3, timeout=2.0)
        (chunk,) = play.start(0)
        assert play.until_deadline() == [m.InspectWorker(0)]
        assert play.now == pytest.approx(2.0)
        assert m.KillWorker(0) in play.tell(m.Inspected(0, chunk.serial, 1, 0.0))
        assert m.FailTask(0, 1, m.Cause.TIMEOUT, 1) in play.tell(m.WorkerDied(0, chunk.serial, 1))
        assert sorted(ranges(play.tell(m.WorkerStarted(1)))) == [(0, 1), (2, 3)]

    def test_a_task_is_given_its_whole_time_from_when_it_began(self) -> None:
        play = Play()
        play.job(3, chunksize=3, timeout=2.0)
        (chunk,) = play.start(0)
        play.until_deadline()
        assert play.tell(m.Inspected(0, chunk.serial, 1, 1.5)) == []
        assert play.scheduler.next_deadline() == pytest.approx(3.5)

    def test_a_worker_between_two_tasks_is_looked_at_again(self) -> None:
        play = Play()
        play.job(3, chunksize=3, timeout=2.0)
        play.start(0)
        play.until_deadline()
        assert play.tell(m.Inspected(0, None, None, 2.0)) == []
        assert play.scheduler.next_deadline() <= 4.0

    def test_the_timeout_of_an_earlier_job_does_not_stand_in_for_a_shorter_one(self) -> None:
        play = Play()
        play.job(1, timeout=100.0)
        (chunk,) = play.start(0)
        play.end(0, chunk)
        play.job(1, timeout=2.0)
        assert play.scheduler.next_deadline() <= 2.0

    def test_a_task_that_had_just_ended_is_not_failed_nor_is_the_one_behind_it(self) -> None:
        play = Play()
        play.job(3, chunksize=3, timeout=2.0)
        (chunk,) = play.start(0)
        play.until_deadline()
        play.tell(m.Inspected(0, chunk.serial, 1, 0.0))
        play.tell(m.ResultsArrived(0, chunk.serial, 2))
        assert not only(play.tell(m.WorkerDied(0, chunk.serial, 2)), m.FailTask)
        assert ranges(play.tell(m.WorkerStarted(1))) == [(2, 3)]

    @pytest.mark.parametrize("again", [True, False])
    def test_a_timeout_is_retried_only_if_the_policy_says_so(self, again: bool) -> None:
        play = Play()
        play.job(1, timeout=2.0, attempts=2, retry_timeouts=again)
        (chunk,) = play.start(0)
        play.until_deadline()
        play.tell(m.Inspected(0, chunk.serial, 0, 0.0))
        commands = play.tell(m.WorkerDied(0, chunk.serial, 0))
        assert (m.RetryTask(0, 0) in commands) == again
        assert (m.FailTask(0, 0, m.Cause.TIMEOUT, 1) in commands) != again

    def test_jobs_without_a_timeout_set_no_alarm(self) -> None:
        play = Play()
        play.job(1)
        play.start(0)
        assert play.scheduler.next_deadline() is None


class TestCancelling:
    def test_nothing_is_told_of_a_cancelled_job(self) -> None:
        play = Play()
        play.job(4, chunksize=2)
        first, second = play.start(0)
        assert only(play.tell(m.JobCancelled(0)), m.RevokeRest) == [m.RevokeRest(0)]
        assert play.end(0, first) == []
        assert play.end(0, second) == [m.LiftRevoke(0)]
        assert play.scheduler.idle

    def test_what_was_not_sent_is_never_sent(self) -> None:
        play = Play()
        play.job(9, chunksize=1)
        play.tell(m.JobCancelled(0))
        assert play.tell(m.WorkerStarted(0)) == []

    def test_the_worker_goes_on_with_other_jobs(self) -> None:
        play = Play()
        play.job(1)
        play.job(1)
        first, second = play.start(0)
        play.tell(m.JobCancelled(0))
        play.end(0, first)
        held_back = play.tell(m.ResultsArrived(0, second.serial, 0, ended=True))
        assert held_back[0] == m.LiftRevoke(0)
        assert [c.chunk.job for c in sent(held_back)] == [1]

    def test_what_runs_is_left_to_finish_without_a_grace(self) -> None:
        play = Play()
        play.job(1)
        (chunk,) = play.start(0)
        play.tell(m.JobCancelled(0))
        while (deadline := play.scheduler.next_deadline()) is not None:
            assert not only(play.later(deadline - play.now), m.KillWorker)
            assert not only(play.tell(m.Inspected(0, chunk.serial, 0, 0.0)), m.KillWorker)

    @pytest.mark.parametrize("grace", [0.0, 1.0])
    def test_what_runs_is_stopped_after_the_grace(self, grace: float) -> None:
        play = Play()
        play.job(1)
        (chunk,) = play.start(0)
        play.tell(m.JobCancelled(0, grace))
        killed: list[m.Command] = []
        while not killed:
            commands = play.until_deadline()
            if m.InspectWorker(0) in commands:
                commands += play.tell(m.Inspected(0, chunk.serial, 0, 0.0))
            killed = only(commands, m.KillWorker)
        assert grace <= play.now <= grace + 0.1

    def test_the_shorter_grace_counts(self) -> None:
        play = Play()
        play.job(1)
        play.job(1)
        play.start(0)
        play.tell(m.JobCancelled(0, 60.0))
        play.tell(m.JobCancelled(1, 0.5))
        play.until_deadline()  # the first look
        play.tell(m.Inspected(0, None, None, 0.0))
        assert play.scheduler.next_deadline() <= 0.5

    def test_a_task_of_another_job_is_not_stopped(self) -> None:
        play = Play()
        play.job(1)
        play.job(1)
        _, second = play.start(0)
        play.tell(m.JobCancelled(0, 0.0))
        for _ in range(3):
            assert not only(play.later(1.0), m.KillWorker)
            assert not only(play.tell(m.Inspected(0, second.serial, 0, 0.0)), m.KillWorker)

    def test_a_task_of_another_job_is_not_blamed_when_the_worker_is_ended_for_the_cancelled_one(self) -> None:
        play = Play()
        play.job(1)
        play.job(1)
        first, second = play.start(0)
        play.tell(m.JobCancelled(0, 0.0))
        play.later(1.0)
        assert m.KillWorker(0) in play.tell(m.Inspected(0, first.serial, 0, 0.0))
        assert not only(play.tell(m.WorkerDied(0, second.serial, 0)), m.FailTask)
        assert [chunk.job for chunk in play.start(1)] == [1]


class TestTimeoutsOfSeveralJobs:
    def test_a_short_timeout_behind_a_long_one_is_looked_at_in_time(self) -> None:
        play = Play()
        play.job(1, timeout=50.0)
        play.job(1, timeout=1.0)
        first, _ = play.start(0)
        assert play.until_deadline() == [m.InspectWorker(0)]
        play.tell(m.Inspected(0, first.serial, 0, 0.0))
        assert play.scheduler.next_deadline() <= play.now + 1.0


class TestTakingBack:
    def play(self) -> tuple[Play, m.Chunk, list[m.Command]]:
        play = Play(2)
        play.job(8, chunksize=4)
        chunk, _ = play.start(0)
        play.start(1)
        assert play.later(STEAL_SECONDS) == [m.InspectWorker(0)]
        return play, chunk, play.tell(m.Inspected(0, chunk.serial, 0, 0.0))

    def test_a_worker_that_has_begun_nothing_is_left_in_peace_and_looked_at_again(self) -> None:
        """It is receiving a large chunk: held now, it would report that it has run nothing of it, for ever."""
        play = Play(2)
        play.job(8, chunksize=4)
        chunk, _ = play.start(0)
        play.start(1)
        for seen in ((None, None), (chunk.serial, None)):
            assert play.later(STEAL_SECONDS) == [m.InspectWorker(0)]
            assert play.tell(m.Inspected(0, *seen, 0.0)) == []
        assert play.later(STEAL_SECONDS) == [m.InspectWorker(0)]
        assert play.tell(m.Inspected(0, chunk.serial, 0, 0.0)) == [m.RevokeRest(0)]

    def test_an_idle_worker_gets_what_another_has_not_begun(self) -> None:
        play, chunk, commands = self.play()
        assert commands == [m.RevokeRest(0)]
        assert play.later(HOLD_SECONDS) == [m.InspectWorker(0)]
        commands = play.tell(m.Inspected(0, chunk.serial, 1, 0.0))
        assert sorted(ranges(commands)) == [(2, 4), (4, 8)]
        assert {command.worker for command in sent(commands)} == {1}

    def test_what_runs_is_not_taken_away(self) -> None:
        play, chunk, _ = self.play()
        play.later(HOLD_SECONDS)
        play.tell(m.Inspected(0, chunk.serial, 3, 0.0))
        assert play.tell(m.ResultsArrived(0, chunk.serial, 4, ended=True)) == [m.Deliver(0, 0, 4, frozenset())]

    def test_nothing_is_taken_back_before_it_is_known_what_has_begun(self) -> None:
        play, _, _ = self.play()
        play.later(HOLD_SECONDS)
        assert play.tell(m.Inspected(0, None, None, 0.0)) == []

    def test_nothing_is_taken_back_by_a_look_that_was_asked_for_before_the_worker_was_told_to_stop(self) -> None:
        play = Play()
        play.job(1, timeout=1.0)
        play.job(1)
        first, _ = play.start(0)
        assert play.until_deadline() == [m.InspectWorker(0)]
        assert play.tell(m.JobCancelled(0)) == [m.RevokeRest(0)]
        assert play.tell(m.Inspected(0, first.serial, 0, 0.5)) == []
        assert play.scheduler.chunk(0, first.serial + 1).stop == 1

    def test_the_worker_works_again_when_it_has_said_what_became_of_its_chunks(self) -> None:
        play, chunk, _ = self.play()
        play.later(HOLD_SECONDS)
        play.tell(m.Inspected(0, chunk.serial, 1, 0.0))
        play.tell(m.ResultsArrived(0, chunk.serial, 2, ended=True))
        assert m.LiftRevoke(0) in play.tell(m.ResultsArrived(0, chunk.serial + 1, 4, ended=True))

    def test_nobody_is_disturbed_while_all_have_work(self) -> None:
        play = Play(2)
        play.job(100, chunksize=4)
        play.start(0, 1)
        assert play.scheduler.next_deadline() is None


def following(reserved: m.Reserved) -> m.Reserved:
    """With what the next single task is sent."""
    return reserved._replace(chunk=reserved.chunk + 1)


class TestReservations:
    def test_the_worker_of_a_single_task_is_reserved_when_nothing_else_is_open(self) -> None:
        play = Play()
        play.job(1)
        (chunk,) = play.start(0)
        *_, command = play.end(0, chunk)
        assert isinstance(command, m.ReserveWorker)
        worker, first, last = command.reserved
        assert worker == 0
        assert chunk.serial < first < last

    def test_no_worker_is_reserved_after_other_jobs(self) -> None:
        play = Play()
        play.job(2, chunksize=2)
        (chunk,) = play.start(0)
        assert not only(play.end(0, chunk), m.ReserveWorker)

    def test_no_worker_is_reserved_while_anything_is_open(self) -> None:
        play = Play()
        play.job(1)
        play.job(1)
        first, second = play.start(0)
        assert not only(play.end(0, first), m.ReserveWorker)
        assert only(play.end(0, second), m.ReserveWorker)

    def test_no_worker_is_reserved_during_shutdown(self) -> None:
        play = Play()
        play.job(1)
        (chunk,) = play.start(0)
        play.tell(m.ShutdownAsked())
        assert not only(play.end(0, chunk), m.ReserveWorker)

    def test_no_worker_is_reserved_whose_tasks_are_counted(self) -> None:
        play = Play(tasks_per_worker=100)
        play.job(1)
        (chunk,) = play.start(0)
        assert not only(play.end(0, chunk), m.ReserveWorker)

    def test_no_worker_is_reserved_after_a_cancelled_call(self) -> None:
        play = Play()
        play.job(1)
        (chunk,) = play.start(0)
        play.tell(m.JobCancelled(0))
        assert play.end(0, chunk) == [m.LiftRevoke(0)]

    def test_what_is_sent_with_it_is_known_and_finished_as_any_other(self) -> None:
        play = Play()
        reserved = play.reserved()
        for job in range(1, 50):
            assert play.sent(reserved) == []
            chunk = play.scheduler.chunk(0, reserved.chunk)
            assert (chunk.job, chunk.start, chunk.stop) == (job, 0, 1)
            assert play.came_back(reserved) == [m.Deliver(job, 0, 1, frozenset()), m.FinishJob(job)]
            reserved = following(reserved)
        assert play.scheduler.idle

    def test_it_is_asked_back_when_other_work_comes_and_that_waits_for_it(self) -> None:
        play = Play()
        play.reserved()
        assert play.job(3) == [m.ReleaseWorker(0)]
        assert ranges(play.tell(m.Released(0))) == [(0, 1), (1, 2)]

    def test_other_work_waits_until_what_was_sent_is_back(self) -> None:
        play = Play()
        reserved = play.reserved()
        play.sent(reserved)
        assert play.job(1) == [m.ReleaseWorker(0)]
        assert not sent(play.came_back(reserved))
        assert [c.chunk.job for c in sent(play.tell(m.Released(0)))] == [2]

    def test_a_task_that_was_on_its_way_when_it_was_asked_back_is_as_good_as_any(self) -> None:
        play = Play()
        reserved = play.reserved()
        assert play.job(1) == [m.ReleaseWorker(0)]
        assert play.sent(reserved) == []
        assert play.later(RELEASE_SECONDS * 2) == []
        assert m.Deliver(2, 0, 1, frozenset()) in play.came_back(reserved)
        assert [c.chunk.job for c in sent(play.tell(m.Released(0)))] == [1]

    def test_other_workers_take_other_work_at_once(self) -> None:
        play = Play(2)
        play.job(2, chunksize=1)
        for chunk in play.start(0, 1):
            play.end(0, chunk)
        (command,) = sent(play.job(1))
        (reserve,) = only(play.end(0, command.chunk), m.ReserveWorker)
        play.sent(reserve.reserved)
        commands = play.job(1)
        assert commands[0] == m.ReleaseWorker(0)
        assert [c.worker for c in sent(commands)] == [1]

    def test_it_is_asked_back_for_a_retry(self) -> None:
        play = Play()
        reserved = play.reserved()
        play.sent(reserved, attempts=2)
        assert m.ReleaseWorker(0) in play.came_back(reserved, failed=((0, True),))
        play.tell(m.Released(0))
        assert ranges(play.later(0.0)) == [(0, 1)]

    def test_it_is_asked_back_only_once(self) -> None:
        play = Play()
        play.reserved()
        assert play.job(1) == [m.ReleaseWorker(0)]
        assert play.job(1) == []
        assert play.tell(m.ShutdownAsked()) == []

    def test_when_it_is_used_up_the_next_single_task_makes_another(self) -> None:
        play = Play()
        play.reserved()
        assert play.tell(m.Released(0)) == []
        (command,) = sent(play.job(1))
        assert only(play.end(0, command.chunk), m.ReserveWorker)

    def test_it_is_asked_back_at_shutdown_and_then_the_worker_leaves(self) -> None:
        play = Play()
        play.reserved()
        assert play.give_back(0, play.tell(m.ShutdownAsked())) == [m.RetireWorker(0)]

    def test_it_is_asked_back_at_shutdown_and_what_was_sent_is_done_first(self) -> None:
        play = Play()
        reserved = play.reserved()
        play.sent(reserved)
        assert play.tell(m.ShutdownAsked()) == [m.ReleaseWorker(0)]
        assert play.came_back(reserved) == [m.Deliver(1, 0, 1, frozenset()), m.FinishJob(1)]
        assert play.tell(m.Released(0)) == [m.RetireWorker(0)]

    def test_a_reserved_worker_in_use_does_not_count_as_idle(self) -> None:
        play = Play(idle_seconds=60.0)
        play.sent(play.reserved())
        assert play.scheduler.next_deadline() is None
        assert play.later(100.0) == []

    @pytest.mark.parametrize("job_waits", [True, False])
    def test_one_that_is_lost_costs_the_worker_and_the_work_goes_on_elsewhere(self, job_waits: bool) -> None:
        play = Play()
        play.reserved()
        assert (play.job(1) if job_waits else play.tell(m.ShutdownAsked())) == [m.ReleaseWorker(0)]
        commands = play.until_deadline()
        assert play.now == pytest.approx(RELEASE_SECONDS)
        assert commands[0] == m.KillWorker(0)
        assert play.scheduler.next_deadline() is None
        assert commands[1:] == ([m.StartWorker(1)] if job_waits else [])
        assert play.tell(m.WorkerDied(0)) == []
        assert len(play.start(1)) == job_waits

    def test_one_that_is_lost_after_some_use_costs_the_worker_too(self) -> None:
        play = Play()
        reserved = play.reserved()
        play.sent(reserved)
        play.job(1)
        play.later(5.0)
        play.came_back(reserved)
        assert play.until_deadline()[0] == m.KillWorker(0)
        assert play.now == pytest.approx(5.0 + RELEASE_SECONDS)

    def test_one_that_is_used_after_the_worker_was_given_up_loses_no_task(self) -> None:
        play = Play()
        reserved = play.reserved()
        play.job(1)
        play.later(RELEASE_SECONDS)
        assert play.sent(reserved) == []
        assert play.tell(m.WorkerDied(0)) == []
        assert [chunk.job for chunk in play.start(1)] == [1, 2]

    def test_a_task_that_comes_so_late_is_not_blamed_for_the_end_of_the_worker(self) -> None:
        play = Play()
        reserved = play.reserved()
        play.job(1)
        play.later(RELEASE_SECONDS)
        play.sent(reserved)
        assert not only(play.tell(m.WorkerDied(0, reserved.chunk, 0)), m.FailTask)
        assert [chunk.job for chunk in play.start(1)] == [1, 2]

    def test_when_the_worker_dies_nobody_is_to_use_it_any_more(self) -> None:
        play = Play()
        play.reserved()
        assert play.tell(m.WorkerDied(0)) == [m.ReleaseWorker(0)]
        assert play.tell(m.Released(0)) == []
        assert play.job(1) == [m.StartWorker(1)]

    def test_a_task_sent_to_a_worker_that_was_gone_runs_elsewhere(self) -> None:
        play = Play()
        reserved = play.reserved()
        play.tell(m.WorkerDied(0))
        assert play.sent(reserved) == [m.StartWorker(1)]
        assert [chunk.job for chunk in play.start(1)] == [1]

    def test_a_death_is_charged_to_the_task_that_was_sent_with_it(self) -> None:
        play = Play()
        reserved = play.reserved()
        play.sent(reserved)
        commands = play.tell(m.WorkerDied(0, reserved.chunk, 0))
        assert commands == [m.ReleaseWorker(0), m.FailTask(1, 0, m.Cause.DIED, 1), m.FinishJob(1)]

    def test_a_task_that_had_not_begun_when_the_worker_died_runs_elsewhere(self) -> None:
        play = Play()
        play.sent(play.reserved())
        assert play.tell(m.WorkerDied(0)) == [m.ReleaseWorker(0), m.StartWorker(1)]
        assert [chunk.job for chunk in play.start(1)] == [1]

    def test_one_that_was_sent_with_it_can_be_cancelled(self) -> None:
        play = Play()
        reserved = play.reserved()
        play.sent(reserved)
        commands = play.tell(m.JobCancelled(1, 0.0))
        assert sorted(commands) == sorted([m.RevokeRest(0), m.ReleaseWorker(0)])
        assert m.InspectWorker(0) in play.until_deadline()
        assert m.KillWorker(0) in play.tell(m.Inspected(0, reserved.chunk, 0, 0.0))

    def test_after_a_cancelled_one_the_worker_is_as_good_as_any(self) -> None:
        play = Play()
        reserved = play.reserved()
        play.sent(reserved)
        play.give_back(0, play.tell(m.JobCancelled(1)) + play.came_back(reserved))
        assert [c.worker for c in sent(play.job(1))] == [0]

    def test_a_fatal_failure_breaks_those_too_that_were_sent_with_it(self) -> None:
        play = Play(2)
        reserved = play.reserved()
        play.job(2, chunksize=1)
        play.tell(m.StartFailed(1, fatal=True))
        assert play.sent(reserved) == [m.BreakJob(2)]

    def test_a_refused_one_travels_by_itself(self) -> None:
        play = Play()
        reserved = play.reserved()
        play.sent(reserved)
        (command,) = sent(play.give_back(0, play.tell(m.ChunkRefused(0, reserved.chunk))))
        assert (command.chunk.job, command.chunk.isolated) == (1, True)


class TestRefusals:
    def test_a_refused_chunk_is_sent_item_by_item(self) -> None:
        play = Play()
        play.job(3, chunksize=3)
        (chunk,) = play.start(0)
        (command,) = sent(play.tell(m.ChunkRefused(0, chunk.serial)))
        assert (command.chunk.start, command.chunk.stop, command.chunk.isolated) == (0, 3, True)

    def test_the_other_chunks_travel_together_as_before(self) -> None:
        play = Play()
        play.job(9, chunksize=3)
        first, second = play.start(0)
        play.tell(m.ChunkRefused(0, first.serial))
        (command,) = sent(play.end(0, second))
        assert not command.chunk.isolated

    def test_a_held_worker_that_refuses_its_last_chunk_works_again(self) -> None:
        play = Play()
        play.job(1)
        (chunk,) = play.start(0)
        play.tell(m.JobCancelled(0))
        assert m.LiftRevoke(0) in play.tell(m.ChunkRefused(0, chunk.serial))


# --- chunk sizes, order, retries --------------------------------------------------------------------------------


class TestChunker:
    @given(st.integers(1, 10**9), st.integers(1, 10**6), st.integers(1, 64))
    def test_a_fixed_size_is_kept(self, size: int, remaining: int, workers: int) -> None:
        chunker = Chunker(size)
        chunker.learn(10, 1.0)
        assert chunker.size(remaining, workers) == min(size, MAX_FIXED)

    @given(st.integers(1, 10**5), st.integers(1, 10**6), st.lists(st.floats(0, 1e-3), min_size=1), st.booleans())
    def test_several_chunks_of_a_fixed_size_travel_as_one_if_that_is_next_to_nothing(
        self, fixed: int, remaining: int, times: list[float], more: bool
    ) -> None:
        chunker = Chunker(fixed)
        for seconds in times:
            chunker.learn(fixed, fixed * seconds)
        size = chunker.size(remaining, 2, more_to_come=more)
        assert size == fixed or (not more and size * min(times) <= JOINED_SECONDS and size % fixed == 0)

    def test_tiny_tasks_of_a_fixed_size_travel_by_the_hundred(self) -> None:
        chunker, size = Chunker(1), 1
        for _ in range(5):
            chunker.learn(size, size * 1e-6)
            size = chunker.size(10**5, 2)
        assert size >= 100

    @given(
        st.lists(st.tuples(st.integers(0, 10**5), st.floats(0, 100)), max_size=20),
        st.integers(0, 10**9),
        st.integers(1, 1000),
        st.booleans(),
    )
    def test_sizes_and_depths_are_bounded_whatever_was_learnt(
        self, lessons: list[tuple[int, float]], remaining: int, workers: int, more: bool
    ) -> None:
        chunker = Chunker()
        for tasks, seconds in lessons:
            chunker.learn(tasks, seconds)
        size = chunker.size(remaining, workers, more_to_come=more)
        assert 1 <= size <= max(1, min(MAX_CHUNK, remaining // workers))
        assert MIN_DEPTH <= chunker.depth(size) <= MAX_DEPTH
        assert chunker.lookahead(workers) >= 1

    def test_the_first_chunk_is_a_trial_of_one(self) -> None:
        assert Chunker().size(10**6, 2) == 1

    @pytest.mark.parametrize(("seconds", "tasks"), [(1e-5, TARGET_SECONDS / 1e-5), (1e-7, MAX_CHUNK)])
    def test_quick_tasks_travel_in_large_chunks_in_the_end(self, seconds: float, tasks: float) -> None:
        chunker = Chunker()
        for _ in range(20):
            size = chunker.size(10**9, 2)
            chunker.learn(size, size * seconds)
        assert size == pytest.approx(tasks, rel=0.01)

    def test_sizes_grow_step_by_step(self) -> None:
        chunker, sizes = Chunker(), [1]
        for _ in range(10):
            chunker.learn(sizes[-1], sizes[-1] * 1e-5)
            sizes.append(chunker.size(10**9, 2))
        assert all(later <= 64 * earlier for earlier, later in itertools.pairwise(sizes))

    def test_slow_tasks_travel_alone(self) -> None:
        chunker = Chunker()
        chunker.learn(1, 0.1)
        assert chunker.size(10**6, 2) == 1

    def test_a_slow_first_task_is_soon_forgotten(self) -> None:
        chunker, rounds = Chunker(), 0
        chunker.learn(1, 1.0)
        while (size := chunker.size(10**9, 2)) < 100:
            chunker.learn(size, size * 1e-5)
            rounds += 1
        assert rounds < 30

    def test_nobody_gets_more_than_a_share_of_the_rest(self) -> None:
        chunker = Chunker()
        for _ in range(20):
            chunker.learn(1000, 1e-3)
        assert chunker.size(100, 4) <= 25


class TestReorder:
    @given(st.lists(st.integers(1, 5), max_size=30), st.randoms(use_true_random=False))
    def test_ranges_come_out_in_order_and_as_early_as_possible(
        self, lengths: list[int], shuffle: random.Random
    ) -> None:
        stops = list(itertools.accumulate(lengths))
        pieces = list(zip([0, *stops], stops, strict=False))
        arriving = pieces[:]
        shuffle.shuffle(arriving)
        order: Reorder[tuple[int, int]] = Reorder()
        out: list[tuple[int, int]] = []
        for count, piece in enumerate(arriving, 1):
            out += order.put(*piece, piece)
            seen = set(arriving[:count])
            assert out == list(itertools.takewhile(seen.__contains__, pieces))
        assert out == pieces


class TestRetry:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"attempts": 0},
            {"attempts": 1.5},
            {"attempts": True},
            {"on": ("ValueError",)},
            {"on": (int,)},
            {"backoff": -1.0},
            {"backoff": 10**400},
            {"on_worker_death": None},
        ],
    )
    def test_what_makes_no_sense_is_an_option_error(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(OptionError):
            Retry(**wrong)

    def test_the_backoff_doubles(self) -> None:
        delay = Retry(backoff=0.5).delay()
        assert [delay(made) for made in (1, 2, 3)] == [0.5, 1.0, 2.0]

    def test_the_backoff_may_be_a_function(self) -> None:
        assert Retry(backoff=lambda made: 7.0 * made).delay()(2) == 14.0

    def test_one_class_is_as_good_as_a_tuple_of_one(self) -> None:
        assert Retry(on=KeyError).on == (KeyError,)  # type: ignore[arg-type]

    @pytest.mark.parametrize("faulty", [lambda _made: 1 / 0, lambda _made: "soon", lambda _made: float("nan")])
    def test_a_faulty_backoff_function_means_at_once(self, faulty: Any) -> None:
        assert Retry(backoff=faulty).delay()(1) == 0.0

    def test_a_negative_or_endless_backoff_from_a_function_means_at_once(self) -> None:
        assert [Retry(backoff=lambda _made, d=d: d).delay()(1) for d in (-1.0, float("inf"))] == [0.0, 0.0]


# --- more workers for tasks that wait ---------------------------------------------------------------------------


def begun(scheduler: Scheduler, event: m.Event, now: float = 0.0) -> list[int]:
    """Workers that are started when this happens."""
    return [command.worker for command in scheduler.handle(event, now) if isinstance(command, m.StartWorker)]


def has_loaded(scheduler: Scheduler, worker: int) -> list[int]:
    """Workers that are started when this one has come, and imported what it needs."""
    assert begun(scheduler, m.WorkerStarted(worker)) == []
    return begun(scheduler, m.FunctionLoaded(worker, b"", 0.5))


def waiting_job(seconds: float) -> tuple[Scheduler, list[int]]:
    """400 tasks that wait, of which the caller ran 10 in so many seconds, and who is started for them at first."""
    scheduler = Scheduler(Limits(max_workers=8, few_workers=2, loaders=2))
    event = m.JobAdded(0, m.Policy(), stop=400, closed=True, start=10, seconds=seconds, crowd=8)
    return scheduler, begun(scheduler, event)


def test_workers_beyond_one_a_core_start_when_those_before_have_imported_what_they_need() -> None:
    scheduler, first = waiting_job(seconds=10.0)
    assert first == [0, 1]
    assert begun(scheduler, m.WorkerStarted(0)) == begun(scheduler, m.WorkerStarted(1)) == []
    assert begun(scheduler, m.FunctionLoaded(0, b"", 0.5)) == [2]
    assert begun(scheduler, m.FunctionLoaded(1, b"", 0.5)) == [3]
    started = [number for worker in range(2, 8) for number in has_loaded(scheduler, worker)]
    assert started == [4, 5, 6, 7]


def test_no_more_of_them_are_started_when_the_others_would_be_done_before() -> None:
    scheduler, first = waiting_job(seconds=0.01)  # 0.4 s of work are left
    assert first == [0, 1]
    assert begun(scheduler, m.FunctionLoaded(0, b"", 0.5)) == begun(scheduler, m.FunctionLoaded(1, b"", 0.5)) == []


def test_workers_that_were_asked_for_start_as_they_can_import_and_all_of_them_come() -> None:
    """Also when no task has ended yet: they may wait for one another."""
    scheduler = Scheduler(Limits(max_workers=5, loaders=2))
    assert begun(scheduler, m.JobAdded(0, m.Policy(), stop=5, closed=True)) == [0, 1]
    started = [has_loaded(scheduler, worker) for worker in range(4)]
    assert started == [[2], [3], [4], []]


# --- workers that import ahead of any task ----------------------------------------------------------------------

KEY, OTHER = b"one", b"other"


def importing_workers() -> Scheduler:
    """Two workers, which import for a function that may come; more than two there may not be."""
    scheduler = Scheduler(Limits(max_workers=2, loaders=2))
    scheduler.handle(m.WorkersWanted(2), 0.0)
    for worker in (0, 1):
        scheduler.handle(m.WorkerStarted(worker), 0.0)
    assert scheduler.claim_loaders(KEY, 0.0) == [0, 1]
    return scheduler


def killed(commands: list[m.Command]) -> list[int]:
    return [command.worker for command in commands if isinstance(command, m.KillWorker)]


def test_whoever_imports_for_nobody_makes_room_for_tasks_that_have_come() -> None:
    scheduler = importing_workers()
    assert begun(scheduler, m.JobAdded(0, m.Policy(), stop=4, closed=True, key=OTHER)) == [2, 3]
    scheduler.handle(m.JobCancelled(0, None), 1.0)
    for worker in (2, 3):
        scheduler.handle(m.WorkerStarted(worker), 1.0)
    assert scheduler.claim_loaders(OTHER, 1.0) == [2, 3]
    third = m.JobAdded(1, m.Policy(), stop=4, closed=True, key=b"third")
    assert killed(scheduler.handle(third, 2.0)) == [0, 1, 2, 3]
    assert begun(scheduler, m.WorkerDied(0)) == [4]


def test_a_function_that_may_come_starts_no_workers_beside_those_that_import_for_another() -> None:
    assert begun(importing_workers(), m.WorkersWanted(2)) == []


def test_a_worker_lost_at_its_imports_is_remembered_until_another_comes_to_their_end() -> None:
    """So that nobody hands over to workers that would be lost in the same way."""
    scheduler = importing_workers()
    scheduler.handle(m.WorkerDied(0), 1.0)
    scheduler.handle(m.FunctionLoaded(1, OTHER, 0.1), 1.0)
    assert scheduler.is_loading_or_lost(KEY)
    scheduler.handle(m.WorkerDied(1), 1.0)
    assert scheduler.is_loading_or_lost(KEY)
    (worker,) = begun(scheduler, m.WorkersWanted(1))
    scheduler.handle(m.WorkerStarted(worker), 2.0)
    scheduler.handle(m.FunctionLoaded(worker, KEY, 0.1), 2.0)
    assert not scheduler.is_loading_or_lost(KEY)
    assert scheduler.has_loaded_worker(KEY)


def test_an_import_that_takes_too_long_is_one_that_was_lost() -> None:
    scheduler = importing_workers()
    assert killed(scheduler.handle(m.Tick(), 61.0)) == [0, 1]
    assert scheduler.is_loading_or_lost(KEY)


def sent_to(commands: list[m.Command]) -> set[int]:
    return {command.worker for command in commands if isinstance(command, m.SendChunk)}


def test_what_its_caller_has_begun_goes_to_those_who_have_imported_for_it_while_there_are_any() -> None:
    """A worker that never comes to the end of its imports would keep what the caller could have run."""
    scheduler = Scheduler(Limits(max_workers=2, loaders=2))
    assert begun(scheduler, m.WorkersWanted(2)) == [0, 1]
    scheduler.handle(m.WorkerStarted(0), 0.0)
    assert scheduler.claim_loaders(KEY, 0.0) == [0]
    scheduler.handle(m.FunctionLoaded(0, KEY, 0.1), 0.0)
    job = m.JobAdded(0, m.Policy(chunksize=1), stop=40, closed=True, start=10, seconds=1.0, key=KEY)
    assert sent_to(scheduler.handle(job, 0.0)) == {0}
    assert sent_to(scheduler.handle(m.WorkerStarted(1), 0.0)) == set()
    assert scheduler.claim_loaders(KEY, 0.0) == [1]
    assert sent_to(scheduler.handle(m.FunctionLoaded(1, KEY, 0.1), 0.0)) == {1}


def test_with_nobody_left_who_has_it_goes_to_anybody() -> None:
    scheduler = importing_workers()
    scheduler.handle(m.FunctionLoaded(0, KEY, 0.1), 0.0)
    job = m.JobAdded(0, m.Policy(chunksize=1), stop=40, closed=True, start=10, seconds=1.0, key=KEY)
    assert sent_to(scheduler.handle(job, 0.0)) == {0}
    assert begun(scheduler, m.WorkerDied(0)) == [2]
    assert sent_to(scheduler.handle(m.WorkerStarted(2), 0.0)) == {2}


def test_a_worker_with_other_tasks_is_not_one_that_could_begin() -> None:
    scheduler = importing_workers()
    for worker in (0, 1):
        scheduler.handle(m.FunctionLoaded(worker, KEY, 0.1), 0.0)
    assert scheduler.has_loaded_worker(KEY)
    assert not scheduler.is_taken
    scheduler.handle(m.JobAdded(0, m.Policy(), stop=4, closed=True, key=KEY), 0.0)
    assert not scheduler.has_loaded_worker(KEY)
    assert scheduler.is_taken
