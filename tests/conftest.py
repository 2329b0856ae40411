"""Fixtures for all tests: every kind of worker, and a check that nothing is left behind."""

from __future__ import annotations

import compileall
import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from watching import PATIENCE, eventually

import manyhands
from manyhands._engine import courier, locks, shared

START_METHODS = ("zygote", "spawn", "fork")


def pytest_configure() -> None:
    """The many interpreters that tests start find all compiled, though they may have been told to write nothing."""
    for folder in (Path(manyhands.__file__).parent, Path(__file__).parent):
        compileall.compile_dir(folder, quiet=2)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What hardly depends on how workers start is tried with each other way of starting them in the long run only."""
    for item in items:
        marker, chosen = item.get_closest_marker("others_are_stress"), getattr(item, "callspec", None)
        if marker and chosen and set(marker.args or ("spawn", "fork")) & set(chosen.id.split("-")):
            item.add_marker(pytest.mark.stress)


def pytest_collection_finish() -> None:
    """What collecting has made is not looked through again by each test's collection of garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=START_METHODS)
def start_method(request: pytest.FixtureRequest) -> str:
    """Each way in which worker processes start."""
    return str(request.param)


def _options(kind: str) -> dict[str, Any]:
    return (
        {"backend": kind} if kind in {"auto", "serial", "threads"} else {"backend": "processes", "start_method": kind}
    )


@pytest.fixture(params=["auto", "serial", "threads", *START_METHODS])
def any_backend(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options for a call on each kind of worker."""
    return _options(request.param)


@pytest.fixture(params=["threads", *START_METHODS])
def parallel_backend(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options for a call on each kind of worker but the caller itself."""
    return _options(request.param)


@pytest.fixture(params=START_METHODS)
def process_backend(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options for a call on each kind of worker process."""
    return _options(request.param)


def end_shared_workers() -> None:
    """Let the warm workers of earlier calls go."""
    for dispatcher in shared.all_warm():
        dispatcher.terminate(at_once=True)
        assert dispatcher.join(PATIENCE), "the shared workers did not end"
    shared.renew()


@pytest.fixture(autouse=True, scope="module")
def garbage_of_a_module() -> Iterator[None]:
    """What the tests of a module have left frozen may go."""
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """After each test: no process, thread or descriptor more than before."""
    gc.freeze()  # only what the test itself makes is looked through at its end
    locks.segment()  # a program has one, and keeps it
    end_shared_workers()
    processes = {p.pid for p in psutil.Process().children(recursive=True)}
    descriptors = _descriptors()
    threads = _threads()
    yield
    assert eventually(lambda: not _watchers()), "a call's watcher goes on, and may be starting workers just now"
    end_shared_workers()
    courier.deliveries.flush()
    courier.callbacks.flush()
    gc.collect()
    assert eventually(lambda: not _new_processes(processes)), f"processes left: {_new_processes(processes)}"
    assert eventually(lambda: _threads() <= threads), f"threads left: {_threads() - threads}"
    assert eventually(lambda: _descriptors() <= descriptors), f"descriptors left: {_descriptors() - descriptors}"


def _watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "manyhands-watcher"]


def _new_processes(before: set[int]) -> list[str]:
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.pid not in before and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
        except psutil.NoSuchProcess:
            continue
    return found


def _threads() -> set[str]:
    ignored = ("MainThread", "manyhands-courier", "pytest_timeout")
    # Without an ident it never began: an exception of a signal handler has torn its start().
    return {f"{t.name} {t.ident}" for t in threading.enumerate() if t.ident and not t.name.startswith(ignored)}


def _descriptors() -> set[tuple[int, str]]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith(("socket:", "pipe:", "anon_inode:", "/memfd:", "/dev/shm")):
            found.add((int(fd), target))
    return found
