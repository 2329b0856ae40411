"""The everyday behaviour of map, starmap, imap, imap_unordered and submit: what goes in and what comes out."""

from __future__ import annotations

import concurrent.futures
import functools
import math
import operator
import os
import time
from collections import deque

import everyday
import pytest
from watching import PATIENCE

import manyhands as mh

pytestmark = pytest.mark.timeout(30)

EVERY = [mh.map, mh.imap, mh.imap_unordered]


class Multiplier:
    def __init__(self, factor):
        self.factor = factor

    def times(self, x):
        return x * self.factor

    __call__ = times

    @staticmethod
    def square(x):
        return x * x

    @classmethod
    def doubled(cls, x):
        return cls(2).times(x)


@functools.cache
def cached(n):
    return math.factorial(n)


def waits_for_the_next(path):
    """A task 0 that ends only when task 1 has ended."""
    path = str(path)

    def task(n):
        while n == 0 and not os.path.exists(path):
            time.sleep(0.005)
        if n == 1:
            open(path, "w").close()
        return n

    return task


# --- order ------------------------------------------------------------------------------------------------------


@everyday.parallel_backend
def test_results_are_in_the_order_of_the_inputs_whoever_ends_first(parallel_backend, tmp_path):
    options = {"workers": 2, "chunksize": 1, **parallel_backend}
    assert mh.map(waits_for_the_next(tmp_path / "map"), range(20), **options) == list(range(20))
    assert list(mh.imap(waits_for_the_next(tmp_path / "imap"), range(20), **options)) == list(range(20))


@everyday.parallel_backend
def test_unordered_results_come_as_they_end(parallel_backend, tmp_path):
    """Task 0 ends only when the reader has the result of task 1."""
    read = str(tmp_path / "read")

    def task(n):
        end = time.monotonic() + PATIENCE
        while n == 0 and not os.path.exists(read) and time.monotonic() < end:
            time.sleep(0.005)
        return n

    found = []
    for n in mh.imap_unordered(task, range(20), workers=2, chunksize=1, **parallel_backend):
        found.append(n)
        if n == 1:
            open(read, "w").close()
    assert found.index(1) < found.index(0)
    assert sorted(found) == list(range(20))


@everyday.any_backend
def test_many_small_results_are_all_there_in_order(any_backend):
    assert mh.map(operator.neg, range(30_000), workers=2, **any_backend) == [-n for n in range(30_000)]
    assert list(mh.imap(operator.neg, range(5000), workers=2, **any_backend)) == [-n for n in range(5000)]


# --- inputs -----------------------------------------------------------------------------------------------------


@everyday.any_backend
def test_every_kind_of_iterable_will_do(any_backend):
    options = {"workers": 2, **any_backend}
    table = {"a": 1, "b": 2, "c": 3}
    assert mh.map(abs, (-n for n in range(9)), **options) == list(range(9))
    assert mh.map(abs, (-1, -2), **options) == [1, 2]
    assert sorted(mh.map(abs, {-1, -2, -3}, **options)) == [1, 2, 3]
    assert mh.map(abs, table.values(), **options) == [1, 2, 3]
    assert mh.map(str.upper, table, **options) == ["A", "B", "C"]
    assert mh.map(len, table.items(), **options) == [2, 2, 2]
    assert mh.map(str.upper, "abc", **options) == ["A", "B", "C"]
    assert mh.map(abs, deque([-1, -2]), **options) == [1, 2]
    assert mh.map(abs, memoryview(b"\1\2"), **options) == [1, 2]
    assert mh.map(len, enumerate("abc"), **options) == [2, 2, 2]


@everyday.any_backend
def test_numpy_arrays_are_read_row_by_row(any_backend):
    np = pytest.importorskip("numpy")
    table = np.arange(12.0).reshape(4, 3)
    assert mh.map(np.sum, table, workers=2, **any_backend) == [3.0, 12.0, 21.0, 30.0]
    (doubled,) = mh.map(lambda a: a * 2, [np.ones((300, 300))], workers=2, **any_backend)
    assert doubled.sum() == 180_000
    doubled += 1  # what came back is the caller's own


@everyday.any_backend
def test_several_iterables_are_zipped_to_the_shortest(any_backend):
    options = {"workers": 2, **any_backend}
    for variant in EVERY:
        assert sorted(variant(pow, [2, 3, 4], (n for n in (5, 2)), **options)) == [9, 32]
        assert sorted(variant(lambda a, b, c: a + b + c, "ad", "be", "cfx", **options)) == ["abc", "def"]
        assert list(variant(pow, [], [1], **options)) == []


@everyday.any_backend
def test_starmap_takes_tuples_of_arguments(any_backend):
    options = {"workers": 2, **any_backend}
    assert mh.starmap(pow, [(2, 5), (3, 2)], **options) == [32, 9]
    assert mh.starmap(max, ([n, 2 * n, 1] for n in range(3)), **options) == [1, 2, 4]
    assert mh.starmap(lambda *args: args, [(), (1,), "ab"], **options) == [(), (1,), ("a", "b")]


@everyday.any_backend
def test_no_inputs_give_no_results(any_backend):
    for variant in EVERY:
        for inputs in ([], (), iter(()), (n for n in ()), {}, range(0), ""):
            assert list(variant(abs, inputs, workers=2, **any_backend)) == []
            assert mh.last_report().tasks == 0
    assert mh.starmap(pow, [], workers=2, **any_backend) == []


@everyday.any_backend
def test_list_may_be_changed_while_it_is_worked_on(any_backend):
    items = list(range(1000))
    results = mh.imap(abs, items, workers=2, chunksize=1, **any_backend)
    assert next(results) == 0
    items[:] = [7]
    assert list(results) == list(range(1, 1000))


@everyday.any_backend
def test_input_is_read_in_the_callers_own_thread(any_backend):
    import threading

    def items():
        for _ in range(50):
            yield threading.get_ident()

    assert set(mh.map(lambda ident: ident, items(), workers=2, **any_backend)) == {threading.get_ident()}
    assert set(mh.imap(lambda ident: ident, items(), workers=2, **any_backend)) == {threading.get_ident()}


@everyday.any_backend
def test_size_of_chunks_changes_nothing_but_the_speed(any_backend):
    for variant in EVERY:
        for chunksize in (1, 3, 1000):
            found = variant(operator.neg, range(100), workers=2, chunksize=chunksize, **any_backend)
            assert sorted(found, reverse=True) == [-n for n in range(100)]


# --- functions --------------------------------------------------------------------------------------------------


@everyday.any_backend
def test_every_kind_of_callable_will_do(any_backend):
    options = {"workers": 2, **any_backend}
    offset = 10
    triple = Multiplier(3)
    assert mh.map(lambda x: x + offset, [1, 2], **options) == [11, 12]
    assert mh.map(functools.partial(pow, 2), [3, 4], **options) == [8, 16]
    assert mh.map(functools.partial(pow, exp=2), [3, 4], **options) == [9, 16]
    assert mh.map(triple.times, [1, 2], **options) == [3, 6]
    assert mh.map(triple, [1, 2], **options) == [3, 6]
    assert mh.map(Multiplier.square, [3], **options) == [9]
    assert mh.map(Multiplier.doubled, [3], **options) == [6]
    assert mh.map(str, [1, 2], **options) == ["1", "2"]
    assert mh.map("a{}".format, [1, 2], **options) == ["a1", "a2"]
    assert mh.map(operator.itemgetter(1), ["ab", "cd"], **options) == ["b", "d"]
    assert mh.map(cached, [3, 4], **options) == [6, 24]
    assert [m.factor for m in mh.map(Multiplier, [1, 2], **options)] == [1, 2]


@everyday.any_backend
def test_function_may_call_itself_and_its_neighbours(any_backend):
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    assert mh.map(even, [3, 4], workers=2, **any_backend) == [False, True]


@everyday.any_backend
def test_function_sees_what_it_refers_to_as_it_is_at_the_call(any_backend):
    factor = 2
    table = [1]

    def task(x):
        return x * factor + table[0]

    assert mh.map(task, [1, 2], workers=2, **any_backend) == [3, 5]
    factor, table[0] = 10, 5
    assert mh.map(task, [1, 2], workers=2, **any_backend) == [15, 25]


@everyday.any_backend
def test_results_of_the_callers_classes_are_of_those_classes(any_backend):
    class Local(Multiplier):
        pass

    made = mh.map(lambda n: Local(n), [1, 2], workers=2, **any_backend)
    assert {type(m) for m in made} == {Local}
    assert {type(m) for m in mh.map(Multiplier, [1], workers=2, **any_backend)} == {Multiplier}


# --- laziness ---------------------------------------------------------------------------------------------------


@everyday.any_backend
def test_results_of_two_calls_may_be_taken_in_turns(any_backend):
    options = {"workers": 2, "chunksize": 1, **any_backend}
    ups, downs = mh.imap(abs, range(300), **options), mh.imap(operator.neg, range(300), **options)
    assert [up + down for up, down in zip(ups, downs, strict=True)] == [0] * 300


@everyday.any_backend
def test_lazy_results_end_like_any_iterator(any_backend):
    results = mh.imap(abs, [-1], workers=2, **any_backend)
    assert iter(results) is results
    assert next(results) == 1
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(results)
    results.close()
    results.close()


# --- single calls -----------------------------------------------------------------------------------------------


@everyday.any_backend
def test_submit_gives_a_future_of_the_standard_library(any_backend):
    with mh.configure(workers=2, **any_backend):
        future = mh.submit(int, "ff", base=16)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result(timeout=20) == 255
        assert future.done()
        assert future.exception() is None
        assert not future.cancel()
        failed = mh.submit(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            failed.result(timeout=20)


@everyday.any_backend
def test_submitted_calls_can_be_waited_for_together(any_backend):
    with mh.Executor(2, **any_backend) as executor:
        futures = [executor.submit(pow, n, 2) for n in range(20)]
        found = {future.result() for future in concurrent.futures.as_completed(futures, timeout=20)}
        assert found == {n * n for n in range(20)}
        assert not concurrent.futures.wait(futures, timeout=20).not_done


@everyday.any_backend
def test_submit_passes_every_keyword_on(any_backend):
    with mh.Executor(2, **any_backend) as executor:
        future = executor.submit(dict, fn=1, self=2, func=3, timeout=4)
        assert future.result(timeout=20) == {"fn": 1, "self": 2, "func": 3, "timeout": 4}


@everyday.any_backend
def test_executor_map_is_that_of_the_standard_library(any_backend):
    with mh.Executor(2, **any_backend) as executor:
        assert list(executor.map(pow, [2, 3], [5, 2])) == [32, 9]
        assert list(executor.map(abs, range(-50, 0), chunksize=7)) == list(range(50, 0, -1))
        assert list(executor.map(abs, (-n for n in range(50)), buffersize=3)) == list(range(50))
        assert list(executor.map(abs, [])) == []
        results = executor.map(int, ["1", "x", "3"])
        assert next(results) == 1
        with pytest.raises(ValueError, match="invalid literal"):
            next(results)


# --- what is refused --------------------------------------------------------------------------------------------


class Ambiguous:
    """As an array: it has no hash, and its comparisons no truth."""

    __hash__ = None

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise ValueError("ambiguous")


WRONG = [
    {"workers": 0},
    {"workers": -1},
    {"workers": 1.5},
    {"workers": True},
    {"workers": 10**6},
    {"chunksize": 0},
    {"timeout": 0},
    {"timeout": "1"},
    {"timeout": float("nan")},
    {"on_error": Ambiguous()},
    {"progress": Ambiguous()},
    {"backend": Ambiguous()},
    {"backend": "magic"},
    {"start_method": "forkserver"},
    {"backend": "processes", "start_method": ["fork"]},
    {"on_error": "ignore"},
    {"retry": 0},
    {"retry": "twice"},
    {"seed": -1},
    {"progress": 3.5},
    {"total": -1},
    {"report": True},
    {"desc": 5},
    {"wrokers": 2},
    {"backend": "serial", "timeout": 1},
]


def test_wrong_option_is_refused_by_name_before_anything_runs():
    ran = []
    for wrong in WRONG:
        for variant in EVERY:
            with pytest.raises(mh.OptionError) as caught:
                variant(ran.append, [1], **{"backend": "serial", **wrong})
            assert isinstance(caught.value, ValueError)
            assert next(reversed(wrong)) in str(caught.value).lower()
        with pytest.raises(mh.OptionError), mh.configure(**wrong):
            pass
    assert ran == []


def generator():
    yield 1


def test_call_without_inputs_or_without_a_function_is_refused():
    with pytest.raises(mh.OptionError, match="nothing to run over"):
        mh.map(abs)
    with pytest.raises(mh.OptionError, match="function"):
        mh.map([1, 2], abs)
    with pytest.raises(mh.OptionError, match="function"):
        mh.submit("abs", 1)
    with pytest.raises(mh.OptionError, match="iterated"):
        mh.map(abs, 5)
    with pytest.raises(mh.OptionError, match="it makes a generator"):
        mh.map(abs, generator)


@everyday.any_backend
def test_call_after_shutdown_is_refused(any_backend):
    executor = mh.Executor(2, **any_backend)
    assert executor.submit(abs, -1).result(timeout=20) == 1
    executor.shutdown()
    executor.shutdown()
    with pytest.raises(mh.ExecutorClosed):
        executor.submit(abs, -1)
    with pytest.raises(mh.ExecutorClosed):
        executor.map(abs, [-1])
