"""How bytes move: frames over a stream socket, gathered on write, and beside it what is faster than a socket.

A frame is a message (a small tuple of plain values, pickled) and any number of buffers beside it::

    | buffers: u32 | message: u32 bytes | place of each buffer: u64 ... | message | buffer | buffer ...

A buffer travels in one of three ways, which the two highest bits of its place tell: in the frame (the rest of the
place is its length); in the `lane <lanes>` beside the socket, if it is big (where it lies there, and its length); or by
its descriptor, if it is a `segment <memory.Segment>` (its number among those that came, and its length).

One end, the caller's, never blocks: what the socket does not take stays in the backlog until the socket can
be written again. The other end, the worker's, blocks, since it has nothing else to do. Sending is safe from
several threads; receiving belongs to one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import socket
import struct
import threading
from array import array
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from itertools import islice, takewhile
from typing import Any, NamedTuple

from manyhands._engine.lanes import ALIGNMENT, InLane, OutLane
from manyhands._engine.memory import BIG_BUFFER, Segment, segment_of
from manyhands._engine.vigil import Vigil

_HEADER = struct.Struct("<II")
_ODD = 1 << 31  # in the header's first number: not all buffers are in the frame
_CARRIER = (1 << 32) - 1  # there: this is no frame; so many descriptors came with it as the second number says
_MOST_FILES = 64  # descriptors at once; the system's limit is 253
_ANCILLARY = socket.CMSG_SPACE(4 * _MOST_FILES)
_INLINE, _LANE, _PRIVATE, _SHARED = range(4)  # ways of a buffer
_WAY, _LENGTH_BITS = 62, 48  # a place: way (2 bits), where it is (14 bits), length (48 bits)
_LENGTH = (1 << _LENGTH_BITS) - 1
_MOST_PLACES = (1 << _WAY - _LENGTH_BITS) - 1
_NOTHING = memoryview(b"")
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
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
        self._backlog: deque[memoryview | _Carrier] = deque()
        self._lane = OutLane(quiet=blocking)
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
        backlog = self._backlog
        with self._lock:
            count, places = len(views), [view.nbytes for view in views]
            if places and max(places) >= BIG_BUFFER:
                self._send_big_ones(views, places, backlog)
                count |= _ODD
            backlog.append(
                memoryview(b"".join((_HEADER.pack(count, len(body)), _lengths(len(views)).pack(*places), body)))
            )
            for view in views:
                if view.nbytes:
                    backlog.append(view)
            self._flush(backlog)

    def _send_big_ones(self, views: list[memoryview], places: list[int], backlog: deque[Any]) -> None:
        """Those that need not go into the frame: empty them in ``views`` and say in ``places`` where they are."""
        segments: dict[int, tuple[int, Segment]] = {}  # by identity: its number
        opened = self._lane.fd >= 0
        for index, view in enumerate(views):
            if view.nbytes < BIG_BUFFER:
                continue
            segment = segment_of(view)
            if segment is not None:
                number, _ = segments.setdefault(id(segment), (len(segments), segment))
                place = (_PRIVATE if segment.private else _SHARED, number)
            else:
                start = self._lane.put(view)
                if start is None:
                    continue
                place = (_LANE, start // ALIGNMENT)
            places[index] |= place[0] << _WAY | place[1] << _LENGTH_BITS
            views[index] = _NOTHING
        files: list[Any] = [segment for _, segment in segments.values()]
        if not opened and self._lane.fd >= 0:
            files.insert(0, self._lane)
        for start in range(0, len(files), _MOST_FILES):
            backlog.append(_Carrier(files[start : start + _MOST_FILES]))

    def flush(self) -> None:
        """Write what the socket takes now."""
        with self._lock:
            self._flush(self._backlog)

    def take_over(self) -> None:
        """Send from now on without waiting for who is in the midst of it: all of that has arrived, or never will."""
        self._backlog = deque()
        self._lock = threading.Lock()

    def _flush(self, backlog: deque[Any]) -> None:
        while backlog:
            try:
                if type(backlog[0]) is _Carrier:
                    backlog.popleft().send(self.socket, backlog)
                    continue
                sent = self.socket.sendmsg(_next_pieces(backlog))
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

    def rest(self) -> None:
        """Nothing is to be sent for a while, nor came lately: give memory back, unless somebody is just sending."""
        if self._lock.acquire(blocking=False):
            try:
                self._lane.rest()
            finally:
                self._lock.release()

    @property
    def has_lane(self) -> bool:
        """Big buffers have come through shared memory, which the other end may want to give back."""
        return self._parser.has_lane

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
        self._lane.close()
        self._parser.close()


class _Carrier:
    """What descriptors travel with: it holds their owners until they are sent."""

    def __init__(self, files: list[Any]) -> None:
        self._files = files

    def send(self, sock: socket.socket, backlog: deque[Any]) -> None:
        """Send it, or put it back."""
        fds = array("i", [file.fd for file in self._files])
        head = memoryview(_HEADER.pack(_CARRIER, len(fds)))
        try:
            sent = sock.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        except BlockingIOError:
            backlog.appendleft(self)
            raise
        if sent < len(head):  # the descriptors have gone with the first byte
            backlog.appendleft(head[sent:])


def _next_pieces(backlog: deque[Any]) -> Any:
    """What can be sent at once: up to the next carrier, and not more than the system takes."""
    if len(backlog) <= _MAX_PIECES and _Carrier not in set(map(type, backlog)):
        return backlog
    return list(takewhile(lambda piece: type(piece) is not _Carrier, islice(backlog, _MAX_PIECES)))


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
        self._files: deque[int] = deque()  # descriptors that came
        self._lane: InLane | None = None

    @property
    def has_lane(self) -> bool:
        """Buffers have come through one."""
        return self._lane is not None

    def read(self, sock: socket.socket) -> int:
        """Read once; the bytes that came, 0 at the end of the stream. Raises what recv raises."""
        if self._large is not None:
            with memoryview(self._large) as view:
                count = self._receive(sock, view[self._filled :])
            self._filled += count
            return count
        count = self._receive(sock, self._scratch)
        self._read = self._scratch[:count]
        return count

    def _receive(self, sock: socket.socket, into: memoryview) -> int:
        count, ancillary, _, _ = sock.recvmsg_into((into,), _ANCILLARY, _CLOSE_ON_EXEC)
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array("i")
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                self._files.extend(fds)
        return count

    def frames(self) -> list[Frame]:
        """The frames that are complete."""
        if self._large is not None:
            if self._filled < len(self._large):
                return []
            whole, self._large = memoryview(self._large), None
            return [self._parse(whole, own=True)]
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
            if _HEADER.unpack_from(data, start)[0] == _CARRIER:
                self._check_files(_HEADER.unpack_from(data, start)[1])
            else:
                frames.append(self._parse(data[start : start + size], own=False))
            start += size
        return data[start:], frames

    def _parse(self, frame: memoryview, *, own: bool) -> Frame:
        """Take a whole frame apart; unless the memory is its ``own``, buffers are copied out of it."""
        count, body = _HEADER.unpack_from(frame)
        odd, count = count & _ODD, count & ~_ODD
        at = _HEADER.size + 8 * count
        places = _lengths(count).unpack_from(frame, _HEADER.size)
        elsewhere = self._from_elsewhere(places) if odd else {}
        message = pickle.loads(frame[at : at + body])
        at += body
        buffers = []
        for index, length in enumerate(places):
            if index in elsewhere:
                buffers.append(elsewhere[index])
                continue
            view = frame[at : at + length]
            buffers.append(view if own else memoryview(bytearray(view)))
            at += length
        return Frame(message, tuple(buffers))

    def _from_elsewhere(self, places: tuple[int, ...]) -> dict[int, memoryview]:
        """The buffers that did not come in the frame, by their number."""
        ways = [place >> _WAY for place in places]
        if _LANE in ways and self._lane is None:
            self._lane = InLane(self._files.popleft())
        found: dict[int, memoryview] = {}
        segments: dict[int, Segment] = {}
        for index, (way, place) in enumerate(zip(ways, places, strict=True)):
            where, length = place >> _LENGTH_BITS & _MOST_PLACES, place & _LENGTH
            if way == _LANE and self._lane is not None:
                found[index] = memoryview(self._lane.take(where * ALIGNMENT, length))
            elif way != _INLINE:
                if where not in segments:
                    segments[where] = Segment.received(self._files.popleft(), length, private=way == _PRIVATE)
                found[index] = memoryview(segments[where])
        return found

    def _check_files(self, count: int) -> None:
        """So many descriptors came with this carrier; the system drops those for which there is no room."""
        if len(self._files) < count:
            raise OSError(errno.EMFILE, "shared memory that was sent here could not be received: too many open files")

    def close(self) -> None:
        """Nothing more will be read."""
        while self._files:
            os.close(self._files.popleft())
        if self._lane is not None:
            self._lane.close()

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
    if count == _CARRIER:
        return _HEADER.size
    odd, count = count & _ODD, count & ~_ODD
    if end < at + 8 * count:
        return None
    places = _lengths(count).unpack_from(data, at)
    inside = sum(place for place in places if place >> _WAY == _INLINE) if odd else sum(places)
    return int(_HEADER.size + 8 * count + body + inside)
