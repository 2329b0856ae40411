"""``mh.Executor`` is a ``concurrent.futures.Executor``: what that documentation promises, on every kind of worker."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import itertools
import multiprocessing
import os
import threading
import time
import weakref
from concurrent.futures import BrokenExecutor, CancelledError, Future

import kinds
import pytest
from gates import Gate, say, say_and_wait, wait_at
from watching import PATIENCE, Meeting, alive, eventually

import manyhands as mh
from manyhands.errors import ExecutorClosed, InitializerError, NotSendable, OptionError, RemoteTraceback

pytestmark = [pytest.mark.timeout(60), pytest.mark.others_are_stress]


@pytest.fixture
def meeting(tmp_path):
    with Meeting(tmp_path / "meeting") as meeting:
        yield meeting


@pytest.fixture
def gate(tmp_path):
    with Gate(tmp_path / "gate") as gate:
        yield gate


@pytest.fixture(scope="module", params=kinds.ALL)
def executor(request, tmp_path_factory):
    """An executor of each kind, for tests that leave it as it was."""
    with ready_executor(request.param, tmp_path_factory) as executor:
        yield executor


@pytest.fixture(scope="module", params=kinds.PARALLEL)
def workers(request, tmp_path_factory):
    """The same, but for the caller itself: its two workers run side by side."""
    with ready_executor(request.param, tmp_path_factory) as executor:
        yield executor


@contextlib.contextmanager
def ready_executor(kind, folders):
    """All workers are there, so that no test is taken for the one that left them behind."""
    folder = folders.mktemp(kind)
    with mh.Executor(2, **kinds.options_for(kind)) as executor:
        if kind != "serial":
            with Gate(folder / "gate") as gate, Meeting(folder / "meeting") as meeting:
                for name in "ab":
                    executor.submit(say_and_wait, meeting.path, gate.path, name)
                meeting.lines(2)
        yield executor


def collect(*args, **kwargs):
    return args, kwargs


def fail(text):
    raise LookupError(text)


def worker_id(_=None):
    return os.getpid(), threading.get_ident()


def worker_pid(_=None):
    return os.getpid()


def square(x):
    return x * x


class Thing:
    """Something that can be seen to go."""

    def __init__(self, number):
        self.number = number

    def touch(self):
        self.number += 1


# --- submit -----------------------------------------------------------------------------------------------------


def test_submit_gives_a_future_with_the_result(executor):
    future = executor.submit(pow, 2, 8)
    assert isinstance(future, Future)
    assert future.result(PATIENCE) == 256
    assert future.exception() is None
    assert future.done()
    assert not future.running()
    assert not future.cancelled()


def test_submit_passes_every_argument_on_whatever_its_name(executor):
    future = executor.submit(collect, 1, self=2, fn=3, func=4, executor=5)
    assert future.result(PATIENCE) == ((1,), {"self": 2, "fn": 3, "func": 4, "executor": 5})


def test_the_function_is_given_by_position(executor):
    with pytest.raises(TypeError):
        executor.submit(fn=collect, arg=1)
    with pytest.raises(TypeError):
        executor.submit()


def test_what_is_not_a_function_is_refused_at_once(executor):
    with pytest.raises(OptionError):
        executor.submit(42)


def test_an_exception_is_the_futures_own(executor):
    future = executor.submit(fail, "lost")
    assert type(future.exception(PATIENCE)) is LookupError
    with pytest.raises(LookupError, match="lost"):
        future.result()
    assert future.done()


def test_an_exception_from_a_process_shows_where_it_was_raised(process_backend):
    with mh.Executor(1, **process_backend) as executor:
        error = executor.submit(fail, "lost").exception(PATIENCE)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "raise LookupError(text)" in str(error.__cause__)


def test_every_future_gets_its_own_result(executor):
    futures = [executor.submit(square, x) for x in range(300)]
    assert [future.result(PATIENCE) for future in futures] == [x * x for x in range(300)]


def test_results_can_be_asked_for_again_and_from_many_threads(workers, gate):
    future = workers.submit(wait_at, gate.path, "here")
    found = []
    threads = [threading.Thread(target=lambda: found.append(future.result(PATIENCE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == ["here"] * 8
    assert future.result() == "here"


@pytest.mark.parametrize("method", ["zygote", "spawn"])  # forked workers have it from birth
def test_a_function_that_cannot_be_sent_fails_its_future_and_nothing_else(method):
    lock = threading.Lock()
    with mh.Executor(1, start_method=method) as executor:
        assert isinstance(executor.submit(lambda: lock).exception(PATIENCE), NotSendable)
        assert executor.submit(square, 3).result(PATIENCE) == 9


def test_tasks_run_at_the_same_time(workers, meeting, gate):
    futures = [workers.submit(say_and_wait, meeting.path, gate.path, name) for name in "ab"]
    assert sorted(meeting.lines(2)) == ["a", "b"]
    gate.open()
    assert [future.result(PATIENCE) for future in futures] == ["a", "b"]


def test_a_free_worker_takes_what_waits_behind_a_long_task(workers, meeting, gate):
    long = workers.submit(say_and_wait, meeting.path, gate.path, "long")
    meeting.lines()
    quick = [workers.submit(square, x) for x in range(20)]
    assert [future.result(PATIENCE) for future in quick] == [x * x for x in range(20)]
    assert not long.done()
    gate.open()
    assert long.result(PATIENCE) == "long"


def test_no_more_workers_than_asked_for(parallel_backend):
    with mh.Executor(2, **parallel_backend) as executor:
        assert len(set(executor.map(worker_id, range(100), chunksize=1))) <= 2


def test_tasks_one_after_another_need_one_worker(parallel_backend):
    with mh.Executor(2, **parallel_backend) as executor:
        assert len({executor.submit(worker_id).result(PATIENCE) for _ in range(10)}) == 1


def test_an_executor_that_is_never_used_starts_nobody(parallel_backend):
    before = threading.active_count()
    executor = mh.Executor(2, **parallel_backend)
    assert threading.active_count() == before
    assert not multiprocessing.active_children()
    executor.shutdown()


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True])
def test_a_number_of_workers_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="max_workers"):
        mh.Executor(wrong)


def test_threads_have_the_prefix_asked_for():
    with mh.Executor(1, backend="threads", thread_name_prefix="digger") as executor:
        assert executor.submit(lambda: threading.current_thread().name).result(PATIENCE).startswith("digger")


# --- the states of a future -------------------------------------------------------------------------------------


def test_a_future_runs_until_its_task_ends(workers, meeting, gate):
    future = workers.submit(say_and_wait, meeting.path, gate.path, "on")
    meeting.lines()
    assert future.running()
    assert not future.done()
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        future.exception(timeout=0)
    gate.open()
    assert future.result(PATIENCE) == "on"
    assert future.done()
    assert not future.running()


def test_a_future_that_waits_can_be_cancelled_and_its_task_never_runs(workers, meeting, gate):
    futures = [workers.submit(say_and_wait, meeting.path, gate.path, x) for x in range(60)]
    meeting.lines(2)
    last = futures[-1]
    assert last.cancel()
    assert last.cancel()
    assert last.cancelled()
    assert last.done()
    with pytest.raises(CancelledError):
        last.result()
    with pytest.raises(CancelledError):
        last.exception()
    gate.open()
    assert [future.result(PATIENCE) for future in futures[:-1]] == list(range(59))
    assert "59" not in meeting.lines(57)


def test_a_future_that_runs_or_has_ended_cannot_be_cancelled(workers, meeting, gate):
    future = workers.submit(say_and_wait, meeting.path, gate.path, "on")
    meeting.lines()
    assert not future.cancel()
    gate.open()
    assert future.result(PATIENCE) == "on"
    assert not future.cancel()
    assert not future.cancelled()


def test_cancelling_some_does_not_hold_up_the_others(executor):
    for _ in range(30):
        futures = [executor.submit(square, x) for x in range(30)]
        for future in futures[::-1][:25]:
            future.cancel()
        for x, future in enumerate(futures):
            if not future.cancelled():
                assert future.result(PATIENCE) == x * x
    assert executor.submit(square, 3).result(PATIENCE) == 9


def test_callbacks_are_called_with_their_future(executor):
    called = []
    future = executor.submit(square, 3)
    future.add_done_callback(called.append)
    future.result(PATIENCE)
    future.add_done_callback(called.append)  # at once: it is done
    assert eventually(lambda: called == [future, future])


def test_callbacks_are_called_in_the_order_they_were_added(workers, gate):
    called = []
    future = workers.submit(wait_at, gate.path)
    for number in range(5):
        future.add_done_callback(lambda _, number=number: called.append(number))
    gate.open()
    assert eventually(lambda: len(called) == 5)
    assert called == [0, 1, 2, 3, 4]


def test_callbacks_are_called_for_failed_and_cancelled_futures(workers, gate):
    called = []
    blockers = [workers.submit(wait_at, gate.path) for _ in range(60)]
    failing = workers.submit(fail, "x")
    for future in (failing, blockers[-1]):
        future.add_done_callback(called.append)
    blockers[-1].cancel()
    assert eventually(lambda: called == [blockers[-1]])
    gate.open()
    assert eventually(lambda: called == [blockers[-1], failing])


def test_a_result_that_fails_to_unpack_raises_each_time(process_backend):
    with mh.Executor(1, **process_backend) as executor:
        future = executor.submit(Riddle)
        for _ in range(2):
            with pytest.raises(NotSendable):
                future.result(PATIENCE)
        assert isinstance(future.exception(), NotSendable)


class Riddle:
    def __reduce__(self):
        return int, ("not a number",)


# --- waiting for several ----------------------------------------------------------------------------------------


def test_wait_for_the_first_to_end(workers, gate):
    slow, quick = workers.submit(wait_at, gate.path), workers.submit(square, 2)
    done, not_done = concurrent.futures.wait([slow, quick], PATIENCE, return_when="FIRST_COMPLETED")
    assert (done, not_done) == ({quick}, {slow})
    gate.open()


def test_wait_for_the_first_to_fail(workers, gate):
    slow, failing = workers.submit(wait_at, gate.path), workers.submit(fail, "x")
    done, not_done = concurrent.futures.wait([slow, failing], PATIENCE, return_when="FIRST_EXCEPTION")
    assert failing in done
    assert slow in not_done
    gate.open()


def test_wait_for_the_first_to_fail_when_none_does(executor):
    futures = {executor.submit(square, x) for x in range(5)}
    assert concurrent.futures.wait(futures, PATIENCE, return_when="FIRST_EXCEPTION") == (futures, set())


def test_wait_for_the_first_to_fail_when_one_already_has(workers, gate):
    failed = workers.submit(fail, "x")
    failed.exception(PATIENCE)
    slow = workers.submit(wait_at, gate.path)
    done, _ = concurrent.futures.wait([slow, failed], PATIENCE, return_when="FIRST_EXCEPTION")
    assert done == {failed}
    gate.open()


def test_wait_for_all_with_too_little_time(workers, gate):
    slow, quick = workers.submit(wait_at, gate.path), workers.submit(square, 2)
    quick.result(PATIENCE)
    assert concurrent.futures.wait([slow, quick], 0.05) == ({quick}, {slow})
    gate.open()
    assert concurrent.futures.wait([slow, quick], PATIENCE) == ({quick, slow}, set())


def test_wait_counts_cancelled_futures_as_done(workers, gate):
    futures = [workers.submit(wait_at, gate.path) for _ in range(60)]
    futures[-1].cancel()
    done, _ = concurrent.futures.wait(futures, PATIENCE, return_when="FIRST_COMPLETED")
    assert done == {futures[-1]}
    gate.open()


def test_as_completed_gives_each_as_it_ends(workers, gate):
    slow, quick = workers.submit(wait_at, gate.path, "slow"), workers.submit(square, 2)
    ended = concurrent.futures.as_completed([slow, quick], PATIENCE)
    assert next(ended) is quick
    gate.open()
    assert next(ended) is slow
    assert list(ended) == []


def test_as_completed_gives_each_once(executor):
    future = executor.submit(square, 2)
    assert list(concurrent.futures.as_completed([future] * 3, PATIENCE)) == [future]


def test_as_completed_with_too_little_time(workers, gate):
    slow, quick = workers.submit(wait_at, gate.path), workers.submit(square, 2)
    quick.result(PATIENCE)
    found = []
    with pytest.raises(TimeoutError):
        found.extend(concurrent.futures.as_completed([slow, quick], timeout=0.05))
    gate.open()


def test_futures_of_two_kinds_of_executor_can_be_waited_for_together(workers):
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        futures = {workers.submit(square, 2), other.submit(square, 3)}
        assert {f.result() for f in concurrent.futures.as_completed(futures, PATIENCE)} == {4, 9}


# --- asyncio ----------------------------------------------------------------------------------------------------


def test_asyncio_awaits_results_and_errors(executor):
    async def main():
        loop = asyncio.get_running_loop()
        results = [loop.run_in_executor(executor, square, x) for x in range(50)]
        assert await asyncio.gather(*results) == [x * x for x in range(50)]
        with pytest.raises(LookupError, match="lost"):
            await loop.run_in_executor(executor, fail, "lost")
        assert await asyncio.wrap_future(executor.submit(square, 7)) == 49

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_asyncio_goes_on_while_a_task_runs(workers, gate):
    async def main():
        waiting = asyncio.get_running_loop().run_in_executor(workers, wait_at, gate.path, "late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.01)
        gate.open()
        return await waiting

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE)) == "late"


def test_asyncio_cancels_what_has_not_begun(workers, meeting, gate):
    async def main():
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(workers, say_and_wait, meeting.path, gate.path, x) for x in range(60)]
        await loop.run_in_executor(None, meeting.lines, 2)
        futures[-1].cancel()
        gate.open()
        return await asyncio.gather(*futures, return_exceptions=True)

    *results, last = asyncio.run(asyncio.wait_for(main(), PATIENCE))
    assert results == list(range(59))
    assert isinstance(last, asyncio.CancelledError)


# --- map --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [None, 1, 3, 50])
def test_map_is_as_the_builtin(executor, chunksize):
    expected = list(map(pow, range(20), range(15)))
    assert list(executor.map(pow, range(20), range(15), chunksize=chunksize)) == expected


def test_map_over_nothing(executor):
    assert list(executor.map(square, [])) == []
    assert list(executor.map(pow, [], [1])) == []


def test_map_is_an_iterator(executor):
    results = executor.map(square, [1, 2])
    assert iter(results) is results
    assert [next(results), next(results)] == [1, 4]
    with pytest.raises(StopIteration):
        next(results)


def test_map_raises_where_the_failure_stands_and_ends_there(executor):
    results = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert [next(results), next(results)] == [(0, 1), (0, 1)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_begins_before_anybody_asks(workers, meeting):
    results = workers.map(say, [meeting.path] * 3, "abc")
    assert sorted(meeting.lines(3)) == ["a", "b", "c"]
    assert list(results) == ["a", "b", "c"]


def test_map_reads_its_input_at_once(workers):
    inputs = iter(range(100))
    results = workers.map(square, inputs)
    assert next(inputs, None) is None
    assert list(results) == [x * x for x in range(100)]


def test_map_raises_what_its_input_raises(executor):
    def inputs():
        yield 1
        raise LookupError("input")

    with pytest.raises(LookupError, match="input"):
        list(executor.map(square, inputs()))
    assert executor.submit(square, 2).result(PATIENCE) == 4


def test_map_gives_what_is_there_before_the_time_is_over(workers, meeting, gate):
    list(workers.map(square, range(4), chunksize=1))  # both are there now
    results = workers.map(wait_if_last, [meeting.path] * 3, [gate.path] * 3, range(3), timeout=0.5, chunksize=1)
    meeting.lines()
    found = []
    with pytest.raises(TimeoutError):
        found.extend(results)
    gate.open()
    assert found == [0, 1]
    assert workers.submit(square, 2).result(PATIENCE) == 4


def wait_if_last(meeting, gate, number):
    return number if number < 2 else say_and_wait(meeting, gate, number)


def test_map_gives_what_is_there_even_when_the_time_is_over(workers, meeting):
    list(workers.map(square, range(4), chunksize=1))  # both are there now
    results = workers.map(say, [meeting.path] * 10, range(10), timeout=0.3)
    meeting.lines(10)
    threading.Event().wait(0.5)  # the time is over
    assert list(results) == list(range(10))


@pytest.mark.parametrize("wrong", [{"chunksize": 0}, {"chunksize": -1}, {"buffersize": 0}, {"buffersize": -3}])
def test_map_refuses_sizes_that_make_no_sense(executor, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        executor.map(square, [1], **wrong)


def test_map_with_a_buffer_reads_no_further_ahead(executor):
    read = []
    inputs = (read.append(x) or x for x in itertools.count())
    results = executor.map(square, inputs, buffersize=3)
    assert read == [0, 1, 2]
    assert next(results) == 0
    assert len(read) == 4
    assert [next(results) for _ in range(20)] == [x * x for x in range(1, 21)]
    assert len(read) <= 24
    results.close()


def test_map_with_a_buffer_larger_than_the_input(executor):
    assert list(executor.map(square, range(5), buffersize=50)) == [0, 1, 4, 9, 16]


def test_map_with_a_buffer_raises_failures_in_their_place(executor):
    results = executor.map(divmod, [1, 1, 1], [1, 0, 1], buffersize=2)
    assert next(results) == (1, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_that_is_closed_runs_no_more(workers, meeting, gate):
    results = workers.map(wait_unless_first, [meeting.path] * 500, [gate.path] * 500, range(500), chunksize=1)
    assert next(results) == 0
    meeting.lines(2)
    results.close()
    gate.open()
    assert workers.submit(say, meeting.path, "end").result(PATIENCE) == "end"
    said = 2
    while meeting.lines() != ["end"]:
        said += 1
    assert said < 400  # what had begun, and more if the machine has much to do


def wait_unless_first(meeting, gate, number):
    return number if number == 0 else say_and_wait(meeting, gate, number)


def test_map_that_nobody_reads_does_not_hold_up_shutdown(parallel_backend):
    executor = mh.Executor(2, **parallel_backend)
    executor.map(str, [2] * 3)
    executor.shutdown()


@pytest.mark.parametrize("options", [{}, {"chunksize": 10}, {"buffersize": 3}])
def test_map_keeps_no_result_that_it_has_handed_out(executor, options):
    for thing in executor.map(Thing, range(10), **options):
        seen = weakref.ref(thing)
        del thing
        assert seen() is None


def test_a_task_that_is_done_keeps_nothing_alive(executor, request):
    if "fork" in request.node.name:
        pytest.skip("the functions of past calls are kept for workers forked later")
    thing = Thing(1)
    seen = weakref.ref(thing)
    executor.submit(thing.touch)
    executor.submit(square, thing).exception(PATIENCE)
    del thing
    assert eventually(lambda: gc.collect() >= 0 and seen() is None)


# --- shutdown ---------------------------------------------------------------------------------------------------


def test_leaving_the_block_waits_for_the_work(parallel_backend, gate):
    with mh.Executor(2, **parallel_backend) as executor:
        futures = [executor.submit(wait_at, gate.path, x) for x in range(8)]
        gate.open()
    assert [future.result(0) for future in futures] == list(range(8))


def test_an_exception_that_leaves_the_block_waits_too(parallel_backend, gate):
    with contextlib.suppress(LookupError), mh.Executor(2, **parallel_backend) as executor:
        future = executor.submit(wait_at, gate.path, 1)
        gate.open()
        raise LookupError
    assert future.result(0) == 1


def test_after_shutdown_there_is_no_more_work_to_be_had(any_backend):
    executor = mh.Executor(2, **any_backend)
    executor.shutdown()
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.submit(square, 2)
    with pytest.raises(ExecutorClosed):
        list(executor.map(square, [2]))


def test_workers_have_gone_after_shutdown(process_backend):
    with mh.Executor(2, **process_backend) as executor:
        pids = set(executor.map(worker_pid, range(20), chunksize=1))
    assert not any(alive(pid) for pid in pids)


def test_shutdown_without_waiting_returns_while_tasks_run(parallel_backend, meeting, gate):
    executor = mh.Executor(1, **parallel_backend)
    futures = [executor.submit(say_and_wait, meeting.path, gate.path, x) for x in range(10)]
    meeting.lines()
    executor.shutdown(wait=False)
    assert not futures[0].done()
    with pytest.raises(RuntimeError):
        executor.submit(square, 2)
    gate.open()
    assert [future.result(PATIENCE) for future in futures] == list(range(10))
    executor.shutdown(wait=True)


@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_can_cancel_what_has_not_begun(parallel_backend, meeting, gate, wait):
    executor = mh.Executor(2, **parallel_backend)
    futures = [executor.submit(say_and_wait, meeting.path, gate.path, x) for x in range(1000)]
    meeting.lines(2)
    gate.open()
    executor.shutdown(wait=wait, cancel_futures=True)
    assert concurrent.futures.wait(futures, PATIENCE).not_done == set()
    cancelled = [future for future in futures if future.cancelled()]
    assert 0 < len(cancelled) < 1000
    for x, future in enumerate(futures):
        assert future.cancelled() or future.result() == x
    executor.shutdown()


def test_shutdown_right_after_a_cancel_does_not_hang(parallel_backend):
    for _ in range(4):
        executor = mh.Executor(2, **parallel_backend)
        executor.submit(square, 2).cancel()
        executor.shutdown(wait=True)


def test_after_shutdown_every_future_is_done(any_backend):
    with mh.Executor(2, **any_backend) as executor:
        futures = [executor.submit(fail if x % 2 else square, x) for x in range(60)]
    assert all(future.done() for future in futures)


def test_shutdown_waits_for_a_task_whose_worker_dies_after_it(process_backend, gate):
    executor = mh.Executor(2, **process_backend)
    future = executor.submit(wait_and_die, gate.path)
    done_after_shutdown = []
    leaving = threading.Thread(target=lambda: (executor.shutdown(wait=True), done_after_shutdown.append(future.done())))
    leaving.start()
    gate.open()
    leaving.join(PATIENCE)
    assert done_after_shutdown == [True]
    assert isinstance(future.exception(0), BrokenExecutor)


def wait_and_die(gate):
    wait_at(gate)
    os._exit(3)


def test_shutdown_from_a_callback_does_not_hang(parallel_backend):
    done = threading.Event()
    workers = mh.Executor(2, **parallel_backend)
    workers.submit(square, 2).add_done_callback(lambda _: (workers.shutdown(), done.set()))
    assert done.wait(PATIENCE)


def test_leaving_the_block_by_ctrl_c_does_not_wait(parallel_backend, meeting, gate):
    with contextlib.suppress(KeyboardInterrupt), mh.Executor(1, **parallel_backend) as executor:
        future = executor.submit(say_and_wait, meeting.path, gate.path, "on")
        waiting = executor.submit(say, meeting.path, "never")
        meeting.lines()
        raise KeyboardInterrupt
    assert future.done()
    assert waiting.done()
    gate.open()


# --- the rough end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["terminate_workers", "kill_workers"])
def test_ending_the_workers_ends_every_future(parallel_backend, meeting, gate, end):
    executor = mh.Executor(2, **parallel_backend)
    futures = [executor.submit(say_and_wait, meeting.path, gate.path, x) for x in range(100)]
    meeting.lines(2)
    getattr(executor, end)()
    assert concurrent.futures.wait(futures, PATIENCE).not_done == set()
    assert all(future.cancelled() or isinstance(future.exception(), BrokenExecutor) for future in futures)
    assert not all(future.cancelled() for future in futures)
    with pytest.raises(RuntimeError):
        executor.submit(square, 2)
    gate.open()
    executor.shutdown()


@pytest.mark.parametrize("end", ["terminate_workers", "kill_workers"])
def test_ending_the_workers_ends_their_processes(process_backend, meeting, gate, end):
    executor = mh.Executor(2, **process_backend)
    for name in "ab":
        executor.submit(say_pid_and_wait, meeting.path, gate.path, name)
    pids = meeting.pids(2)
    getattr(executor, end)()
    assert eventually(lambda: not any(alive(pid) for pid in pids))
    executor.shutdown()


def say_pid_and_wait(meeting, gate, _name):
    say_and_wait(meeting, gate, os.getpid())


@pytest.mark.parametrize("end", ["terminate_workers", "kill_workers"])
def test_ending_idle_or_absent_workers_is_no_trouble(parallel_backend, end):
    idle, unused = mh.Executor(1, **parallel_backend), mh.Executor(1, **parallel_backend)
    assert idle.submit(square, 2).result(PATIENCE) == 4
    for executor in (idle, unused):
        getattr(executor, end)()
        getattr(executor, end)()
        executor.shutdown()


# --- replaced and prepared workers ------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [1, 7])
def test_a_worker_is_replaced_after_its_share_of_tasks(process_backend, chunksize):
    with mh.Executor(1, max_tasks_per_child=3, **process_backend) as executor:
        pids = list(executor.map(worker_pid, range(7), chunksize=chunksize))
    assert max(pids.count(pid) for pid in pids) <= 3
    assert len(set(pids)) >= 3


def test_replacing_workers_loses_no_task(parallel_backend):
    with mh.Executor(2, max_tasks_per_child=1, **parallel_backend) as executor:
        futures = [executor.submit(square, x) for x in range(3)]
        assert list(executor.map(square, range(3))) == [x * x for x in range(3)]
    assert [future.result(0) for future in futures] == [x * x for x in range(3)]


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "3", True])
def test_a_share_of_tasks_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="max_tasks_per_child"):
        mh.Executor(1, max_tasks_per_child=wrong)


_prepared = threading.local()


def prepare(value):
    _prepared.value = value


def what_was_prepared(_=None):
    return _prepared.value


def test_the_initializer_has_run_before_any_task(any_backend):
    with mh.Executor(2, initializer=prepare, initargs=("tools",), **any_backend) as prepared:
        assert set(prepared.map(what_was_prepared, range(40), chunksize=1)) == {"tools"}


def test_replaced_workers_are_prepared_too(parallel_backend):
    with mh.Executor(
        2, max_tasks_per_child=2, initializer=prepare, initargs=("tools",), **parallel_backend
    ) as executor:
        assert set(executor.map(what_was_prepared, range(5), chunksize=1)) == {"tools"}


def test_an_initializer_that_raises_breaks_the_executor_and_says_why(parallel_backend):
    with mh.Executor(2, initializer=fail, initargs=("no tools",), **parallel_backend) as executor:
        error = executor.submit(square, 2).exception(PATIENCE)
        assert isinstance(error, InitializerError)
        assert isinstance(error, BrokenExecutor)
        assert "no tools" in str(error)
        with pytest.raises(BrokenExecutor):
            executor.submit(square, 2)


def test_an_initializer_that_is_no_function_is_refused():
    with pytest.raises(OptionError):
        mh.Executor(1, initializer=123456)


# --- calls that share workers -----------------------------------------------------------------------------------


def test_a_short_timeout_counts_after_a_call_with_a_long_one(parallel_backend, gate):
    options = {"workers": 2, **parallel_backend}

    assert mh.map(square, [1, 2, 3], timeout=600, **options) == [1, 4, 9]
    with pytest.raises(mh.errors.TaskTimeout):
        mh.map(wait_at, [gate.path], timeout=0.2, **options)
    gate.open()


def test_a_task_has_its_whole_time_however_many_travel_with_it(parallel_backend):
    results = mh.map(time.sleep, [0.002] * 400, chunksize=400, timeout=0.4, workers=1, **parallel_backend)
    assert len(results) == 400


def test_a_faulty_backoff_costs_nobody_a_result(parallel_backend):
    for faulty in (lambda _: 1 / 0, lambda _: "soon", lambda _: float("nan")):
        retry = mh.Retry(attempts=2, backoff=faulty)
        results = mh.map(fail, ["x", "y"], workers=2, retry=retry, on_error="collect", **parallel_backend)
        assert [type(failure.error) for failure in results] == [LookupError, LookupError]


def test_cancelling_one_call_harms_no_other_on_the_same_workers(parallel_backend):
    options = {"workers": 2, **parallel_backend}
    steady = mh.imap(square, itertools.count(), **options)
    for _ in range(20):
        with mh.imap(square, itertools.count(), **options) as fleeting:
            next(fleeting)
    assert [next(steady) for _ in range(200)] == [x * x for x in range(200)]
    steady.close()
