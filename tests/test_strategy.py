"""backend="auto": who runs the tasks, that it makes no difference to what comes out, and what is said about it."""

from __future__ import annotations

import functools
import gc
import importlib
import itertools
import math
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time

import programs
import psutil
import pytest
from gates import Gate, say_and_wait
from watching import eventually

import manyhands as mh
from manyhands import strategy
from manyhands._core.strategy import Choice, Measured, decide, hands_over
from manyhands._engine import head_start, payload, shared
from manyhands._engine.head_start import HeadStart

pytestmark = pytest.mark.timeout(60)

HOME = os.getpid()
PATIENCE = 20.0


# --- the decision, pure -------------------------------------------------------------------------------------

SECOND, MS, US = 1.0, 1e-3, 1e-6


def seen(tasks, each, left, *, waiting=0.0, cores=2, **more):
    wall = tasks * each
    return Measured(tasks, wall, wall * (1 - waiting), wall, left, cores, **more)


CASES = {
    "a hundred thousand trivial tasks": (seen(10_000, 0.06 * US, 90_000), "serial", "short"),
    "they stay with warm workers, too": (seen(10_000, 0.06 * US, 90_000, warm=True), "serial", "short"),
    "a million of them": (seen(100_000, 0.06 * US, 900_000), "serial", "short"),
    "too little was seen": (seen(1, 100 * US, 1_000_000), "serial", "short"),
    "a tenth of a second is left, and no worker is there": (seen(10, 1 * MS, 90), "serial", "short"),
    "the same, and they are there": (seen(10, 1 * MS, 90, warm=True), "processes", "computes"),
    "seconds are left": (seen(10, 1 * MS, 2000), "processes", "computes"),
    "one long task and nine more": (seen(1, 1 * SECOND, 9), "processes", "computes"),
    "one task more": (seen(1, 1 * SECOND, 1), "serial", "alone"),
    "one task more, while one runs for long": (seen(1, 1 * SECOND, 1, busy=True), "processes", "computes"),
    "one task more, while one runs for a moment": (seen(1, 5 * MS, 1, busy=True), "serial", "short"),
    "none more, while one runs for long": (seen(1, 1 * SECOND, 0, busy=True), "serial", "alone"),
    "one worker is asked for, while one task runs": (seen(1, 1 * SECOND, 9, busy=True, workers=1), "serial", "alone"),
    "one core": (seen(10, 1 * SECOND, 10, cores=1), "serial", "alone"),
    "arrays that take longer to move than to sum": (seen(4, 1 * MS, 400, megabytes=8.0), "serial", "bytes"),
    "the same with warm workers": (seen(4, 1 * MS, 400, megabytes=8.0, warm=True), "serial", "bytes"),
    "a large array that the function captures": (seen(100, 0.1 * MS, 400, luggage=100.0, warm=True), "serial", "bytes"),
    "the same, worked on for long": (seen(100, 5 * MS, 400, luggage=100.0, warm=True), "processes", "computes"),
    "a table that takes long to pack": (seen(100, 5 * MS, 400, luggage=30.0, packing=0.5), "serial", "bytes"),
    "the same, of use for longer": (seen(100, 50 * MS, 400, luggage=30.0, packing=0.5), "processes", "computes"),
    "one that takes too long": (seen(100, 5 * MS, 400, luggage=math.inf, packing=0.1), "serial", "bytes"),
    "tasks that take too long to pack": (seen(4, 5 * MS, 400, megabytes=math.inf), "serial", "bytes"),
    "tables that take long to pack and unpack": (seen(4, 3 * MS, 400, item_packing=1.5 * MS), "serial", "bytes"),
    "the same, worked on for longer": (seen(4, 30 * MS, 400, item_packing=1.5 * MS), "processes", "computes"),
    "arrays that are worked on for long": (seen(4, 50 * MS, 400, megabytes=8.0), "processes", "computes"),
    "waiting": (seen(2, 50 * MS, 400, waiting=0.99), "processes", "waits"),
    "waiting, in threads": (seen(2, 50 * MS, 400, waiting=0.99, threads=True), "threads", "waits"),
    "letting go of the interpreter": (seen(5, 10 * MS, 400, threads=True, gap=0.6 * MS), "threads", "computes"),
    "keeping the interpreter": (seen(5, 10 * MS, 400, threads=True, gap=6 * MS), "processes", "computes"),
    "seconds are left, after a first task that took as long": (seen(10, 1 * MS, 2000, first=1.5), "serial", "short"),
    "after a longer one, a minute": (seen(10, 1 * MS, 60_000, first=1.5), "processes", "computes"),
    "the same in threads": (seen(5, 10 * MS, 200, threads=True, gap=1 * MS, first=1.5), "threads", "computes"),
    "not known yet whether": (seen(1, 10 * MS, 400, threads=True), "serial", "short"),
}


@pytest.mark.parametrize("case", CASES)
def test_decisions(case):
    measured, backend, why = CASES[case]
    assert decide(measured)[::2] == (backend, why)


@pytest.mark.parametrize(
    ("measured", "workers"),
    [
        (seen(1, 1 * SECOND, 9, cores=8), 8),
        (seen(1, 1 * SECOND, 3, cores=8), 8),  # no more than three are started
        (seen(1, 1 * SECOND, 9, cores=8, workers=2), 2),
        (seen(2, 50 * MS, 400, waiting=0.99), 32),
        (seen(2, 50 * MS, 400, waiting=0.75), 8),
        (seen(2, 50 * MS, 400, waiting=0.99, workers=4), 4),
        (seen(2, 50 * MS, 400, waiting=0.99, cores=64), 64),
    ],
)
def test_numbers_of_workers(measured, workers):
    assert decide(measured).workers == workers


def test_a_task_that_uses_all_cores_by_itself_stays():
    busy = Measured(tasks=5, wall=0.5, cpu=1.0, spent=0.5, left=100, cores=2)
    assert decide(busy) == Choice("serial", 1, "short")


SHARED = {  # workers are ready: whether they get all that is left, by what is known of first tasks
    "the first task runs": (seen(1, 1 * SECOND, 20, busy=True), [], False),
    "and each that is left has a worker": (seen(1, 1 * SECOND, 2, busy=True), [], True),
    "and it seems to wait, for a moment": (seen(1, 50 * MS, 20, busy=True, waiting=1.0), [], False),
    "and it waits, as was not known when it was decided": (seen(1, 1 * SECOND, 20, busy=True, waiting=1.0), [], True),
    "the workers' first ones took as long": (seen(1, 1 * SECOND, 20, busy=True), [1.0], False),
    "and their second ones, too": (seen(1, 1 * SECOND, 20, busy=True), [1.0, 1.0], True),
    "and their second ones nothing": (seen(1, 1 * SECOND, 20, busy=True), [1.0, 0.001], False),
    "the first task was like the others": (seen(3, 1 * SECOND, 20, first=0.01), [], True),
    "it took longer than all that is left": (seen(3, 10 * MS, 100, first=1.0), [], False),
    "it took a part of what is left": (seen(3, 10 * MS, 1000, first=1.0), [], True),
    "it was the caller's alone that took so long": (seen(3, 10 * MS, 100, first=1.0), [0.011, 0.010], True),
}


@pytest.mark.parametrize("case", SHARED)
def test_when_the_caller_leaves_the_rest_to_workers(case):
    measured, there, leaves = SHARED[case]
    assert hands_over(measured, Choice("processes", 2, "computes"), there) == leaves


# --- who runs what ------------------------------------------------------------------------------------------


def where(_):
    return os.getpid()


def long_task(_):
    time.sleep(0.05)
    return os.getpid()


def test_little_work_stays_here():
    assert set(mh.map(where, range(1000))) == {HOME}
    report = mh.last_report()
    assert (report.backend, report.workers, report.tasks) == ("serial", 1, 1000)
    assert report.strategy.tasks_here == 1000
    assert "1000 tasks ran in this program" in mh.explain()


def test_long_work_leaves():
    pids = mh.map(long_task, range(100), workers=2)
    assert len(set(pids) - {HOME}) == 2
    report = mh.last_report()
    assert (report.backend, report.workers) == ("processes", 2)
    assert report.strategy.tasks_here == pids.count(HOME)
    assert report.busy.keys() - {-1}
    assert sum(report.busy.values()) >= 100 * 0.05
    assert "2 worker processes" in mh.explain()


class Computing:
    """Its first task takes long. Getting it ready to be sent lets go of the interpreter often, as an import does."""

    def __call__(self, number):
        return sum(range(3_000_000 if number == 0 else 20_000)) and os.getpid()

    def __getstate__(self):
        for _ in range(200):
            os.stat("/")
        return {}


def test_others_are_got_ready_beside_a_caller_that_computes():
    mh.map(where, range(2), workers=2, backend="processes")
    assert set(mh.map(Computing(), range(3000), workers=2)) - {HOME}


@pytest.mark.parametrize("run", [mh.map, mh.imap, mh.imap_unordered])
@pytest.mark.parametrize("make", [list, iter], ids=["list", "iterator"])
def test_a_model_that_the_first_task_makes_is_not_made_by_workers_for_what_is_next_to_nothing(
    run, make, tmp_path, monkeypatch
):
    """A worker takes as long for its first task, and ends it only when all others have ended: in the caller."""
    monkeypatch.setattr(head_start, "AWAY_SECONDS", 60.0)  # on a busy machine the reader may seem to be away

    def task(number):
        mine, lead = tmp_path / str(os.getpid()), tmp_path / "lead"
        if not mine.exists():
            mine.touch()
            wanted = (lambda: len(list(tmp_path.iterdir())) > 1) if os.getpid() == HOME else lead.exists
            while not wanted():  # it computes
                pass
        if number == 39:
            lead.touch()
        return number, os.getpid()

    results = sorted(run(task, make(range(40)), workers=2))
    assert [number for number, _ in results] == list(range(40))
    assert [pid for _, pid in results].count(HOME) == 39


def test_a_lazy_call_does_not_run_ahead_without_end_while_a_worker_makes_its_model(tmp_path):
    here = []

    def task(number):
        if not (mine := tmp_path / str(os.getpid())).exists():
            mine.touch()
            until = tmp_path / ("worker" if os.getpid() == HOME else "enough")
            (tmp_path / "worker").touch() if os.getpid() != HOME else None
            while not until.exists():  # it computes
                pass
        here.append(number)
        return number

    with mh.imap(task, itertools.count(), workers=2) as results:
        assert next(results) == 0
        threading.Timer(1.0, (tmp_path / "enough").touch).start()
        assert next(results) == 1  # the worker's
    assert len(here) < 2000  # without a bound, twice as many in this second
    assert "All 2 tasks ran in this program" not in mh.explain()


def test_a_child_that_comes_back_from_a_fork_while_workers_have_tasks_ends(tmp_path):
    """Row 46: the first call computes for long, here and in each worker, so that both go on."""
    script = """
        import os, sys, time
        import manyhands as mh

        home, children = os.getpid(), []

        def task(number):
            if not os.path.exists(mine := str(os.getpid())):
                open(mine, "x").close()
                sum(range(10_000_000))
            if number > 1 and os.getpid() == home and not children:
                if pid := os.fork():
                    children.append(pid)
                else:
                    open(str(os.getpid()), "x").close()
            return number

        try:
            assert mh.map(task, range(20), workers=2) == list(range(20))
        except mh.ExecutorClosed as error:
            assert os.getpid() != home and "forked" in str(error)
        if os.getpid() == home:
            assert not children or os.waitpid(children[0], 0)[1] == 0
            print("both")
        """
    assert programs.run_source(script, cwd=tmp_path).stdout == "both\n"


def test_an_input_that_could_go_on_after_its_error_is_read_no_further():
    results = mh.imap(str, map(int, ["1", "x", "3"]))
    assert next(results) == "1"
    with pytest.raises(ValueError, match="'x'"):
        next(results)


def test_a_longer_call_is_shared_out_though_its_first_task_makes_a_model(tmp_path):
    def task(number):
        if not (mine := tmp_path / str(os.getpid())).exists():
            mine.touch()
            sum(range(3_000_000))
        sum(range(300_000))
        return number, os.getpid()

    results = mh.map(task, range(400), workers=2)
    assert [number for number, _ in results] == list(range(400))
    assert len({pid for _, pid in results}) == 3


@pytest.mark.parametrize("make", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("others", [1, 2])
def test_a_long_first_task_holds_up_no_other(make, others, tmp_path):
    """It waits for what the others do: in a loop, or if they waited for it, it would wait for ever."""

    def task(number):
        if number == 0:
            assert eventually(lambda: len(list(tmp_path.iterdir())) == others)
        else:
            (tmp_path / str(number)).touch()
        return number, os.getpid()

    results = mh.map(task, make(range(1 + others)), workers=2)
    assert [number for number, _ in results] == list(range(1 + others))
    assert results[0][1] == HOME
    assert HOME not in {pid for _, pid in results[1:]}


@pytest.mark.parametrize(
    "options", [{"timeout": 60}, {"retry": 2}, {"on_error": "collect"}, {"on_error": "skip"}, {"backend": "processes"}]
)
def test_who_asks_for_isolation_gets_it(options):
    assert HOME not in mh.map(where, range(10), **options)
    assert f"{next(iter(options))}=" in mh.explain()


def test_what_is_made_once_per_worker_is_not_made_here():
    @mh.per_worker
    def made():
        return os.getpid()

    assert HOME not in mh.map(lambda _: made(), range(10))
    assert HOME not in mh.map(functools.partial(lambda get, _: get(), made), range(10))


def test_a_function_declared_thread_safe_waits_in_threads():
    running, most, lock = [], [], threading.Lock()

    @mh.thread_safe
    def wait(number):
        with lock:
            running.append(number)
            most.append(len(running))
        time.sleep(0.02)
        with lock:
            running.remove(number)
        return os.getpid()

    assert set(mh.map(wait, range(200))) == {HOME}
    assert mh.last_report().backend == "threads"
    assert max(most) > mh.cpu_count()


def test_a_table_that_takes_longer_to_pack_than_the_work_lasts_stays():
    table = {number: str(number) for number in range(2_000_000)}

    def look_up(number):
        return sum(len(table[index]) for index in range(100_000)) + number

    expected = look_up(0)
    assert mh.map(look_up, range(60)) == [expected + number for number in range(60)]
    assert mh.last_report().backend == "serial"
    assert "to pack what the function captures for worker processes was tried, and took too long" in mh.explain()
    table.clear()


def test_what_takes_long_to_pack_is_weighed_for_no_longer_than_that_is_worth():
    table = {number: str(number) for number in range(100_000)}
    assert payload.weigh(table, within=1e-6).bytes == math.inf
    assert payload.weigh(table).bytes == pytest.approx(len(pickle.dumps(table, 5)), rel=0.01)


def test_what_cannot_be_sent_may_stay():
    lock = threading.Lock()

    def guarded(x):
        with lock:
            return x

    assert mh.map(guarded, range(100)) == list(range(100))
    with pytest.raises(mh.NotSendable, match="lock"):
        mh.map(lambda x: (time.sleep(0.1), guarded(x)), range(50))


# --- it makes no difference ---------------------------------------------------------------------------------


def uneven(number):
    """Nothing at first, then more and more: the change of place comes in the middle."""
    if number > 3000:
        time.sleep(0.004)
    return number


@pytest.mark.parametrize("run", [mh.map, mh.imap, mh.imap_unordered, mh.starmap])
@pytest.mark.parametrize("make", [list, iter], ids=["list", "iterator"])
def test_results_are_those_of_the_loop_wherever_they_come_from(run, make):
    inputs = make(list(zip(range(3300))) if run is mh.starmap else range(3300))
    results = list(run(uneven, inputs, workers=2))
    assert (sorted(results) if run is mh.imap_unordered else results) == list(range(3300))
    assert mh.last_report().tasks == 3300
    assert mh.last_report().backend == "processes"


def test_seeds_mean_the_same_everywhere():
    def draw(_):
        return mh.task_rng().integers(1 << 40), mh.task_rng().integers(1 << 40)

    here = mh.map(draw, range(600), seed=7)
    assert mh.last_report().strategy.tasks_here > 0
    assert here == mh.map(draw, range(600), seed=7, backend="processes")
    slow = mh.map(lambda x: (time.sleep(0.002), draw(x))[1], range(600), seed=7, workers=2)
    assert mh.last_report().backend == "processes"
    assert slow == here


@pytest.mark.parametrize("bad", [0, 1, 77, 999])
def test_a_failure_here_is_told_as_one_elsewhere(bad):
    def fail(number):
        return 1 // (number - bad)

    with pytest.raises(ZeroDivisionError) as caught:
        mh.map(fail, range(1000))
    assert caught.value.__notes__ == [f"manyhands: this was task {bad}, argument {bad}"]
    with pytest.raises(ZeroDivisionError), mh.imap(fail, iter(range(1000))) as results:
        taken = [next(results) for _ in range(bad)]
        next(results)
    assert taken == [1 // (number - bad) for number in range(bad)]


def test_an_input_that_raises_does_so_after_the_results():
    def inputs():
        yield from range(10)
        raise LookupError("no more")

    results = mh.imap(abs, inputs())
    assert [next(results) for _ in range(10)] == list(range(10))
    with pytest.raises(LookupError, match="no more"):
        next(results)


def test_a_call_in_a_task_in_a_call():
    assert mh.map(lambda n: sum(mh.map(abs, range(-n, 0))), range(20)) == [n * (n + 1) // 2 for n in range(20)]


@pytest.mark.parametrize("backend", ["auto", "threads"])
def test_a_range_that_no_list_could_hold(backend):
    huge = range(10**20)
    with mh.imap(lambda x: x + 1, huge, backend=backend) as results:
        assert [next(results) for _ in range(3)] == [1, 2, 3]
    assert mh.map(pow, [2, 3], huge, backend=backend) == [1, 3]


def test_endless_inputs_and_an_early_end():
    with mh.imap(lambda x: x * x, itertools.count()) as results:
        assert list(itertools.islice(results, 5000)) == [x * x for x in range(5000)]
    with pytest.raises(StopIteration):
        next(results)
    for _ in range(20):  # dropped in every state
        unread = mh.imap(long_task, itertools.count(), workers=2)
        next(unread)
        del unread


@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_child_that_comes_back_from_a_fork_in_a_task_ends(seconds, tmp_path):
    """Row 46: as the child of a loop would; or it is told that the results are its parent's."""
    script = f"""
        import os, sys, time
        import manyhands as mh

        home, children = os.getpid(), []

        def task(number):
            if number == 0:
                time.sleep({seconds})
                if pid := os.fork():
                    children.append(pid)
            time.sleep(0.01)
            return number

        try:
            assert mh.map(task, range(20)) == list(range(20))
        except mh.ExecutorClosed as error:
            assert os.getpid() != home and "forked" in str(error)
        if os.getpid() == home:
            assert os.waitpid(children[0], 0)[1] == 0
            print("both")
        """
    assert programs.run_source(script, cwd=tmp_path).stdout == "both\n"


def test_a_watcher_that_is_slow_after_it_has_handed_over_ends_nothing(tmp_path):
    """Row 2: the caller has gone on to wait for the workers' results by then; that is not the end of its call."""
    script = """
        import threading
        import manyhands as mh
        from manyhands._engine.head_start import HeadStart
        from manyhands._engine.stream import Stream

        waits = threading.Event()
        hand_over, pieces = HeadStart._hand_over, Stream.pieces

        def hand_over_slowly(head, *args):
            hand_over(head, *args)
            if head._over.is_set():
                threading.handed_over.set()
                print(threading.current_thread().name, waits.wait(10))

        def pieces_awaited(stream, *args):
            waits.set()
            return pieces(stream, *args)

        HeadStart._hand_over, Stream.pieces = hand_over_slowly, pieces_awaited
        threading.handed_over = threading.Event()

        def task(number):
            return number if number else threading.handed_over.wait(30)

        assert mh.map(task, range(30)) == [True, *range(1, 30)]
        """
    assert programs.run_source(script, cwd=tmp_path).stdout == "manyhands-watcher True\n"


def watchers():
    return [thread for thread in threading.enumerate() if thread.name == "manyhands-watcher"]


@pytest.mark.parametrize("end", ["closed", "dropped", "read"])
def test_no_watcher_outlives_its_call(end):
    results = mh.imap(abs, range(100))
    assert next(results) == 0
    if end == "closed":
        results.close()
    elif end == "read":
        assert list(results) == list(range(1, 100))
    del results
    assert eventually(lambda: not watchers())


def test_a_watcher_does_nothing_while_nobody_asks_for_results_and_is_there_again_when_somebody_does(tmp_path):
    """A long task in the middle, when the watcher has gone to sleep: it waits for the one after it."""

    def task(number):
        if number == 2:
            assert eventually((tmp_path / "3").exists)
        elif number == 3:
            (tmp_path / "3").touch()
        return number

    with mh.imap(task, range(4), workers=2) as results:
        assert next(results) == 0
        assert eventually(lambda: heads() and all(head._unwatched for head in heads()))
        assert list(results) == [1, 2, 3]


def heads():
    return [thing for thing in gc.get_objects() if type(thing) is HeadStart]


@pytest.mark.parametrize("seconds", ["60", "0.05"])
def test_ctrl_c_ends_a_call_that_runs_here(seconds):
    """Row 38: in its first task, and while others run the rest."""
    script = f"""
        import os, signal, sys, threading, time
        import manyhands as mh

        def task(x):
            print("begun", flush=True)
            time.sleep({seconds})

        mh.map(task, range(1000), workers=2)
        """
    program = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    for _ in range(3):
        assert program.stdout.readline() == "begun\n"
    os.killpg(program.pid, signal.SIGINT)
    _, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1
    assert "KeyboardInterrupt" in errors


# --- what is said -------------------------------------------------------------------------------------------


def test_who_waits_with_few_workers_is_told_what_more_would_bring():
    mh.map(long_task, range(40), backend="processes", workers=2)
    assert "of the time in the function was waiting: backend='threads', workers=32 would" in mh.explain()
    assert mh.last_report().strategy.processor < 0.3
    assert mh.explain() in str(mh.last_report())


def test_who_asks_for_safety_is_not_advised_to_give_it_up():
    mh.map(long_task, range(40), on_error="collect", workers=2)
    assert "was waiting: workers=32 would" in mh.explain()


def test_a_task_that_computes_until_its_time_is_over_does_not_count_as_waiting():
    def hangs_once(n):
        while n == 3:
            pass

    mh.map(hangs_once, range(6), timeout=0.3, on_error="collect", workers=2)
    assert "waiting" not in mh.explain()


def test_the_last_call_is_explained_and_before_there_is_none():
    script = "import manyhands as mh; print(mh.explain()); mh.map(abs, []); print(mh.explain())"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told == "There was no call of map, starmap, imap or imap_unordered yet.\nThere was nothing to do.\n"


# --- found by people who tried to break it ------------------------------------------------------------------


def test_results_that_only_the_collector_can_free_hold_up_nobody():
    """Row 33: it may run on a watcher's own thread, while that starts workers."""

    def task(x):
        time.sleep(0.006)
        return x

    for _ in range(60):
        results = mh.imap(task, range(10**6), workers=2)
        next(results)
        circle = [results]
        circle.append(circle)
        del results, circle
        gc.collect(0)
    assert mh.map(task, range(5), workers=2) == list(range(5))
    gc.collect()
    assert eventually(lambda: not watchers())


class ClosesWhenPacked:
    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        RESULTS[0].close()
        return ClosesWhenPacked, (self.number,)


RESULTS = []


def test_results_may_be_closed_by_what_is_weighed():
    RESULTS[:] = [mh.imap(long_task, [ClosesWhenPacked(number) for number in range(100)], workers=2)]
    assert len(list(RESULTS[0])) < 100


def test_results_may_be_closed_by_a_signal_handler_while_the_function_is_packed():
    """Row 39."""

    class Big:
        def __reduce__(self):
            os.kill(HOME, signal.SIGUSR1)
            time.sleep(0.01)
            return int, ()

    big = Big()

    def task(x):
        time.sleep(0.003)
        return x, big

    before = signal.signal(signal.SIGUSR1, lambda *_: results.close())
    try:
        results = mh.imap(task, range(100_000), workers=2)
        assert sum(1 for _ in results) < 100_000
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("moment", ["__del__", "atexit"])
def test_a_call_at_the_end_of_the_program(moment, tmp_path):
    script = {
        "__del__": """
            import manyhands as mh
            mh.map(abs, [1])
            class D:
                def __del__(self): print(mh.map(abs, range(-3, 0)), flush=True)
            d = D()
            """,
        "atexit": """
            import atexit
            import manyhands as mh
            atexit.register(lambda: print(mh.map(abs, range(-3, 0)), flush=True))
            """,
    }[moment]
    assert programs.run_source(script, cwd=tmp_path).stdout == "[3, 2, 1]\n"


def suddenly_slow(number):
    if number > 20_000:
        time.sleep(0.01)
    if number == 20_100:
        raise LookupError(number)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_a_slice_that_turns_slow_is_cut(workers):
    """Thousands of tasks were thought to be a matter of a moment; each now takes long, and one of them fails."""
    began = time.monotonic()
    with pytest.raises(LookupError):
        mh.map(suddenly_slow, range(30_000), workers=workers)
    assert mh.last_report().wall < 20
    with mh.imap(suddenly_slow, iter(range(30_000)), workers=workers) as results:
        assert list(itertools.islice(results, 20_050)) == list(range(20_050))
    assert time.monotonic() - began < 60  # the slices, run to their ends, would take minutes


def test_what_cannot_be_sent_is_told_soon():
    lock = threading.Lock()

    def task(number):
        if number > 20_000:
            with lock:
                time.sleep(0.1)
        return number

    with pytest.raises(mh.NotSendable, match="lock"):
        mh.map(task, range(30_000), workers=2)
    for entry in shared._warm.values():
        assert entry.users == 0  # nothing is kept by a call that failed to begin


class Store:
    """Safe for threads, also when it is packed."""

    def __init__(self):
        self.lock = threading.RLock()

    def __getstate__(self):
        with self.lock:
            return {}

    def __setstate__(self, state):
        self.__init__()

    def load(self, key):
        time.sleep(0.02)
        return key

    def load_all(self):
        with self.lock:
            return mh.map(self.load, range(30), workers=2)


def test_a_function_that_can_be_packed_by_the_caller_alone_runs():
    assert Store().load_all() == list(range(30))


class Alarm(Exception):
    """What a handler raises."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Thread.start() can be torn by one
def test_an_exception_of_a_signal_handler_is_not_the_task_s():
    def ring(*_):
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        for _ in range(50):
            with pytest.raises(Alarm) as caught:
                signal.setitimer(signal.ITIMER_REAL, 0.003, 0.5)  # again, should Python ignore one, as in a __del__
                mh.map(lambda x: sum(range(x)), itertools.repeat(100), workers=1)
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert not getattr(caught.value, "__notes__", ())
            assert mh.map(where, range(3)) == [HOME] * 3  # this thread is the caller's again
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_an_input_that_ends_the_program_when_packed_is_its_task_s_trouble():
    class Exits:
        def __reduce__(self):
            sys.exit(5)

    with pytest.raises(mh.NotSendable):
        mh.map(long_task, [Exits() for _ in range(100)], workers=2)


def test_a_slow_first_input_or_a_break_of_the_reader_does_not_cost_the_others(tmp_path):
    def task(number):
        if number == 0:
            assert eventually((tmp_path / str(number + 1)).exists)
        (tmp_path / str(number)).touch()
        return number

    def inputs():
        time.sleep(0.01)
        yield from range(4)

    assert mh.map(task, inputs(), workers=2) == list(range(4))


@pytest.mark.parametrize("options", [{"on_error": "collect"}, {"retry": 2}, {"timeout": 10}], ids=str)
def test_tasks_that_wait_get_more_workers_also_if_none_may_run_in_the_program(options):
    found = mh.map(long_task, range(400), **options)  # enough for a machine that has much else to do
    assert os.getpid() not in found
    assert mh.last_report().strategy.workers > 2 * mh.cpu_count()


def meet(place, number, most):
    """How many tasks had begun when this one ended: it waits for others, but not for ever."""
    (place / str(number)).touch()
    eventually(lambda: len(list(place.iterdir())) >= most, seconds=5)
    return len(list(place.iterdir()))


@pytest.mark.parametrize("call", [mh.map, lambda *a, **k: list(mh.imap(*a, **k))], ids=["map", "imap"])
@pytest.mark.parametrize("options", [{}, {"chunksize": 1}, {"workers": 8}], ids=str)
def test_long_tasks_are_not_sent_by_the_dozen_before_any_has_ended(call, options, tmp_path):
    """The first one still runs in the program when the workers come: it is long, not short."""
    begun = call(functools.partial(meet, tmp_path, most=8), range(200), **options)
    assert begun[0] >= 8


def test_the_workers_that_only_waiting_needed_leave_when_it_is_over():
    mh.map(long_task, range(60), on_error="collect")
    zygote = 1
    assert eventually(lambda: len(psutil.Process().children(recursive=True)) <= mh.cpu_count() + zygote)


# --- functions that import much ------------------------------------------------------------------------------


def importing(tmp_path, monkeypatch, body):
    """A module that was imported here, and does this whenever it is imported elsewhere."""
    text = f"import os, pathlib, time\nHERE = pathlib.Path({str(tmp_path)!r})\nif os.getpid() != {HOME}:\n"
    text += textwrap.indent(textwrap.dedent(body), "    ")
    text += "\ndef wait(x):\n    time.sleep(0.02)\n    return x\n"
    name = f"imports_much_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module(name)


@pytest.mark.parametrize("options", [{}, {"on_error": "collect"}], ids=["begun here", "all in workers"])
def test_no_more_workers_import_at_a_time_than_there_are_cores(options, tmp_path, monkeypatch):
    """All of them at once would be in one another's way, and make the call slower than a loop."""
    module = importing(
        tmp_path,
        monkeypatch,
        """
        mine = HERE / f"importing-{os.getpid()}"
        mine.touch()
        time.sleep(0.1)
        (HERE / f"seen-{os.getpid()}").write_text(str(len(list(HERE.glob("importing-*")))))
        mine.unlink()
        """,
    )
    shared.renew()
    assert mh.map(module.wait, range(300), **options) == list(range(300))
    seen = [int(file.read_text()) for file in tmp_path.glob("seen-*")]
    assert seen
    assert max(seen) <= mh.cpu_count()


@pytest.mark.parametrize("warm", [False, True], ids=["new workers", "workers of another call"])
def test_the_program_goes_on_while_workers_import(warm, tmp_path, monkeypatch):
    """They get what the function needs before there is a task for them."""
    wait = f"while not (HERE / 'mark-30').exists() and time.monotonic() < {time.monotonic() + PATIENCE}:"
    module = importing(tmp_path, monkeypatch, f"{wait}\n    time.sleep(0.01)")
    shared.renew()
    if warm:
        mh.map(long_task, range(20), workers=2)

    def task(number):
        (tmp_path / f"mark-{number}").touch()
        module.wait(number)
        return os.getpid()

    pids = mh.map(task, range(200), workers=2)
    assert pids[:31] == [HOME] * 31
    assert set(pids) - {HOME}


@pytest.mark.stress
def test_workers_that_an_earlier_call_had_started_and_did_not_need_are_made_use_of(tmp_path):
    """They have imported nothing yet."""
    shared.renew()
    for _ in range(5):
        mh.map(time.sleep, [0.03, 0.03, 0.0, 0.0], workers=2)  # done before the workers are there
    pids = mh.map(long_task, range(200), workers=2)
    assert len(pids) - pids.count(HOME) > 100


def test_an_import_that_ends_in_one_worker_only_holds_nobody_up(tmp_path, monkeypatch):
    """One that waits for what another process has, as a lock or a device."""
    module = importing(
        tmp_path,
        monkeypatch,
        """
        import fcntl
        LOCK = open(HERE / "lock", "w")
        fcntl.flock(LOCK, fcntl.LOCK_EX)
        """,
    )
    shared.renew()
    assert mh.map(module.wait, range(60), workers=2) == list(range(60))
    shared.renew()


@pytest.mark.stress
def test_an_import_that_never_ends_in_workers_holds_nobody_up(tmp_path, monkeypatch):
    """Neither its own call, which ends in the program, nor those after it."""
    module = importing(tmp_path, monkeypatch, "(HERE / f'in-{os.getpid()}').touch(); time.sleep(1000)")
    shared.renew()
    assert mh.map(module.wait, range(60), workers=2) == list(range(60))
    assert eventually(lambda: len(list(tmp_path.glob("in-*"))) == 2)
    pids = mh.map(long_task, range(100), workers=2)
    assert len(pids) == 100
    assert not {str(pid) for pid in pids} & {file.name[3:] for file in tmp_path.glob("in-*")}
    shared.renew()


def test_a_call_goes_on_in_the_program_when_workers_are_lost_at_their_imports(tmp_path, monkeypatch):
    """It would be lost with workers that import the same behind a task."""
    monkeypatch.setattr("manyhands._engine.head_start.START_PATIENCE", 0.5)
    module = importing(tmp_path, monkeypatch, "os._exit(3)")
    shared.renew()
    pids = mh.map(lambda number: (module.wait(number), os.getpid())[1], range(100), workers=2)
    assert set(pids) == {HOME}
    shared.renew()


def at_the_gate(place, gate):
    if gate is None:
        time.sleep(0.02)
    else:
        say_and_wait(place, gate, os.getpid())
    return os.getpid()


def test_a_call_does_not_queue_behind_the_tasks_of_another(tmp_path):
    shared.renew()
    task = functools.partial(at_the_gate, tmp_path / "there")
    mh.map(task, [None] * 100, workers=2)  # workers are there, and have what the function needs
    with Gate(tmp_path / "gate") as gate:
        other = threading.Thread(target=mh.map, args=(task, [gate.path] * 8), kwargs={"workers": 2})
        other.start()
        there = tmp_path / "there"
        assert eventually(lambda: there.exists() and len(there.read_text().split()) >= 3)  # two workers, the thread
        assert mh.map(task, [None] * 40, workers=2) == [HOME] * 40
        gate.open()
        other.join()


def test_what_is_known_of_functions_that_come_and_go_does_not_grow():
    with mh.Executor(2, backend="threads") as executor:
        for _ in range(500):
            assert list(executor.map(lambda x: x, [1, 2])) == [1, 2]
        workers = executor._dispatcher._scheduler._workers.values()
        assert all(len(worker.loaded) < 200 for worker in workers)


def test_what_cannot_be_imported_in_workers_is_told(tmp_path, monkeypatch):
    module = importing(tmp_path, monkeypatch, "raise RuntimeError('not here')")
    shared.renew()
    with pytest.raises(mh.NotSendable, match="not here"):
        mh.map(module.wait, range(200), workers=2)


def test_what_a_module_prints_when_it_is_imported_comes_out(tmp_path):
    (tmp_path / "talks.py").write_text("import time\nprint('hello')\ndef wait(x):\n    time.sleep(0.05)\n")
    (tmp_path / "main.py").write_text(
        "import talks, manyhands as mh\nif __name__ == '__main__':\n    mh.map(talks.wait, range(20), workers=2)\n"
    )
    ran = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["hello"] * 3


# --- a busy machine -----------------------------------------------------------------------------------------


def compute(steps):
    return sum(step * step for step in range(steps))


@pytest.mark.skipif(not os.path.exists("/proc/thread-self/schedstat"), reason="the system does not tell")
def test_tasks_that_queue_for_a_processor_are_not_said_to_wait():
    mh.map(compute, [50_000] * 200, backend="processes", workers=8 * mh.cpu_count())
    told = mh.last_report().strategy
    assert told.processor > 0.6
    assert "waiting" not in told.advice


def test_threads_that_wait_are_told_that_more_would_help():
    mh.map(time.sleep, [0.01] * 60, backend="threads", workers=2)
    assert "backend='threads', workers=32 would take about 1/16 of the call's time" in mh.explain()


def test_what_the_function_captures_is_weighed_before_it_is_sent():
    np = pytest.importorskip("numpy")
    large = np.zeros(12_500_000)
    mh.map(compute, range(100), backend="processes")  # the workers are there
    assert set(mh.map(lambda n: (large[n], compute(500), os.getpid())[2], range(300))) == {HOME}


def test_workers_are_started_beside_a_program_that_computes_all_the_time():
    """The thread that starts them needs the interpreter, which a task in pure Python hardly lets go of."""
    before = sys.getswitchinterval()
    pids = mh.map(lambda n: (compute(8_000), os.getpid())[1], range(4000))
    assert pids.count(HOME) < 2000
    assert sys.getswitchinterval() == before


def test_the_switch_interval_is_as_before_also_after_a_failure(monkeypatch):
    """It comes while others are about to get ready."""
    before, weigh = sys.getswitchinterval(), payload.weigh
    begun, ended = threading.Event(), threading.Event()

    def held_up(*args):
        begun.set()
        ended.wait(programs.PATIENCE)
        return weigh(*args)

    def task(number):
        until = time.perf_counter() + programs.PATIENCE
        while not begun.is_set() and time.perf_counter() < until:
            compute(1000)
        raise LookupError(number)

    monkeypatch.setattr(payload, "weigh", held_up)
    with pytest.raises(LookupError):
        mh.map(task, range(3000), workers=2)
    ended.set()
    assert eventually(lambda: sys.getswitchinterval() == before)


def test_the_switch_interval_that_a_program_has_chosen_is_kept():
    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.0001)
        mh.map(lambda _: compute(5_000), range(1000))
        assert sys.getswitchinterval() == pytest.approx(0.0001)
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize(
    ("place", "ran", "told"),
    [
        (("threads", 2), strategy.Ran(200, 2.0, 1.0, 1.0), "took turns"),
        (("threads", 2), strategy.Ran(200, 2.0, 2.0, 1.0), ""),  # they were at work together
        (("threads", 2), strategy.Ran(200, 2.0, 0.01, 1.0), "waiting"),
        (("processes", 2), strategy.Ran(200, 2.0, 2.0, 1.0), ""),
    ],
)
def test_advice(place, ran, told):
    assert told in strategy.of_workers(place, "it was asked for", ran).advice
    assert bool(told) == bool(strategy.of_workers(place, "it was asked for", ran).advice)


class SlowAtFirst:
    """Its first pickle takes long, as where memory has to be had for it."""

    packed = 0

    def __reduce__(self):
        SlowAtFirst.packed += 1
        until = time.thread_time() + (0.004 if SlowAtFirst.packed == 1 else 0.0)
        while time.thread_time() < until:
            pass
        return SlowAtFirst, ()


def test_what_was_slow_to_pack_once_does_not_keep_the_work_here():
    SlowAtFirst.packed = 0
    mh.map(lambda _: sum(range(200_000)), [SlowAtFirst() for _ in range(500)], workers=2)
    assert SlowAtFirst.packed > 1
    assert mh.last_report().strategy.backend == "processes"


def test_advice_that_gains_next_to_nothing_is_not_given():
    ran = strategy.Ran(20, 10.0, 0.01, 0.65)
    assert not strategy.of_workers(("processes", 19), "it was asked for", ran).advice
    assert "workers=20" in strategy.of_workers(("processes", 2), "it was asked for", ran).advice


def test_a_task_that_cannot_be_shared_out_takes_its_time_elsewhere_too():
    ran = strategy.Ran(51, 0.75, 0.75, 0.76, slowest=0.7)
    said = strategy.of_caller(seen(51, 0.015, 0), ran).reason
    assert "would have needed about 700 ms" in said


@pytest.mark.parametrize("backend", ["auto", "processes"])
def test_where_no_worker_can_be_had_the_caller_does_it_or_it_is_told(backend, tmp_path):
    """Row 48: there is no descriptor left."""
    source = f"""
        import ctypes, os, resource, threading
        import manyhands as mh
        import manyhands.mapping, manyhands._engine.supervisor, cloudpickle

        def task(number):
            return sum(range(100_000 + number))

        # A thread's end loads a library, which would take a descriptor: glibc ends the program if there is none.
        ended = threading.Thread(target=lambda: ctypes.CDLL("libgcc_s.so.1"))
        ended.start()
        ended.join()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            os.close(held.pop())
        try:
            print(len(mh.map(task, range(300), backend={backend!r})), mh.explain())
        except mh.WorkerStartError as error:
            print(error)
        for descriptor in held:  # Python's own end may need to load a library
            os.close(descriptor)
    """
    told = programs.run_source(source, cwd=tmp_path).stdout
    assert re.search(r"no workers could be started: OSError: \[Errno 24\] Too many open files.*\. Close files", told)
    assert told.startswith("300 All 300 tasks ran in this program") is (backend == "auto")
