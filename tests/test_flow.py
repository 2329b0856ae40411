"""Work in and out: full pipes, endless input, early ends, cancelling, many threads at once. Nothing ever stalls."""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import logging
import multiprocessing
import os
import subprocess
import threading
import time
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path

import everyday
import pytest
from gates import Gate, wait_at
from watching import eventually

import manyhands as mh
from manyhands.errors import ExecutorClosed, WorkersUnavailable

pytestmark = [pytest.mark.timeout(30), pytest.mark.others_are_stress]

SOON = 10.0  # seconds: far more than anything here takes, far less than for ever


def gate_at(path):
    """A task that ends once the file is there. That it has begun it says by a file beside that, named by its value."""
    path = str(path)

    def task(value=None):
        open(f"{path}-{value}", "w").close()
        while not os.path.exists(path):
            time.sleep(0.005)
        return value

    return task


def note_in(path):
    """A task that notes each value it is given in the file."""
    path = str(path)

    def task(value):
        with open(path, "a") as file:
            file.write(f"{value}\n")
        return value

    return task


def noted(path):
    return [int(line) for line in Path(path).read_text().split()] if Path(path).exists() else []


def counted(numbers, seen):
    """The numbers, each one added to ``seen`` when it is read."""
    for number in numbers:
        seen.append(number)
        yield number


def settled(measure):
    """The value at which a measure comes to rest."""
    last, same = measure(), 0

    def at_rest():
        nonlocal last, same
        now = measure()
        last, same = now, same + 1 if now == last else 0
        return same >= 15

    assert eventually(at_rest, seconds=SOON)
    return last


# --- submitting -------------------------------------------------------------------------------------------------


class Slow:
    """An argument that takes its time to be packed: until the event is set."""

    def __init__(self, begun, go_on):
        self.begun, self.go_on = begun, go_on

    def __reduce__(self):
        self.begun.set()
        assert self.go_on.wait(SOON)
        return int, (7,)


def test_very_many_submits_never_block_even_when_nobody_takes_them_in(process_backend):
    """Row 24: far more than the wake-up pipe holds, while the thread that would empty it is stuck in user code."""
    begun, go_on = threading.Event(), threading.Event()
    with mh.Executor(2, **process_backend) as executor:
        stuck = executor.map(abs, [Slow(begun, go_on)])
        assert begun.wait(SOON)
        futures = [executor.submit(abs, -n) for n in range(1500)]
        go_on.set()
        assert [future.result(timeout=SOON) for future in futures] == list(range(1500))
        assert list(stuck) == [7]


@everyday.any_backend
def test_very_many_submits_all_arrive(any_backend):
    """Row 24."""
    with mh.Executor(2, **any_backend) as executor:
        futures = [executor.submit(pow, n, 2) for n in range(1500)]
        assert [future.result(timeout=SOON) for future in futures] == [n * n for n in range(1500)]


# --- endless input ----------------------------------------------------------------------------------------------


def test_endless_input_is_read_only_a_little_ahead(any_backend):
    """Row 25."""
    for variant in (mh.imap, mh.imap_unordered):
        seen = []
        with variant(abs, counted(itertools.count(), seen), workers=2, chunksize=1, **any_backend) as results:
            taken = [next(results) for _ in range(50)]
            assert len(set(taken)) == 50
            assert len(seen) < 50 + 500
        assert len(seen) < 50 + 500


@everyday.any_backend
def test_call_is_closed_while_its_input_waits_for_slow_tasks(any_backend, tmp_path):
    """Row 25."""
    task = gate_at(tmp_path / "open")
    (tmp_path / "open").touch()
    seen = []
    results = mh.imap(task, counted(itertools.count(), seen), workers=2, chunksize=1, **any_backend)
    assert next(results) == 0
    os.remove(tmp_path / "open")
    read = len(seen)
    results.close()
    assert len(seen) == read
    with pytest.raises(StopIteration):
        next(results)
    (tmp_path / "open").touch()  # lets go of threads, which cannot be ended
    assert mh.map(abs, [-1], workers=2, **any_backend) == [1]


@pytest.mark.parametrize("backend", ["processes", "threads"])
@pytest.mark.parametrize("variant", [mh.imap, mh.imap_unordered])
def test_call_is_closed_by_another_thread_while_a_result_is_awaited(backend, variant, tmp_path):
    with Gate(tmp_path / "gate") as gate:
        task = functools.partial(wait_at, gate.path)
        results = variant(task, itertools.count(), workers=2, chunksize=1, backend=backend)
        found = []
        reader = threading.Thread(target=lambda: found.extend(results))
        reader.start()
        results.close()
        reader.join(SOON)
        assert not reader.is_alive()
        assert next(results, "the end") == "the end"
    assert mh.map(abs, [-1], workers=2, backend=backend) == [1]


@everyday.any_backend
def test_input_closes_the_call_that_it_is_read_for(any_backend):
    def inputs():
        yield from range(20)
        results.close()
        yield from itertools.count()

    results = mh.imap(abs, inputs(), workers=2, chunksize=1, **any_backend)
    taken = list(results)
    assert taken == list(range(len(taken)))
    assert mh.map(abs, [-1], workers=2, **any_backend) == [1]


@everyday.any_backend
def test_very_long_input_is_not_held_in_memory(any_backend):
    """Row 25: results that were taken, and their inputs, are let go."""
    import weakref

    class Item:
        pass

    living = weakref.WeakSet()
    most = 0

    def items():
        for _ in range(10_000):
            item = Item()
            living.add(item)
            yield item

    for _ in mh.imap(lambda _: None, items(), workers=2, chunksize=1, **any_backend):
        most = max(most, len(living))
    assert most < 3000


# --- input that fails, readers that stop ------------------------------------------------------------------------


def broken_input(good, kind=OSError):
    yield from range(good)
    raise kind("the input broke off")


@everyday.any_backend
def test_input_that_breaks_off_delivers_what_came_before(any_backend):
    """Row 26."""
    for variant, kind in itertools.product((mh.imap, mh.imap_unordered), (OSError, SystemExit, CancelledError)):
        taken = []
        results = variant(abs, broken_input(25, kind), workers=2, **any_backend)
        with pytest.raises(kind, match="broke off"):
            for value in results:
                taken.append(value)  # noqa: PERF402 - what came before the error counts
        assert sorted(taken) == list(range(25))
    assert mh.map(abs, range(4), workers=2, **any_backend) == [0, 1, 2, 3]


@everyday.any_backend
def test_input_that_breaks_off_is_the_callers_error_and_no_tasks(any_backend):
    """Row 26."""
    for on_error in ("raise", "collect", "skip"):
        with pytest.raises(OSError, match="broke off"):
            mh.map(abs, broken_input(25), workers=2, on_error=on_error, **any_backend)
    assert mh.map(abs, range(4), workers=2, **any_backend) == [0, 1, 2, 3]


@everyday.any_backend
def test_reader_that_stops_early_cancels_the_rest(any_backend, tmp_path):
    """Row 27."""
    for end in ("close", "with", "drop"):
        diary = tmp_path / end
        results = mh.imap(note_in(diary), range(100_000), workers=2, chunksize=1, **any_backend)
        assert next(results) == 0
        if end == "close":
            results.close()
        elif end == "with":
            with results:
                assert next(results) == 1
        else:
            del results
        assert settled(lambda diary=diary: len(noted(diary))) < 1000
    assert mh.map(abs, [-1], workers=2, **any_backend) == [1]


def test_dropping_the_reader_ends_tasks_that_run(process_backend, tmp_path):
    """Row 27."""
    gate = gate_at(tmp_path / "never")

    def task(n):
        return n if n == 0 else gate(n)

    results = mh.imap(task, range(10), workers=2, chunksize=1, **process_backend)
    assert next(results) == 0
    del results
    assert mh.map(abs, range(-4, 0), workers=2, **process_backend) == [4, 3, 2, 1]  # the workers are free again


# --- callbacks --------------------------------------------------------------------------------------------------


@everyday.any_backend
def test_callback_that_raises_is_logged_and_nothing_else(any_backend, caplog, tmp_path):
    """Row 28."""

    def complain(future):
        raise LookupError("the callback's own trouble")

    gate = gate_at(tmp_path / "open")
    with caplog.at_level(logging.ERROR), mh.Executor(2, **any_backend) as executor:
        if any_backend["backend"] == "serial":
            (tmp_path / "open").touch()
        future = executor.submit(gate, 5)
        future.add_done_callback(complain)
        (tmp_path / "open").touch()
        assert future.result(timeout=SOON) == 5
        assert eventually(lambda: "the callback's own trouble" in caplog.text)
        assert executor.submit(abs, -3).result(timeout=SOON) == 3


@everyday.any_backend
def test_callback_may_submit_and_wait(any_backend):
    """Row 28."""
    answers: Future[int] = Future()
    with mh.Executor(1, **any_backend) as executor:
        first = executor.submit(abs, -4)
        first.add_done_callback(lambda future: answers.set_result(executor.submit(abs, -future.result()).result(SOON)))
        assert answers.result(timeout=SOON) == 4


@everyday.any_backend
def test_callback_may_shut_the_executor_down(any_backend):
    """Row 28."""
    for patient in (True, False):
        over = threading.Event()
        executor = mh.Executor(2, **any_backend)
        future = executor.submit(abs, -4)

        def end(_, executor=executor, patient=patient, over=over):
            executor.shutdown(wait=patient)
            over.set()

        future.add_done_callback(end)
        assert future.result(timeout=SOON) == 4
        assert over.wait(SOON)
        with pytest.raises(ExecutorClosed):
            executor.submit(abs, -1)
        executor.shutdown(wait=True)


@everyday.parallel_backend
def test_callback_that_takes_long_holds_up_no_task(parallel_backend):
    """Row 28."""
    go_on = threading.Event()
    with mh.Executor(2, **parallel_backend) as executor:
        first = executor.submit(abs, -4)
        first.add_done_callback(lambda _: go_on.wait(SOON))
        assert [executor.submit(abs, -n).result(timeout=SOON) for n in range(20)] == list(range(20))
        go_on.set()


# --- work within work -------------------------------------------------------------------------------------------


def test_task_may_submit_to_its_own_executor_and_wait(any_backend):
    """Row 29: with one worker, which is the task's own."""
    with mh.Executor(1, **any_backend) as executor:

        def outer(n):
            return executor.submit(pow, n, 2).result(timeout=SOON) + sum(executor.map(abs, [-n, -1]))

        assert executor.submit(outer, 5).result(timeout=SOON) == 25 + 6


@everyday.any_backend
def test_task_may_submit_to_the_shared_workers_and_wait(any_backend):
    """Row 29."""

    def outer(n):
        return mh.submit(pow, n, 2).result(timeout=SOON)

    assert mh.map(outer, range(6), workers=2, **any_backend) == [0, 1, 4, 9, 16, 25]


@everyday.any_backend
def test_map_within_map_keeps_to_its_share(any_backend):
    """Row 30."""

    def outer(n):
        inner = mh.map(abs, range(-n, 0))
        report = mh.last_report()
        return sum(inner), report.backend, report.workers

    for n, (total, backend, workers) in enumerate(mh.map(outer, range(4), workers=2, **any_backend)):
        assert total == n * (n + 1) // 2
        assert (backend, workers) == ("serial", 1)


def test_map_with_processes_of_its_own_within_a_task(any_backend):
    """Row 30: no "daemonic processes are not allowed to have children"."""

    def outer(n):
        pids = mh.map(lambda _: os.getpid(), range(4), workers=2, backend="processes")
        return os.getpid() not in pids and len(pids)

    assert mh.map(outer, range(2), workers=2, **any_backend) == [4, 4]


def test_pools_of_the_standard_library_within_a_task(process_backend):
    """Row 30."""

    def with_pool(n):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(abs, [-n, -n - 1])

    def with_executor(n):
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            return list(pool.map(abs, [-n, -n - 1]))

    assert mh.map(with_pool, range(2), workers=2, **process_backend) == [[0, 1], [1, 2]]
    assert mh.map(with_executor, range(2), workers=2, **process_backend) == [[0, 1], [1, 2]]


def test_numerical_libraries_in_workers_keep_to_their_share(start_method, monkeypatch):
    """Row 30."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    ask = lambda _: (os.environ["OMP_NUM_THREADS"], os.environ["OPENBLAS_NUM_THREADS"])  # noqa: E731
    workers = mh.cpu_count()
    told = mh.map(ask, range(4), workers=workers, backend="processes", start_method=start_method)
    assert set(told) == {("1", "1")}


# --- many threads at once ---------------------------------------------------------------------------------------


def in_threads(*functions):
    """Run all of them at once; what one raises is raised here."""
    with concurrent.futures.ThreadPoolExecutor(len(functions)) as threads:
        return [future.result(timeout=SOON) for future in [threads.submit(function) for function in functions]]


@pytest.mark.parametrize("backend", ["threads", "processes"])
def test_many_threads_may_map_at_once_on_many_sizes_of_pool(backend):
    """Row 31: more sizes than are kept warm, so that some go while others come."""

    def rounds(workers):
        return [mh.map(abs, range(-9, 0), workers=workers, backend=backend) for _ in range(12)]

    for found in in_threads(*[lambda n=n: rounds(n) for n in (1, 2, 3, 4, 5, 6, 7)]):
        assert found == [list(range(9, 0, -1))] * 12


def test_shutting_down_while_many_threads_submit(any_backend):
    """Row 31: each call is either refused or comes to its end."""
    executor = mh.Executor(2, **any_backend)
    started = threading.Barrier(5, timeout=SOON)

    def submit_until_closed():
        futures = []
        started.wait()
        try:
            while len(futures) < 20_000:
                futures.append(executor.submit(abs, -len(futures)))
        except ExecutorClosed:
            pass
        return futures

    def close():
        started.wait()
        assert executor.submit(abs, -1).result(timeout=SOON) == 1
        executor.shutdown()
        return []

    for futures in in_threads(*[submit_until_closed] * 4, close):
        assert [future.result(timeout=SOON) for future in futures] == list(range(len(futures)))


@everyday.parallel_backend
def test_cancelling_from_many_threads_while_others_submit(parallel_backend):
    """Row 31."""
    with mh.Executor(2, **parallel_backend) as executor:

        def submit_and_cancel():
            futures = [executor.submit(abs, -n) for n in range(300)]
            return futures, [future.cancel() for future in reversed(futures)]

        for futures, cancelled in in_threads(*[submit_and_cancel] * 4):
            assert not wait(futures, timeout=SOON).not_done
            for n, (future, gone) in enumerate(zip(futures, reversed(cancelled), strict=True)):
                assert future.cancelled() == gone
                assert gone or future.result() == n


# --- cancelling and ending --------------------------------------------------------------------------------------


def test_cancelling_with_full_pipes_ends_every_future(process_backend, tmp_path):
    """Row 32: many times what a socket holds, none of it read while the workers are busy."""
    gate = gate_at(tmp_path / "open")
    large = bytes(1 << 20)
    with mh.Executor(2, **process_backend) as executor:
        busy = [executor.submit(gate, n) for n in range(2)]
        assert eventually(lambda: len(list(tmp_path.glob("open-*"))) == 2)
        queued = [executor.submit(len, large) for _ in range(60)]
        cancelled = [future.cancel() for future in queued]
        assert cancelled.count(True) > 40
        (tmp_path / "open").touch()
        assert not wait([*busy, *queued], timeout=SOON).not_done
        for future, gone in zip(queued, cancelled, strict=True):
            assert future.cancelled() == gone
            assert gone or future.result() == 1 << 20
        assert executor.submit(abs, -1).result(timeout=SOON) == 1


@everyday.parallel_backend
def test_shutdown_that_cancels_ends_every_future(parallel_backend, tmp_path):
    """Row 32."""
    gate = gate_at(tmp_path / "open")
    executor = mh.Executor(2, **parallel_backend)
    busy = [executor.submit(gate, n) for n in range(2)]
    assert eventually(lambda: len(list(tmp_path.glob("open-*"))) == 2)
    queued = [executor.submit(abs, -n) for n in range(500)]
    executor.shutdown(wait=False, cancel_futures=True)
    (tmp_path / "open").touch()
    executor.shutdown(wait=True)
    assert all(future.done() for future in (*busy, *queued))
    assert [future.result() for future in busy] == [0, 1]
    assert sum(future.cancelled() for future in queued) > 400


@everyday.parallel_backend
def test_ten_thousand_queued_tasks_are_dropped_at_once(parallel_backend, tmp_path):
    """Row 33."""
    gate = gate_at(tmp_path / "open")
    executor = mh.Executor(2, **parallel_backend)
    futures = [executor.submit(gate, n) for n in range(10_000)]
    assert eventually(futures[0].running)
    executor.terminate_workers()
    assert not wait(futures, timeout=SOON).not_done
    executor.shutdown(wait=True)
    (tmp_path / "open").touch()
    with pytest.raises(WorkersUnavailable):
        futures[0].result()
    assert futures[-1].cancelled()


@everyday.process_backend
def test_pool_of_ten_thousand_queued_tasks_is_terminated_at_once(process_backend, tmp_path):
    """Row 33."""
    pool = mh.Pool(2, start_method=process_backend["start_method"])
    result = pool.map_async(gate_at(tmp_path / "never"), range(10_000))
    pool.terminate()
    pool.join()
    with pytest.raises(mh.ManyhandsError):
        result.get(timeout=SOON)


def test_ending_the_workers_right_after_a_call_never_stalls(parallel_backend):
    """Row 33: whichever comes first, the order to leave or the death."""
    for way in ("kill_workers", "terminate_workers", "shutdown"):
        for _ in range(3):
            executor = mh.Executor(2, **parallel_backend)
            assert list(executor.map(abs, range(4))) == [0, 1, 2, 3]
            getattr(executor, way)()
            executor.shutdown(wait=True)


@everyday.any_backend
def test_one_slow_head_holds_back_only_so_many_results(any_backend, tmp_path):
    """Row 34."""
    if any_backend["backend"] == "serial":
        pytest.skip("one worker alone cannot run ahead")
    gate = gate_at(tmp_path / "open")
    seen = []

    def task(n):
        return gate(n) if n == 0 else n

    def let_go():
        read = settled(lambda: len(seen))
        (tmp_path / "open").touch()
        return read

    with concurrent.futures.ThreadPoolExecutor(1) as beside:
        results = mh.imap(task, counted(range(50_000), seen), workers=2, chunksize=1, **any_backend)
        at_rest = beside.submit(let_go)
        assert list(itertools.islice(results, 3000)) == list(range(3000))
        assert at_rest.result() < 1000
        results.close()


@everyday.process_backend
def test_task_that_starts_programs_leaves_the_flow_alone(process_backend):
    """Row 24: what children of tasks inherit or close is not the flow's."""

    def task(n):
        return int(subprocess.run(["echo", str(n)], capture_output=True, check=True, close_fds=False).stdout)

    assert mh.map(task, range(6), workers=2, **process_backend) == list(range(6))
