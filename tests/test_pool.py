"""``mh.Pool`` and ``ThreadPool``: a program written for the standard library's works after changing the import."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import threading
import weakref

import kinds
import pytest
from gates import Gate, say, say_and_wait, wait_at
from watching import PATIENCE, Meeting, alive, eventually

import manyhands as mh
from manyhands.errors import InitializerError, NotSendable, RemoteTraceback
from manyhands.pool import ThreadPool
from manyhands.pool_results import AsyncResult

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
def pool(request, tmp_path_factory):
    """A pool of each kind, for tests that leave it as it was."""
    with ready_pool(request.param, tmp_path_factory) as pool:
        yield pool


@pytest.fixture(scope="module", params=kinds.PARALLEL)
def workers(request, tmp_path_factory):
    """The same, but for the caller itself: its two workers run side by side."""
    with ready_pool(request.param, tmp_path_factory) as pool:
        yield pool


@contextlib.contextmanager
def ready_pool(kind, folders):
    """All workers are there, so that no test is taken for the one that left them behind."""
    folder = folders.mktemp(kind)
    with mh.Pool(2, **kinds.options_for(kind)) as pool:
        if kind != "serial":
            with Gate(folder / "gate") as gate, Meeting(folder / "meeting") as meeting:
                results = pool.starmap_async(say_and_wait, [(meeting.path, gate.path, x) for x in "ab"], 1)
                meeting.lines(2)
                gate.open()
                results.get(PATIENCE)
        yield pool
        pool.close()
        pool.join()


def square(x, wait=0.0):
    return x * x


def multiply(x, y):
    return x * y


def fail(text):
    raise LookupError(text)


def fail_on_odd(x):
    if x % 2:
        raise LookupError(x)
    return x


def worker_pid(_=None):
    return os.getpid()


def breaking_off(total, at):
    """Inputs that end in an error."""
    for number in range(total):
        if number == at:
            raise LookupError("input")
        yield number


class Thing:
    """Something that can be seen to go."""


def same(x):
    return x


# --- the calls that wait ----------------------------------------------------------------------------------------


def test_apply_takes_arguments_and_keywords(pool):
    assert pool.apply(square, (5,)) == 25
    assert pool.apply(square, (), {"x": 3}) == 9
    assert pool.apply(square, [4], kwds={"wait": 0}) == 16
    with pytest.raises(LookupError, match="lost"):
        pool.apply(fail, ("lost",))


@pytest.mark.parametrize("chunksize", [None, 1, 7, 1000])
def test_map_is_as_the_builtin(pool, chunksize):
    assert pool.map(square, range(100), chunksize) == [x * x for x in range(100)]
    assert pool.map(square, (x for x in range(10)), chunksize=chunksize) == [x * x for x in range(10)]


@pytest.mark.parametrize("chunksize", [None, 20])
def test_starmap_unpacks_its_inputs(pool, chunksize):
    pairs = list(zip(range(50), range(49, -1, -1), strict=True))
    assert pool.starmap(multiply, pairs, chunksize) == [x * y for x, y in pairs]


def test_nothing_gives_nothing(pool):
    assert pool.map(square, []) == []
    assert pool.starmap(multiply, []) == []
    assert pool.map_async(square, [], chunksize=1).get(PATIENCE) == []
    assert list(pool.imap(square, [])) == []
    assert list(pool.imap_unordered(square, iter([]))) == []


def test_map_raises_the_failure_when_all_tasks_have_ended(workers, meeting, gate):
    result = workers.starmap_async(fail_or_wait, [(meeting.path, gate.path, x) for x in range(2)], 1)
    assert meeting.lines() == ["waiting"]
    assert workers.apply(square, (5,)) == 25  # by the worker that has failed: nobody else is free
    assert not result.ready()
    gate.open()
    with pytest.raises(LookupError):
        result.get(PATIENCE)
    assert meeting.lines(seconds=0) == ["ended"]


def fail_or_wait(meeting, gate, number):
    if number == 0:
        raise LookupError
    say_and_wait(meeting, gate, "waiting")
    say(meeting, "ended")


def test_map_raises_the_first_failure_of_several(pool):
    with pytest.raises(LookupError, match="1") as caught:
        pool.map(fail_on_odd, range(6), chunksize=2)
    assert caught.value.args == (1,)


def test_map_raises_what_its_input_raises_and_goes_on(pool):
    for total, at in ((1, 0), (10, 3)):
        with pytest.raises(LookupError, match="input") as caught:
            pool.map(square, breaking_off(total, at), 1)
        assert caught.value.__cause__ is None
    assert pool.map(square, [2]) == [4]


def test_an_error_from_a_process_shows_where_it_was_raised(process_backend):
    with mh.Pool(1, **process_backend) as pool, pytest.raises(LookupError) as caught:
        pool.apply(fail, ("lost",))
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "raise LookupError(text)" in str(caught.value.__cause__)


def test_an_argument_that_cannot_be_sent_is_an_error_and_no_hang(process_backend):
    with mh.Pool(1, **process_backend) as pool:
        with pytest.raises(NotSendable):
            pool.map(same, [threading.Lock()] * 10)
        assert pool.map(square, [2]) == [4]


def test_a_result_that_cannot_be_sent_is_an_error_time_and_again(process_backend):
    seen = []
    with mh.Pool(2, **process_backend) as pool:
        for _ in range(10):
            result = pool.apply_async(threading.Lock, error_callback=seen.append)
            with pytest.raises(NotSendable):
                result.get(PATIENCE)
        assert pool.map(square, [2]) == [4]
    assert [type(error) for error in seen] == [NotSendable] * 10


def test_functions_of_all_kinds_will_do(workers):
    offset = 10
    assert workers.map(lambda x: x + offset, range(3)) == [10, 11, 12]
    assert workers.map(str.upper, ["a", "b"]) == ["A", "B"]


# --- the calls that do not wait ---------------------------------------------------------------------------------


def test_async_results_can_be_had_later(pool):
    results = [
        pool.apply_async(square, (7,)),
        pool.apply_async(square, kwds={"x": 7}),
        pool.map_async(square, range(3)),
        pool.starmap_async(multiply, [(1, 2), (3, 4)], chunksize=1),
    ]
    assert all(isinstance(result, AsyncResult) for result in results)
    assert [result.get(PATIENCE) for result in results] == [49, 49, [0, 1, 4], [2, 12]]
    assert all(result.ready() and result.successful() for result in results)
    assert [result.get() for result in results] == [49, 49, [0, 1, 4], [2, 12]]


def test_an_async_result_that_fails_raises_each_time(pool):
    for result in (pool.apply_async(fail, ("lost",)), pool.map_async(fail, ["lost", "gone"])):
        for _ in range(2):
            with pytest.raises(LookupError, match="lost"):
                result.get(PATIENCE)
        assert result.ready()
        assert not result.successful()


def test_get_raises_the_timeout_error_of_multiprocessing(workers, gate):
    for result in (workers.apply_async(wait_at, (gate.path,)), workers.map_async(wait_at, [gate.path], 1)):
        with pytest.raises(multiprocessing.TimeoutError):
            result.get(timeout=0.02)
        with pytest.raises(multiprocessing.TimeoutError):
            result.get(0)
    gate.open()


def test_an_async_result_says_how_far_it_is(workers, gate):
    for result in (workers.apply_async(wait_at, (gate.path, 5)), workers.map_async(wait_at, [gate.path], 1)):
        assert not result.ready()
        with pytest.raises(ValueError, match="not ready"):
            result.successful()
        result.wait(0.02)
        assert not result.ready()
    gate.open()
    result.wait(PATIENCE)
    assert result.ready()
    assert result.successful()


def test_callbacks_get_the_result_before_anybody_who_waits(pool):
    seen = []
    pool.apply_async(square, (3,), callback=seen.append, error_callback=fail).wait(PATIENCE)
    assert seen == [9]
    pool.map_async(square, range(3), callback=seen.append, error_callback=fail).wait(PATIENCE)
    assert seen == [9, [0, 1, 4]]
    pool.starmap_async(multiply, [(2, 5)], callback=seen.append, error_callback=fail).wait(PATIENCE)
    assert seen == [9, [0, 1, 4], [10]]


def test_error_callbacks_get_the_error_before_anybody_who_waits(pool):
    seen = []
    for result in (
        pool.apply_async(fail, ("a",), callback=fail, error_callback=seen.append),
        pool.map_async(fail, "ab", callback=fail, error_callback=seen.append),
        pool.starmap_async(fail, ["a", "b"], callback=fail, error_callback=seen.append),
    ):
        result.wait(PATIENCE)
        with pytest.raises(LookupError):
            result.get()
    assert [type(error) for error in seen] == [LookupError] * 3


@pytest.mark.parametrize("callback", [None, repr])
def test_results_for_which_there_is_no_memory_end_in_an_error(callback, monkeypatch):
    """Row 22: whoever waits hears of it, though it is found out where nobody waits."""

    def unpack(_packed):
        raise MemoryError

    with mh.Pool(1, backend="processes") as pool:
        monkeypatch.setattr("manyhands._engine.results.unpack", unpack)
        for result in (pool.apply_async(abs, (-1,), callback=callback), pool.map_async(abs, [-1], callback=callback)):
            with pytest.raises(MemoryError):
                result.get(PATIENCE)


def test_map_async_calls_back_once_for_all_results(workers, meeting):
    seen = []
    workers.starmap_async(say, [(meeting.path, x) for x in range(40)], 1, callback=seen.append).get(PATIENCE)
    assert seen == [list(range(40))]


def test_a_callback_that_raises_leaves_the_result_and_the_pool_alone(pool, caplog):
    assert pool.apply_async(square, (3,), callback=lambda _: fail("callback")).get(PATIENCE) == 9
    assert pool.map(square, [2]) == [4]
    assert eventually(lambda: "callback" in caplog.text)


def test_a_callback_may_give_the_pool_more_work(pool):
    results = []
    pool.apply_async(square, (3,), callback=lambda x: results.append(pool.apply_async(square, (x,)))).wait(PATIENCE)
    assert results[0].get(PATIENCE) == 81


def test_map_async_reads_its_input_at_once(workers):
    inputs = iter(range(50))
    result = workers.map_async(square, inputs)
    assert next(inputs, None) is None
    assert result.get(PATIENCE) == [x * x for x in range(50)]


# --- the iterators ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunksize", [None, 1, 7, 100])
def test_imap_gives_results_in_order(pool, chunksize):
    results = pool.imap(square, range(100), chunksize)
    assert iter(results) is results
    assert [next(results) for _ in range(100)] == [x * x for x in range(100)]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)


@pytest.mark.parametrize("chunksize", [None, 1, 30])
def test_imap_unordered_gives_all_results(pool, chunksize):
    results = pool.imap_unordered(square, iter(range(100)), chunksize)
    assert sorted(results) == [x * x for x in range(100)]


def test_imap_unordered_gives_what_is_there_first(workers, gate):
    results = workers.imap_unordered(lambda x: wait_at(gate.path, x) if x == 0 else x, range(2), 1)
    assert next(results) == 1
    gate.open()
    assert next(results) == 0


def test_imap_waits_for_the_one_whose_turn_it_is(workers, gate):
    results = workers.imap(lambda x: wait_at(gate.path, x) if x == 0 else x, range(3), 1)
    with pytest.raises(multiprocessing.TimeoutError):
        results.next(timeout=0.05)
    gate.open()
    assert [results.next(timeout=PATIENCE) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StopIteration):
        results.next(timeout=PATIENCE)


def test_a_failed_task_raises_in_its_turn_and_the_others_still_come(pool):
    results = pool.imap(fail_on_odd, range(5), 1)
    assert next(results) == 0
    with pytest.raises(LookupError):
        next(results)
    assert next(results) == 2
    with pytest.raises(LookupError):
        next(results)
    assert list(results) == [4]


def test_an_unordered_failure_leaves_the_others_alone(pool):
    results = pool.imap_unordered(fail_on_odd, range(6), 2)
    found, failures = [], 0
    while len(found) + failures < 6:
        try:
            found.append(next(results))
        except LookupError:
            failures += 1
    assert (sorted(found), failures) == ([0, 2, 4], 3)
    assert list(results) == []


@pytest.mark.parametrize("chunksize", [None, 1, 2, 4])
@pytest.mark.parametrize(("total", "at"), [(1, 0), (10, 3), (20, 7)])
def test_imap_gives_what_came_before_its_input_broke_off(pool, total, at, chunksize):
    results = pool.imap(square, breaking_off(total, at), chunksize)
    assert [next(results) for _ in range(at)] == [x * x for x in range(at)]
    with pytest.raises(LookupError, match="input"):
        next(results)
    assert pool.map(square, [2]) == [4]


@pytest.mark.parametrize("chunksize", [None, 1, 4])
def test_imap_unordered_gives_what_came_before_its_input_broke_off(pool, chunksize):
    results = pool.imap_unordered(square, breaking_off(20, 7), chunksize)
    assert sorted(next(results) for _ in range(7)) == [x * x for x in range(7)]
    with pytest.raises(LookupError, match="input"):
        next(results)


def test_imap_of_endless_input(any_backend):
    with mh.Pool(2, **any_backend) as pool:
        results = pool.imap(square, itertools.count())
        assert [next(results) for _ in range(20)] == [x * x for x in range(20)]


def test_imap_begins_before_anybody_asks(workers, meeting):
    results = workers.imap(lambda x: say(meeting.path, x), iter("abc"), 1)
    assert sorted(meeting.lines(3)) == ["a", "b", "c"]
    assert list(results) == ["a", "b", "c"]


def test_two_iterators_can_be_read_in_turns(pool):
    first, second = pool.imap(square, range(20)), pool.imap(square, range(20, 40))
    pairs = [(next(first), next(second)) for _ in range(20)]
    assert pairs == [(x * x, (x + 20) ** 2) for x in range(20)]


def test_imap_reads_from_the_results_of_another_imap(workers):
    inner = workers.imap(square, range(50))
    assert list(workers.imap(square, inner)) == [x**4 for x in range(50)]


@pytest.mark.parametrize("wrong", [0, -1])
def test_sizes_of_chunks_that_make_no_sense_are_refused(pool, wrong):
    for call in (pool.imap, pool.imap_unordered):
        with pytest.raises(ValueError, match="chunksize"):
            call(square, [1, 2], wrong)


# --- the end ----------------------------------------------------------------------------------------------------


def test_close_finishes_the_work_and_takes_no_more(any_backend):
    pool = mh.Pool(2, **any_backend)
    result = pool.map_async(square, range(50), chunksize=1)
    pool.close()
    calls = [pool.apply, pool.apply_async, pool.map, pool.map_async, pool.starmap, pool.imap, pool.imap_unordered]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call(square, (2,))
    pool.join()
    assert result.get(0) == [x * x for x in range(50)]


def test_join_waits_for_callbacks(parallel_backend, gate):
    seen, seen_after_join = [], []
    pool = mh.Pool(1, **parallel_backend)
    pool.apply_async(wait_at, (gate.path, "late"), callback=seen.append)
    pool.close()
    joining = threading.Thread(target=lambda: (pool.join(), seen_after_join.extend(seen)))
    joining.start()
    gate.open()
    joining.join(PATIENCE)
    assert seen_after_join == ["late"]


def test_join_comes_after_close_or_terminate(any_backend):
    pool = mh.Pool(1, **any_backend)
    with pytest.raises(ValueError, match="close"):
        pool.join()
    pool.close()
    pool.close()
    pool.join()
    pool.join()


def test_terminate_drops_all_work_at_once(parallel_backend, meeting, gate):
    pool = mh.Pool(2, **parallel_backend)
    result = pool.starmap_async(say_and_wait, [(meeting.path, gate.path, x) for x in range(10_000)], 1)
    single = pool.apply_async(wait_at, (gate.path,))
    meeting.lines(2)
    pool.terminate()
    for dropped in (result, single):
        dropped.wait(PATIENCE)
        assert dropped.ready()
        assert not dropped.successful()
    with pytest.raises(ValueError, match="closed"):
        pool.map(square, [2])
    gate.open()
    pool.join()


def test_terminate_ends_the_processes(process_backend, meeting, gate):
    pool = mh.Pool(2, **process_backend)
    pool.map_async(lambda _: say_and_wait(meeting.path, gate.path, os.getpid()), range(2), 1)
    pids = meeting.pids(2)
    pool.terminate()
    pool.join()
    assert eventually(lambda: not any(alive(pid) for pid in pids))


def test_terminate_of_a_pool_that_has_done_nothing(any_backend):
    pool = mh.Pool(1, **any_backend)
    pool.terminate()
    pool.terminate()
    pool.join()


def test_leaving_the_block_terminates(parallel_backend, meeting, gate):
    with mh.Pool(1, **parallel_backend) as pool:
        result = pool.apply_async(say_and_wait, (meeting.path, gate.path, "on"))
        meeting.lines()
    result.wait(PATIENCE)
    assert not result.successful()
    gate.open()
    pool.join()


def test_a_pool_that_was_left_cannot_be_entered_again(any_backend):
    pool = mh.Pool(1, **any_backend)
    with pool as same_one:
        assert same_one is pool
        assert pool.map(square, [2]) == [4]
    with pytest.raises(ValueError, match="closed"), pool:
        pass
    with pytest.raises(ValueError, match="closed"):
        pool.map_async(square, [2])
    pool.join()


def test_an_error_in_the_block_reaches_the_caller_after_the_work_is_closed(parallel_backend):
    with pytest.raises(LookupError), mh.Pool(2, **parallel_backend) as pool:
        try:
            pool.map(fail, ["x" * 1_000_000, "y"])
        finally:
            pool.close()
            pool.join()


def test_close_with_replaced_workers_does_not_hang(parallel_backend):
    pool = mh.Pool(2, maxtasksperchild=1, **parallel_backend)
    results = [pool.apply_async(square, (x,)) for x in range(4)]
    pool.close()
    pool.join()
    assert [result.get(0) for result in results] == [0, 1, 4, 9]


def test_nothing_is_kept_alive_by_a_call_that_is_done(pool):
    things = [Thing() for _ in range(10)]
    seen = [weakref.ref(thing) for thing in things]
    pool.map(same, things)
    pool.apply(same, (things[0],))
    del things
    assert eventually(lambda: all(ref() is None for ref in seen))


# --- workers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [0, -1, 0.5, "2"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="processes"):
        mh.Pool(wrong)


@pytest.mark.parametrize("wrong", [0, -1, 0.5, "12"])
def test_a_share_of_tasks_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="maxtasksperchild"):
        mh.Pool(2, maxtasksperchild=wrong)


def test_workers_are_replaced_after_their_share_of_tasks(process_backend):
    with mh.Pool(1, maxtasksperchild=2, **process_backend) as pool:
        pids = pool.map(worker_pid, range(6), chunksize=1)
    assert max(pids.count(pid) for pid in pids) <= 2
    assert len(set(pids)) >= 3


_tools = threading.local()


def prepare(first, second):
    _tools.value = first + second


def tools(_=None):
    return _tools.value


def test_the_initializer_has_run_before_any_task(any_backend):
    with mh.Pool(2, prepare, ("a", "b"), **any_backend) as pool:
        assert set(pool.map(tools, range(20), chunksize=1)) == {"ab"}


def test_initargs_may_be_any_iterable(any_backend):
    with mh.Pool(1, initializer=prepare, initargs=iter(["a", "b"]), **any_backend) as pool:
        assert pool.apply(tools) == "ab"


def test_an_initializer_that_raises_is_told_and_not_tried_for_ever(parallel_backend):
    with mh.Pool(2, fail, ("no tools",), **parallel_backend) as pool, pytest.raises(InitializerError, match="no tools"):
        pool.map(square, range(10))


def test_things_of_a_manager_can_be_shared(process_backend):
    with multiprocessing.Manager() as manager:
        queue, table = manager.Queue(), manager.dict()
        with mh.Pool(2, **process_backend) as pool:
            pool.starmap(share, [(queue, table, x) for x in range(4)])
        assert sorted(queue.get(timeout=PATIENCE) for _ in range(4)) == [0, 1, 2, 3]
        assert dict(table) == {0: 0, 1: 1, 2: 4, 3: 9}


def share(queue, table, x):
    queue.put(x)
    table[x] = x * x


def test_a_task_may_have_a_pool_of_its_own(process_backend):
    with mh.Pool(1, **process_backend) as pool:
        assert pool.apply(inner_pool) == [0, 1, 4]


def inner_pool():
    with mh.Pool(2) as pool:
        return pool.map(square, range(3))


# --- ThreadPool -------------------------------------------------------------------------------------------------


def test_a_thread_pool_works_in_this_process():
    with ThreadPool(2) as pool:
        assert isinstance(pool, mh.Pool)
        assert set(pool.map(worker_pid, range(10))) == {os.getpid()}
        thing = Thing()
        assert pool.apply(same, (thing,)) is thing
        assert pool.map(same, [thing]) == [thing]


def test_a_thread_pool_raises_errors_as_they_are():
    with ThreadPool(1) as pool, pytest.raises(LookupError) as caught:
        pool.apply(fail, ("lost",))
    assert caught.value.__cause__ is None


def test_a_thread_pool_has_the_methods_of_a_pool():
    seen = []
    with ThreadPool(processes=2, initializer=prepare, initargs=("a", "b")) as pool:
        assert pool.apply(tools) == "ab"
        assert pool.starmap(multiply, [(1, 2)]) == [2]
        assert list(pool.imap(square, range(3))) == [0, 1, 4]
        assert sorted(pool.imap_unordered(square, range(3))) == [0, 1, 4]
        pool.map_async(square, [2], callback=seen.append).get(PATIENCE)
        pool.apply_async(fail, ("x",), error_callback=seen.append).wait(PATIENCE)
    assert seen[0] == [4]
    assert isinstance(seen[1], LookupError)


# --- as programs use it -----------------------------------------------------------------------------------------


def test_a_pool_shared_by_threads(workers):
    found = {}

    def use(number):
        found[number] = workers.map(square, range(number, number + 20))

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == {number: [x * x for x in range(number, number + 20)] for number in range(8)}


def test_a_method_of_an_object_that_holds_its_pool(process_backend):
    with mh.Pool(2, **process_backend) as pool:
        assert Holder(pool).squares(range(5)) == [0, 1, 4, 9, 16]


class Holder:
    """Passes its own method to its own pool."""

    def __init__(self, pool):
        self.pool = pool

    def squares(self, numbers):
        return self.pool.map(self.one, numbers)

    def one(self, x):
        return x * x
