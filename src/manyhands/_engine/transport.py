"""How bytes move: frames over a stream socket, gathered on write, never copied twice.

A frame is a message (a small tuple of plain values, pickled) and any number of buffers beside it::

    | buffers: u32 | message: u32 bytes | length of each buffer: u64 ... | message | buffer | buffer ...

One end, the caller's, never blocks: what the socket does not take stays in the backlog until the socket can
be written again. The other end, the worker's, blocks, since it has nothing else to do. Sending is safe from
several threads; receiving belongs to one.
"""

from __future__ import annotations

import pickle
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

_HEADER = struct.Struct("<II")
_READ = 1 << 18
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
        self._frames: Iterator[Frame] = iter(())

    def fileno(self) -> int:
        """The descriptor to wait on; -1 once closed."""
        return self.socket.fileno()

    @property
    def backlog(self) -> bool:
        """Something is waiting to be written."""
        return bool(self._backlog)

    def send(self, message: tuple[Any, ...], buffers: tuple[Any, ...] = ()) -> None:
        """Send a frame. Raises OSError (BrokenPipeError) when the other end is gone."""
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        body = pickle.dumps(message, 5)
        head = _HEADER.pack(len(views), len(body)) + struct.pack(f"<{len(views)}Q", *(v.nbytes for v in views))
        with self._lock:
            self._backlog.append(memoryview(head + body))
            self._backlog.extend(view for view in views if view.nbytes)
            self._flush()

    def flush(self) -> None:
        """Write what the socket takes now."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        backlog = self._backlog
        while backlog:
            pieces = list(backlog)[:_MAX_PIECES] if len(backlog) > 1 else backlog
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

    def receive(self) -> Frame | None:
        """The next frame, waiting for it; None when the other end is gone. For the blocking end."""
        while True:
            for frame in self._frames:
                return frame
            if not self._parser.read(self.socket):
                return None
            self._frames = self._parser.frames()

    def arrived(self) -> tuple[list[Frame], bool]:
        """All frames that are here now, and whether the other end is gone. For the end that never blocks."""
        frames: list[Frame] = []
        for _ in range(8):  # then others get their turn
            try:
                alive = self._parser.read(self.socket)
            except BlockingIOError:
                return frames, False
            except OSError:
                alive = False
            if not alive:
                return frames, True
            frames.extend(self._parser.frames())
        return frames, False

    def close(self) -> None:
        """Close this end; what was not written is dropped."""
        with self._lock:
            self._backlog.clear()
            self.socket.close()


class FrameParser:
    """Bytes in, frames out; holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._loose = bytearray()  # bytes not yet parsed
        self._large: bytearray | None = None  # a frame too large to collect piece by piece
        self._filled = 0

    def read(self, sock: socket.socket) -> bool:
        """Read once; False at the end of the stream. Raises what recv raises."""
        if self._large is not None:
            with memoryview(self._large) as view:
                count = sock.recv_into(view[self._filled :])
            self._filled += count
            return count > 0
        data = sock.recv(_READ)
        self._loose += data
        return bool(data)

    def frames(self) -> Iterator[Frame]:
        """The frames that are complete."""
        if self._large is not None:
            if self._filled == len(self._large):
                whole, self._large = self._large, None
                yield _parse(whole)
            return
        loose, start = self._loose, 0
        while (size := _frame_size(loose, start)) is not None:
            missing = size - (len(loose) - start)
            if missing > 0:
                if missing >= _READ:
                    self._begin_large(size, start)
                    return
                break
            yield _parse(loose[start : start + size])
            start += size
        del loose[:start]

    def _begin_large(self, size: int, start: int) -> None:
        """The rest of a large frame is read straight into its place."""
        self._large = bytearray(size)
        self._filled = len(self._loose) - start
        self._large[: self._filled] = self._loose[start:]
        self._loose = bytearray()


def _frame_size(data: bytearray, start: int) -> int | None:
    """Bytes of the frame that begins at ``start``; None while its head is incomplete."""
    if len(data) - start < _HEADER.size:
        return None
    count, body = _HEADER.unpack_from(data, start)
    if len(data) - start < _HEADER.size + 8 * count:
        return None
    lengths = struct.unpack_from(f"<{count}Q", data, start + _HEADER.size)
    return int(_HEADER.size + 8 * count + body + sum(lengths))


def _parse(frame: bytearray) -> Frame:
    count, body = _HEADER.unpack_from(frame)
    lengths = struct.unpack_from(f"<{count}Q", frame, _HEADER.size)
    view = memoryview(frame)
    at = _HEADER.size + 8 * count
    message = pickle.loads(view[at : at + body])  # noqa: S301 - from our own processes only
    at += body
    buffers = []
    for length in lengths:
        buffers.append(view[at : at + length])
        at += length
    return Frame(message, tuple(buffers))
