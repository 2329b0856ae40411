"""The process backend: worker processes, one socket each, watched by one selector.

What ends a worker is found out twice: by its launcher (the zygote reaps it, or its pidfd becomes readable)
and by the end of its socket. Neither alone is trusted: a grandchild may hold the socket open, and a killed
zygote reports nothing. When a worker has ended, what it had written is read to the last whole frame first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import selectors
import signal
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import count
from types import MethodType
from typing import Any, NamedTuple

from manyhands._core.messages import Chunk
from manyhands._engine import (
    appetite,
    board,
    faults,
    forks,
    launch,
    locks,
    parcels,
    payload,
    start_methods,
    surroundings,
)
from manyhands._engine.board import Board, Stamp
from manyhands._engine.faults import Fault
from manyhands._engine.frames import Frame
from manyhands._engine.functions import ByReference
from manyhands._engine.functions import ship as ship_function
from manyhands._engine.interface import (
    ChunkResults,
    Full,
    Gone,
    Job,
    Loaded,
    Notice,
    NotStarted,
    Ready,
    Refused,
    Said,
    Shipment,
    Weighed,
)
from manyhands._engine.lifeline import Lifeline
from manyhands._engine.memory import BIG_BUFFER
from manyhands._engine.parcels import Parcel
from manyhands._engine.payload import Packed
from manyhands._engine.protocol import Kind
from manyhands._engine.results import Batch
from manyhands._engine.tally import Stats
from manyhands._engine.transport import Channel
from manyhands._engine.words import Lines
from manyhands._engine.worker import INITIALIZER
from manyhands.errors import InitializerError, NotSendable, WorkerStartError
from manyhands.showing import error_text

KILL_GRACE_SECONDS = 0.3  # between SIGTERM and SIGKILL
REPORT_SECONDS = 1.0  # a worker whose socket has ended is given up if nobody reports its end by then
MEMORY_SECONDS = 0.1  # between two looks at workers whose memory is limited
KNOWN_FUNCTIONS = 64  # that a worker keeps, if they are small
KNOWN_BYTES = 32 << 20  # that they may have altogether; the newest is kept in any case
_keys = count(1)
_log = logging.getLogger("manyhands")
# As plain numbers: comparing an enum member costs as much as a function call, and there are several a message.
_CHUNK, _RESULTS = int(Kind.CHUNK), int(Kind.RESULTS)


class Settings(NamedTuple):
    """What the workers of one backend have in common."""

    start_method: str
    threads: int  # each worker's share of the cores
    initializer: Callable[..., object] | None = None
    initargs: tuple[Any, ...] = ()
    memory_limit: int | None = None  # bytes of each worker's own


class _Worker:
    def __init__(self, channel: Channel, slot: memoryview, slot_number: int) -> None:
        self.channel = channel
        self.slot, self.slot_number = slot, slot_number
        self.started = time.monotonic()
        self.known: OrderedDict[bytes, tuple[object, int]] = OrderedDict()  # to keep, bytes
        self.loaded: set[bytes] = set()  # of these: it has said that it has unpacked them
        self.classes: dict[str, bytes] = {}  # as they came with the function of this key
        self.around: Any = None
        self.here = self.ready = False
        self.lines = {1: Lines(), 2: Lines()}
        self.ended_at: float | None = None  # its socket has ended
        self.kill_at: float | None = None  # next signal
        self.unfit = False  # its initializer raised
        self.too_large: int | None = None  # bytes that it had when it was killed for them


class _Resources(NamedTuple):
    """What workers share, from the first one's start on."""

    board: Board
    lifeline: Lifeline
    reads: dict[int, int]  # of their standard output and error, as written below Python
    writes: tuple[int, int]


class Supervisor:
    """Starts, feeds, watches and reaps worker processes."""

    threaded = True
    let_through: BaseException | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._forks = settings.start_method == "fork"
        self._selector = selectors.DefaultSelector()
        self._workers: dict[int, _Worker] = {}
        self._notices: list[Notice] = []
        self._inherited: dict[bytes, Callable[..., Any]] = {}  # a plain one is copied in one step
        self._initializer: Packed | None = None  # and its arguments, as they were when the first worker was started
        self._launcher: launch.Launcher | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        for end in (self._wake_in, self._wake_out):
            end.setblocking(False)
            forks.close_in_child(end)
        self._watch(self._wake_in.fileno(), self._woken)
        self._resources: _Resources | None = None
        self._output_lines = {1: Lines(), 2: Lines()}
        self._memory_seen = 0.0  # when it was last looked at

    # --- starting ---------------------------------------------------------------------------------------------

    def start(self, worker: int) -> None:
        """Begin to start a worker; what goes wrong is reported."""
        try:
            around = surroundings.take()
            hello = self._greeting(around)
            with forks.held_off():
                record = self._launch(worker)
        except NotSendable as error:
            told = InitializerError(f"{error}; no task was run.")
            told.__cause__ = error
            self._notices.append(NotStarted(worker, told, fatal=True))
            return
        except OSError as error:
            self._notices.append(NotStarted(worker, _start_error(error)))
            return
        record.known.update(dict.fromkeys(self._inherited, (None, 0)))
        record.around = around
        self._workers[worker] = record
        self._selector.register(record.channel.socket, selectors.EVENT_READ, partial(self._receive, worker))
        self._write(worker, record, hello[0], hello[1])

    def _launch(self, worker: int) -> _Worker:
        launcher = self._open()
        board = self._board()
        with contextlib.ExitStack() as undo:
            number = board.take()
            undo.callback(board.give_back, number)
            ours, theirs = socket.socketpair()
            undo.callback(theirs.close)
            undo.callback(ours.close)
            forks.close_in_child(ours)
            undo.callback(forks.keep_in_child, ours)
            channel = Channel(ours, blocking=False)
            launcher.start(worker, number, theirs, self._inheritance())
            undo.pop_all()
        return _Worker(channel, board.slot(number), number)

    def _inheritance(self) -> dict[bytes, Any]:
        """What a worker forked from this process finds there: functions, and the initializer with its arguments."""
        if self._settings.initializer is None or not self._forks:
            return dict(self._inherited)
        return {**self._inherited, INITIALIZER: (self._settings.initializer, self._settings.initargs)}

    def _greeting(self, around: surroundings.Surroundings) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        settings = self._settings
        buffers: list[Any] = [_pack_surroundings(around), _lock_file()]
        if settings.initializer is not None and not self._forks:
            self._initializer = self._initializer or _pack_initializer(settings)
            buffers += [self._initializer.data, *self._initializer.buffers]
        process = sys.modules.get("multiprocessing.process")
        authkey = bytes(process.current_process().authkey) if process is not None else None
        return (Kind.HELLO, settings.threads, authkey, settings.memory_limit), tuple(buffers)

    def _open(self) -> launch.Launcher:
        """The launcher and what workers share: made when the first worker is."""
        if self._launcher is None:
            with contextlib.ExitStack() as undo:  # descriptors may run out on the way
                shared = Board()
                undo.callback(shared.close)
                lifeline = Lifeline()
                undo.callback(lifeline.close)
                pipes = []
                for _ in range(2):
                    pipes.append(os.pipe())
                    undo.callback(_close_both, pipes[-1])
                undo.pop_all()
            reads, writes = {1: pipes[0][0], 2: pipes[1][0]}, (pipes[0][1], pipes[1][1])
            self._resources = _Resources(shared, lifeline, reads, writes)
            for fd in (lifeline.write_fd, *reads.values()):
                forks.close_in_child(fd)
            for stream, fd in reads.items():
                os.set_blocking(fd, False)
                self._watch(fd, partial(self._read_output, stream))
            common = launch.Common(shared, lifeline, writes, self._watch, self._unwatch, self._exited)
            self._launcher = start_methods.launcher(self._settings.start_method, common)
        return self._launcher

    def _board(self) -> Board:
        assert self._resources is not None  # noqa: S101 - opened just before
        return self._resources.board

    def _watch(self, fd: int, callback: Callable[[], None]) -> None:
        self._selector.register(fd, selectors.EVENT_READ, lambda _mask: callback())

    def _unwatch(self, fd: int) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(fd)

    # --- sending ----------------------------------------------------------------------------------------------

    def pack(self, job: Job, chunk: Chunk) -> Parcel:
        """Pack the inputs of a chunk: together if that works, else each by itself."""
        items = job.source.items(chunk.start, chunk.stop)
        return parcels.pack(job, items, isolated=chunk.isolated, main_by_name=self._forks)

    def prepare(self, job: Job) -> None:
        """Its surroundings; and of a single call all that is to be packed, so that the dispatcher's thread need not.

        Nor whoever sends it past that thread: user code may ask for the very worker that is reserved then.
        """
        job.around = surroundings.take()
        if job.single:
            job.ready = parcels.pack(job, job.source.items(0, 1), isolated=False, main_by_name=self._forks)
            if self._forks and any(job.shipment.key not in record.known for record in list(self._workers.values())):
                with contextlib.suppress(NotSendable):  # if it has to be sent, that is told then
                    job.shipment.packed()

    def send(self, worker: int, job: Job, chunk: Chunk, parcel: Parcel) -> None:
        """Send a chunk, and before it whatever the worker lacks to run it."""
        record = self._workers.get(worker)
        if record is None:
            return
        self._send_needs(worker, record, job)
        message = (
            _CHUNK, chunk.serial, chunk.start, job.shipment.key, int(job.style), job.seed,
            parcel.retry_on, job.policy.timeout is not None, parcel.sizes, parcel.isolated,
        )  # fmt: skip
        self._write(worker, record, message, parcel.buffers)
        if not job.single:
            self._weigh(worker, chunk.serial, chunk.stop - chunk.start, parcel.buffers)

    def _weigh(self, worker: int, serial: int, tasks: int, buffers: tuple[Any, ...]) -> None:
        """Tell if it is much."""
        size = payload.travelling(buffers)
        if size >= BIG_BUFFER:
            self._notices.append(Weighed(worker, serial, tasks, size))

    def load(self, worker: int, job: Job) -> None:
        """Send what any chunk of this job will need, to be unpacked and imported at once."""
        if (record := self._workers.get(worker)) is None:
            return
        key = job.shipment.key
        if key in record.loaded or (self._forks and key in record.known):
            self._notices.append(Loaded(worker, key, 0.0))
        else:
            record.known.pop(key, None)  # it was sent, and may not have been unpacked, or is being: it will say
        with contextlib.suppress(NotSendable):  # that is told if there is a chunk
            self._send_needs(worker, record, job, early=True)

    def _send_needs(self, worker: int, record: _Worker, job: Job, *, early: bool = False) -> None:
        if job.around is not None and record.around is not job.around:
            record.around = job.around
            self._write(worker, record, (Kind.AROUND,), (_pack_surroundings(job.around),))
        key, classes = job.shipment.key, job.shipment.classes
        if key in record.known and (not classes or all(record.classes.get(name) == key for name in classes)):
            record.known.move_to_end(key)
            return
        packed = job.shipment.packed()  # also when another function has changed a class that this one uses
        record.classes.update(dict.fromkeys(packed.classes, key))
        self._write(worker, record, (Kind.FUNCTION, key, early), (packed.data, *packed.buffers))
        record.known[key] = job.shipment.keep, packed.size()
        while len(record.known) > KNOWN_FUNCTIONS or (
            len(record.known) > 1 and sum(size for _, size in record.known.values()) > KNOWN_BYTES
        ):
            oldest, _ = record.known.popitem(last=False)
            record.loaded.discard(oldest)
            self._write(worker, record, (Kind.FORGET, [oldest]), ())

    def ship(self, func: Callable[..., Any]) -> Shipment:
        """By content; for forked workers by identity, since those to come have the function from birth."""
        if not self._forks:
            return ship_function(func)
        for key, known in list(self._inherited.items()):
            if known is func or (isinstance(func, MethodType) and known == func):
                return ByReference(func, key)
        shipment = ByReference(func, next(_keys).to_bytes(8, "little"))
        self._inherited[shipment.key] = func
        if len(self._inherited) > KNOWN_FUNCTIONS:
            self._inherited.pop(next(iter(list(self._inherited))), None)
        return shipment

    def _write(self, worker: int, record: _Worker, message: tuple[Any, ...], buffers: tuple[Any, ...]) -> None:
        try:
            record.channel.send(message, buffers)
        except (BrokenPipeError, ConnectionResetError):
            return  # it is gone: that is reported elsewhere
        except OSError:
            record.kill_at = time.monotonic()  # it cannot be talked to any more
            self.wake()
            return
        if record.channel.backlog:
            self._select(worker, record)

    def _select(self, worker: int, record: _Worker) -> None:
        """Wait for the socket to become writable exactly while there is something to write."""
        callback = partial(self._receive, worker)
        with contextlib.suppress(KeyError, ValueError):
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if record.channel.backlog else 0)
            self._selector.modify(record.channel.socket, wanted, callback)

    def revoke(self, worker: int) -> None:
        """Let the worker begin nothing further."""
        if worker in self._workers:
            self._workers[worker].slot[board.LIMIT] = 0

    def lift(self, worker: int) -> None:
        """Let it begin tasks again."""
        if worker in self._workers:
            self._workers[worker].slot[board.LIMIT] = board.NO_LIMIT

    def inspect(self, worker: int) -> Stamp | None:
        """What the worker's slot shows."""
        return board.read(self._workers[worker].slot) if worker in self._workers else None

    def take_over(self, worker: int) -> None:
        """Send without whoever is in the midst of sending."""
        if worker in self._workers:
            self._workers[worker].channel.take_over()

    def retire(self, worker: int) -> None:
        """Ask the worker to leave."""
        if worker in self._workers:
            self._write(worker, self._workers[worker], (Kind.STOP,), ())

    def kill(self, worker: int, *, at_once: bool = False) -> None:
        """SIGTERM now and SIGKILL a little later, or that at once; again until it is gone."""
        record = self._workers.get(worker)
        if record is not None and self._launcher is not None:
            self._launcher.signal(worker, signal.SIGKILL if at_once else signal.SIGTERM)
            record.kill_at = time.monotonic() + KILL_GRACE_SECONDS

    def forget(self, key: bytes, worker: int) -> None:
        """The worker does not have this function."""
        if worker in self._workers:
            self._workers[worker].known.pop(key, None)
            self._workers[worker].loaded.discard(key)

    def pids(self) -> list[int]:
        """Process ids of the workers that have one."""
        if self._launcher is None:
            return []
        return [pid for worker in list(self._workers) if (pid := self._launcher.pid(worker)) is not None]

    # --- waiting ----------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None) -> list[Notice]:
        """One round of the selector, and of what is due by time."""
        if not self._notices:
            for key, mask in self._selector.select(self._shorten(timeout)):
                key.data(mask)
        self._look_at_clock()
        if self._settings.memory_limit is not None:
            self._look_at_memory(self._settings.memory_limit)
        notices, self._notices = self._notices, []
        if len(notices) > 1:  # what a task wrote was there before its result was: it is delivered first
            notices.sort(key=lambda notice: type(notice) is not Said)
        return notices

    def _shorten(self, timeout: float | None) -> float | None:
        times = [] if timeout is None else [time.monotonic() + timeout]
        for worker, record in self._workers.items():
            if not record.here or record.kill_at is not None or record.ended_at is not None:
                times += self._due(worker, record)
        if self._settings.memory_limit is not None and self._workers:
            times.append(self._memory_seen + MEMORY_SECONDS)
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _due(self, worker: int, record: _Worker) -> list[float]:
        times = [] if record.kill_at is None else [record.kill_at]
        if record.ended_at is not None:
            times.append(record.ended_at + REPORT_SECONDS)
        if not record.here and record.kill_at is None:
            times.append(self._late_at(worker, record))
        return times

    def _late_at(self, worker: int, record: _Worker) -> float:
        """When a worker that was begun and is not there is killed."""
        return record.started + (self._launcher.patience(worker) if self._launcher is not None else 0.0)

    def _look_at_clock(self) -> None:
        now = time.monotonic()
        for worker, record in list(self._workers.items()):
            if record.here and record.kill_at is None and record.ended_at is None:
                continue
            if record.kill_at is not None and record.kill_at <= now:
                self.kill(worker, at_once=True)
            if record.ended_at is not None and record.ended_at + REPORT_SECONDS <= now:
                self._exited(launch.Exit(worker, None, None))
            elif not record.here and record.kill_at is None and self._late_at(worker, record) <= now:
                self.kill(worker, at_once=True)

    def _look_at_memory(self, limit: int) -> None:
        """End workers whose task has grown too large. One that is between tasks tells so itself."""
        now = time.monotonic()
        if now < self._memory_seen + MEMORY_SECONDS or self._launcher is None:
            return
        self._memory_seen = now
        for worker, record in self._workers.items():
            stamp, pid = board.read(record.slot), self._launcher.pid(worker)
            if stamp.offset is None or pid is None or now - stamp.since < MEMORY_SECONDS:
                continue  # what a short task leaves behind is seen at its end
            has = appetite.own_memory(pid)
            if has > limit and record.too_large is None:
                record.too_large = has
                self.kill(worker, at_once=True)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_in.recv(1 << 12)

    def wake(self) -> None:
        """Make wait return; a full pipe means that it will anyway."""
        with contextlib.suppress(OSError):
            self._wake_out.send(b"x")

    def _receive(self, worker: int, mask: int) -> None:
        record = self._workers.get(worker)
        if record is None:
            return
        if mask & selectors.EVENT_WRITE:
            with contextlib.suppress(OSError):
                record.channel.flush()
            self._select(worker, record)
        if mask & selectors.EVENT_READ and self._read_frames(worker, record):
            self._socket_ended(worker, record)

    def _read_frames(self, worker: int, record: _Worker) -> bool:
        try:
            frames, ended = record.channel.arrived()
            for frame in frames:
                self._hear(worker, record, frame)
        except MemoryError:
            _log.error("a result is too large for the memory that is left; its worker is ended")
            return True
        except OSError as error:
            _log.error("a result cannot be received, and its worker is ended: %s", error.strerror)
            return True
        return ended

    def _socket_ended(self, worker: int, record: _Worker) -> None:
        """Nothing more can be heard of it: if it is not dead, it is useless."""
        self._unwatch(record.channel.fileno())
        if record.ended_at is None and self._launcher is not None:
            record.ended_at = time.monotonic()
            self._launcher.signal(worker, signal.SIGKILL)
            self._launcher.reap(worker)

    def _exited(self, ended: launch.Exit) -> None:
        record = self._workers.pop(ended.worker, None)
        if record is None:
            return
        while record.ended_at is None and not self._read_frames(ended.worker, record):
            if not _readable(record.channel):
                break
        self._unwatch(record.channel.fileno())
        forks.keep_in_child(record.channel.socket)
        record.channel.close()
        for stream, lines in record.lines.items():
            self._notices += _said(stream, lines.end())
        stamp = board.read(record.slot)
        self._board().give_back(record.slot_number)
        if record.ready:
            self._notices.append(Gone(ended.worker, ended.pid, ended.exitcode, stamp, record.too_large))
        elif not record.unfit:
            self._notices.append(NotStarted(ended.worker, _start_error(ended.error or _died_early(ended))))

    # --- hearing ----------------------------------------------------------------------------------------------

    def _hear(self, worker: int, record: _Worker, frame: Frame) -> None:
        kind, heard = frame.message[0], self._notices
        if frame.error is not None and kind != _RESULTS:
            _log.error("something that a worker has said cannot be received: %s", _why(frame.error))
        elif kind == _RESULTS:
            results = _results(worker, frame)
            if results.batch.count > 1 or len(frame.buffers) > 1:
                self._weigh(worker, results.serial, max(1, results.batch.count), frame.buffers)
            if results.stats is not None:
                for stream, lines in record.lines.items():
                    heard += _said(stream, lines.rest())
            heard.append(results)
        elif kind == Kind.REFUSED:
            _, serial, key, where = frame.message
            heard.append(Refused(worker, serial, key, where))
        elif kind == Kind.TEXT:
            _, stream, data = frame.message
            heard += _said(stream, record.lines[stream].put(data))
        elif kind in (Kind.RECORD, Kind.WARNING):
            heard.append(Said("record" if kind == Kind.RECORD else "warning", bytes(frame.buffers[0])))
        else:
            self._hear_of(worker, record, frame)

    def _hear_of(self, worker: int, record: _Worker, frame: Frame) -> None:
        """How the worker itself is."""
        kind, heard = frame.message[0], self._notices
        if kind == Kind.HERE:
            record.here = True
        elif kind == Kind.READY:
            record.ready = True
            heard.append(Ready(worker))
        elif kind == Kind.LOADED:
            heard.append(Loaded(worker, *frame.message[1:]))
            if frame.message[1] in record.known:
                record.loaded.add(frame.message[1])
        elif kind == Kind.IDLE:
            record.channel.rest()
        elif kind == Kind.FULL:
            heard.append(Full(worker))
        elif kind == Kind.UNFIT:
            record.unfit = True
            cause = faults.revive(Fault(*_with_packed(frame.message[1])))
            heard.append(NotStarted(worker, _initializer_error(cause), fatal=True))

    def _read_output(self, stream: int) -> None:
        """What was written below Python: by C code, and by external commands."""
        if self._resources is None:
            return
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._resources.reads[stream], 1 << 16):
                self._notices += _said(stream, self._output_lines[stream].put(data))

    # --- the end ----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End all workers and give back every descriptor."""
        if self._launcher is not None and self._resources is not None:
            self._launcher.close()
            shared, lifeline, reads, writes = self._resources
            for fd in (lifeline.write_fd, *reads.values()):
                forks.keep_in_child(fd)
            lifeline.close()
            for fd in (*reads.values(), *writes):
                os.close(fd)
            shared.close()
            self._launcher = self._resources = None  # and with them the board's mapping
        for record in self._workers.values():
            forks.keep_in_child(record.channel.socket)
            record.channel.close()
        self._workers.clear()
        for end in (self._wake_in, self._wake_out):
            forks.keep_in_child(end)
            end.close()
        self._selector.close()


def _said(stream: int, text: str) -> list[Notice]:
    return [Said(stream, text)] if text else []


def _close_both(pipe: tuple[int, int]) -> None:
    for fd in pipe:
        os.close(fd)


def _readable(channel: Channel) -> bool:
    poll = select.poll()  # takes no descriptor: there may be none left
    poll.register(channel.socket, select.POLLIN)
    return bool(poll.poll(0))


def _results(worker: int, frame: Frame) -> ChunkResults:
    _, serial, first, count, errors, sizes, stats = frame.message
    stats = Stats(*stats) if stats is not None else None
    if frame.error is not None:
        return ChunkResults(worker, serial, first, _unreceived(count, frame.error), _none_again(count), stats)
    if not errors:
        return ChunkResults(worker, serial, first, Batch(count, sizes=sizes, buffers=frame.buffers), (), stats)
    told = [(offset - first, Fault(*_with_packed(fault))) for offset, fault, _ in errors]
    failed = tuple((offset - first, retry) for offset, _, retry in errors)
    return ChunkResults(
        worker, serial, first, Batch(count, sizes=sizes, buffers=frame.buffers, errors=told), failed, stats
    )


def _unreceived(count: int, error: Exception) -> Batch:
    """In the place of results for which there is no room here."""
    told = f"the task's result, or one that was sent with it, cannot be received: {_why(error)}"
    return Batch(count, values=[None] * count, errors=[(offset, NotSendable(told)) for offset in range(count)])


def _none_again(count: int) -> tuple[tuple[int, bool], ...]:
    return tuple((offset, False) for offset in range(count))


def _why(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory left. Return less at a time, or write it to a file and return its path"
    return getattr(error, "strerror", None) or str(error)


def _with_packed(told: tuple[Any, ...]) -> tuple[Any, ...]:
    packed = told[0]
    return (Packed(*packed) if packed is not None else None, *told[1:])


def _lock_file() -> memoryview:
    """Nothing where there is no shared memory: then a lock that is wanted says so."""
    try:
        return memoryview(locks.segment())
    except OSError:
        return memoryview(b"")


def _pack_surroundings(around: surroundings.Surroundings) -> bytes:
    """Plain words and numbers. That one of Python's warning filters names ``__main__`` is no reason for cloudpickle."""
    data: bytes = payload.pack(around, main_by_name=True).data
    return data


def _pack_initializer(settings: Settings) -> Packed:
    try:
        return payload.with_own_buffers(payload.pack((settings.initializer, settings.initargs)))
    except Exception as error:
        raise NotSendable(
            f"the initializer or its arguments cannot be sent to worker processes: {error_text(error)}. Make in the "
            "initializer what cannot be sent, or use backend='threads'"
        ) from error


def _initializer_error(cause: BaseException) -> InitializerError:
    error = InitializerError(
        f"the initializer failed in a worker ({error_text(cause)}); no task was run. Mend the initializer."
    )
    error.__cause__ = cause
    return error


def _start_error(cause: OSError) -> WorkerStartError:
    error = WorkerStartError(
        f"a worker process could not be started: {cause}. Fewer workers need fewer processes and descriptors "
        "(ulimit -u, ulimit -n); `manyhands doctor` shows the limits."
    )
    error.__cause__ = cause
    return error


def _died_early(ended: launch.Exit) -> OSError:
    return OSError(f"it ended before it was ready, with exit code {ended.exitcode}")
