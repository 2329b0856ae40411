"""Objects that do not travel: each is its own task's trouble, and nobody else's."""

from __future__ import annotations

import asyncio
import importlib
import os
import resource
import sys
import threading
import time
import types
from pathlib import Path

import everyday
import pytest
from odd_objects import (
    ExplodesIn,
    ExplodesOnPacking,
    ExplodesOnUnpacking,
    HoldsLock,
    KeywordOnly,
    Mute,
    Nameless,
    NeedsTwo,
    Quit,
    nested,
)
from programs import run_source

import manyhands as mh

pytestmark = [pytest.mark.timeout(30), pytest.mark.others_are_stress]

GOOD = [1, 2, 4, 5]  # what the healthy tasks of the tests below are given


def collected(func, items, **options):
    """The Failures of calls in which the middle one of five tasks fails: sent one by one, and in one chunk.

    The other tasks' results are checked, and that the workers can be used afterwards.
    """
    failures = []
    for chunksize in (1, 5):
        results = mh.map(func, items, workers=2, on_error="collect", chunksize=chunksize, **options)
        failures.append(results.pop(2))
        assert results == GOOD
    assert [(type(failure), failure.index) for failure in failures] == [(mh.Failure, 2)] * 2
    assert mh.map(abs, GOOD, workers=2, **options) == GOOD
    return failures


def raising(kind, *args):
    """A task that raises this when it is given 3."""

    def task(x):
        if x == 3:
            raise kind(*args)
        return x

    return task


# --- exceptions with constructors of their own ------------------------------------------------------------------


def test_exception_whose_constructor_needs_arguments_comes_back_as_itself(any_backend):
    """Row 14."""

    def task(x):
        if x == 3:
            raise NeedsTwo(404, place="the shelf")
        return x

    for failure in collected(task, range(1, 6), **any_backend):
        error = failure.error
        assert type(error) is NeedsTwo
        assert (error.code, error.place, str(error)) == (404, "the shelf", "404 at the shelf")


@everyday.any_backend
def test_exception_with_keyword_only_constructor_is_raised_as_itself(any_backend):
    """Row 14."""

    def task(x):
        raise KeywordOnly(reason="rain")

    with pytest.raises(KeywordOnly, match="because of rain") as caught:
        mh.map(task, [1], workers=2, **any_backend)
    assert caught.value.reason == "rain"


def test_exception_class_made_in_a_function_comes_back_as_that_class(any_backend):
    """Row 14."""

    class Local(Exception):
        def __init__(self, a, b):
            super().__init__(a)
            self.b = b

    def task(x):
        raise Local("first", "second")

    with pytest.raises(Local, match="first") as caught:
        mh.map(task, [1], workers=2, **any_backend)
    assert caught.value.b == "second"


@everyday.process_backend
def test_exception_that_holds_a_lock_comes_back_without_it(process_backend):
    """Row 14."""

    def task(x):
        raise HoldsLock("kept")

    with pytest.raises(HoldsLock, match="kept") as caught:
        mh.map(task, [1], workers=2, **process_backend)
    assert caught.value.text == "kept"
    assert not hasattr(caught.value, "lock")


@everyday.process_backend
def test_exception_class_that_cannot_travel_is_told_in_words(process_backend):
    """Row 14."""
    make_lock = threading.Lock

    def task(x):
        class Stuck(Exception):
            lock = make_lock()

        raise Stuck("in the worker")

    with pytest.raises(mh.RemoteError, match="in the worker") as caught:
        mh.map(task, [1], workers=2, **process_backend)
    assert "Stuck" in caught.value.type_name
    assert 'raise Stuck("in the worker")' in caught.value.remote_traceback


def test_exception_with_arguments_from_a_submitted_call(any_backend):
    """Row 14."""

    def task():
        raise NeedsTwo(500, "submit")

    with mh.Executor(2, **any_backend) as executor:
        error = executor.submit(task).exception(timeout=20)
        assert type(error) is NeedsTwo
        assert error.code == 500
        assert executor.submit(pow, 2, 3).result(timeout=20) == 8


# --- arguments --------------------------------------------------------------------------------------------------


def test_argument_that_cannot_be_packed_fails_its_own_task(process_backend):
    """Row 15."""
    items = [1, 2, threading.Lock(), 4, 5]
    for failure in collected(lambda x: x, items, **process_backend):
        assert isinstance(failure.error, mh.NotSendable)
        assert "argument (a lock)" in str(failure.error)
        assert "lock" in repr(failure.argument)


def test_error_for_an_argument_that_cannot_be_packed_says_which_one(process_backend):
    """Row 15."""
    lock = threading.Lock()
    with pytest.raises(mh.NotSendable, match="argument 2"):
        mh.starmap(lambda a, b: a, [(1, 2), (3, lock)], workers=2, **process_backend)
    with mh.Executor(2, **process_backend) as executor:
        future = executor.submit(dict, plain=1, guard=lock)
        with pytest.raises(mh.NotSendable, match="'guard'"):
            future.result(timeout=20)
        assert executor.submit(abs, -1).result(timeout=20) == 1


def test_function_that_cannot_be_packed_is_named_with_the_variable_at_fault(process_backend):
    """Row 15."""
    if process_backend["start_method"] == "fork":
        pytest.skip("a fork has the function from birth")
    guard = threading.Lock()

    def uses_guard(x):
        with guard:
            return x

    with pytest.raises(mh.NotSendable, match="'guard'"):
        mh.map(uses_guard, [1, 2], workers=2, **process_backend)
    with mh.Executor(2, **process_backend) as executor:
        with pytest.raises(mh.NotSendable, match="'guard'"):
            executor.submit(uses_guard, 1).result(timeout=20)
        assert executor.submit(abs, -1).result(timeout=20) == 1


def test_what_cannot_be_packed_needs_no_packing_in_threads():
    """Row 15."""
    lock = threading.Lock()
    for backend in ("threads", "serial"):
        assert mh.map(lambda x: x, [lock], workers=2, backend=backend) == [lock]


def test_argument_that_fails_to_unpack_fails_its_own_task(process_backend):
    """Row 16."""
    items = [1, 2, ExplodesOnUnpacking(), 4, 5]
    for failure in collected(lambda x: x, items, **process_backend):
        assert isinstance(failure.error, mh.NotSendable)
        assert "will not be unpacked" in str(failure.error)


def test_argument_that_fails_to_unpack_leaves_an_executor_usable(process_backend):
    """Row 16."""
    with mh.Executor(1, **process_backend) as executor:
        pid = executor.submit(os.getpid).result(timeout=20)
        bad = executor.submit(abs, ExplodesOnUnpacking())
        assert isinstance(bad.exception(timeout=20), mh.NotSendable)
        assert executor.submit(os.getpid).result(timeout=20) == pid


# --- results ----------------------------------------------------------------------------------------------------


def test_result_that_cannot_be_packed_fails_its_own_task(process_backend):
    """Row 17."""
    for make in (threading.Lock, lambda: (x for x in ()), ExplodesOnPacking):
        for failure in collected(lambda x, make=make: make() if x == 3 else x, range(1, 6), **process_backend):
            assert isinstance(failure.error, mh.NotSendable)
            assert "result" in str(failure.error)


def test_result_that_cannot_be_packed_leaves_the_worker_alive(process_backend):
    """Row 17."""
    with mh.Executor(1, **process_backend) as executor:
        pid = executor.submit(os.getpid).result(timeout=20)
        assert isinstance(executor.submit(threading.Lock).exception(timeout=20), mh.NotSendable)
        assert executor.submit(os.getpid).result(timeout=20) == pid


def test_result_that_fails_to_unpack_in_the_caller_fails_its_own_task(process_backend):
    """Row 18."""
    here = os.getpid()
    for failure in collected(lambda x: ExplodesIn(here) if x == 3 else x, range(1, 6), **process_backend):
        assert isinstance(failure.error, mh.NotSendable)
        assert "not in this process" in str(failure.error)


def test_result_that_fails_to_unpack_leaves_the_reader_alive(process_backend):
    """Row 18."""
    with mh.Executor(1, **process_backend) as executor:
        bad = executor.submit(ExplodesIn, os.getpid())
        good = executor.submit(pow, 2, 4)
        assert good.result(timeout=20) == 16
        for _ in range(2):  # asking again gives the same answer
            with pytest.raises(mh.NotSendable, match="not in this process"):
                bad.result(timeout=20)


# --- exceptions that usually end a program ----------------------------------------------------------------------

ENDINGS = [SystemExit, KeyboardInterrupt, GeneratorExit, Quit]


def test_exception_that_ends_programs_is_only_the_error_of_its_task(parallel_backend):
    """Row 19."""
    for kind in ENDINGS:
        for failure in collected(raising(kind, "stop"), range(1, 6), **parallel_backend):
            assert type(failure.error) is kind
            assert failure.error.args == ("stop",)
        with pytest.raises(kind):
            mh.map(raising(kind), [3], workers=2, **parallel_backend)


def test_exception_that_ends_programs_is_only_the_error_of_its_task_in_a_loop():
    """Row 19; Ctrl-C in the caller's own thread stops the call."""
    for kind in (SystemExit, GeneratorExit, Quit):
        assert {type(failure.error) for failure in collected(raising(kind), range(1, 6), backend="serial")} == {kind}
    with pytest.raises(KeyboardInterrupt):
        mh.map(raising(KeyboardInterrupt), range(1, 6), on_error="collect", backend="serial")


def test_worker_lives_on_after_an_exception_that_ends_programs(process_backend):
    """Row 19."""

    def task(given):
        if given == "pid":
            return os.getpid()
        if given[0] == "return":
            return ExplodesOnPacking(given[1])
        raise given[1]

    with mh.Executor(1, **process_backend) as executor:
        pid = executor.submit(task, "pid").result(timeout=20)
        for kind in ENDINGS:
            for given in (("raise", kind), ("return", kind), ExplodesOnUnpacking(kind), ExplodesOnPacking(kind)):
                if kind is KeyboardInterrupt and isinstance(given, ExplodesOnPacking):
                    continue  # submit packs in the caller's thread, where that is Ctrl-C
                assert isinstance(executor.submit(task, given).exception(timeout=20), kind | mh.NotSendable)
        assert executor.submit(task, "pid").result(timeout=20) == pid


@everyday.process_backend
def test_exception_that_ends_programs_from_packing_and_unpacking_is_its_own_tasks(process_backend):
    """Row 19."""
    for kind in ENDINGS:
        for bad in (ExplodesOnPacking(kind), ExplodesOnUnpacking(kind)):
            for failure in collected(lambda x: x, [1, 2, bad, 4, 5], **process_backend):
                assert isinstance(failure.error, kind | mh.NotSendable)


def test_stop_iteration_from_a_task_cannot_end_the_loop_it_is_raised_in(any_backend):
    """Row 20."""

    def task(x):
        return next(iter(())) if x == 2 else x

    with pytest.raises(RuntimeError, match="StopIteration"):
        mh.map(task, range(5), workers=2, **any_backend)
    taken = []
    with pytest.raises(RuntimeError, match="StopIteration"):
        taken.extend(mh.imap(task, range(5), workers=2, **any_backend))
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(mh.imap_unordered(task, range(5), workers=2, **any_backend))
    assert mh.map(task, range(5), workers=2, on_error="skip", **any_backend) == [0, 1, 3, 4]


@everyday.any_backend
def test_stop_iteration_reaches_whoever_awaits_the_future(any_backend):
    """Row 20."""

    def task():
        raise StopIteration(7)

    async def wait():
        with mh.Executor(2, **any_backend) as executor:
            with pytest.raises(RuntimeError, match="StopIteration"):
                await asyncio.wait_for(asyncio.wrap_future(executor.submit(task)), 20)

    asyncio.run(wait())


# --- classes that exist only here -------------------------------------------------------------------------------

CREATOR = """
def create(name, base):
    globals()[name] = type(name, (base,), {"__module__": __name__, "double": lambda self: [2 * x for x in self]})

def total(individual):
    return sum(individual)
"""


@pytest.fixture
def creator(tmp_path, monkeypatch):
    """An importable module in which classes are made at run time, as some libraries do."""
    name = f"creator_{os.getpid()}_{tmp_path.name}".replace("-", "_")
    Path(tmp_path, f"{name}.py").write_text(CREATOR)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(name)
    module.create("Individual", list)
    yield module
    del sys.modules[name]


def test_class_made_at_run_time_in_an_importable_module_travels_as_argument(creator, any_backend):
    """Row 21."""
    items = [creator.Individual([n, n + 1]) for n in range(6)]
    assert mh.map(creator.total, items, workers=2, **any_backend) == [1, 3, 5, 7, 9, 11]
    assert mh.map(lambda x: x.double(), items, workers=2, **any_backend)[1] == [2, 4]


def test_class_made_at_run_time_in_an_importable_module_travels_as_result(creator, any_backend):
    """Row 21."""
    made = mh.map(creator.Individual, [[1], [2, 3]], workers=2, **any_backend)
    assert made == [[1], [2, 3]]
    assert {type(x) for x in made} == {creator.Individual}
    assert made[1].double() == [4, 6]


@everyday.any_backend
def test_class_made_at_run_time_travels_with_a_submitted_call(creator, any_backend):
    """Row 21."""
    with mh.Executor(2, **any_backend) as executor:
        future = executor.submit(lambda x: type(x)([*x, 9]), creator.Individual([8]))
        assert type(future.result(timeout=20)) is creator.Individual
        assert future.result() == [8, 9]


# --- too deep, too large ----------------------------------------------------------------------------------------


def test_argument_nested_too_deeply_fails_its_own_task(process_backend):
    """Row 22."""
    deep = nested(50_000)
    for failure in collected(lambda x: x, [1, 2, deep, 4, 5], **process_backend):
        assert isinstance(failure.error, mh.NotSendable)
        assert "recursion" in str(failure.error).lower()


def test_result_nested_too_deeply_fails_its_own_task(process_backend):
    """Row 22."""
    for failure in collected(lambda x: nested(50_000) if x == 3 else x, range(1, 6), **process_backend):
        assert isinstance(failure.error, mh.NotSendable)
        assert "recursion" in str(failure.error).lower()


def test_result_too_large_for_the_memory_fails_its_own_task(process_backend):
    """Row 22."""

    def task(given):
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))  # the task before may have been the large one
        if isinstance(given, int):
            return given
        value = given()
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (16 << 20), most))
        return value

    for make in (lambda: "x" * (64 << 20), lambda: ["x" * (64 << 20)]):
        for failure in collected(task, [1, 2, make, 4, 5], **process_backend):
            assert isinstance(failure.error, mh.NotSendable | MemoryError | mh.WorkerDied)


def test_results_that_cannot_be_sent_early_since_a_task_has_all_memory_come_at_the_end(process_backend):
    """Row 22: a thread of the worker sends what a chunk has so far, while its next task runs."""

    def task(number):
        if number == 0:
            return "x" * (64 << 20)
        sender = next(thread for thread in threading.enumerate() if thread.name == "manyhands-flush")
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 20), before[1]))
        until = time.monotonic() + 0.5  # it tries several times
        while sender.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_AS, before)
        return number

    assert mh.map(task, range(2), workers=1, chunksize=2, **process_backend) == ["x" * (64 << 20), 1]


def test_results_of_which_there_is_no_memory_to_tell_are_told_at_the_end(tmp_path):
    run_source(
        """
        import threading, time
        from manyhands._engine.reporter import Reporter

        def send(message, buffers):
            if not tried.is_set():
                tried.set()
                raise MemoryError
            told.append(message[3])

        tried, told = threading.Event(), []
        reporter = Reporter(send)
        outcome = reporter.begin(1, 2)
        outcome.values.append("early")
        tried.wait()
        outcome.values.append("late")
        reporter.end(outcome, time.monotonic())
        assert sum(told) == 2
        """,
        cwd=tmp_path,
    )


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", [bytes, "array"])
def test_argument_and_result_of_more_than_two_gigabytes(process_backend, kind):
    """Row 22."""
    size = (1 << 31) + 12345
    if kind == "array":
        np = pytest.importorskip("numpy")
        big = np.zeros(size, dtype=np.uint8)
    else:
        big = bytes(size)
    (back,) = mh.map(lambda x: x, [big], workers=1, **process_backend)
    assert len(back) == size
    assert back[-1] == 0


# --- the error path itself --------------------------------------------------------------------------------------


def test_exception_that_can_say_nothing_is_still_heard_of(any_backend):
    """Row 23."""
    for failure in collected(raising(Mute), range(1, 6), **any_backend):
        assert "Mute" in getattr(failure.error, "type_name", type(failure.error).__name__)
        assert "Mute" in failure.traceback


@everyday.any_backend
def test_exception_that_can_say_nothing_is_still_raised(any_backend):
    """Row 23."""
    with pytest.raises((Mute, mh.RemoteError)):
        mh.map(raising(Mute), [3], workers=2, **any_backend)
    with mh.Executor(2, **any_backend) as executor:
        error = executor.submit(raising(Mute), 3).exception(timeout=20)
        assert isinstance(error, Mute | mh.RemoteError)
        assert executor.submit(abs, -1).result(timeout=20) == 1


@everyday.any_backend
def test_argument_whose_repr_fails_does_not_hide_the_error(any_backend):
    """Row 23."""

    def task(x):
        raise ValueError("the real trouble")

    with pytest.raises(ValueError, match="the real trouble"):
        mh.map(task, [Nameless()], workers=2, **any_backend)
    (failure,) = mh.map(task, [Nameless()], workers=2, on_error="collect", **any_backend)
    assert str(failure.error) == "the real trouble"
    assert "Nameless" in repr(failure)


@everyday.any_backend
def test_exception_in_a_circle_of_causes_comes_back(any_backend):
    """Row 23."""

    def task(x):
        first, second = ValueError("first"), KeyError("second")
        first.__cause__, second.__cause__ = second, first
        raise first

    with pytest.raises(ValueError, match="first"):
        mh.map(task, [1], workers=2, **any_backend)


@everyday.any_backend
def test_exception_with_itself_among_its_arguments_comes_back(any_backend):
    """Row 23."""

    def task(x):
        error = ValueError("round")
        error.args = ("round", error)
        raise error

    with pytest.raises((ValueError, mh.RemoteError)):
        mh.map(task, [1], workers=2, **any_backend)


def test_what_a_module_made_at_run_time_holds_goes_along(process_backend, monkeypatch):
    """Its function, its classes as inputs, and as results, already in the first call."""
    module = types.ModuleType("made_at_run_time")
    exec(
        "class Point:\n    def __init__(self, x):\n        self.x = x\n\ndef right(p):\n    return Point(p.x + 1)\n",
        vars(module),
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = mh.map(module.right, [module.Point(x) for x in range(5)], workers=2, **process_backend)
    assert [point.x for point in found] == [1, 2, 3, 4, 5]
    assert {type(point) for point in found} == {module.Point}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_class_that_clean_workers_could_not_import_is_the_callers_in_forked_ones_too(monkeypatch):
    module = types.ModuleType("made_for_both")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for start_method in ("spawn", "fork"):  # by then the name is known not to be there, and the class is a new one
        exec("class Point:\n    pass\n\ndef new(_point):\n    return Point()\n", vars(module))
        (found,) = mh.map(module.new, [module.Point()], backend="processes", start_method=start_method, workers=1)
        assert type(found) is module.Point, start_method
