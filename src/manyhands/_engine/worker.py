"""A worker process: from its first breath to its last.

It reads frames from its one socket and answers on it. It holds no lock of ours that others share; what it has in
common with the caller is the board, on which it notes each task before beginning it, and lanes for big buffers.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

from manyhands._engine import (
    appetite,
    board,
    context,
    faults,
    heap,
    lifeline,
    locks,
    payload,
    runner,
    surroundings,
    words,
)
from manyhands._engine.board import Board
from manyhands._engine.context import WorkerContext
from manyhands._engine.faults import Fault
from manyhands._engine.frames import Frame
from manyhands._engine.memory import segment_of
from manyhands._engine.payload import Packed
from manyhands._engine.protocol import Kind, Style, caller, unflatten
from manyhands._engine.reporter import Reporter
from manyhands._engine.transport import Channel
from manyhands.errors import NotSendable
from manyhands.showing import error_text

_CHUNK = int(Kind.CHUNK)  # a plain number is faster to compare
LOADING_NANOSECONDS = 60 * 10**9  # importing a function's module is no task: it has this time for itself
NEARLY = 0.8  # of the memory it may have: so much after a task, and the next one may be ended for what others left
INITIALIZER = b"initializer"  # its key among what a forked worker inherits
THREADS_SECONDS = 1.0  # a leaving worker waits so long for threads that tasks have left behind


def begin(  # noqa: PLR0917 - each start method has its own way to come by these
    sock: socket.socket,
    board_fd: int,
    slot: int,
    lifeline_fd: int,
    outputs: tuple[int, int],
    inherited: dict[bytes, Callable[..., Any]] | None = None,
) -> NoReturn:
    """Turn this process, just started or forked, into a worker. Does not return.

    ``inherited``: functions that came along in a fork of the caller, by key.
    """
    try:
        with contextlib.suppress(OSError):
            os.setsid()  # a group of its own: ends together with whatever tasks start
        _reset_signals()
        _redirect_files(outputs)
        lifeline.hold(lifeline_fd, by_kernel=os.environ.get("MANYHANDS_LIFELINE") != "thread")
        _hide_main()
        heap.keep_freed()
        Worker(Channel(sock, blocking=True), Board(board_fd).slot(slot), inherited or {}).live()
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the caller does not listen any more
    except BaseException:  # noqa: BLE001 - nothing may unwind into the code this process was forked from
        with contextlib.suppress(BaseException):
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
        os._exit(70)
    os._exit(0)


def _reset_signals() -> None:
    for number in range(1, signal.NSIG):  # valid_signals() takes longer than all the rest here
        if callable(signal.getsignal(number)):
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's business
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _redirect_files(outputs: tuple[int, int]) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for fd, target in ((null, 0), (outputs[0], 1), (outputs[1], 2)):
        os.dup2(fd, target)
    if null > 2:
        os.close(null)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - an empty input for life


def _hide_main() -> None:
    """The caller's ``__main__`` is not ours: nothing may be found there by accident. A fork has the real one."""
    main = sys.modules.get("__main__")
    if main is None or getattr(main, "__manyhands__", False):
        empty = types.ModuleType("__main__")
        empty.__manyhands__ = True  # type: ignore[attr-defined]
        sys.modules["__main__"] = empty


class _RefusedError(Exception):
    """A chunk cannot be run, and the caller was told."""


class Worker:
    """Reads messages and runs chunks until told to stop, or until the caller is gone."""

    def __init__(self, channel: Channel, slot: memoryview, inherited: dict[bytes, Callable[..., Any]]) -> None:
        self._channel = channel
        self._owner = os.getpid()
        self._context = WorkerContext(slot)
        self._threads = 1
        self._memory_limit: int | None = None  # bytes
        self._around: surroundings.Surroundings | None = None
        self._functions: dict[bytes, Packed] = {}
        self._loaded = dict(inherited)
        self._initializer: Any = self._loaded.pop(INITIALIZER, None)
        self._retry_on: dict[bytes, tuple[type[BaseException], ...]] = {b"": ()}
        self._reporter = Reporter(self._send)

    def _send(self, message: tuple[Any, ...], buffers: tuple[Any, ...] = ()) -> None:
        if os.getpid() != self._owner:
            os._exit(0)  # a child that a task forked came back here: it must not speak for us
        self._channel.send(message, buffers)

    def live(self) -> None:
        """The whole life."""
        context.enter(self._context, whole_process=True)
        words.redirect(self._send)
        surroundings.reseed()
        self._channel.when_idle(heap.IDLE_SECONDS, self._rest)
        self._send((Kind.HERE,))
        single = False  # a call of its own, that somebody waits for: often the next one follows at once
        while (frame := self._channel.receive(soon=single)) is not None:
            kind = frame.message[0]
            if frame.error is not None and kind != _CHUNK:
                raise frame.error
            if kind == _CHUNK:
                single = frame.message[4] == Style.APPLY
                given = [frame]
                del frame  # what the tasks were given goes with them
                self._run(given)
                self._context.slot[board.CURRENT] = board.IDLE
            elif kind == Kind.FUNCTION:
                self._forget([frame.message[1]])
                self._functions[frame.message[1]] = Packed(frame.buffers[0], frame.buffers[1:])
                if frame.message[2]:
                    self._load_early(frame.message[1])
            elif kind == Kind.FORGET:
                self._forget(frame.message[1])
            elif kind == Kind.AROUND:
                self._take_surroundings(frame)
            elif kind == Kind.HELLO:
                self._greet(frame)
            elif kind == Kind.STOP:
                self._leave()
                return

    def _rest(self) -> None:
        """Nothing to do: keep no memory that others could use."""
        heap.give_back()
        self._channel.rest()
        if self._channel.has_lane:
            self._send((Kind.IDLE,))

    def _greet(self, frame: Frame) -> None:
        _, threads, authkey, self._memory_limit = frame.message
        self._threads = self._context.share = threads
        _share_authkey(authkey)
        self._take_surroundings(frame)
        if (lock_file := segment_of(frame.buffers[1])) is not None:
            locks.use(lock_file)
        if self._initializer is not None or len(frame.buffers) > 2:
            try:
                initializer, initargs = self._initializer or payload.unpack(Packed(frame.buffers[2], frame.buffers[3:]))
                payload.run_initializer(initializer, initargs)
            except BaseException as error:  # noqa: BLE001 - SystemExit is a failure, too
                self._send((Kind.UNFIT, tuple(faults.describe(error))))
                os._exit(1)
        self._send((Kind.READY,))

    def _take_surroundings(self, frame: Frame) -> None:
        wanted = payload.unpack(Packed(frame.buffers[0]))
        surroundings.apply(wanted, self._around, self._threads)
        self._around = wanted

    def _forget(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self._functions.pop(key, None)
            self._loaded.pop(key, None)

    # --- a chunk ----------------------------------------------------------------------------------------------

    def _run(self, given: list[Frame]) -> None:
        """Run a chunk, which is taken out of the list."""
        frame = given.pop()
        _, serial, first_task, key, style, seed, retry_on, timed, sizes, isolated = frame.message
        began, slot = time.monotonic(), self._context.slot
        slot[board.SINCE] = time.monotonic_ns()
        slot[board.CURRENT] = board.base_tag(serial) + board.UNPACKING
        try:
            call = self._call(serial, key, style, isolated=isolated)
            slot[board.SINCE] = time.monotonic_ns()
            if frame.error is not None:
                items, call = self._unreceived(serial, sizes if isolated else None, frame.error)
            else:
                items, call = self._items(frame, call)
        except _RefusedError:
            return
        work = runner.Work(serial, first_task, items, call, seed, self._retry_classes(retry_on), timed)
        del frame
        outcome = self._reporter.begin(serial, len(items))
        runner.run(work, self._context, outcome, seal=_seal, describe=faults.describe)
        if os.getpid() != self._owner:
            os._exit(0)  # a child that a task forked: it has no lock of ours, and nothing to say
        # Until what the tasks were given is gone, the stamp names this chunk: should a destructor end the worker,
        # nobody is to blame, since by then the caller knows the chunk no more.
        slot[board.CURRENT] = board.base_tag(serial) + board.SENDING
        _flush_words()
        self._reporter.end(outcome, began)
        if self._memory_limit is not None and self._is_over(NEARLY * self._memory_limit):
            self._send((Kind.FULL,))

    def _is_over(self, limit: float) -> bool:
        """What is only kept for the next task does not count."""
        if appetite.own_memory() > limit:
            heap.give_back()
        return appetite.own_memory() > limit

    def _call(self, serial: int, key: bytes, style: int, *, isolated: bool) -> Callable[[Any], Any]:
        """The function as it is called with an item; one that cannot be unpacked fails each isolated item by itself."""
        if key not in self._loaded:
            if key not in self._functions:  # forgotten while the caller was sending: it will send both again
                self._refuse(serial, key, None, None)
            self._context.slot[board.SINCE] += LOADING_NANOSECONDS
        try:
            return caller(self._function(key), style)
        except BaseException as error:  # noqa: BLE001 - importing a module may raise anything
            if not isolated:
                self._refuse(serial, key, self._functions.get(key), error)
            advice = "What it needs must be importable in a new Python process."
            return _raiser("the function could not be unpacked in the worker", error, advice)

    def _items(self, frame: Frame, call: Callable[[Any], Any]) -> tuple[Sequence[Any], Callable[[Any], Any]]:
        """The inputs, and how to call with one: isolated ones are unpacked only then."""
        serial, sizes, isolated, buffers = frame.message[1], frame.message[8], frame.message[9], frame.buffers
        if isolated:
            return unflatten(sizes, buffers), _unpacking(call)
        packed = Packed(buffers[0], buffers[1:])
        try:
            if sizes is None:
                return payload.unpack(packed), call
            items = []
            for one in unflatten(sizes, buffers):
                packed = cast("Packed", one)  # each could be packed
                items.append(payload.unpack(packed))
            return items, call
        except BaseException as error:  # noqa: BLE001 - user code in __setstate__
            self._refuse(serial, None, packed, error)

    def _unreceived(
        self, serial: int, sizes: list[Any] | None, error: Exception
    ) -> tuple[Sequence[Any], Callable[[Any], Any]]:
        """There is no room here for the inputs: each task that is sent by itself is told so."""
        if sizes is None:
            self._refuse(serial, None, None, None)
        advice = "Send less at a time, or a path to it."
        return sizes, _raiser("the task's arguments could not be received in the worker", error, advice)

    def _function(self, key: bytes) -> Callable[..., Any]:
        if key not in self._loaded:
            began = time.monotonic()
            self._loaded[key] = payload.unpack(self._functions[key])
            del self._functions[key]
            self._send((Kind.LOADED, key, time.monotonic() - began))
        return self._loaded[key]

    def _load_early(self, key: bytes) -> None:
        """Before there is a chunk. What goes wrong goes wrong again with that, and is told then."""
        began = time.monotonic()
        try:
            self._function(key)
        except BaseException:  # noqa: BLE001 - importing a module may raise anything
            self._send((Kind.LOADED, key, time.monotonic() - began))
        _flush_words()

    def _retry_classes(self, packed: bytes) -> tuple[type[BaseException], ...]:
        if packed not in self._retry_on:
            try:
                self._retry_on[packed] = payload.unpack(Packed(packed))
            except Exception:  # noqa: BLE001 - classes that cannot be imported here: no task can raise them either
                self._retry_on[packed] = ()
        return self._retry_on[packed]

    def _refuse(self, serial: int, key: bytes | None, packed: Packed | None, error: BaseException | None) -> NoReturn:
        """Tell the caller, and leave the chunk."""
        where = None
        if packed is not None and isinstance(error, AttributeError | ImportError):
            where = payload.missing_global(packed)
        self._context.slot[board.CURRENT] = board.IDLE
        if key is not None:
            self._forget([key])
        self._send((Kind.REFUSED, serial, key, where))
        raise _RefusedError

    # --- the end ----------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        self._context.close()
        deadline = time.monotonic() + THREADS_SECONDS
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        _flush_words()


def _flush_words() -> None:
    """What tasks printed without ending the line."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # whatever tasks have put there
            stream.flush()


def _share_authkey(key: bytes | None) -> None:
    """Let proxies of the caller's multiprocessing managers be used in tasks: they prove themselves by this key."""
    if key is not None:
        from multiprocessing import process

        process.current_process().authkey = key


def _seal(value: Any) -> Packed:
    """Pack a result at once, while the stamp still shows its task."""
    try:
        return payload.pack(value, reply=True)
    except Exception as error:
        raise NotSendable(
            f"the task's result, of type {type(value).__name__}, cannot be sent to the caller: {error_text(error)}. "
            "Return plain data (or a path to it), or use backend='threads'."
        ) from error


def _unpacking(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A call that unpacks its item first, so that an item that cannot be is its own task's trouble."""

    def run(item: Packed | Fault) -> Any:
        if isinstance(item, Fault):
            raise faults.revive(item)
        try:
            value = payload.unpack(item)
        except BaseException as error:
            raise NotSendable(
                f"the task's argument could not be unpacked in the worker: {error_text(error)}. The fault is in how "
                "its class is pickled (__reduce__, __getstate__, __setstate__); backend='threads' sends nothing."
            ) from error
        return call(value)

    return run


def _raiser(text: str, error: BaseException, advice: str) -> Callable[[Any], Any]:
    told = f"{text}: {error_text(error)}. {advice}"

    def fail(_item: Any) -> Any:
        raise NotSendable(told) from error

    return fail


def spawned(socket_fd: int, board_fd: int, slot: int, lifeline_fd: int) -> NoReturn:
    """The main of a worker that was started by itself, not forked; its outputs are in place already."""
    begin(socket.socket(fileno=socket_fd), board_fd, slot, lifeline_fd, (1, 2))
