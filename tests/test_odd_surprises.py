"""What users' code may do that nobody expects of it: it costs that code its result, and nobody else anything."""

from __future__ import annotations

import sys
import threading
import types
from pathlib import Path

import everyday
import pytest

import manyhands as mh

pytestmark = pytest.mark.timeout(30)

SOON = 20.0


class Sealed(Exception):
    """An exception that takes no attributes, not even the interpreter's notes."""

    def __setattr__(self, name, value):
        raise AttributeError(f"{name} is not to be set")


class Fussy(type):
    """Classes that do not want to be asked whose instances are whose."""

    def __instancecheck__(cls, instance):
        raise RuntimeError("do not ask")


class FussyError(Exception, metaclass=Fussy):
    pass


def fail_with(kind):
    def task(n):
        if n == 1:
            raise kind(n)
        return n

    return task


@everyday.any_backend
def test_an_exception_that_takes_no_attributes_is_raised_as_itself(any_backend):
    with pytest.raises(Sealed) as caught:
        mh.map(fail_with(Sealed), range(3), workers=2, **any_backend)
    assert caught.value.args == (1,)
    found = mh.map(fail_with(Sealed), range(3), workers=2, on_error="collect", **any_backend)
    assert [found[0], found[2]] == [0, 2]
    assert type(found[1].error) is Sealed


@everyday.any_backend
def test_a_retry_class_that_cannot_be_asked_is_not_retried_for(any_backend):
    retry = mh.Retry(attempts=2, on=(FussyError,))
    with pytest.raises(ValueError, match="1"):
        mh.map(fail_with(ValueError), range(3), workers=2, retry=retry, **any_backend)
    assert mh.map(abs, [-1], workers=2, **any_backend) == [1]


def test_an_executor_of_threads_may_be_shut_down_by_its_own_task():
    executor = mh.Executor(2, backend="threads")
    assert executor.submit(lambda: executor.shutdown(wait=True) or "down").result(SOON) == "down"
    executor.shutdown()
    with pytest.raises(mh.ExecutorClosed):
        executor.submit(abs, -1)


@everyday.process_backend
def test_a_module_made_at_run_time_is_as_it_is_now(process_backend):
    settings = types.ModuleType("settings")
    for value in (1, 2, 1):
        settings.value = value
        assert mh.map(lambda _: settings.value, range(2), workers=1, **process_backend) == [value] * 2


@everyday.process_backend
def test_attributes_of_a_function_are_as_they_are_now(process_backend):
    def scaled(n):
        return n * scaled.factor

    for factor in (1, 2, 1):
        scaled.factor = factor
        assert mh.map(scaled, [3], workers=1, **process_backend) == [3 * factor]


@everyday.process_backend
def test_an_import_path_may_hold_what_is_no_string(process_backend, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [*sys.path, Path(tmp_path), None])
    assert mh.map(abs, [-1, -2], workers=2, **process_backend) == [1, 2]


@everyday.process_backend
def test_the_environment_may_change_while_calls_are_made(process_backend, monkeypatch):
    over = threading.Event()

    def change():
        n = 0
        while not over.is_set():
            n += 1
            with monkeypatch.context() as patch:
                patch.setenv(f"MANYHANDS_TEST_{n % 50}", str(n))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(30):
            assert mh.map(abs, [-1, -2], workers=2, **process_backend) == [1, 2]
    finally:
        over.set()
        thread.join()
