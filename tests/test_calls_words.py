"""What tasks say arrives whole, in the caller, before the call returns."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

import everyday
import programs
import pytest

import manyhands as mh

pytestmark = pytest.mark.timeout(30)


@everyday.any_backend
def test_printed_lines_arrive_whole_before_the_call_returns(any_backend, capsys):
    def task(n):
        for part in ("task", str(n), "says", "x" * 200):
            print(part, end=" ")
        print()
        print("error of", n, file=sys.stderr)

    mh.map(task, range(30), workers=2, **any_backend)
    said = capsys.readouterr()
    assert sorted(said.out.splitlines()) == sorted(f"task {n} says {'x' * 200} " for n in range(30))
    assert sorted(said.err.splitlines()) == sorted(f"error of {n}" for n in range(30))


@everyday.any_backend
def test_printed_lines_of_one_task_stay_in_order(any_backend, capsys):
    def task(n):
        for line in range(100):
            print(f"{n}:{line}")

    mh.map(task, range(4), workers=2, chunksize=1, **any_backend)
    lines = capsys.readouterr().out.splitlines()
    for n in range(4):
        assert [line for line in lines if line.startswith(f"{n}:")] == [f"{n}:{line}" for line in range(100)]


@everyday.process_backend
def test_line_without_an_end_is_not_lost(process_backend, capsys):
    with mh.Executor(1, **process_backend) as executor:
        executor.submit(print, "no newline", end="").result(timeout=20)
    mh.map(lambda n: None, range(2), workers=1, **process_backend)
    assert capsys.readouterr().out.rstrip("\n") == "no newline"


@everyday.process_backend
def test_words_of_a_single_call_are_there_when_its_result_is(process_backend, capsys):
    with mh.Executor(1, **process_backend) as executor:
        for n in range(10):
            executor.submit(print, "call", n).result(timeout=20)
            assert capsys.readouterr().out == f"call {n}\n"


@everyday.process_backend
def test_words_of_a_task_that_fails_arrive_before_its_error(process_backend, capsys):
    def task(n):
        print("last words")
        raise ValueError("the end")

    with pytest.raises(ValueError, match="the end"):
        mh.map(task, [1], workers=1, **process_backend)
    assert capsys.readouterr().out == "last words\n"


@everyday.process_backend
def test_words_of_a_worker_that_dies_are_not_lost(process_backend, capsys):
    def task(n):
        print("last words", flush=True)
        os._exit(3)

    with pytest.raises(mh.WorkerDied):
        mh.map(task, [1], workers=1, **process_backend)
    assert capsys.readouterr().out == "last words\n"


@everyday.process_backend
def test_words_from_below_python_arrive_too(process_backend, capsys):
    def task(n):
        os.write(1, b"written by C code\n")
        subprocess.run(["sh", "-c", "echo from a program; echo its complaint >&2"], check=True)

    mh.map(task, range(3), workers=2, **process_backend)
    said = capsys.readouterr()
    assert sorted(said.out.splitlines()) == ["from a program"] * 3 + ["written by C code"] * 3
    assert said.err.splitlines() == ["its complaint"] * 3


@everyday.process_backend
def test_very_many_words_hold_nothing_up(process_backend, capsys):
    def task(n):
        for _ in range(2000):
            print("y" * 100)
        return n

    assert mh.map(task, range(4), workers=2, **process_backend) == [0, 1, 2, 3]
    assert capsys.readouterr().out == ("y" * 100 + "\n") * 8000


@everyday.process_backend
def test_log_records_reach_the_callers_loggers(process_backend, caplog):
    def task(n):
        log = logging.getLogger("of.the.task")
        log.info("item %d", n, extra={"color": "blue"})
        log.debug("not wanted")
        try:
            {}["x"]
        except KeyError:
            log.exception("trouble with %d", n)

    with caplog.at_level(logging.INFO):
        mh.map(task, range(3), workers=2, **process_backend)
    records = [record for record in caplog.records if record.name == "of.the.task"]
    told = [(record.levelname, record.getMessage()) for record in records]
    assert sorted(told) == [
        *(("ERROR", f"trouble with {n}") for n in range(3)),
        *(("INFO", f"item {n}") for n in range(3)),
    ]
    assert {getattr(record, "color", None) for record in records if record.levelname == "INFO"} == {"blue"}
    assert "KeyError: 'x'" in caplog.text
    assert os.getpid() not in {record.process for record in records}


@everyday.process_backend
def test_log_record_with_what_cannot_travel_arrives_in_words(process_backend, caplog):
    import threading

    make_lock = threading.Lock

    def task(n):
        logging.getLogger("of.the.task").warning("with %s", "a lock", extra={"lock": make_lock()})

    mh.map(task, [1], workers=1, **process_backend)
    (record,) = [record for record in caplog.records if record.name == "of.the.task"]
    assert record.getMessage() == "with a lock"
    assert "lock" in record.lock


@everyday.process_backend
def test_warnings_are_warnings_of_the_caller(process_backend):
    def task(n):
        warnings.warn(f"careful with {n}", DeprecationWarning, stacklevel=1)

    with pytest.warns(DeprecationWarning, match="careful") as caught:
        mh.map(task, range(3), workers=2, **process_backend)
    assert sorted(str(w.message) for w in caught) == [f"careful with {n}" for n in range(3)]
    assert {os.path.basename(w.filename) for w in caught} == {os.path.basename(__file__)}


@everyday.process_backend
def test_callers_filters_hold_in_workers(process_backend):
    def task(n):
        warnings.warn("careful", UserWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="careful"):
            mh.map(task, [1], workers=1, **process_backend)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        mh.map(task, [1], workers=1, **process_backend)
    assert caught == []


PIPED = """
    import sys
    import manyhands as mh

    def task(n):
        print("task", n)
        print("complaint", n, file=sys.stderr)

    print("before", flush=True)
    mh.map(task, range(50), workers=2, backend="processes", start_method={method!r})
    print("after")
"""


def test_words_in_a_pipe_stand_between_what_the_program_says_itself(tmp_path, start_method):
    ended = programs.run_source(PIPED.replace("{method!r}", repr(start_method)), cwd=tmp_path)
    lines = ended.stdout.splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert sorted(lines[1:-1]) == sorted(f"task {n}" for n in range(50))
    assert sorted(ended.stderr.splitlines()) == sorted(f"complaint {n}" for n in range(50))
