"""What happens to tasks that fail: raised, collected, skipped, tried again, stopped."""

from __future__ import annotations

import importlib.util
import os
import sys
import time

import everyday
import pytest

import manyhands as mh
from manyhands.errors import RemoteTraceback, TaskTimeout

pytestmark = pytest.mark.timeout(30)

EVERY = [mh.map, mh.imap, mh.imap_unordered]


def picky(x):
    if x % 5 == 3:
        raise ValueError(f"no {x}, please")
    return x


def counting(folder, good):
    """A task that fails until it has been tried ``good`` times; each try leaves a file."""
    folder = str(folder)

    def task(n):
        tries = 0
        while os.path.exists(f"{folder}/{n}.{tries}"):
            tries += 1
        open(f"{folder}/{n}.{tries}", "x").close()
        if tries + 1 < good:
            raise ConnectionError(f"try {tries + 1} of task {n}")
        return n

    return task


def tries(folder, n):
    return len(list(folder.glob(f"{n}.*")))


def stuck_until(path):
    """A function whose task 2 does not end before the file is there."""
    path = str(path)

    def task(n):
        while n == 2 and not os.path.exists(path):
            time.sleep(0.02)
        return n

    return task


# --- raise ------------------------------------------------------------------------------------------------------


@everyday.any_backend
def test_failure_is_raised_as_itself_with_a_note_of_its_task(any_backend):
    for variant in EVERY:
        with pytest.raises(ValueError, match="no 3, please") as caught:
            list(variant(picky, range(5), workers=2, **any_backend))
        assert caught.value.__notes__ == ["manyhands: this was task 3, argument 3"]
    assert mh.map(abs, [-1], workers=2, **any_backend) == [1]


@everyday.process_backend
def test_failure_shows_where_in_the_worker_it_happened(process_backend):
    with pytest.raises(ValueError, match="no 3") as caught:
        mh.map(picky, [3], workers=2, **process_backend)
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert "in picky" in str(cause)
    assert 'raise ValueError(f"no {x}, please")' in str(cause)
    assert "manyhands" not in str(cause)  # nothing of ours in between


@everyday.process_backend
def test_failure_keeps_what_it_was_raised_from(process_backend):
    def task(x):
        try:
            {}[x]
        except KeyError as error:
            raise ValueError("not there") from error

    with pytest.raises(ValueError, match="not there") as caught:
        mh.map(task, ["lost"], workers=2, **process_backend)
    assert "KeyError: 'lost'" in str(caught.value.__cause__)


def test_failure_in_a_loop_or_a_thread_keeps_its_own_traceback():
    for backend in ("serial", "threads"):
        with pytest.raises(ValueError, match="no 3") as caught:
            mh.map(picky, [3], workers=2, backend=backend)
        assert caught.traceback[-1].name == "picky"


@everyday.any_backend
def test_failure_of_a_task_with_several_arguments_notes_them_all(any_backend):
    with pytest.raises(ZeroDivisionError) as caught:
        mh.map(divmod, [1, 2], [1, 0], workers=2, **any_backend)
    assert caught.value.__notes__ == ["manyhands: this was task 1, argument (2, 0)"]
    with mh.Executor(2, **any_backend) as executor, pytest.raises(ZeroDivisionError) as caught:
        executor.submit(divmod, 2, 0).result(timeout=20)
    assert "(2, 0)" in caught.value.__notes__[0]


@everyday.any_backend
def test_long_argument_is_shortened_in_the_note(any_backend):
    with pytest.raises(ValueError, match="invalid literal") as caught:
        mh.map(int, ["x" * 1000], workers=2, **any_backend)
    assert len(caught.value.__notes__[0]) < 200


@everyday.any_backend
def test_lazy_results_come_up_to_the_failure(any_backend):
    results = mh.imap(picky, range(10), workers=2, **any_backend)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="no 3"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@everyday.process_backend
def test_failure_is_raised_without_waiting_for_the_rest(process_backend, tmp_path):
    stuck = stuck_until(tmp_path / "never")

    def task(n):
        if n == 9:
            raise ValueError("at once")
        return stuck(n)

    with pytest.raises(ValueError, match="at once"):
        mh.map(task, range(50), workers=2, chunksize=1, **process_backend)
    assert mh.map(abs, [-1, -2], workers=2, **process_backend) == [1, 2]


# --- collect, skip ----------------------------------------------------------------------------------------------


@everyday.any_backend
def test_collected_failure_takes_the_place_of_its_result(any_backend):
    for chunksize in (1, 20):
        found = mh.map(picky, range(10), workers=2, on_error="collect", chunksize=chunksize, **any_backend)
        assert [x for x in found if not isinstance(x, mh.Failure)] == [0, 1, 2, 4, 5, 6, 7, 9]
        failure = found[8]
        assert (failure.index, failure.argument, failure.attempts) == (8, 8, 1)
        assert isinstance(failure.error, ValueError)
        assert "no 8, please" in failure.traceback
        assert "in picky" in failure.traceback
        assert not failure


@everyday.any_backend
def test_collected_failures_of_lazy_calls(any_backend):
    options = {"workers": 2, "on_error": "collect", **any_backend}
    assert [bool(x) for x in mh.imap(picky, range(1, 5), **options)] == [True, True, False, True]
    found = list(mh.imap_unordered(picky, range(1, 5), **options))
    assert [x.index for x in found if isinstance(x, mh.Failure)] == [2]
    assert [type(x).__name__ for x in mh.starmap(divmod, [(1, 0), (1, 1)], **options)] == ["Failure", "tuple"]


@everyday.any_backend
def test_skipped_failures_leave_no_trace(any_backend):
    for variant in EVERY:
        found = variant(picky, range(10), workers=2, on_error="skip", **any_backend)
        assert sorted(found) == [0, 1, 2, 4, 5, 6, 7, 9]
        assert mh.last_report().failures == 2
    assert mh.map(picky, [3, 8, 13], workers=2, on_error="skip", **any_backend) == []


# --- retry ------------------------------------------------------------------------------------------------------


@everyday.any_backend
def test_failed_task_is_tried_again_and_no_other(any_backend, tmp_path):
    task = counting(tmp_path, good=3)
    calls = counting(tmp_path, good=1)
    for chunksize in (1, 4):
        numbers = [10 * chunksize + n for n in range(4)]
        third = numbers[2]
        options = {"workers": 2, "chunksize": chunksize, "retry": 3, **any_backend}
        assert mh.map(lambda n, third=third: (task if n == third else calls)(n), numbers, **options) == numbers
        assert [tries(tmp_path, n) for n in numbers] == [1, 1, 3, 1]
        assert mh.last_report().retries == 2
        assert mh.last_report().failures == 0


@everyday.any_backend
def test_task_fails_for_good_after_its_attempts(any_backend, tmp_path):
    task = counting(tmp_path, good=9)
    with pytest.raises(ConnectionError, match="try 2 of task 0"):
        mh.map(task, [0], workers=2, retry=2, **any_backend)
    assert tries(tmp_path, 0) == 2
    (failure,) = mh.map(task, [1], workers=2, retry=mh.Retry(attempts=3), on_error="collect", **any_backend)
    assert failure.attempts == 3
    assert tries(tmp_path, 1) == 3


@everyday.any_backend
def test_only_the_exceptions_asked_for_are_worth_another_attempt(any_backend, tmp_path):
    task = counting(tmp_path, good=2)
    with pytest.raises(ConnectionError):
        mh.map(task, [0], workers=2, retry=mh.Retry(attempts=3, on=(ValueError, KeyError)), **any_backend)
    assert tries(tmp_path, 0) == 1
    assert mh.map(task, [1], workers=2, retry=mh.Retry(attempts=3, on=(ValueError, OSError)), **any_backend) == [1]
    assert tries(tmp_path, 1) == 2


@everyday.any_backend
def test_pause_before_each_attempt_is_asked_for(any_backend, tmp_path):
    asked = []

    def pause(made):
        asked.append(made)
        return 0.001 * made

    task = counting(tmp_path, good=4)
    assert mh.map(task, [0], workers=2, retry=mh.Retry(attempts=5, backoff=pause), **any_backend) == [0]
    assert asked == [1, 2, 3]
    assert list(mh.imap(counting(tmp_path, good=2), [7], retry=mh.Retry(2, backoff=0.01), **any_backend)) == [7]


# --- timeout ----------------------------------------------------------------------------------------------------


@everyday.parallel_backend
def test_task_over_its_time_is_stopped_and_no_other(parallel_backend, tmp_path):
    for chunksize in (1, 5):
        options = {"workers": 2, "chunksize": chunksize, "timeout": 0.3, "on_error": "collect", **parallel_backend}
        found = mh.map(stuck_until(tmp_path / "end"), range(5), **options)
        failure = found.pop(2)
        assert found == [0, 1, 3, 4]
        assert isinstance(failure.error, TaskTimeout)
        assert isinstance(failure.error, TimeoutError)
        assert (failure.error.index, failure.error.seconds) == (2, 0.3)
    assert mh.map(abs, [-1], workers=2, **parallel_backend) == [1]
    (tmp_path / "end").touch()  # a thread cannot be ended from outside


@everyday.parallel_backend
def test_timeout_is_for_each_task_and_not_for_the_call(parallel_backend):
    found = mh.map(lambda n: time.sleep(0.05) or n, range(16), workers=2, timeout=0.3, **parallel_backend)
    assert found == list(range(16))


@everyday.process_backend
def test_timeout_counts_as_an_error_that_can_be_tried_again(process_backend, tmp_path):
    def task(n):
        first = not (tmp_path / "tried").exists()
        (tmp_path / "tried").touch()
        while first:
            time.sleep(0.05)
        return n

    retry = mh.Retry(attempts=2, on=(TimeoutError,))
    assert mh.map(task, [5], workers=2, timeout=0.3, retry=retry, **process_backend) == [5]
    assert mh.last_report().retries == 1
    stuck = stuck_until(tmp_path / "never")
    with pytest.raises(TaskTimeout):
        mh.map(stuck, [2], workers=2, timeout=0.2, retry=mh.Retry(attempts=2, on=(ValueError,)), **process_backend)
    assert mh.last_report().retries == 0


@everyday.process_backend
def test_import_of_the_function_does_not_count_as_the_tasks_time(tmp_path, monkeypatch, process_backend):
    source = "import time, sys\nif 'pytest' not in sys.modules: time.sleep(0.8)\ndef task(n): return n\n"
    (tmp_path / "slow_to_import.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    import slow_to_import

    try:
        for chunksize in (1, 4):
            options = {"workers": 2, "timeout": 0.3, "chunksize": chunksize}
            assert mh.map(slow_to_import.task, range(4), **options, **process_backend) == [0, 1, 2, 3]
    finally:
        del sys.modules["slow_to_import"]


def test_a_repeated_input_of_a_module_that_no_worker_finds_travels_by_value(process_backend, tmp_path):
    source = tmp_path / "plugin.py"
    source.write_text("class Config:\n    n = 3\n")
    spec = importlib.util.spec_from_file_location("plugin_of_a_test", source)
    plugin = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = plugin
    try:
        spec.loader.exec_module(plugin)
        found = mh.map(lambda config: config.n, [plugin.Config()] * 40, chunksize=8, workers=2, **process_backend)
    finally:
        del sys.modules[spec.name]
    assert found == [3] * 40
