"""One call after the other goes straight to the worker; whatever happens to it, no call hangs or runs twice."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
from watching import PATIENCE, alive, eventually

import manyhands as mh
from manyhands._core.messages import Reserved
from manyhands._engine.short_way import ShortWay

pytestmark = [pytest.mark.timeout(30), pytest.mark.others_are_stress]


@pytest.fixture
def executor(process_backend):
    with mh.Executor(1, **process_backend) as executor:
        yield executor


@pytest.fixture
def dispatcher(executor):
    return executor._dispatcher


def is_reserved(dispatcher):
    return eventually(lambda: dispatcher._short_way._free)


def call_once(executor):
    """The worker's pid; it is reserved when this returns."""
    pid = executor.submit(os.getpid).result(PATIENCE)
    assert is_reserved(executor._dispatcher)
    return pid


def end(pid):
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not alive(pid))


def test_one_call_after_the_other_meets_the_same_worker(executor):
    assert {call_once(executor) for _ in range(200)} == {call_once(executor)}


def test_a_call_after_the_idle_worker_has_died_meets_another(executor):
    pid = call_once(executor)
    end(pid)
    assert executor.submit(os.getpid).result(PATIENCE) != pid


def test_a_call_that_was_about_to_be_sent_when_the_worker_died_meets_another(executor, dispatcher):
    pid = call_once(executor)
    taken = dispatcher._short_way._free.pop()
    end(pid)
    assert eventually(lambda: not dispatcher._started)
    assert eventually(lambda: dispatcher._asleep and not dispatcher._requests)
    dispatcher._short_way._free.append(taken)
    assert executor.submit(os.getpid).result(PATIENCE) != pid


def test_a_reservation_that_is_lost_costs_the_worker_and_a_moment(executor, dispatcher):
    pid = call_once(executor)
    dispatcher._short_way._free.pop()
    assert executor.submit(os.getpid).result(PATIENCE) != pid


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_an_exception_in_the_midst_of_sending_is_raised_and_the_next_call_runs(
    executor, dispatcher, monkeypatch, error
):
    pid = call_once(executor)

    def interrupt(*args):
        raise error

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(dispatcher.backend, "send", interrupt)
        executor.submit(os.getpid)
    assert executor.submit(os.getpid).result(PATIENCE) != pid


def test_an_exception_after_the_result_is_back_costs_nothing(executor, dispatcher, monkeypatch):
    pid = call_once(executor)
    send = dispatcher.backend.send

    def send_and_interrupt(*args):
        send(*args)
        assert is_reserved(dispatcher)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dispatcher.backend, "send", send_and_interrupt)
        executor.submit(os.getpid)
    assert executor.submit(os.getpid).result(PATIENCE) == pid


def test_a_map_after_a_call_does_not_wait(executor):
    for _ in range(20):
        call_once(executor)
        assert list(executor.map(abs, [-1, -2])) == [1, 2]


def test_what_was_sent_is_told_at_once_when_the_reservation_is_wanted_back():
    admitted, requested = [], []
    loop = SimpleNamespace(request=requested.append, admit=lambda *job, **_: admitted.append(job), released=None)
    way = ShortWay(SimpleNamespace(send=lambda *_: None))
    way.lend(Reserved(worker=1, chunk=0, last=10))
    job = SimpleNamespace(number=7, ready="packed", begun=False, sink=SimpleNamespace(started=lambda: True))
    assert way.send(job, loop)
    assert not admitted
    assert not requested
    way.take_back(1, loop)
    assert admitted == [(job, 1)]
