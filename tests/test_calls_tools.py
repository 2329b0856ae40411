"""What goes with a call: seeds, things loaded once per worker, initializers, progress, defaults, reports."""

from __future__ import annotations

import os
import random
from pathlib import Path

import everyday
import pytest
from gates import Gate, wait_at
from watching import eventually

import manyhands as mh

pytestmark = pytest.mark.timeout(30)


# --- random numbers ---------------------------------------------------------------------------------------------


def draw(_):
    return mh.task_rng().random(3).tolist()


@everyday.any_backend
def test_seed_gives_each_task_the_same_numbers_whatever_the_workers(any_backend):
    pytest.importorskip("numpy")
    expected = mh.map(draw, range(12), seed=7, backend="serial")
    assert len({tuple(numbers) for numbers in expected}) == 12
    for workers, chunksize in ((1, None), (2, 1), (2, 5), (5, 2)):
        options = {"workers": workers, "chunksize": chunksize, "seed": 7, **any_backend}
        assert mh.map(draw, range(12), **options) == expected
    assert list(mh.imap(draw, iter(range(12)), seed=7, workers=2, **any_backend)) == expected
    assert mh.map(draw, range(12), seed=8, workers=2, **any_backend) != expected


@everyday.any_backend
def test_task_that_is_tried_again_draws_the_same_numbers(any_backend, tmp_path):
    pytest.importorskip("numpy")
    expected = mh.map(draw, range(6), seed=7, backend="serial")
    folder = str(tmp_path)

    def task(n):
        numbers = mh.task_rng().random(3).tolist()
        marker = Path(folder, str(n))
        if n % 2 and not marker.exists():
            marker.touch()
            raise RuntimeError("once more")
        return numbers

    assert mh.map(task, range(6), seed=7, retry=2, workers=2, **any_backend) == expected
    assert mh.last_report().retries == 3


@everyday.process_backend
def test_task_whose_worker_died_draws_the_same_numbers(process_backend, tmp_path):
    pytest.importorskip("numpy")
    expected = mh.map(draw, range(6), seed=7, backend="serial")
    marker = tmp_path / "died"

    def task(n):
        numbers = mh.task_rng().random(3).tolist()
        if n == 3 and not marker.exists():
            marker.touch()
            os._exit(1)
        return numbers

    assert mh.map(task, range(6), seed=7, retry=2, workers=2, **process_backend) == expected


@everyday.any_backend
def test_task_has_one_generator_however_often_it_asks(any_backend):
    pytest.importorskip("numpy")

    def task(_):
        first, second = mh.task_rng(), mh.task_rng()
        return first is second and first.random() != second.random()

    assert mh.map(task, range(4), seed=1, workers=2, **any_backend) == [True] * 4


@everyday.any_backend
def test_tasks_without_a_seed_draw_numbers_like_no_other(any_backend):
    pytest.importorskip("numpy")
    numbers = [tuple(n) for _ in range(2) for n in mh.map(draw, range(6), workers=2, **any_backend)]
    assert len(set(numbers)) == 12


@everyday.process_backend
def test_workers_do_not_share_the_random_numbers_of_the_standard_library(process_backend):
    random.seed(3)
    drawn = mh.map(lambda _: (os.getpid(), random.random()), range(40), workers=2, chunksize=1, **process_backend)
    assert len({number for _, number in drawn}) == 40


# --- once per worker --------------------------------------------------------------------------------------------


class Diary:
    """A file to which workers append a line each."""

    def __init__(self, path):
        self.path = str(path)

    def write(self, word):
        with open(self.path, "a") as file:
            file.write(f"{word} {os.getpid()}\n")

    def lines(self):
        return Path(self.path).read_text().splitlines() if Path(self.path).exists() else []


@pytest.fixture
def diary(tmp_path):
    return Diary(tmp_path / "diary")


@everyday.any_backend
def test_object_per_worker_is_made_once_and_closed_at_the_end(any_backend, diary):
    class Model:
        def __init__(self):
            diary.write("opened")
            self.calls = 0

        def close(self):
            diary.write("closed")

    @mh.per_worker
    def model():
        return Model()

    def task(x):
        model().calls += 1
        return model() is model(), x

    with mh.Executor(2, **any_backend) as executor:
        assert list(executor.map(task, range(40))) == [(True, n) for n in range(40)]
        opened = [line for line in diary.lines() if line.startswith("opened")]
        assert 1 <= len(opened) <= 2
        assert "closed" not in " ".join(diary.lines())
    assert sorted(diary.lines()) == sorted([*opened, *(line.replace("opened", "closed") for line in opened)])


@everyday.any_backend
def test_generator_per_worker_is_resumed_at_the_end(any_backend, diary):
    @mh.per_worker
    def connection():
        diary.write("opened")
        yield "connection"
        diary.write("closed")

    with mh.Executor(1, **any_backend) as executor:
        assert list(executor.map(lambda _: connection(), range(5))) == ["connection"] * 5
    assert [line.split()[0] for line in diary.lines()] == ["opened", "closed"]


@everyday.any_backend
def test_objects_per_worker_are_closed_newest_first_whatever_one_of_them_raises(any_backend, diary):
    @mh.per_worker
    def first():
        yield 1
        diary.write("first")

    @mh.per_worker
    def second():
        yield 2
        raise OSError("cannot be closed")

    @mh.per_worker
    def third():
        yield 3
        diary.write("third")

    with mh.Executor(1, **any_backend) as executor:
        assert executor.submit(lambda: first() + second() + third()).result(timeout=20) == 6
    assert [line.split()[0] for line in diary.lines()] == ["third", "first"]


@everyday.parallel_backend
def test_object_per_worker_outlives_the_call_where_the_workers_do(parallel_backend, diary):
    @mh.per_worker
    def thing():
        diary.write("opened")
        return object()

    for _ in range(3):
        mh.map(lambda _: thing() and None, range(10), workers=1, **parallel_backend)
    assert len(diary.lines()) == (3 if parallel_backend.get("start_method") == "fork" else 1)


@everyday.any_backend
def test_failure_to_make_an_object_per_worker_is_the_tasks_and_it_is_made_again(any_backend, tmp_path):
    marker = tmp_path / "tried"

    @mh.per_worker
    def thing():
        if not marker.exists():
            marker.touch()
            raise ConnectionError("not yet")
        return "made"

    found = mh.map(lambda _: thing(), range(3), workers=1, on_error="collect", **any_backend)
    assert isinstance(found[0].error, ConnectionError)
    assert found[1:] == ["made", "made"]


def test_object_per_worker_may_be_used_outside_of_tasks():
    made = []

    @mh.per_worker
    def thing():
        made.append(1)
        return "made"

    assert [thing(), thing()] == ["made", "made"]
    assert made == [1]


# --- initializers -----------------------------------------------------------------------------------------------


@everyday.any_backend
def test_initializer_runs_once_in_each_worker_before_its_tasks(any_backend, diary):
    def prepare(word):
        diary.write(word)

    def task(n):
        return any(line == f"ready {os.getpid()}" for line in diary.lines())

    with mh.Executor(2, initializer=prepare, initargs=("ready",), **any_backend) as executor:
        assert all(executor.map(task, range(30)))
    assert 1 <= len(diary.lines()) <= 2
    if any_backend["backend"] == "processes":
        assert len(set(diary.lines())) == len(diary.lines())


@everyday.process_backend
def test_initializer_prepares_what_tasks_find(process_backend):
    def prepare(value):
        os.environ["PREPARED"] = value

    with mh.Pool(2, prepare, ("yes",), start_method=process_backend["start_method"]) as pool:
        assert set(pool.map(lambda _: os.environ["PREPARED"], range(10))) == {"yes"}


# --- progress, reports, defaults --------------------------------------------------------------------------------


@everyday.any_backend
def test_progress_function_is_told_how_far_things_are(any_backend):
    told = []
    options = {"workers": 2, "progress": told.append, "desc": "work", "on_error": "skip", **any_backend}
    mh.map(lambda x: 1 // x, [1, 0, 2, 3], **options)
    last = told[-1]
    assert (last.desc, last.done, last.total, last.failed, last.remaining) == ("work", 4, 4, 1, 0)
    assert last.elapsed > 0
    assert last.rate == pytest.approx(4 / last.elapsed)
    assert [p.done for p in told] == sorted(p.done for p in told)


@everyday.any_backend
def test_progress_knows_the_total_where_it_can_be_known(any_backend):
    def total(items, **options):
        told = []
        assert len(list(mh.imap(abs, items, workers=2, progress=told.append, **options, **any_backend))) == 3
        return told[-1].total

    assert total([1, 2, 3]) == 3
    assert total({1, 2, 3}) == 3
    assert total(iter([1, 2, 3])) == 3
    assert total(map(abs, [1, 2, 3])) == 3
    assert total(n for n in range(3)) in {None, 3}
    assert total((n for n in range(3)), total=5) == 5


@everyday.any_backend
def test_progress_function_that_raises_ends_the_call_and_nothing_else(any_backend):
    def complain(progress):
        raise LookupError("the observer's own trouble")

    with pytest.raises(LookupError):
        mh.map(abs, range(5), workers=2, progress=complain, **any_backend)
    assert mh.map(abs, [-1], workers=2, **any_backend) == [1]


@everyday.any_backend
def test_progress_in_words_says_nothing_unless_asked_for(any_backend, capfd):
    mh.map(abs, range(5), workers=2, **any_backend)
    mh.map(abs, range(5), workers=2, progress=False, **any_backend)
    assert capfd.readouterr().err == ""
    mh.map(abs, range(5), workers=2, progress=True, desc="counting", **any_backend)
    assert "counting: 5/5" in capfd.readouterr().err


@everyday.any_backend
def test_report_tells_what_ran_where(any_backend):
    reports = []
    mh.map(lambda x: 1 // x, [1, 0, 2], workers=2, on_error="skip", report=reports.append, **any_backend)
    assert reports == [mh.last_report()]
    report = reports[0]
    assert report.backend == any_backend["backend"].replace("auto", "processes")  # on_error asks for these
    assert report.workers == (1 if report.backend == "serial" else 2)
    assert (report.tasks, report.failures, report.retries) == (3, 1, 0)
    assert report.chunks >= 1
    assert report.wall > 0
    assert 1 <= len(report.busy) <= 2
    assert {task.index for task in report.slowest} <= {0, 1, 2}
    assert "3 tasks" in str(report)
    assert "1 failed" in str(report)


@everyday.any_backend
def test_report_names_the_slowest_task_with_its_argument(any_backend):
    def task(n):
        return sum(range(20_000_000 if n == "slow" else 10))  # a short one may be kept waiting by the system

    mh.map(task, ["a", "b", "slow", "c"], workers=2, chunksize=2, **any_backend)
    slowest = mh.last_report().slowest[0]
    assert (slowest.index, slowest.argument) == (2, "'slow'")
    assert slowest.seconds > 0


@everyday.parallel_backend
def test_report_counts_the_time_of_tasks_that_were_given_up(parallel_backend, tmp_path):
    with Gate(tmp_path / "gate") as gate:

        def task(n):
            return wait_at(gate.path) if n else n

        mh.map(task, [0, 1], workers=2, timeout=0.5, on_error="collect", **parallel_backend)
        report = mh.last_report()
    assert sum(report.busy.values()) >= 0.5
    assert (report.slowest[0].index, report.slowest[0].argument) == (1, "1")
    assert report.slowest[0].seconds >= 0.5


@everyday.any_backend
def test_report_lists_each_slow_task_once(any_backend):
    mh.map(lambda n: 1 // n, [0, 0, 0], workers=2, retry=3, on_error="collect", **any_backend)
    slowest = [task.index for task in mh.last_report().slowest]
    assert sorted(slowest) == sorted(set(slowest))


@everyday.any_backend
def test_report_of_a_call_that_was_left_early_counts_what_was_taken(any_backend):
    with mh.imap(abs, range(10_000), workers=2, chunksize=1, **any_backend) as results:
        next(results)
    assert 1 <= mh.last_report().tasks < 10_000


@everyday.any_backend
def test_defaults_hold_for_all_calls_until_the_end_of_the_block(any_backend):
    with mh.configure(workers=2, on_error="skip", **any_backend):
        assert mh.map(lambda x: 1 // x, [1, 0]) == [1]
        assert mh.last_report().backend == any_backend["backend"].replace("auto", "processes")
        with mh.configure(on_error="collect"):
            assert len(mh.map(lambda x: 1 // x, [1, 0])) == 2
            assert mh.last_report().backend == any_backend["backend"].replace("auto", "processes")
        assert mh.map(lambda x: 1 // x, [1, 0], on_error="collect")[0] == 1
        assert list(mh.imap(lambda x: 1 // x, [1, 0])) == [1]
    with pytest.raises(ZeroDivisionError):
        mh.map(lambda x: 1 // x, [1, 0], backend="serial")


def test_defaults_can_be_set_for_good_and_taken_back():
    before = mh.configure(backend="serial")
    try:
        mh.map(abs, [-1])
        assert mh.last_report().backend == "serial"
    finally:
        before.__exit__(None, None, None)


def test_workers_go_after_a_while_without_work(monkeypatch):
    from manyhands import calls

    monkeypatch.setattr(calls, "IDLE_SECONDS", 0.2)
    (pid,) = set(mh.map(lambda _: os.getpid(), range(3), workers=1, backend="processes"))
    assert eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert mh.map(abs, [-1], workers=1, backend="processes") == [1]
