"""How bytes move: frames over a stream socket, gathered on write, never copied twice.

A frame is a message (a small tuple of plain values, pickled) and any number of buffers beside it::

    | buffers: u32 | message: u32 bytes | length of each buffer: u64 ... | message | buffer | buffer ...

One end, the caller's, never blocks: what the socket does not take stays in the backlog until the socket can
be written again. The other end, the worker's, blocks, since it has nothing else to do. Sending is safe from
several threads; receiving belongs to one.
"""

from __future__ import annotations

import contextlib
import pickle
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from manyhands._engine.vigil import Vigil

_HEADER = struct.Struct("<II")
_READ = 1 << 17  # bytes asked for at once; a frame of which more is missing is read straight into its place
_MAX_PIECES = 512  # buffers in one sendmsg; the system's limit is 1024


class Frame(NamedTuple):
    """One message as received; buffers are writable views that own their memory."""

    message: Any
    buffers: tuple[memoryview, ...]


class Channel:
    """One end of a socket, speaking frames."""

    def __init__(self, sock: socket.socket, *, blocking: bool) -> None:
        sock.setblocking(blocking)
        self.socket = sock
        self._lock = threading.Lock()
        self._backlog: deque[memoryview] = deque()
        self._parser = FrameParser()
        self._frames: deque[Frame] = deque()
        self._vigil = Vigil(sock)
        self._idle = False
        self._patience = 0  # seconds; 0 is for ever
        self._action: Callable[[], None] = lambda: None

    def fileno(self) -> int:
        """The descriptor to wait on; -1 once closed."""
        return self.socket.fileno()

    @property
    def backlog(self) -> bool:
        """Something is waiting to be written."""
        return bool(self._backlog) and self.socket.fileno() >= 0

    def send(self, message: tuple[Any, ...], buffers: tuple[Any, ...] = ()) -> None:
        """Send a frame. Raises OSError (BrokenPipeError) when the other end is gone."""
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        body = pickle.dumps(message, 5)
        lengths = _lengths(len(views)).pack(*[view.nbytes for view in views])
        first = memoryview(b"".join((_HEADER.pack(len(views), len(body)), lengths, body)))
        backlog = self._backlog
        with self._lock:
            backlog.append(first)
            for view in views:
                if view.nbytes:
                    backlog.append(view)
            self._flush(backlog)

    def flush(self) -> None:
        """Write what the socket takes now."""
        with self._lock:
            self._flush(self._backlog)

    def take_over(self) -> None:
        """Send from now on without waiting for who is in the midst of it: all of that has arrived, or never will."""
        self._backlog = deque()
        self._lock = threading.Lock()

    def _flush(self, backlog: deque[memoryview]) -> None:
        while backlog:
            pieces = list(backlog)[:_MAX_PIECES] if len(backlog) > _MAX_PIECES else backlog
            try:
                sent = self.socket.sendmsg(pieces)
            except BlockingIOError:
                return
            while sent:
                first = backlog[0]
                if sent < first.nbytes:
                    backlog[0] = first[sent:]
                    break
                sent -= first.nbytes
                backlog.popleft()

    def receive(self, *, soon: bool = False) -> Frame | None:
        """The next frame, waiting for it; None when the other end is gone. For the blocking end.

        ``soon``: it may be worth staying awake for it.
        """
        while not self._frames:
            if soon:
                self._vigil.keep()
            try:
                if not self._parser.read(self.socket):
                    return None
            except BlockingIOError:  # see when_idle
                self._be_idle()
                continue
            if self._idle:
                self._idle = False
                _receive_within(self.socket, self._patience)
            self._frames.extend(self._parser.frames())
        return self._frames.popleft()

    def when_idle(self, seconds: int, action: Callable[[], None]) -> None:
        """Whenever nothing has come for so long, call this, once. For the blocking end."""
        self._patience, self._action = seconds, action
        _receive_within(self.socket, seconds)

    def _be_idle(self) -> None:
        self._idle = True
        _receive_within(self.socket, 0)
        self._action()

    def arrived(self) -> tuple[list[Frame], bool]:
        """All frames that are here now, and whether the other end is gone. For the end that never blocks."""
        frames: list[Frame] = []
        for _ in range(8):  # then others get their turn
            try:
                count = self._parser.read(self.socket)
            except BlockingIOError:
                return frames, False
            except OSError:
                count = 0
            if not count:
                return frames, True
            frames += self._parser.frames()
            if count < _READ:  # that was all; if not, the selector will say so
                break
        return frames, False

    def close(self) -> None:
        """Close this end; what was not written is dropped.

        Without the lock: whoever is in the midst of sending may have been interrupted by a signal handler.
        """
        self.socket.close()


def _receive_within(sock: socket.socket, seconds: int) -> None:
    """Have the system end a recv that has waited for so long: unlike a timeout of Python's, it costs no call more."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", seconds, 0))


class FrameParser:
    """Bytes in, frames out; holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._scratch = memoryview(bytearray(_READ))
        self._loose = bytearray()  # the beginning of a frame
        self._read = self._scratch[:0]  # what was read last
        self._large: bytearray | None = None  # a frame too large to collect piece by piece
        self._filled = 0

    def read(self, sock: socket.socket) -> int:
        """Read once; the bytes that came, 0 at the end of the stream. Raises what recv raises."""
        if self._large is not None:
            with memoryview(self._large) as view:
                count = sock.recv_into(view[self._filled :])
            self._filled += count
            return count
        count = sock.recv_into(self._scratch)
        self._read = self._scratch[:count]
        return count

    def frames(self) -> list[Frame]:
        """The frames that are complete."""
        if self._large is not None:
            if self._filled < len(self._large):
                return []
            whole, self._large = memoryview(self._large), None
            return [_parse(whole, own=True)]
        if not self._loose:
            rest, frames = self._cut(self._read)
        else:
            with memoryview(self._loose + self._read) as joined:
                rest, frames = self._cut(joined)
                rest = bytes(rest)
        self._loose = bytearray(rest) if self._large is None else bytearray()
        return frames

    def _cut(self, data: memoryview) -> tuple[Any, list[Frame]]:
        """All whole frames, and the bytes that are left."""
        frames: list[Frame] = []
        start, end = 0, len(data)
        while (size := _frame_size(data, start, end)) is not None:
            missing = size - (end - start)
            if missing > 0:
                if missing >= _READ:
                    self._begin_large(size, data[start:])
                break
            frames.append(_parse(data[start : start + size], own=False))
            start += size
        return data[start:], frames

    def _begin_large(self, size: int, beginning: memoryview) -> None:
        self._large = bytearray(size)
        self._filled = len(beginning)
        self._large[: self._filled] = beginning


@lru_cache(64)
def _lengths(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}Q")


def _frame_size(data: memoryview, start: int, end: int) -> int | None:
    """Bytes of the frame that begins at ``start``; None while its head is incomplete."""
    at = start + _HEADER.size
    if end < at:
        return None
    count, body = _HEADER.unpack_from(data, start)
    if end < at + 8 * count:
        return None
    return int(_HEADER.size + 8 * count + body + sum(_lengths(count).unpack_from(data, at)))


def _parse(frame: memoryview, *, own: bool) -> Frame:
    """Take a whole frame apart; unless the memory is its ``own``, buffers are copied out of it."""
    count, body = _HEADER.unpack_from(frame)
    at = _HEADER.size + 8 * count
    message = pickle.loads(frame[at : at + body])
    at += body
    buffers = []
    for length in _lengths(count).unpack_from(frame, _HEADER.size):
        view = frame[at : at + length]
        buffers.append(view if own else memoryview(bytearray(view)))
        at += length
    return Frame(message, tuple(buffers))
