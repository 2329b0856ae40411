"""Memory stays flat: however many results are kept, however many calls are made."""

from __future__ import annotations

import gc
import operator
import os
import pickle
import platform
import time
import weakref
from pathlib import Path

import everyday
import programs
import pytest
from watching import eventually

import manyhands as mh

pytestmark = [pytest.mark.timeout(60), pytest.mark.others_are_stress]

MEGABYTE = 1 << 20


def resident(pid="self"):
    """Bytes of memory that a process really has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


KEPT = """
    import gc, operator, os
    import manyhands as mh

    def resident():
        return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    options = {options!r}
    count = {count}
    mh.map(operator.neg, range(1000), workers=2, **options)
    gc.collect()
    before = resident()
    kept = {call}(operator.neg, range(1_000_000, 1_000_000 + count), workers=2, **options)
    kept = list(kept)
    gc.collect()
    grown = (resident() - before) / count
    assert kept[-1] == -(1_000_000 + count - 1)
    needed = 8 + 32  # a pointer in a list, and an int
    assert grown < 2.5 * needed, f"{grown:.0f} bytes for each result"
    print("fine")
"""


def kept_results(folder, options, call, count):
    source = KEPT.replace("{options!r}", repr(options)).replace("{call}", call).replace("{count}", str(count))
    assert programs.run_source(source, cwd=folder).stdout == "fine\n"


@everyday.any_backend
def test_small_results_that_are_kept_cost_little_more_than_themselves(tmp_path, any_backend):
    """Row 54."""
    kept_results(tmp_path, any_backend, "mh.map", 100_000)


@pytest.mark.stress
@pytest.mark.parametrize("call", ["mh.map", "mh.imap"])
def test_a_million_small_results_that_are_kept_cost_little_more_than_themselves(tmp_path, any_backend, call):
    """Row 54."""
    kept_results(tmp_path, any_backend, call, 1_000_000)


@everyday.process_backend
def test_one_result_that_is_kept_does_not_hold_the_others(process_backend):
    """Row 54: results travel together, but each lives by itself."""
    np = pytest.importorskip("numpy")
    mh.map(lambda n: n, range(4), workers=2, **process_backend)
    before = resident()
    kept = []
    for _ in range(10):
        found = mh.map(lambda n: np.full(100_000 // 8, n), range(100), workers=2, chunksize=50, **process_backend)
        kept.append(found[0])
        del found
    gc.collect()
    assert resident() - before < 60 * MEGABYTE  # all of them would be 100 MB, those kept are 1 MB
    assert [array[0] for array in kept] == [0] * 10


@everyday.any_backend
def test_many_calls_leave_nothing_behind_in_the_caller(any_backend):
    """Row 54: objects are counted after a warm-up, and again after many more calls."""

    def objects():
        gc.collect()
        return len(gc.get_objects())

    echo = lambda x: x  # noqa: E731 - one that travels by value

    def round_of_calls(count):
        for _ in range(count):
            mh.map(operator.neg, range(20), workers=2, **any_backend)
            mh.map(echo, range(20), workers=2, on_error="collect", **any_backend)
            list(mh.imap(operator.neg, range(20), workers=2, **any_backend))
            next(mh.imap(operator.neg, range(20), workers=2, **any_backend))

    few = 2 if any_backend.get("start_method") == "fork" else 6
    round_of_calls(few)
    before = objects()
    round_of_calls(3 * few)
    assert eventually(lambda: objects() - before < 12 * few)  # one object for each call


@everyday.any_backend
def test_many_single_calls_leave_nothing_behind_in_the_caller(any_backend):
    """Row 54."""
    with mh.Executor(2, **any_backend) as executor:

        def objects():
            gc.collect()
            return len(gc.get_objects())

        for future in [executor.submit(operator.neg, n) for n in range(200)]:
            future.result(timeout=20)
        before = objects()
        for n in range(1000):
            assert executor.submit(operator.neg, n).result(timeout=20) == -n
        del future
        assert objects() - before < 300


@pytest.mark.parametrize("start_method", ["zygote", "spawn"])
def test_many_functions_of_past_calls_do_not_pile_up(start_method):
    """Row 54: more of them than are remembered."""
    options = {"workers": 1, "backend": "processes", "start_method": start_method}

    def round_of_calls():
        for n in range(70):
            ballast = bytes(MEGABYTE // 4) + n.to_bytes(4, "big")
            mh.map(lambda item, ballast=ballast: len(item) + len(ballast), [ballast], **options)

    (pid,) = mh.map(lambda _: os.getpid(), [0], **options)
    round_of_calls()
    before = resident(), resident(pid)
    round_of_calls()
    assert resident() - before[0] < 20 * MEGABYTE
    assert resident(pid) - before[1] < 20 * MEGABYTE
    assert mh.map(lambda _: os.getpid(), [0], **options) == [pid]


@pytest.mark.parametrize("start_method", ["zygote", "spawn"])
def test_what_functions_of_past_calls_captured_is_let_go(start_method):
    """Row 54: a loop whose function captures something large and new each time."""
    options = {"workers": 1, "backend": "processes", "start_method": start_method}
    (pid,) = mh.map(lambda _: os.getpid(), [0], **options)
    before = resident(), resident(pid)
    for n in range(12):
        large = bytes(16 * MEGABYTE) + n.to_bytes(4, "big")
        mh.map(lambda _, large=large: len(large), [0, 1], **options)
        del large
    gc.collect()
    assert resident() - before[0] < 80 * MEGABYTE  # all of it would be 192 MB or more
    assert resident(pid) - before[1] < 100 * MEGABYTE


class Item:
    """Something whose end can be seen."""


@pytest.fixture
def without_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def run_map(func, items, options):
    return mh.map(func, items, workers=2, **options)


def run_imap(func, items, options):
    return list(mh.imap(func, iter(items), workers=2, **options))


def run_failing_map(func, items, options):
    return mh.map(lambda item: func(item) / 0, items, workers=2, on_error="skip", **options)


def run_submit(func, items, options):
    with mh.Executor(2, **options) as executor:
        return [executor.submit(func, item).result(timeout=20) for item in items]


def run_executor_map(func, items, options):
    with mh.Executor(2, **options) as executor:
        return list(executor.map(func, items))


@pytest.mark.usefixtures("without_collector")
@everyday.any_backend
def test_inputs_and_results_are_let_go_at_the_end_of_a_call(any_backend):
    """Row 54: by themselves, since the collector counts objects and not megabytes."""
    for run in (run_map, run_imap, run_failing_map, run_submit, run_executor_map):
        if run is run_failing_map and any_backend["backend"] == "serial":
            continue  # an exception raised in the caller's own thread holds the frames of the call, as in any loop
        items = [Item() for _ in range(6)]
        watched = [weakref.ref(item) for item in items]
        results = run(id, items, any_backend)
        assert len(results) == 6 or run is run_failing_map
        del items
        assert eventually(lambda watched=watched: not any(item() for item in watched), seconds=5), run.__name__
        made = run(lambda _: Item(), range(6), any_backend) if run is not run_failing_map else []
        watched = [weakref.ref(item) for item in made]
        del made
        assert eventually(lambda watched=watched: not any(item() for item in watched), seconds=5), run.__name__


@everyday.process_backend
def test_large_arguments_and_results_are_let_go(process_backend):
    """Row 54."""
    np = pytest.importorskip("numpy")

    def round_of_calls():
        for _ in range(4):
            found = mh.map(lambda a: a + 1, [np.zeros(4 * MEGABYTE // 8)] * 4, workers=2, **process_backend)
            assert found[0][0] == 1

    round_of_calls()
    before = resident()
    for _ in range(3):
        round_of_calls()
    assert resident() - before < 40 * MEGABYTE  # what went to and fro is 400 MB


LEAK = 20 * MEGABYTE
leaked = []


def leak(_):
    leaked.append(b"x" * LEAK)
    return os.getpid(), len(leaked)


def test_a_worker_that_grows_from_task_to_task_is_replaced_in_between(process_backend):
    """Row 55."""
    found = mh.map(leak, range(60), workers=2, chunksize=1, memory_limit=10 * LEAK, **process_backend)
    assert len(found) == 60
    assert max(count for _, count in found) < 15  # what was on its way already may still run
    with mh.Executor(1, memory_limit="200MB", **process_backend) as executor:
        assert len({executor.submit(leak, None).result()[0] for _ in range(30)}) > 2


def test_a_task_that_grows_without_end_fails_and_the_others_go_on(process_backend, tmp_path):
    """Row 55."""

    def grow(n):
        pieces = []
        while n == 3:
            pieces.append(b"x" * MEGABYTE)
            time.sleep(0.001)
        return n

    found = mh.map(grow, range(8), workers=2, memory_limit="300 MB", on_error="collect", **process_backend)
    error = found.pop(3).error
    assert found == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(error, mh.MemoryLimitExceeded)
    assert isinstance(error, mh.WorkerDied)
    assert isinstance(error, MemoryError)
    assert 300e6 < error.memory < 10e9
    assert "memory_limit" in str(pickle.loads(pickle.dumps(error)))


@pytest.mark.parametrize("limit", [0, -5, 2, "5MB", "much", "2 elephants", True, 1.5])
def test_a_memory_limit_that_is_none_is_refused(limit):
    with pytest.raises(mh.OptionError, match="memory_limit"):
        mh.map(abs, [1], memory_limit=limit)


def test_who_has_no_worker_processes_has_no_memory_limit():
    with pytest.raises(mh.OptionError, match="worker processes"):
        mh.map(abs, [1], memory_limit="1GB", backend="threads")


glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory as they do")
PIECE = 20 * MEGABYTE


def allocate_and_forget(_):
    """Pages that this task was given, this process, and its size after the task has freed everything."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [b"x" * PIECE, b"y" * PIECE]
    del pieces
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return pages, os.getpid(), resident()


@glibc
def test_a_task_uses_the_memory_that_the_one_before_has_freed(process_backend):
    (first, *_), *later = mh.map(allocate_and_forget, range(4), workers=1, **process_backend)
    assert first * os.sysconf("SC_PAGE_SIZE") > PIECE
    assert all(pages < 100 for pages, *_ in later), later


@glibc
def test_an_idle_worker_gives_freed_memory_back_each_time(process_backend):
    with mh.Executor(1, **process_backend) as executor:
        for _ in range(2):
            _, pid, size = executor.submit(allocate_and_forget, None).result()
            assert size > 2 * PIECE
            assert eventually(lambda pid=pid, size=size: resident(pid) < size - 2 * PIECE + MEGABYTE)
