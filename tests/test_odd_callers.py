"""Callers in odd places: in signal handlers, in the midst of packing, in threads of tasks; and stopped processes."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import everyday
import psutil
import pytest
from programs import run_source
from watching import eventually

import manyhands as mh
from manyhands._engine.courier import Courier
from manyhands._engine.dispatcher import Dispatcher
from manyhands._engine.stream import Stream
from manyhands._engine.words import Lines

pytestmark = [pytest.mark.timeout(60), pytest.mark.others_are_stress]

SOON = 20.0


class Alarm(Exception):
    """What the handler raises."""


@pytest.fixture
def alarms():
    """Raise Alarm in this thread after so many seconds, or every so many; the caller of the fixture starts them."""

    def ring(*_):
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda after, every=0.0: signal.setitimer(signal.ITIMER_REAL, after, every)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@everyday.parallel_backend
def test_an_exception_that_a_signal_handler_raises_anywhere_in_a_submission_stops_nothing_else(
    parallel_backend, alarms
):
    with mh.Executor(2, **parallel_backend) as executor:
        assert executor.submit(abs, -1).result(SOON) == 1
        struck = 0
        futures = []
        for round_ in range(400):
            try:
                alarms(0.0001 * (1 + round_ % 9))
                for _ in range(500):  # the interpreter itself drops what a handler raises inside a finalizer
                    futures.append(executor.submit(abs, -round_))
                    futures[-1].result(SOON)
            except Alarm:
                struck += 1
        assert struck
        for future in futures:
            assert future.result(SOON) >= 0
        assert list(executor.map(abs, range(-50, 0))) == list(range(50, 0, -1))


@everyday.parallel_backend
def test_a_signal_handler_may_submit(parallel_backend, alarms):
    with mh.Executor(2, **parallel_backend) as executor:
        numbers, futures = itertools.count(), {}

        def submit(*_):
            number = next(numbers)
            futures[number] = executor.submit(abs, -number)

        signal.signal(signal.SIGALRM, submit)
        alarms(0.002, 0.002)
        while len(futures) < 100:
            assert executor.submit(abs, -1).result(SOON) == 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, future in futures.items():
            assert future.result(SOON) == number


def at_line(number, handler, file="manyhands", callless=None):
    """A trace function that calls the handler before the so many-th line of ours, as a signal would; and if it did.

    Not in the function named ``callless``: the interpreter runs handlers only where it calls something or loops.
    """
    lines, struck = itertools.count(), []

    def trace(frame, event, _arg):
        if file not in frame.f_code.co_filename or "tests" in frame.f_code.co_filename:
            return None
        if frame.f_code.co_name == callless:
            return None
        if event == "line" and next(lines) == number:
            sys.settrace(None)
            struck.append(number)
            handler()
        return trace

    return trace, struck


class StruckError(Exception):
    """What a handler raises."""


def strike(*_):
    raise StruckError


def test_a_serial_call_ends_wherever_a_signal_handler_raises(alarms):
    """There is nobody but the caller to go on with what was interrupted."""
    signal.signal(signal.SIGALRM, strike)
    for number in itertools.count(0, 7):
        trace, struck = at_line(number, strike)
        sys.settrace(trace)
        try:
            assert mh.map(abs, range(-300, 0), backend="serial") == list(range(300, 0, -1))
        except StruckError:
            pass
        finally:
            sys.settrace(None)
        assert mh.map(abs, [-1], backend="serial") == [1]
        mh.map(abs, range(3))
        assert "made by a task" not in mh.explain()
        if not struck:
            break


def test_results_have_no_gap_wherever_a_signal_handler_raises(alarms, request):
    """Row 39: whoever reads on after it finds the end, as of a generator, or all that follows."""
    signal.signal(signal.SIGALRM, strike)
    gc.disable()  # no finalizer is to be struck
    request.addfinalizer(gc.enable)
    for number in itertools.count():
        trace, struck = at_line(number, strike, "manyhands/results.py", "__next__")
        with mh.imap(abs, range(100)) as results:
            read = []
            sys.settrace(trace)
            with contextlib.suppress(StruckError):
                read.extend(results)
            sys.settrace(None)
            read.extend(results)
        assert read == list(range(len(read)))
        if not struck:
            break
    assert len(read) == 100


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loop_misses_no_result_when_a_signal_handler_raises_and_it_goes_on(alarms):
    """As with the built-in map, whose items cannot be lost either."""
    for round_ in range(150):
        read = []
        with mh.imap(abs, itertools.count()) as results:
            for _ in range(3):
                with contextlib.suppress(Alarm):
                    alarms(0.003 + 1e-5 * round_)
                    for value in itertools.islice(results, 50_000):  # the interpreter may drop what a handler raises
                        read.append(value)  # noqa: PERF402 - one by one, as what is tested
                    alarms(0)
            read.extend(itertools.islice(results, 10))
        assert read == list(range(len(read)))


@pytest.mark.parametrize("module", ["manyhands.crew", "manyhands._engine.supervisor", "uuid"])  # one of cloudpickle's
def test_a_signal_handler_may_map_while_the_first_call_is_in_the_midst_of_an_import(tmp_path, module):
    run_source(
        f"""
        import os, signal, sys, threading
        import manyhands as mh

        class Rings:  # it finds nothing
            def find_spec(self, name, path, target=None):
                if name == "{module}" and not began.is_set():
                    os.kill(os.getpid(), signal.SIGALRM)
                    assert began.wait(20)

        def ring(*_):
            began.set()
            with mh.Executor(1, backend="processes") as executor:  # its worker is yet to be started
                found.extend(executor.map(square, range(3)))

        def square(x):
            return x * x

        began, found = threading.Event(), []
        signal.signal(signal.SIGALRM, ring)
        sys.meta_path.insert(0, Rings())
        assert mh.map(square, range(5), backend="processes") == [0, 1, 4, 9, 16]
        assert found == [0, 1, 4], found
        """,
        cwd=tmp_path,
    )


HANDLERS = {
    "submits": lambda executor: executor.submit(abs, -2).result(SOON),
    "maps": lambda executor: list(executor.map(abs, [-1, -2], timeout=SOON)),
    "shuts down": lambda executor: executor.shutdown(),
}


@pytest.mark.parametrize("handler", HANDLERS)
@everyday.parallel_backend
def test_a_signal_handler_may_wait_for_the_only_worker(parallel_backend, handler):
    """Row 39: at whatever line of ``submit`` it strikes, that must not be what it waits for."""
    executor = mh.Executor(1, **parallel_backend)
    for number in itertools.count(step=7 if handler == "shuts down" else 1):  # each executor takes time to start
        if handler == "shuts down":
            executor.shutdown()
            executor = mh.Executor(1, **parallel_backend)
        for _ in range(3):
            executor.submit(abs, -1).result(SOON)  # from the second on, the worker is reserved
        trace, struck = at_line(number, partial(HANDLERS[handler], executor))
        future = None
        with contextlib.suppress(mh.ExecutorClosed):
            sys.settrace(trace)
            try:
                future = executor.submit(abs, -1)
            finally:
                sys.settrace(None)
        assert future is None or future.result(SOON) == 1
        if not struck:
            break
    assert number > 20
    executor.shutdown()


@pytest.mark.parametrize(("owner", "step"), [(Dispatcher, "request"), (Dispatcher, "add"), (Stream, "open")])
def test_a_call_that_is_interrupted_as_it_begins_is_dropped(owner, step, tmp_path, monkeypatch):
    """Row 39: the workers have its tasks by then, and nobody has anything to end it by."""
    whole = getattr(owner, step)

    def strike(*args, **options):
        monkeypatch.undo()
        whole(*args, **options)
        raise KeyboardInterrupt

    def task(number):
        (tmp_path / str(number)).touch()
        time.sleep(0.01)

    mh.map(abs, range(4), backend="processes", workers=2)
    monkeypatch.setattr(owner, step, strike)
    with pytest.raises(KeyboardInterrupt):
        mh.map(task, range(1000), backend="processes", workers=2)
    assert mh.map(abs, [-1, -2], backend="processes", workers=2) == [1, 2]
    assert len(list(tmp_path.iterdir())) < 200


@pytest.mark.parametrize("begun", [False, True])
def test_a_courier_whose_start_was_interrupted_goes_on(begun, monkeypatch):
    """Row 39: by Ctrl-C while a callback is handed over; its thread may run by then or not."""

    def strike(thread):
        monkeypatch.undo()
        if begun:
            thread.start()
        raise KeyboardInterrupt

    said = []
    courier = Courier("manyhands-courier-test")
    monkeypatch.setattr(threading.Thread, "start", strike)
    with pytest.raises(KeyboardInterrupt):
        courier.run(partial(said.append, 0))
    for number in range(1, 100):
        courier.run(partial(said.append, number))
    courier.flush(SOON)
    assert said == list(range(100))


@everyday.parallel_backend
def test_a_timeout_that_is_over_already_is_told_at_once(parallel_backend):
    release = threading.Event() if parallel_backend.get("backend") == "threads" else None
    with mh.Executor(1, **parallel_backend) as executor:
        assert executor.submit(abs, -1).result(SOON) == 1
        future = executor.submit(release.wait if release else time.sleep, 1.0)
        with pytest.raises(TimeoutError):
            future.result(-1)
        assert not future.done()
        if release:
            release.set()


class MapsWhenPacked:
    """Its pickling runs a call of its own, as a lazily computed array might."""

    def __reduce__(self):
        return int, (sum(mh.map(abs, [-1, -2], workers=2, backend="processes")),)


class SubmitsWhenPacked:
    """Its pickling waits for the very executor that it is on its way to."""

    executor = None

    def __reduce__(self):
        return int, (self.executor.submit(abs, -3).result(SOON),)


@everyday.process_backend
def test_what_is_being_packed_may_run_calls_of_its_own(process_backend):
    assert mh.map(abs, [MapsWhenPacked(), -1, MapsWhenPacked()], workers=2, **process_backend) == [3, 1, 3]


@everyday.process_backend
def test_what_is_being_packed_may_wait_for_the_executor_it_goes_to(process_backend):
    with mh.Executor(1, **process_backend) as executor:
        SubmitsWhenPacked.executor = executor
        assert executor.submit(abs, SubmitsWhenPacked()).result(SOON) == 3
        assert list(executor.map(abs, [SubmitsWhenPacked(), -1])) == [3, 1]


def in_a_thread_of_its_own(n):
    found = []
    thread = threading.Thread(target=lambda: found.extend(mh.map(abs, [-n, -n], workers=2, backend="threads")))
    thread.start()
    thread.join()
    return found


def test_a_thread_that_a_task_starts_may_make_a_call_of_the_same_kind():
    assert mh.map(in_a_thread_of_its_own, range(8), workers=2, backend="threads") == [[n, n] for n in range(8)]


@everyday.process_backend
def test_a_class_that_changes_between_calls_is_as_it_is_now(process_backend):
    class Scale:
        factor = 1

    def scaled(x):
        return x * Scale.factor

    def twice_scaled(x):
        return 2 * x * Scale.factor

    for factor in (1, 2, 1, 3, 2, 1):
        Scale.factor = factor
        assert mh.map(scaled, [1, 10], workers=1, **process_backend) == [factor, 10 * factor]
        assert mh.map(twice_scaled, [1], workers=1, **process_backend) == [2 * factor]


@pytest.mark.stress
def test_a_worker_that_is_stopped_while_idle_is_replaced_if_tasks_have_a_timeout():
    pids = set(mh.map(lambda _: (time.sleep(0.1), os.getpid())[1], range(4), workers=2, backend="processes"))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    assert mh.map(abs, [-1, -2], workers=2, backend="processes", timeout=1.0) == [1, 2]


@pytest.mark.stress
def test_a_stopped_zygote_does_not_keep_a_timed_out_task_alive():
    with mh.Executor(1, backend="processes", start_method="zygote") as executor:
        worker = executor.submit(os.getpid).result(SOON)
        zygote = psutil.Process(worker).parent()
        assert zygote is not None
        assert zygote.pid != os.getpid()
        zygote.suspend()
        executor.terminate_workers()
        assert eventually(lambda: not psutil.pid_exists(worker), seconds=20)
    assert eventually(lambda: not psutil.pid_exists(zygote.pid))


def test_lines_are_cut_in_linear_time_and_lose_nothing():
    lines = Lines()
    assert lines.put(b"a\nb\nc") == "a\nb\n"
    for _ in range(200_000):  # quadratic work would take minutes
        assert not lines.put(b"x" * 100)
    assert lines.put(b"\nrest") == "c" + "x" * 20_000_000 + "\n"
    assert lines.rest() == "rest"
    assert not lines.end()


@everyday.parallel_backend
def test_a_signal_handler_may_shut_the_executor_down_that_the_program_is_waiting_for(parallel_backend, alarms):
    executor = mh.Executor(1, **parallel_backend)
    assert executor.submit(abs, -1).result(SOON) == 1

    def leave(*_):
        executor.shutdown()
        raise Alarm

    signal.signal(signal.SIGALRM, leave)
    with pytest.raises(Alarm):
        alarms(0.1)
        while True:
            executor.submit(time.sleep, 0.005).result(SOON)


@everyday.process_backend
def test_big_arguments_of_several_threads_all_arrive(process_backend):
    with mh.Executor(1, **process_backend) as executor, ThreadPoolExecutor(3) as threads:

        def call(number):
            data = bytes(10 if number % 2 else 1 << 19)
            return executor.submit(len, data).result(SOON) == len(data)

        assert all(threads.map(call, range(300)))


class CallsWhenPacked:
    """Part of a function; its pickling waits for the executor that the function is for."""

    def __init__(self, executor):
        self.executor = executor

    def __reduce__(self):
        return int, (self.executor.submit(abs, -3).result(SOON),)


@everyday.process_backend
def test_a_function_may_wait_for_the_only_worker_while_it_is_packed(process_backend):
    with mh.Executor(1, **process_backend) as executor:
        for _ in range(3):
            assert executor.submit(int).result(SOON) == 0
        part = CallsWhenPacked(executor)

        def of_a_part(part=part):
            return part

        found = executor.submit(of_a_part).result(SOON)
        assert found == 3


@everyday.process_backend
def test_threads_may_submit_functions_that_nobody_has_seen_before(process_backend):
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with mh.Executor(2, **process_backend) as executor, ThreadPoolExecutor(4) as threads:

            def call(number):
                return executor.submit(lambda: number).result(SOON)

            assert list(threads.map(call, range(400))) == list(range(400))
    finally:
        sys.setswitchinterval(before)
