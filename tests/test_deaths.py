"""Workers die, in every way there is: it costs one task, never the call, the executor or the caller's time."""

from __future__ import annotations

import array
import atexit
import contextlib
import faulthandler
import fcntl
import gc
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import termios
import threading
from pathlib import Path

import psutil
import pytest
from gates import Gate, wait_at
from watching import Meeting, alive, eventually

import manyhands as mh
from manyhands.errors import InitializerError, TaskTimeout, WorkerDied, WorkerStartError, WorkersUnavailable

pytestmark = [pytest.mark.timeout(30), pytest.mark.others_are_stress("spawn")]

PROMPT = 10.0  # seconds; on a busy machine, too, far more than anything here needs and far less than for ever
MEGABYTE = 1 << 20


@pytest.fixture
def meeting(tmp_path):
    with Meeting(tmp_path / "meeting") as meeting:
        yield meeting


@pytest.fixture
def diary(tmp_path):
    """A file to which tasks append, a line each; their death cannot take it back."""
    path = tmp_path / "diary"
    path.touch()
    return path


def gauge(request):
    """A function that tells how many bytes wait in the fullest socket of its process. It travels by value."""

    def measure():
        fullest = 0
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    waiting = array.array("i", [0])
                    fcntl.ioctl(int(name), request, waiting)
                    fullest = max(fullest, waiting[0])
        return fullest

    return measure


def append(diary):
    """A function that notes something in the diary. It travels by value."""

    def write(what):
        with diary.open("a") as file:
            file.write(f"{what}\n")

    return write


# --- a worker is killed -----------------------------------------------------------------------------------------


def test_a_killed_worker_fails_only_the_task_that_it_was_running(process_backend, diary):
    """Row 1: the error says who died, how, and in which task; the rest of its chunk runs elsewhere."""
    note = append(diary)

    def task(x):
        if x == 7:
            note(os.getpid())
            os.kill(os.getpid(), signal.SIGKILL)
        return x * x

    results = mh.map(task, range(20), chunksize=5, on_error="collect", workers=2, **process_backend)
    failure = results.pop(7)
    assert results == [x * x for x in range(20) if x != 7]
    error = failure.error
    assert isinstance(error, WorkerDied)
    assert (error.index, error.signal, error.exitcode) == (7, "SIGKILL", -signal.SIGKILL)
    assert [str(error.pid)] == diary.read_text().split()
    assert (failure.index, failure.argument, failure.attempts) == (7, 7, 1)


def test_a_death_is_raised_with_the_task_that_it_befell(process_backend):
    """Row 1: without on_error the call ends at once, with the death as its error."""

    def task(x):
        if x == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    with pytest.raises(WorkerDied) as caught:
        mh.map(task, range(8), workers=2, **process_backend)
    assert caught.value.index == 3
    assert "SIGKILL" in str(caught.value)
    assert mh.map(abs, [-1, -2], workers=2, **process_backend) == [1, 2]


def test_the_error_says_how_the_worker_ended(process_backend):
    """Row 1: a signal by its name, an exit by its code."""

    def crash(number):
        faulthandler.disable()  # a forked worker has pytest's, which would tell on the terminal
        os.kill(os.getpid(), number)

    with mh.Executor(1, **process_backend) as executor:
        crashed = executor.submit(crash, signal.SIGSEGV).exception(PROMPT)
        stopped = executor.submit(crash, signal.SIGTERM).exception(PROMPT)
        left = executor.submit(os._exit, 3).exception(PROMPT)
    assert [type(error) for error in (crashed, stopped, left)] == [WorkerDied] * 3
    assert (crashed.signal, crashed.exitcode) == ("SIGSEGV", -11)
    assert "compiled code" in str(crashed)
    assert (stopped.signal, stopped.exitcode) == ("SIGTERM", -15)
    assert (left.signal, left.exitcode) == (None, 3)


def test_a_worker_killed_from_outside_is_replaced(process_backend, meeting):
    """Row 1: as the system does when memory runs out."""
    path = meeting.path

    def wait_for_ever():
        path.write_text(f"{os.getpid()}\n")
        threading.Event().wait()

    with mh.Executor(1, **process_backend) as executor:
        doomed = executor.submit(wait_for_ever)
        (pid,) = meeting.pids()
        os.kill(pid, signal.SIGKILL)
        error = doomed.exception(PROMPT)
        assert isinstance(error, WorkerDied)
        assert (error.pid, error.signal) == (pid, "SIGKILL")
        assert executor.submit(os.getpid).result(PROMPT) != pid


def test_no_call_of_a_pool_hangs_when_a_worker_dies(start_method):
    """Row 1: where multiprocessing.Pool waits for ever."""

    def task(x):
        if x == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    with mh.Pool(2, start_method=start_method) as pool:
        with pytest.raises(WorkerDied):
            pool.map(task, range(5), chunksize=1)
        with pytest.raises(WorkerDied):
            pool.apply(task, (2,))
        with pytest.raises(WorkerDied):
            pool.map_async(task, range(5)).get(PROMPT)
        results = pool.imap(task, range(4))
        assert [results.next(PROMPT), results.next(PROMPT)] == [0, 1]
        with pytest.raises(WorkerDied):
            results.next(PROMPT)
        assert results.next(PROMPT) == 3
        assert pool.map(abs, [-1, -2]) == [1, 2]


# --- one death is one task's ------------------------------------------------------------------------------------


def test_one_death_takes_no_other_future_with_it(process_backend):
    """Row 2: what had finished stays, what was queued runs, and the executor takes more."""

    def task(x):
        if x == 4:
            os._exit(1)
        return x

    with mh.Executor(2, **process_backend) as executor:
        futures = [executor.submit(task, x) for x in range(10)]
        error = futures.pop(4).exception(PROMPT)
        assert [future.result(PROMPT) for future in futures] == [x for x in range(10) if x != 4]
        assert isinstance(error, WorkerDied)
        assert executor.submit(pow, 2, 5).result(PROMPT) == 32


def test_every_death_has_its_own_name(process_backend):
    """Row 2: when every other task kills its worker, the healthy ones still all return."""

    def task(x):
        if x % 2:
            os._exit(x)
        return x

    results = mh.map(task, range(8), on_error="collect", workers=2, **process_backend)
    assert results[::2] == [0, 2, 4, 6]
    assert [(f.error.index, f.error.exitcode) for f in results[1::2]] == [(1, 1), (3, 3), (5, 5), (7, 7)]


def test_a_task_whose_worker_died_runs_again_with_retry(process_backend, tmp_path):
    """Row 2: the retry policy decides about the one task."""
    marker = tmp_path / "been here"

    def task(x):
        if x == 1 and not marker.exists():
            marker.touch()
            os._exit(1)
        return x

    assert mh.map(task, range(4), retry=2, workers=2, **process_backend) == [0, 1, 2, 3]


def test_a_task_that_keeps_killing_workers_is_given_up_after_its_attempts(process_backend, diary):
    """Row 2: it is named, with how often it was tried; no more than that."""
    note = append(diary)

    def task(x):
        if x == 2:
            note("attempt")
            os._exit(1)
        return x

    results = mh.map(task, range(5), retry=3, on_error="collect", workers=2, **process_backend)
    failure = results.pop(2)
    assert results == [0, 1, 3, 4]
    assert (failure.index, failure.attempts, failure.error.attempts) == (2, 3, 3)
    assert "attempt 3" in str(failure.error)
    assert "Retry" not in str(failure.error)  # it was tried
    assert diary.read_text().split() == ["attempt"] * 3


def test_without_a_retry_policy_a_deadly_task_runs_once(process_backend, diary):
    """Row 2: it is never sent again by itself."""
    note = append(diary)

    def task(x):
        note(x)
        if x == 2:
            os._exit(1)

    mh.map(task, range(5), chunksize=5, on_error="collect", workers=2, **process_backend)
    assert diary.read_text().split().count("2") == 1


class _Trap:
    """Ends the process when it is flushed: after the chunk has run, before its results are sent."""

    def flush(self):
        os._exit(1)


@pytest.mark.parametrize("chunksize", [1, 3])
def test_at_most_once_holds_for_a_death_while_results_are_sent(process_backend, diary, chunksize):
    note = append(diary)

    def task(number):
        note(number)
        if number == 1:
            sys.stdout = _Trap()

    once = mh.Retry(attempts=1, on_worker_death=False)
    found = mh.map(task, range(3), retry=once, on_error="collect", workers=1, chunksize=chunksize, **process_backend)
    assert isinstance(found[1].error, WorkerDied)
    assert diary.read_text().split().count("1") == 1


def test_at_most_once_means_that_no_task_begins_twice(process_backend, diary):
    """Row 2: what may have run is failed rather than sent again; the rest of the chunk, never begun, runs."""
    note = append(diary)

    def task(x):
        note(x)
        if x == 2:
            os._exit(1)
        return x

    policy = mh.Retry(3, on_worker_death=False)
    results = mh.map(task, range(10), chunksize=5, retry=policy, on_error="collect", workers=2, **process_backend)
    assert sorted(map(int, diary.read_text().split())) == list(range(10))
    assert isinstance(results[2].error, WorkerDied)
    for index, result in enumerate(results):
        assert result == index or result.index == index
    assert results[3:] == list(range(3, 10))


# --- death on the wire ------------------------------------------------------------------------------------------


def test_half_a_result_is_discarded(process_backend):
    """Row 3: the worker dies while its result is being written; nobody waits for the other half."""
    unsent = gauge(termios.TIOCOUTQ)

    def task(x):
        if x != 1:
            return x

        def kill():
            while unsent() < 1 << 12:
                pass
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=kill, daemon=True).start()
        return bytes(256 * MEGABYTE)  # long on its way, so that it is seen there

    results = mh.map(task, range(6), chunksize=1, on_error="collect", workers=2, **process_backend)
    failure = results.pop(1)
    assert isinstance(failure.error, WorkerDied)
    assert results == [0, 2, 3, 4, 5]


def test_death_while_a_large_argument_is_being_written_to_the_worker(process_backend):
    """Row 4: the caller is not stuck in a write that nobody reads; the argument goes to the next worker."""
    unread = gauge(termios.FIONREAD)

    def die_when_fed():
        while unread() < 1 << 16:
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    with mh.Executor(1, **process_backend) as executor:
        doomed = executor.submit(die_when_fed)
        size = executor.submit(len, bytes(160 * MEGABYTE))  # more than shared memory takes
        assert isinstance(doomed.exception(PROMPT), WorkerDied)
        assert size.result(PROMPT) == 160 * MEGABYTE


# --- the process is left where one does not leave -----------------------------------------------------------------


class ExitsWhenUnpacked:
    """Harmless to hold and to send; whoever unpacks it is gone."""

    def __reduce__(self):
        return os._exit, (0,)


def test_exit_in_a_task_is_a_death(process_backend):
    """Row 5: even with code 0."""

    def task(x):
        return os._exit(0) if x == 1 else x

    _check_exit(mh.map(task, range(5), on_error="collect", workers=2, **process_backend))


def test_exit_while_a_result_is_pickled_is_a_death(process_backend):
    """Row 5: of the task whose result it was."""

    def task(x):
        class ExitsWhenPickled:
            def __reduce__(self):
                os._exit(0)

        return ExitsWhenPickled() if x == 1 else x

    _check_exit(mh.map(task, range(5), chunksize=5, on_error="collect", workers=2, **process_backend))


@pytest.mark.parametrize("chunksize", [1, 5])
def test_exit_while_an_argument_is_unpickled_is_a_death(process_backend, chunksize):
    """Row 5: of the task whose argument it was, whatever came in the same chunk."""
    arguments = [0, ExitsWhenUnpacked(), 2, 3, 4]
    results = mh.map(lambda x: x, arguments, chunksize=chunksize, on_error="collect", workers=2, **process_backend)
    _check_exit(results)


def test_exit_in_a_destructor_is_a_death(process_backend):
    """Row 5: of the task that dropped the object."""

    def task(x):
        class ExitsWhenDropped:
            def __del__(self):
                os._exit(0)

        held = ExitsWhenDropped() if x == 1 else None
        del held
        return x

    _check_exit(mh.map(task, range(5), chunksize=5, on_error="collect", workers=2, **process_backend))


def _check_exit(results):
    failure = results.pop(1)
    assert results == [0, 2, 3, 4]
    assert isinstance(failure.error, WorkerDied)
    assert (failure.error.index, failure.error.exitcode, failure.error.signal) == (1, 0, None)


def test_a_function_that_kills_whoever_unpacks_it_fails_its_tasks(start_method):
    """Row 5: and not for ever anew."""
    if start_method == "fork":
        pytest.skip("a forked worker has the function from birth: nothing is unpacked")
    poison = ExitsWhenUnpacked()
    results = mh.map(
        lambda x: (x, poison), range(2), on_error="collect", workers=2, backend="processes", start_method=start_method
    )
    assert [type(failure.error) for failure in results] == [WorkerDied] * 2


def test_a_crash_in_a_destructor_after_the_result_leaves_the_result(process_backend):
    """Row 6: nor does it harm what comes next."""
    home = os.getpid()

    class CrashesWhenDropped:
        def __init__(self, number):
            self.number = number

        def __del__(self):
            if os.getpid() != home:
                os.kill(os.getpid(), signal.SIGKILL)

    arguments = [CrashesWhenDropped(number) for number in range(6)]
    assert mh.map(lambda x: x.number, arguments, chunksize=1, workers=2, **process_backend) == list(range(6))
    with mh.Executor(1, **process_backend) as executor:
        futures = [executor.submit(lambda x: x.number, argument) for argument in arguments]
        assert [future.result(PROMPT) for future in futures] == list(range(6))


def test_a_crash_of_a_worker_that_leaves_harms_nobody(process_backend):
    """Row 6: it had done its work."""

    def task(x):
        atexit.register(os.kill, os.getpid(), signal.SIGKILL)
        return x

    with mh.Executor(2, max_tasks_per_child=1, **process_backend) as executor:
        assert list(executor.map(task, range(6))) == list(range(6))


# --- many at once -------------------------------------------------------------------------------------------------


def test_workers_that_kill_each_other_are_each_accounted_for(process_backend, tmp_path):
    """Row 7: two tasks tell each other their process ids, and each kills the other and itself."""
    doors = [tmp_path / "first", tmp_path / "second"]
    for door in doors:
        os.mkfifo(door)

    def duel(me):
        if me == 0:  # the order in which the doors are opened must not be a deadlock
            doors[1].write_text(str(os.getpid()))
            other = int(doors[0].read_text())
        else:
            other = int(doors[1].read_text())
            doors[0].write_text(str(os.getpid()))
        os.kill(other, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    with mh.Executor(2, **process_backend) as executor:
        duellists = [executor.submit(duel, 0), executor.submit(duel, 1)]
        errors = [future.exception(PROMPT) for future in duellists]
        assert [type(error) for error in errors] == [WorkerDied] * 2
        assert [error.signal for error in errors] == ["SIGKILL"] * 2
        assert errors[0].pid != errors[1].pid
        assert list(executor.map(abs, range(-4, 0))) == [4, 3, 2, 1]


def test_when_all_workers_die_at_once_the_queue_goes_on(process_backend, meeting):
    """Row 7: the two tasks that ran fail, the others run on new workers."""
    path = meeting.path

    def wait_for_ever():
        path.write_text(f"{os.getpid()}\n")
        threading.Event().wait()

    with mh.Executor(2, **process_backend) as executor:
        doomed = [executor.submit(wait_for_ever) for _ in range(2)]
        pids = meeting.pids(2)
        queued = [executor.submit(abs, -x) for x in range(6)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert {future.exception(PROMPT).pid for future in doomed} == set(pids)
        assert [future.result(PROMPT) for future in queued] == list(range(6))


def test_a_killed_zygote_takes_its_workers_with_it_and_is_replaced():
    """Row 7: a task that kills the process its worker was forked from."""

    def kill_the_zygote():
        os.kill(os.getppid(), signal.SIGKILL)
        threading.Event().wait()

    with mh.Executor(2, backend="processes", start_method="zygote") as executor:
        assert isinstance(executor.submit(kill_the_zygote).exception(PROMPT), WorkerDied)
        assert list(executor.map(abs, range(-4, 0))) == [4, 3, 2, 1]


def test_when_the_zygote_dies_idle_workers_leave_and_others_come():
    """Row 7: the next call finds workers of a new one."""
    with mh.Executor(2, backend="processes", start_method="zygote") as executor:
        zygote, worker = executor.submit(lambda: (os.getppid(), os.getpid())).result(PROMPT)
        os.kill(zygote, signal.SIGKILL)
        assert eventually(lambda: not alive(worker))
        assert list(executor.map(abs, range(-4, 0))) == [4, 3, 2, 1]
        assert executor.submit(os.getppid).result(PROMPT) != zygote


# --- recycling ----------------------------------------------------------------------------------------------------


def test_recycling_never_stalls(process_backend):
    """Row 8: each task has a worker of its own; also for what is submitted when all workers have been used up."""
    with mh.Executor(2, max_tasks_per_child=1, **process_backend) as executor:
        pids = [future.result(PROMPT) for future in [executor.submit(os.getpid) for _ in range(8)]]
        assert len(set(pids)) == 8
        for _ in range(3):
            pids.append(executor.submit(os.getpid).result(PROMPT))
        assert len(set(pids)) == 11


def test_recycling_counts_the_tasks_of_chunks(start_method):
    """Row 8: no worker of a pool runs more than its number."""
    with mh.Pool(2, maxtasksperchild=3, start_method=start_method) as pool:
        pids = pool.map(lambda _: os.getpid(), range(12), chunksize=2)
        assert max(map(pids.count, pids)) <= 3


def test_recycling_and_deaths_together_lose_nothing(process_backend):
    """Row 8: a worker that dies as its time comes is not waited for."""

    def task(x):
        return os._exit(1) if x % 3 == 0 else x

    with mh.Executor(2, max_tasks_per_child=2, **process_backend) as executor:
        futures = [executor.submit(task, x) for x in range(9)]
        died = [isinstance(future.exception(PROMPT), WorkerDied) for future in futures]
        assert died == [x % 3 == 0 for x in range(9)]


# --- workers that cannot start ------------------------------------------------------------------------------------


@contextlib.contextmanager
def no_descriptors_left():
    """In this process nothing can be opened any more; what is open stays open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_without_descriptors_the_call_fails_and_says_why(process_backend):
    """Row 9: promptly; and when there are some again, the same executor works."""
    with mh.Executor(2, **process_backend) as executor:
        with no_descriptors_left():
            futures = [executor.submit(abs, -x) for x in range(3)]
            errors = [future.exception(PROMPT) for future in futures]
        assert [type(error) for error in errors] == [WorkerStartError] * 3
        assert isinstance(errors[0].__cause__, OSError)
        assert "Too many open files" in str(errors[0])
        assert executor.submit(abs, -1).result(PROMPT) == 1


def test_what_was_opened_before_descriptors_ran_out_is_closed_again(process_backend):
    """Row 9: wherever on the way that was."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert mh.map(abs, [-1], workers=1, **process_backend) == [1]  # what is kept from the first call on is there
    for spare in range(12):
        with mh.Executor(1, **process_backend) as executor:
            free = [os.open(os.devnull, os.O_RDONLY) for _ in range(spare)]
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(free, default=2) + 1, limits[1]))
            for fd in free:
                os.close(fd)
            before = len(os.listdir("/proc/self/fd")) if spare else None
            try:
                executor.submit(abs, -1).exception(PROMPT)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        gc.collect()
        assert before is None or len(os.listdir("/proc/self/fd")) <= before


def test_work_goes_on_with_the_workers_that_could_be_started(process_backend, meeting):
    """Row 9: one runs already; that no other can be had costs speed and nothing else."""
    with mh.Executor(2, **process_backend) as executor:
        first = executor.submit(os.getpid).result(PROMPT)
        with no_descriptors_left():
            futures = [executor.submit(os.getpid) for _ in range(10)]
            assert {future.result(PROMPT) for future in futures} == {first}


def test_a_death_without_a_possible_successor_fails_what_is_queued(process_backend, meeting):
    """Row 9: nobody waits for a worker that will never come."""
    path = meeting.path

    def wait_for_ever():
        path.write_text(f"{os.getpid()}\n")
        threading.Event().wait()

    with mh.Executor(1, **process_backend) as executor:
        doomed = executor.submit(wait_for_ever)
        (pid,) = meeting.pids()
        queued = [executor.submit(abs, -x) for x in range(3)]
        with no_descriptors_left():
            os.kill(pid, signal.SIGKILL)
            assert isinstance(doomed.exception(PROMPT), WorkerDied)
            assert [type(future.exception(PROMPT)) for future in queued] == [WorkerStartError] * 3


@pytest.mark.parametrize("method", ["zygote", "spawn"])
def test_without_an_interpreter_to_start_the_call_fails_and_says_why(method, monkeypatch):
    """Row 9: as in a program that embeds Python."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(WorkerStartError, match="/nowhere/python") as caught:
        mh.map(abs, range(3), workers=2, backend="processes", start_method=method)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize("chunksize", [1, 5])
def test_a_task_may_wait_for_a_later_one_among_tiny_ones(process_backend, tmp_path, chunksize):
    """As many travel together, whatever is behind the one that waits is taken back and run by another worker."""
    ready = tmp_path / "ready"

    def task(n):
        if n == 20_000:
            return eventually(ready.exists)
        if n == 20_001:
            ready.touch()
        return True

    assert all(mh.map(task, range(40_000), chunksize=chunksize, workers=2, **process_backend))


def test_of_tiny_tasks_that_may_not_run_twice_a_death_loses_only_its_own(process_backend):
    def task(n):
        if n == 15_000:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    once = mh.Retry(attempts=1, on_worker_death=False)
    results = mh.map(task, range(20_000), chunksize=1, workers=2, on_error="collect", retry=once, **process_backend)
    assert [n for n, result in enumerate(results) if isinstance(result, mh.Failure)] == [15_000]


@pytest.mark.parametrize("where", ["in the task", "in packing its result"])
def test_among_tiny_tasks_the_one_that_ends_its_worker_is_named(process_backend, where):
    deadly = {12_000, 15_007, 19_999}

    class Ending:
        def __reduce__(self):
            os.kill(os.getpid(), signal.SIGKILL)

    def task(n):
        if n not in deadly:
            return n
        return Ending() if where == "in packing its result" else os.kill(os.getpid(), signal.SIGKILL)

    results = mh.map(task, range(20_000), workers=2, on_error="collect", **process_backend)
    assert {n for n, result in enumerate(results) if isinstance(result, mh.Failure)} == deadly
    assert all(results[n] == n for n in set(range(20_000)) - deadly)


def test_a_class_that_does_not_want_to_be_hashed_ends_no_worker(process_backend):
    class Unhashable(type):
        def __hash__(cls):
            raise ValueError

    def task(n):
        return Unhashable("Odd", (), {})() if n == 300 else n

    once = mh.Retry(attempts=1, on_worker_death=False)
    results = mh.map(task, range(2000), workers=2, on_error="collect", retry=once, **process_backend)
    assert [n for n, result in enumerate(results) if result != n] == [300]


def test_an_alarm_between_two_tiny_tasks_shifts_no_result(process_backend):
    """It strikes anywhere, also outside all tasks, and ends the worker there; what has a result has its own."""

    class Alarm(Exception):
        pass

    def ring(*_):
        raise Alarm

    def task(n):
        if n % 300 == 0:
            signal.signal(signal.SIGALRM, ring)
            signal.setitimer(signal.ITIMER_REAL, 2e-5)
        return n

    results = mh.map(task, range(10_000), workers=1, chunksize=512, on_error="collect", **process_backend)
    assert all(result == n for n, result in enumerate(results) if not isinstance(result, mh.Failure))
    assert len(results) == 10_000
    assert 0 < sum(isinstance(result, mh.Failure) for result in results) < 1_000


@pytest.mark.stress
def test_a_zygote_that_was_stopped_is_replaced_when_a_worker_is_wanted():
    with mh.Executor(1, backend="processes", start_method="zygote") as executor:
        zygote = executor.submit(os.getppid).result(PROMPT)
        os.kill(zygote, signal.SIGSTOP)
        assert isinstance(executor.submit(os.kill, 0, signal.SIGKILL).exception(PROMPT), mh.WorkerDied)
        assert executor.submit(os.getppid).result(2 * PROMPT) != zygote


def test_a_zygote_that_cannot_fork_fails_the_call():
    """Row 9: the system refuses in the zygote, where only it notices; later the same zygote works again."""
    with mh.Executor(1, backend="processes", start_method="zygote", max_tasks_per_child=1) as executor:
        zygote = psutil.Process(executor.submit(os.getppid).result(PROMPT))
        limits = zygote.rlimit(psutil.RLIMIT_NOFILE)
        zygote.rlimit(psutil.RLIMIT_NOFILE, (3, limits[1]))
        error = executor.submit(abs, -1).exception(PROMPT)
        zygote.rlimit(psutil.RLIMIT_NOFILE, limits)
        assert isinstance(error, WorkerStartError)
        assert executor.submit(os.getppid).result(PROMPT) == zygote.pid


# --- initializers -------------------------------------------------------------------------------------------------


def test_an_initializer_that_raises_ends_all_at_once(any_backend, diary):
    """Row 10: no worker after worker is tried; the error has the initializer's own as its cause."""
    note = append(diary)

    def initializer(text):
        note("tried")
        raise ValueError(text)

    with mh.Executor(2, initializer=initializer, initargs=("no device",), **any_backend) as executor:
        first = executor.submit(abs, -1)
        error = first.exception(PROMPT)
        assert isinstance(error, InitializerError)
        assert isinstance(error.__cause__, ValueError)
        assert "no device" in str(error)
        with pytest.raises(InitializerError):
            executor.submit(abs, -1).result(PROMPT)
    assert 1 <= len(diary.read_text().split()) <= 2


def test_the_initializers_traceback_is_shown(process_backend):
    """Row 10: the line that failed, though it was in another process."""

    def initializer():
        raise LookupError("no such model")

    with mh.Executor(2, initializer=initializer, **process_backend) as executor:
        error = executor.submit(abs, -1).exception(PROMPT)
    assert "in initializer" in str(error.__cause__.__cause__)


def test_a_pool_whose_initializer_raises_says_so(parallel_backend):
    """Row 10: where multiprocessing.Pool starts workers for ever."""

    def initializer():
        sys.exit("cannot begin")

    with mh.Pool(2, initializer, **parallel_backend) as pool:
        with pytest.raises(InitializerError, match="cannot begin"):
            pool.map(abs, range(4))


def test_an_initializer_that_kills_its_worker_ends_in_an_error(process_backend, diary):
    """Row 10: after a few tries, not for ever."""
    note = append(diary)

    def initializer():
        note("tried")
        os._exit(7)

    with mh.Executor(2, initializer=initializer, **process_backend) as executor:
        error = executor.submit(abs, -1).exception(PROMPT)
    assert isinstance(error, WorkersUnavailable)
    assert "exit code 7" in str(error)
    assert len(diary.read_text().split()) < 20


def test_an_initializer_that_never_ends_does_not_keep_an_executor_that_is_shut_down(
    parallel_backend, diary, tmp_path, monkeypatch
):
    """Row 10: the work is done by those that did start."""
    monkeypatch.setattr("manyhands._core.scheduler.LEAVE_SECONDS", 0.2)
    path = str(diary)
    stuck = Path(f"{path}.stuck")

    with Gate(tmp_path / "gate") as gate:

        def initializer():
            try:
                os.close(os.open(f"{path}.first", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                stuck.touch()
                wait_at(gate.path)

        with mh.Executor(2, initializer=initializer, **parallel_backend) as executor:
            futures = [executor.submit(eventually, stuck.exists) for _ in range(2)]
            assert [future.result(PROMPT) for future in futures] == [True, True]


# --- idle workers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "rounds"), [("zygote", 60), ("spawn", 6)])
def test_workers_that_leave_as_work_arrives_lose_nothing(method, rounds, monkeypatch, capfd):
    """Row 11: idle workers of shared executors leave at once here, so every call meets leaving ones."""
    monkeypatch.setattr("manyhands.calls.IDLE_SECONDS", 0.001)
    for number in range(rounds):
        items = range(number, number + 6)
        assert mh.map(abs, items, workers=2, backend="processes", start_method=method) == list(items)
    assert capfd.readouterr().err == ""


def test_idle_workers_killed_as_work_arrives_lose_nothing(process_backend, capfd):
    """Row 11: the work is not theirs before they begin it."""
    with mh.Executor(2, **process_backend) as executor:
        for _ in range(4):
            for pid in {future.result(PROMPT) for future in [executor.submit(os.getpid) for _ in range(8)]}:
                os.kill(pid, signal.SIGKILL)
            futures = [executor.submit(abs, -x) for x in range(6)]
            assert [future.result(PROMPT) for future in futures] == list(range(6))
    assert capfd.readouterr().err == ""


# --- tasks that never end -------------------------------------------------------------------------------------------


def test_a_task_that_never_ends_is_stopped_by_its_timeout(process_backend, diary):
    """Row 12: in a Python loop, in C code that holds the interpreter, asleep, or stopped; the others return."""
    note = append(diary)

    def loop():
        while True:
            pass

    def count_in_c():
        re.match(r"(a+)+$", "a" * 60 + "b")

    def sleep():
        threading.Event().wait()

    def stop():
        os.kill(os.getpid(), signal.SIGSTOP)

    def task(function):
        if function is None:
            return "fine"
        note(os.getpid())
        return function()

    items = [None, loop, count_in_c, None, sleep, stop, None]
    results = mh.map(task, items, timeout=0.4, on_error="collect", workers=2, **process_backend)
    assert [results[i] for i in (0, 3, 6)] == ["fine"] * 3
    assert [(results[i].error.index, type(results[i].error)) for i in (1, 2, 4, 5)] == [
        (i, TaskTimeout) for i in (1, 2, 4, 5)
    ]
    assert eventually(lambda: not any(alive(int(pid)) for pid in diary.read_text().split()))


def test_a_thread_that_never_ends_is_left_behind(meeting):
    """Row 12: a thread cannot be killed, but nobody waits for it."""
    go_on = threading.Event()
    try:
        results = mh.map(
            lambda x: go_on.wait() if x == 1 else x,
            range(4), timeout=0.4, on_error="collect", workers=2, backend="threads",
        )  # fmt: skip
        assert [results[i] for i in (0, 2, 3)] == [0, 2, 3]
        assert isinstance(results[1].error, TaskTimeout)
    finally:
        go_on.set()


class NeverUnpacked:
    """Unpacking it takes for ever."""

    def __reduce__(self):
        return signal.pause, ()


def test_an_argument_that_never_unpacks_is_stopped_by_the_timeout(process_backend):
    """Row 12: it is that task's time, whatever came in the same chunk."""
    arguments = [0, NeverUnpacked(), 2]
    results = mh.map(lambda x: x, arguments, chunksize=3, timeout=0.4, on_error="collect", workers=2, **process_backend)
    failure = results.pop(1)
    assert results == [0, 2]
    assert isinstance(failure.error, TaskTimeout)


def test_the_processes_that_a_task_started_die_with_it(process_backend, meeting):
    """Row 12: children and grandchildren."""
    path = meeting.path

    def task(_):
        script = 'sleep 1000 & echo $! > "$0"; echo $$ > "$0"; wait'
        subprocess.run(["sh", "-c", script, str(path)], check=False)

    results = mh.map(task, [0], timeout=1.0, on_error="collect", workers=2, **process_backend)
    assert isinstance(results[0].error, TaskTimeout)
    pids = meeting.pids(2)
    assert eventually(lambda: not any(map(alive, pids)))


def test_a_task_that_timed_out_runs_again_with_retry(process_backend, tmp_path):
    """Row 12: a timeout is a TimeoutError to the retry policy."""
    marker = tmp_path / "been here"

    def task(x):
        if x == 1 and not marker.exists():
            marker.touch()
            threading.Event().wait()
        return x

    policy = mh.Retry(2, on=(TimeoutError,))
    assert mh.map(task, range(3), timeout=0.4, retry=policy, workers=2, **process_backend) == [0, 1, 2]


# --- workers that do not want to go -----------------------------------------------------------------------------------


def ignore_sigterm(meeting):
    """A task that cannot be asked to end. It travels by value."""
    path = meeting.path

    def task(x):
        if x == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        else:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        path.write_text(f"{os.getpid()}\n")
        threading.Event().wait()

    return task


def test_a_timeout_ends_a_worker_that_ignores_sigterm(process_backend, meeting):
    """Row 13: by SIGKILL, a little later."""
    failures = mh.map(ignore_sigterm(meeting), range(2), timeout=0.4, on_error="collect", workers=2, **process_backend)
    assert [type(failure.error) for failure in failures] == [TaskTimeout] * 2
    pids = meeting.pids(2)
    assert eventually(lambda: not any(map(alive, pids)))


def test_closing_an_iterator_ends_workers_that_ignore_sigterm(process_backend, meeting):
    """Row 13: the same for a call that nobody wants any more."""
    task = ignore_sigterm(meeting)
    results = mh.imap(lambda x: task(x) if x < 2 else x, [2, 0, 1], workers=2, **process_backend)
    assert next(results) == 2
    pids = meeting.pids(2)
    results.close()
    assert eventually(lambda: not any(map(alive, pids)))


def test_terminate_ends_workers_that_ignore_sigterm(start_method, meeting):
    """Row 13: and the same for a whole pool."""
    with mh.Pool(2, start_method=start_method) as pool:
        pool.map_async(ignore_sigterm(meeting), range(2))
        pids = meeting.pids(2)
        pool.terminate()
        pool.join()
        assert not any(map(alive, pids))
