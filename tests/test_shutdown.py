"""The end, however it comes: by shutdown, by the end of the program, by Ctrl-C, by a signal that nobody can catch."""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import CancelledError, wait

import pytest
from gates import Gate
from programs import environment, run, run_source, write
from watching import Meeting, Program, alive, eventually

import manyhands as mh
from manyhands.errors import ExecutorClosed, ManyhandsError, WorkerDied

pytestmark = [pytest.mark.timeout(30), pytest.mark.others_are_stress]

PROMPT = 10.0  # seconds; on a busy machine, too, far more than anything here needs and far less than for ever
SOON = 4.0  # seconds for what takes well under one on an idle machine

# What every program below begins with. Its arguments are the options of its calls and the pipe to report on.
BEGINNING = """\
import atexit, itertools, json, os, signal, subprocess, sys, threading, time
import manyhands as mh

options, pipe = json.loads(sys.argv[1]), sys.argv[2]


def say(text):
    with open(pipe, "w") as file:
        file.write(f"{text}\\n")


def never_end(x):
    say("begun")
    threading.Event().wait()


"""


@pytest.fixture
def meeting(tmp_path):
    with Meeting(tmp_path / "meeting") as meeting:
        yield meeting


@pytest.fixture
def start(tmp_path, meeting):
    """Start a program, which is the beginning above and this source; it and all that came of it is ended at last."""
    with contextlib.ExitStack() as stack:

        def start(source, options=None, **environ):
            script = write(tmp_path / "program.py", BEGINNING + textwrap.dedent(source))
            program = Program(script, json.dumps(options or {}), meeting.path, **environ)
            stack.callback(program.clean_up)
            return program

        yield start


@pytest.fixture
def gate(tmp_path):
    """A pipe at which tasks wait, and a function that lets so many of them through; at last it lets everybody."""
    with Gate(tmp_path / "gate") as gate:
        yield gate.path, lambda count=1: gate.let(count)


def passing(gate):
    """A task that waits at the gate. It travels by value."""
    path = str(gate[0])

    def task(x):
        descriptor = os.open(path, os.O_RDONLY)
        os.read(descriptor, 1)
        os.close(descriptor)
        return x

    return task


def slow_interpreters(folder, meeting, gate):
    """An import path with which the interpreters of workers wait at the gate before they do anything else."""
    write(folder / "sitecustomize.py", f"""
        import os, sys
        if "-c" in sys.orig_argv:
            with open({str(meeting.path)!r}, "w") as file:
                file.write("starting\\n")
            os.read(os.open({str(gate[0])!r}, os.O_RDONLY), 1)
        """)  # fmt: skip
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


# --- the program ends before its work does ------------------------------------------------------------------


@pytest.mark.parametrize("last", ["executor.shutdown(wait=False)", "del executor"])
def test_submitted_work_is_done_before_the_program_ends(parallel_backend, start, tmp_path, last):
    """Row 35: with a word of goodbye or without."""
    source = """
        def work(x):
            with open("done", "a") as file:
                file.write(f"{x}\\n")

        executor = mh.Executor(2, **options)
        for x in range(20):
            executor.submit(work, x)
        """
    program = start(textwrap.dedent(source) + last, parallel_backend)
    assert program.ended() == 0
    assert program.err == ""
    assert sorted(map(int, (tmp_path / "done").read_text().split())) == list(range(20))
    assert eventually(lambda: not program.processes(), seconds=SOON)


def test_work_given_to_the_shared_executor_is_done_before_the_program_ends(start, tmp_path):
    """Row 35: though nobody asked for the result."""
    program = start("""
        def work():
            time.sleep(0.2)
            open("done", "w").close()

        mh.submit(work)
        """)
    assert program.ended() == 0
    assert program.err == ""
    assert (tmp_path / "done").exists()


def test_a_program_that_leaves_idle_workers_and_unread_results_ends_at_once(parallel_backend, start):
    """Row 35: workers that wait, and tasks whose results nobody will read, do not keep it."""
    program = start("""
        executor = mh.Executor(2, **options)
        assert executor.submit(abs, -1).result() == 1
        assert mh.map(abs, [-1, -2, -3], workers=2, **options) == [1, 2, 3]
        results = mh.imap(abs, itertools.count(), workers=2, **options)
        assert next(results) == 0
        endless = mh.imap(lambda x: never_end(x) if x else x, range(4), workers=2, **options)
        assert next(endless) == 0
        """, parallel_backend)  # fmt: skip
    assert program.ended(seconds=SOON) == 0
    assert program.err == ""
    assert eventually(lambda: not program.processes(), seconds=SOON)


def test_cancelling_at_shutdown_leaves_what_runs_and_drops_what_waits(parallel_backend, meeting, gate):
    """Row 35: every future reaches its end."""
    path, task = meeting.path, passing(gate)

    def report_and_pass(x):
        path.write_text("begun\n")
        return task(x)

    executor = mh.Executor(2, **parallel_backend)
    running = [executor.submit(report_and_pass, x) for x in range(2)]
    meeting.lines(2)
    queued = [executor.submit(task, x) for x in range(2, 20)]
    executor.shutdown(wait=False, cancel_futures=True)
    gate[1](20)
    assert [future.result(PROMPT) for future in running] == [0, 1]
    _, unfinished = wait(queued, PROMPT)
    assert not unfinished
    assert [future.cancelled() or future.result() for future in queued[:4]] != [2, 3, 4, 5]
    assert all(future.cancelled() for future in queued[4:])


def test_futures_cancelled_before_shutdown_do_not_hold_it_up(parallel_backend, gate):
    """Row 36: the one that runs is waited for, the others are gone."""
    with mh.Executor(1, **parallel_backend) as executor:
        first = executor.submit(passing(gate), 0)
        assert eventually(first.running)
        queued = [executor.submit(abs, -x) for x in range(10)]
        kept = queued.pop(3)
        assert eventually(lambda: not any([not future.cancel() for future in queued[1:]]))
        gate[1]()
    assert (first.result(0), kept.result(0)) == (0, 3)
    for future in queued[1:]:
        with pytest.raises(CancelledError):
            future.result(0)


def test_a_future_cancelled_before_any_worker_is_there_does_not_hold_up_shutdown(parallel_backend):
    """Row 36: the only work is withdrawn as the first worker starts."""
    for _ in range(5):
        with mh.Executor(2, **parallel_backend) as executor:
            executor.submit(abs, -1).cancel()


def test_after_shutdown_work_is_refused(any_backend):
    """Row 36: at once, with an error that is also the standard library's."""
    executor = mh.Executor(2, **any_backend)
    executor.shutdown()
    with pytest.raises(ExecutorClosed):
        executor.submit(abs, -1)
    with pytest.raises(RuntimeError):
        list(executor.map(abs, [-1]))
    pool = mh.Pool(2, **any_backend)
    pool.close()
    with pytest.raises(ValueError):
        pool.map(abs, [-1])
    pool.join()


LATE = """
    def late():
        for call in (lambda: executor.submit(abs, -1).result(), lambda: mh.map(abs, [-1], workers=2, **options)[0]):
            try:
                print(call())
            except Exception as error:
                print(type(error).__mro__)

    """


@pytest.mark.parametrize("registered", ["before", "after"])
def test_work_given_while_the_interpreter_ends_is_done_or_refused(parallel_backend, start, registered):
    """Row 36: by a function registered with atexit before or after the first use of manyhands."""
    call = "atexit.register(late)\n"
    use = "executor = mh.Executor(2, **options); executor.submit(abs, -1).result()\n"
    program = start(textwrap.dedent(LATE) + (call + use if registered == "before" else use + call), parallel_backend)
    assert program.ended() == 0
    lines = program.out.splitlines()
    assert len(lines) == 2
    assert all(line == "1" or "ManyhandsError" in line or "RuntimeError" in line for line in lines), program.out
    assert registered == "before" or lines[0] == "1"
    assert "Traceback" not in program.err
    assert eventually(lambda: not program.processes(), seconds=SOON)


def test_work_given_by_a_destructor_at_the_very_end_is_refused(parallel_backend, start):
    """Row 36: when modules are being taken down."""
    program = start("""
        class Late:
            def __init__(self):
                self.executor = mh.Executor(2, **options)
                self.executor.submit(abs, -1).result()

            def __del__(self):
                try:
                    self.executor.submit(abs, -1)
                except BaseException as error:
                    os.write(1, type(error).__name__.encode())

        kept = Late()
        """, parallel_backend)  # fmt: skip
    assert program.ended() == 0
    assert program.out == "ExecutorClosed"
    assert eventually(lambda: not program.processes(), seconds=SOON)


def test_a_thread_that_goes_on_submitting_does_not_keep_the_program(parallel_backend, start):
    """Row 36: from some moment on it is refused."""
    program = start("""
        executor = mh.Executor(2, **options)
        enough = threading.Event()

        def submit_for_ever():
            for x in itertools.count():
                executor.submit(abs, x)
                if x == 200:
                    enough.set()

        threading.excepthook = lambda args: None
        threading.Thread(target=submit_for_ever, daemon=True).start()
        enough.wait()
        """, parallel_backend)  # fmt: skip
    assert program.ended() == 0
    assert eventually(lambda: not program.processes(), seconds=SOON)


# --- dropped without a word ---------------------------------------------------------------------------------


def test_an_executor_dropped_in_use_finishes_its_work(parallel_backend, gate):
    """Row 37: futures outlive it; its workers leave when they are done."""
    executor = mh.Executor(2, **parallel_backend)
    futures = [executor.submit(passing(gate), x) for x in range(4)]
    del executor
    gc.collect()
    gate[1](4)
    assert [future.result(PROMPT) for future in futures] == [0, 1, 2, 3]


def test_a_pool_dropped_in_use_finishes_its_work(parallel_backend, gate):
    """Row 37: the same for what map_async returned."""
    pool = mh.Pool(2, **parallel_backend)
    result = pool.map_async(passing(gate), range(4), chunksize=1)
    del pool
    gc.collect()
    gate[1](4)
    assert result.get(PROMPT) == [0, 1, 2, 3]


def test_dropped_executors_give_everything_back(parallel_backend):
    """Row 37: idle ones, and those that never had anything to do."""
    for _ in range(3):
        mh.Executor(2, **parallel_backend)
        executor = mh.Executor(2, **parallel_backend)
        assert executor.submit(abs, -1).result(PROMPT) == 1
    del executor


# --- Ctrl-C -------------------------------------------------------------------------------------------------

CALLS = {
    "map": "mh.map(never_end, range(50), workers=2, **options)",
    "imap": "list(mh.imap(never_end, range(50), workers=2, **options))",
    "result": """
        with mh.Executor(2, **options) as executor:
            [executor.submit(never_end, x) for x in range(50)][0].result()
        """,
    "the end of with": """
        with mh.Executor(2, **options) as executor:
            for x in range(50):
                executor.submit(never_end, x)
        """,
    "Executor.map": """
        with mh.Executor(2, **options) as executor:
            list(executor.map(never_end, range(50)))
        """,
    "Pool.map": """
        with mh.Pool(2, **options) as pool:
            pool.map(never_end, range(50))
        """,
    "Pool.apply_async": """
        with mh.Pool(2, **options) as pool:
            [pool.apply_async(never_end, (x,)) for x in range(50)][0].get()
        """,
}


def assert_interrupted(program):
    """It has ended as a program does on Ctrl-C: soon, with one traceback, and leaving nothing."""
    assert program.ended(seconds=SOON) == -signal.SIGINT
    assert program.err.count("Traceback (most recent call last)") == 1, program.err
    assert program.err.rstrip().endswith("KeyboardInterrupt"), program.err
    assert eventually(lambda: not program.processes(), seconds=SOON)


@pytest.mark.parametrize("call", ["map", "result", "the end of with", "Pool.map"])
def test_ctrl_c_ends_the_program_with_one_traceback(parallel_backend, start, meeting, call):
    """Row 38: pressed in a terminal, that is, sent to the whole process group."""
    program = start(CALLS[call], parallel_backend)
    meeting.lines(2)
    program.interrupt()
    assert_interrupted(program)


def test_ctrl_c_while_threads_are_in_c_code_does_not_abort_the_program(start, meeting):
    """Python ends such threads, when they come back, in a way that C++ code does not survive."""
    pytest.importorskip("cv2")
    source = """
        import cv2, numpy

        cv2.setNumThreads(1)
        image = numpy.zeros((5000, 5000), numpy.uint8)

        def blurred(x):
            if x < 2:
                say("begun")
            cv2.GaussianBlur(image, (31, 31), 0)

        mh.map(blurred, range(1000), workers=2, **options)
    """
    program = start(source, {"backend": "threads"})
    meeting.lines(2)
    program.interrupt()
    assert_interrupted(program)


@pytest.mark.parametrize("call", ["imap", "Executor.map", "Pool.apply_async"])
def test_ctrl_c_ends_the_other_calls_in_the_same_way(start, meeting, call):
    """Row 38: they wait in the same places, so one start method tells."""
    program = start(CALLS[call], {"backend": "processes", "start_method": "zygote"})
    meeting.lines(2)
    program.interrupt()
    assert_interrupted(program)


def test_ctrl_c_ends_a_program_that_waits_for_what_it_has_submitted(parallel_backend, start, meeting):
    """Row 38: the main program is through, and work that nobody asked for keeps it."""
    program = start("""
        executor = mh.Executor(2, **options)
        for x in range(50):
            executor.submit(never_end, x)
        """, parallel_backend)  # fmt: skip
    meeting.lines(2)
    # Another function's turn at exit swallows what strikes there: one presses again.
    assert eventually(lambda: program.interrupt() or not program.running, seconds=SOON)
    assert program.ended(seconds=SOON) == -signal.SIGINT
    assert "During handling" not in program.err, program.err
    assert eventually(lambda: not program.processes(), seconds=SOON)


def test_ctrl_c_in_a_serial_call_ends_the_program_with_one_traceback(start, meeting):
    """Row 38: there the task itself is interrupted."""
    program = start(CALLS["map"], {"backend": "serial"})
    meeting.lines(1)
    program.interrupt()
    assert_interrupted(program)


@pytest.mark.parametrize("call", ["map", "result", "Pool.map"])
def test_a_storm_of_ctrl_c_does_no_more_than_one(parallel_backend, start, meeting, call):
    """Row 38: key after key until the program is gone."""
    program = start(CALLS[call], parallel_backend)
    meeting.lines(2)
    assert eventually(lambda: program.interrupt() or not program.running, seconds=SOON)
    assert_interrupted(program)


def test_ctrl_c_twice_does_no_more_than_once(any_backend, start, meeting):
    """Row 38: as people do."""
    program = start(CALLS["map"], any_backend)
    meeting.lines(1 if any_backend["backend"] == "serial" else 2)
    program.interrupt()
    program.interrupt()
    assert_interrupted(program)


def test_ctrl_c_while_workers_start_ends_the_program_with_one_traceback(start_method, start, meeting, gate, tmp_path):
    """Row 38: interpreters that are still on their way are not heard of."""
    if start_method == "fork":
        pytest.skip("a forked worker has no start-up to be interrupted in")
    path = slow_interpreters(tmp_path, meeting, gate)
    options = {"backend": "processes", "start_method": start_method}
    program = start("mh.map(never_end, range(50), workers=2, **options)", options, PYTHONPATH=path)
    meeting.lines(1 if start_method == "zygote" else 2)
    program.interrupt()
    assert eventually(lambda: not program.running, seconds=SOON)
    gate[1](2)
    assert_interrupted(program)


def test_a_program_that_catches_ctrl_c_can_go_on(any_backend, start, meeting):
    """Row 38: the next call works, and the tasks of the interrupted one are over."""
    program = start("""
        try:
            mh.map(never_end, range(50), workers=2, **options)
        except KeyboardInterrupt:
            print(mh.map(abs, [-1, -2, -3], workers=2, **options))
        """, any_backend)  # fmt: skip
    meeting.lines(1 if any_backend["backend"] == "serial" else 2)
    program.interrupt()
    assert program.ended(seconds=SOON) == 0
    assert (program.out, program.err) == ("[1, 2, 3]\n", "")
    assert eventually(lambda: not program.processes(), seconds=SOON)


def test_a_worker_that_gets_ctrl_c_goes_on(process_backend, meeting, gate):
    """Row 38: that is the caller's business."""
    path, task = meeting.path, passing(gate)

    def report_and_pass(x):
        path.write_text(f"{os.getpid()}\n")
        return task(x)

    with mh.Executor(1, **process_backend) as executor:
        future = executor.submit(report_and_pass, "fine")
        (pid,) = meeting.pids()
        os.kill(pid, signal.SIGINT)
        gate[1]()
        assert future.result(PROMPT) == "fine"


# --- in a signal handler ------------------------------------------------------------------------------------


@contextlib.contextmanager
def on_signal(number, handler):
    """Have signals handled so, until the end of the block."""
    before = signal.signal(number, lambda *_: handler())
    try:
        yield
    finally:
        signal.signal(number, before)


ENDINGS = {
    "shutdown": lambda executor: executor.shutdown(wait=False),
    "shutdown and wait": lambda executor: executor.shutdown(wait=True),
    "shutdown and cancel": lambda executor: executor.shutdown(wait=False, cancel_futures=True),
    "terminate": lambda executor: executor.terminate_workers(),
    "kill": lambda executor: executor.kill_workers(),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_signal_handler_can_end_an_executor_that_is_waited_for(parallel_backend, ending):
    """Row 39: the handler interrupts the very thread that waits for a result."""
    home = os.getpid()
    executor = mh.Executor(2, **parallel_backend)
    with on_signal(signal.SIGUSR1, lambda: ENDINGS[ending](executor)):
        futures = [executor.submit(abs, -x) for x in range(20)]
        futures.append(executor.submit(os.kill, home, signal.SIGUSR1))
        wait(futures, PROMPT)
        assert all(future.done() for future in futures)
        with pytest.raises(ExecutorClosed):
            executor.submit(abs, -1)
    executor.shutdown()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_signal_handler_can_end_an_executor_that_is_being_used(ending):
    """Row 39: wherever in submit it strikes."""
    for microseconds in range(100, 4000, 130):
        executor = mh.Executor(2, backend="threads")
        futures = []
        with on_signal(signal.SIGALRM, lambda executor=executor: ENDINGS[ending](executor)):
            signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)
            with contextlib.suppress(ExecutorClosed):
                while True:
                    futures.append(executor.submit(abs, -1))
        _, unfinished = wait(futures, PROMPT)
        assert not unfinished
        executor.shutdown()


def test_a_signal_handler_can_terminate_a_pool(parallel_backend, gate):
    """Row 39: in the middle of a map."""
    home, task = os.getpid(), passing(gate)
    pool = mh.Pool(2, **parallel_backend)
    with on_signal(signal.SIGUSR1, pool.terminate):
        with pytest.raises(ManyhandsError):
            pool.map(lambda x: os.kill(home, signal.SIGUSR1) if x == 0 else task(x), range(3))
    pool.join()
    gate[1](3)  # threads cannot be ended


# --- the program is gone ------------------------------------------------------------------------------------

FAMILY = """
    def have_a_family(x):
        # A child and a grandchild, which know nothing of us.
        subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1000"])
        never_end(x)

    mh.map(have_a_family, range(50), workers=2, **options)
    """


@pytest.mark.parametrize("lifeline", ["", "thread"])
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_nothing_outlives_a_killed_program(process_backend, start, meeting, ending, lifeline):
    """Rows 40 and 43: no worker, zygote or grandchild; nor where the kernel does not help ("thread")."""
    program = start(FAMILY, process_backend, MANYHANDS_LIFELINE=lifeline)
    meeting.lines(2)
    assert eventually(lambda: len(program.processes()) >= 1 + 2 + 4)
    program.kill(ending)
    assert program.ended(seconds=SOON) == -ending
    assert eventually(lambda: not program.processes(), seconds=SOON)


def test_a_worker_stuck_in_c_code_does_not_outlive_the_program(process_backend, start, meeting):
    """Row 40: though no Python code can run in it any more."""
    program = start("""
        import re

        def stick(x):
            say("begun")
            re.match(r"(a+)+$", "a" * 60 + "b")

        mh.map(stick, range(50), workers=2, **options)
        """, process_backend)  # fmt: skip
    meeting.lines(2)
    program.kill(signal.SIGKILL)
    assert eventually(lambda: not program.processes(), seconds=SOON)


@pytest.mark.parametrize("lifeline", ["", "thread"])
def test_idle_workers_do_not_outlive_the_program(process_backend, start, meeting, lifeline):
    """Row 40: those of an executor, and the warm ones of earlier calls."""
    program = start("""
        executor = mh.Executor(2, **options)
        executor.submit(abs, -1).result()
        mh.map(abs, range(10), workers=2, **options)
        never_end(0)
        """, process_backend, MANYHANDS_LIFELINE=lifeline)  # fmt: skip
    meeting.lines(1)
    program.kill(signal.SIGKILL)
    assert eventually(lambda: not program.processes(), seconds=SOON)


def test_workers_that_are_just_starting_do_not_outlive_the_program(start, meeting, gate, tmp_path):
    """Row 40: the program is gone before the worker can ask to be told of it."""
    path = slow_interpreters(tmp_path, meeting, gate)
    options = {"backend": "processes", "start_method": "spawn"}
    program = start("mh.map(never_end, range(50), workers=2, **options)", options, PYTHONPATH=path)
    meeting.lines(2)
    program.kill(signal.SIGKILL)
    program.ended()
    assert len(program.processes()) == 2
    gate[1](2)
    assert eventually(lambda: not program.processes(), seconds=SOON)


def test_workers_go_though_other_children_of_the_program_stay(process_backend, start, meeting):
    """Row 40: a fork of the caller, and a program that it started, must not keep the workers alive."""
    program = start("""
        executor = mh.Executor(2, **options)
        say(executor.submit(os.getpid).result())
        if os.fork() == 0:
            say(os.getpid())
            signal.pause()
        say(subprocess.Popen(["sleep", "1000"], close_fds=False).pid)
        never_end(0)
        """, process_backend)  # fmt: skip
    worker = meeting.pids()[0]
    others = [int(line) for line in meeting.lines(3) if line != "begun"]
    program.kill(signal.SIGKILL)
    assert eventually(lambda: len(program.processes()) == 2, seconds=SOON)
    assert eventually(lambda: not alive(worker), seconds=SOON)
    assert all(map(alive, others))


def test_shared_memory_has_no_name_that_could_stay(process_backend, start, meeting):
    """Row 40: what dies with its last user needs nobody to remove it."""
    program = start("""
        def receive(data):
            never_end(len(data))

        mh.map(receive, [bytes(1 << 22) for _ in range(4)], workers=2, **options)
        """, process_backend)  # fmt: skip
    meeting.lines(2)
    for process in program.processes():
        with open(f"/proc/{process.pid}/maps") as maps:
            assert "/dev/shm/" not in maps.read()


def test_sigterm_that_the_program_handles_ends_it_in_order(parallel_backend, start, meeting):
    """Row 43: its own exit code, no traceback, and nothing left."""
    program = start("""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        mh.map(never_end, range(50), workers=2, **options)
        """, parallel_backend)  # fmt: skip
    meeting.lines(2)
    program.kill(signal.SIGTERM)
    assert program.ended(seconds=SOON) == 7
    assert program.err == ""
    assert eventually(lambda: not program.processes(), seconds=SOON)


# --- what tasks leave behind --------------------------------------------------------------------------------


def test_a_thread_left_by_a_task_does_not_keep_its_worker(process_backend):
    """Row 41: it is waited for, but not for ever."""

    def task():
        threading.Thread(target=threading.Event().wait).start()
        return os.getpid()

    with mh.Executor(1, **process_backend) as executor:
        pid = executor.submit(task).result(PROMPT)
    assert not alive(pid)


def test_programs_left_by_tasks_end_with_their_workers(process_backend):
    """Row 41: whatever a task has started and not waited for."""
    task = lambda: (os.getpid(), subprocess.Popen(["sleep", "1000"]).pid)  # noqa: E731 - by value, so quick to load
    with mh.Executor(1, **process_backend) as executor:
        pids = executor.submit(task).result(PROMPT)
    assert eventually(lambda: not any(map(alive, pids)))


def test_a_process_of_multiprocessing_does_not_keep_its_worker():
    """Row 41: the worker's own exit would wait for it for ever; this lasts as long as a worker has to leave."""

    def task():
        child = multiprocessing.get_context("fork").Process(target=signal.pause)
        child.start()
        return os.getpid(), child.pid

    with mh.Executor(1, backend="processes", start_method="zygote") as executor:
        pids = executor.submit(task).result(PROMPT)
    assert eventually(lambda: not any(map(alive, pids)))


def test_a_death_is_noticed_though_a_grandchild_holds_the_pipe_open(process_backend, meeting):
    """Row 42: the end of the pipe is not the only sign."""
    path = meeting.path

    def task():
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()  # out of reach of what ends the worker's group
            path.write_text(f"{os.getpid()}\n")
            os.write(write, b"x")
            signal.pause()
        os.read(read, 1)
        os._exit(5)

    with mh.Executor(1, **process_backend) as executor:
        error = executor.submit(task).exception(PROMPT)
        assert executor.submit(abs, -1).result(PROMPT) == 1
    (grandchild,) = meeting.pids()
    os.kill(grandchild, signal.SIGKILL)
    assert isinstance(error, WorkerDied)
    assert error.exitcode == 5


def test_a_worker_leaves_though_a_grandchild_holds_the_pipe_open(process_backend, meeting):
    """Row 42: at shutdown, too."""
    path = meeting.path

    def task():
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            path.write_text(f"{os.getpid()}\n")
            os.write(write, b"x")
            signal.pause()
        os.read(read, 1)
        return "done"

    with mh.Executor(1, **process_backend) as executor:
        assert executor.submit(task).result(PROMPT) == "done"
    (grandchild,) = meeting.pids()
    assert alive(grandchild)
    os.kill(grandchild, signal.SIGKILL)


# --- the first zygote, which starts beside the import of the engine ---------------------------------------------------

EARLY = """
    import os, signal, sys
    import psutil
    import manyhands as mh

    try:
        mh.map(abs, [-1], backend="processes", workers=0)
    except mh.OptionError:
        [early] = psutil.Process().children()
    """


@pytest.mark.parametrize(
    "then",
    [
        "assert mh.map(lambda _: os.getppid(), range(2), backend='processes') == [early.pid] * 2",
        "early.kill(); early.wait(); assert mh.map(abs, [-1], backend='processes') == [1]",
        "early.suspend(); assert mh.map(abs, [-1], backend='processes', start_method='spawn') == [1]; early.resume()",
        """
    if (child := os.fork()) == 0:
        assert early.pid not in mh.map(lambda _: os.getppid(), range(2), backend='processes')
    elif os.waitpid(child, 0)[1] == 0:
        assert mh.map(lambda _: os.getppid(), range(2), backend='processes') == [early.pid] * 2
    """,
        "pass",
        "sys.exit(0)",
        "os.execv('/bin/true', ['true'])",
    ],
    ids=["used", "killed", "not used", "forked", "end", "exit", "exec"],
)
def test_a_zygote_that_was_started_early_serves_or_goes(then, tmp_path):
    said = run_source(textwrap.dedent(EARLY) + "print(early.pid, flush=True)\n" + textwrap.dedent(then), cwd=tmp_path)
    pids = {int(line) for line in said.stdout.split()}
    assert said.stderr == ""
    assert len(pids) == 1
    assert eventually(lambda: not any(map(alive, pids)))


def test_a_zygote_that_was_started_early_goes_with_a_killed_program(tmp_path):
    source = textwrap.dedent(EARLY) + "print(early.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    script = write(tmp_path / "program.py", source)
    command = [sys.executable, script]
    ended = subprocess.run(command, env=environment(), capture_output=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert eventually(lambda: not alive(int(ended.stdout)))


@pytest.mark.parametrize(
    ("configured", "given", "children"),
    [
        ({"start_method": "spawn"}, {"backend": "processes"}, 1),  # a worker, and no zygote that nobody needs
        ({"backend": "processes", "start_method": "spawn"}, {}, 1),
        ({"backend": "processes"}, {"backend": "threads"}, 0),
        ({"backend": "processes"}, {}, 2),
    ],
)
def test_a_first_call_starts_what_is_configured_and_no_more(configured, given, children, tmp_path):
    run_source(
        f"""
        import psutil
        import manyhands as mh

        mh.configure(**{configured})
        assert mh.map(abs, [-1, -2], workers=1, **{given}) == [1, 2]
        assert len(psutil.Process().children(recursive=True)) == {children}
        """,
        cwd=tmp_path,
    )


@pytest.mark.parametrize(
    ("begin", "ask"),
    [
        ("mh.imap(slow, range(100))", "list(begun)"),
        ("mh.imap_unordered(slow, range(100), backend='processes')", "list(begun)"),
        ("mh.imap(slow, range(100), backend='threads')", "list(begun)"),
        ("mh.submit(slow, 1, 30)", "begun.result()"),
        ("mh.submit(slow, 1, 30)", "begun.exception(timeout=20)"),
        ("mh.Pool(2).map_async(slow, range(10000))", "begun.get()"),
        ("mh.Pool(2).imap(slow, range(10000))", "list(begun)"),
    ],
)
def test_what_a_process_has_begun_is_not_waited_for_in_its_fork(begin, ask, tmp_path):
    """Row 46: nobody there would bring the results."""
    run_source(
        f"""
        import os, signal, time
        import manyhands as mh

        def slow(x, seconds=0.005):
            time.sleep(seconds)
            return x

        begun = {begin}
        for _ in range(30 if hasattr(begun, "__next__") else 0):
            next(begun)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            try:
                found = {ask}
            except mh.ExecutorClosed as error:
                assert "was forked from" in str(error)
                os._exit(0)
            # By default the program itself runs the tasks until workers are there: then there is nobody to wait for.
            os._exit("backend" in {begin!r} or found != list(range(30, 100)))
        assert os.waitpid(child, 0)[1] == 0
        os._exit(0)
        """,
        cwd=tmp_path,
    )


def test_serial_results_go_on_in_a_fork(tmp_path):
    run_source(
        """
        import os
        import manyhands as mh

        results = mh.imap(abs, range(-100, 0), backend="serial")
        next(results)
        child = os.fork()
        assert sum(results) == 4950
        assert child == 0 or os.waitpid(child, 0)[1] == 0
        """,
        cwd=tmp_path,
    )


def test_results_go_on_in_a_fork_made_while_the_rest_was_about_to_be_handed_over(tmp_path):
    """Row 46: the watcher has the lock then, and there is none in the child that would give it back."""
    run_source(
        """
        import os, signal, threading
        import manyhands as mh

        results = mh.imap(abs, range(-100, 0))
        next(results)

        def watch():
            with results._call._head._lock:
                held.set()
                forked.wait()

        held, forked = threading.Event(), threading.Event()
        threading.Thread(target=watch).start()
        held.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            os._exit(sum(results) != 4950)
        forked.set()
        assert sum(results) == 4950
        assert os.waitpid(child, 0)[1] == 0
        """,
        cwd=tmp_path,
    )


def test_threads_that_call_at_once_start_one_zygote(tmp_path):
    run_source(
        """
        import sys, threading
        import psutil
        import manyhands as mh

        def call():
            together.wait()
            assert mh.map(abs, [-1, -2], backend="processes", workers=1) == [1, 2]

        mh.map
        sys.setswitchinterval(1e-6)
        together = threading.Barrier(8)
        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(psutil.Process().children()) == 1
        """,
        cwd=tmp_path,
    )


BY_MAP = 'mh.map(lambda x: -x, [-1, -2], backend="processes", workers=1)'
BY_EXECUTOR = "list(mh.Executor(1).map(abs, [-1, -2]))"
BY_POOL = "mh.Pool(1).map(abs, [-1, -2])"


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("zygote_process", BY_MAP),
        ("dispatcher", BY_MAP),
        ("supervisor", BY_MAP),
        ("cloudpickle", BY_MAP),
        ("mapping", BY_MAP),
        ("dispatcher", BY_EXECUTOR),
        ("pool_results", BY_POOL),
    ],
)
def test_a_child_forked_while_another_thread_imports_the_engine_can_call(module, call, tmp_path):
    """Row 46: nobody in the child would finish that import, and whoever needs it would wait for ever."""
    program = """
        import os, signal, sys, threading
        import manyhands as mh

        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name.rpartition(".")[2] == sys.argv[1] and not importing.is_set():
                    importing.set()
                    forked.wait(0.5)  # in vain, as a fork waits for the import's end
                return None

        def call():
            assert eval(sys.argv[2]) == [1, 2]

        importing, forked = threading.Event(), threading.Event()
        sys.meta_path.insert(0, Finder())
        thread = threading.Thread(target=call)
        thread.start()
        importing.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            call()
            sys.exit(0)
        forked.set()
        thread.join()
        assert os.waitpid(child, 0)[1] == 0
        """
    options = ("-X", "dev", "-W", "ignore:This process:DeprecationWarning")  # of Python 3.12 on: it has threads
    said = run(*options, write(tmp_path / "program.py", program), module, call, cwd=tmp_path)
    assert said.stderr == ""


def test_an_interrupted_start_of_a_zygote_keeps_nobody_from_forking(tmp_path):
    run_source(
        """
        import itertools, os, sys, threading
        from manyhands._engine import zygote_process

        def is_interrupted(when):
            events = itertools.count()

            def trace(frame, event, arg):
                if not frame.f_code.co_filename.endswith(("contextlib.py", "forks.py", "zygote_process.py")):
                    return None
                frame.f_trace_lines = False  # signals are seen at calls and returns
                if next(events) == when:
                    sys.settrace(None)
                    raise KeyboardInterrupt
                return trace

            sys.settrace(trace)
            try:
                zygote_process.start_early()
            except KeyboardInterrupt as error:
                kept.append(error)  # as a notebook does, with its traceback and all that hangs on it
                return True
            finally:
                sys.settrace(None)
                zygote_process._drop()
            return False

        def fork():
            if os.fork() == 0:
                os._exit(0)
            os.wait()

        kept = []
        for when in itertools.count():
            if not is_interrupted(when):
                break
            thread = threading.Thread(target=fork, daemon=True)
            thread.start()
            thread.join(10)
            assert not thread.is_alive(), when
        assert len(kept) > 10
        """,
        cwd=tmp_path,
    )


def test_a_call_that_wants_no_processes_starts_none(tmp_path):
    run_source(
        """
        import psutil
        import manyhands as mh

        assert mh.map(abs, [-1], backend="threads") == mh.map(abs, [-1]) == [1]
        assert psutil.Process().children() == []
        """,
        cwd=tmp_path,
    )
