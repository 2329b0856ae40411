"""A channel: one end of a worker's socket, over which frames go, and the lane and the descriptors beside it.

One end, the caller's, never blocks: what the socket does not take stays in the backlog until the socket can
be written again. The other end, the worker's, blocks, since it has nothing else to do. Sending is safe from
several threads; receiving belongs to one.
"""

from __future__ import annotations

import contextlib
import errno
import pickle
import socket
import struct
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable
from itertools import islice, takewhile
from typing import Any, Protocol

from manyhands._engine.frames import CARRIER, HEADER, MOST_FILES, READ, TAGGED, Frame, FrameParser, Way, place, places
from manyhands._engine.lanes import ALIGNMENT, OutLane
from manyhands._engine.memory import BIG_BUFFER, Segment, segment_of
from manyhands._engine.vigil import Vigil

CROWDED_SECONDS = 0.001  # before it is tried again to send descriptors of which too many are on their way
_NOTHING = memoryview(b"")
_MAX_PIECES = 512  # buffers in one sendmsg; the system's limit is 1024


class Channel:
    """One end of a socket, speaking frames."""

    def __init__(self, sock: socket.socket, *, blocking: bool) -> None:
        sock.setblocking(blocking)
        self.socket = sock
        self._blocking = blocking
        self._lock = threading.Lock()
        self._backlog: deque[memoryview | _Carrier] = deque()
        self._carriers = 0  # in the backlog
        self._torn = False  # nobody knows what of a message was sent: nothing more can be
        self._out_lane = OutLane(quiet=blocking)
        self._lane_told = False  # the other end has its descriptor
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
            if self._torn:
                raise OSError(errno.EIO, "an earlier message was torn by an exception")
            self._torn = True  # an exception of a signal handler may strike anywhere from here on
            count = tagged = len(views)
            at = [view.nbytes for view in views]
            if at and max(at) >= BIG_BUFFER:
                self._send_big_ones(views, at, backlog)
                tagged |= TAGGED
            backlog.append(memoryview(b"".join((HEADER.pack(tagged, len(body)), places(count).pack(*at), body))))
            for view in views:
                if view.nbytes:
                    backlog.append(view)
            self._flush(backlog)
            self._torn = False

    def _send_big_ones(self, views: list[memoryview], at: list[int], backlog: deque[Any]) -> None:
        """Those that need not go into the frame: empty them in ``views`` and say where they are."""
        segments: dict[int, tuple[int, Segment]] = {}  # by identity: its number
        files: list[_HasFile] = []
        for index, view in enumerate(views):
            if view.nbytes < BIG_BUFFER:
                continue
            if (segment := segment_of(view)) is not None:
                number, _ = segments.setdefault(id(segment), (len(segments), segment))
                at[index] = place(Way.PRIVATE if segment.private else Way.SHARED, number, view.nbytes)
            elif (start := self._out_lane.put(view)) is not None:
                at[index] = place(Way.LANE, start // ALIGNMENT, view.nbytes)
                if not self._lane_told:
                    files.append(self._out_lane)
                    self._lane_told = True
            else:
                continue
            views[index] = _NOTHING
        files += [segment for _, segment in segments.values()]
        for first in range(0, len(files), MOST_FILES):
            backlog.append(_Carrier(files[first : first + MOST_FILES]))
            self._carriers += 1

    def flush(self) -> None:
        """Write what the socket takes now."""
        with self._lock:
            self._flush(self._backlog)

    def take_over(self) -> None:
        """Send from now on without waiting for who is in the midst of it: all of that has arrived, or never will."""
        self._backlog = deque()
        self._lock = threading.Lock()
        self._carriers, self._torn = 0, False

    def _flush(self, backlog: deque[Any]) -> None:
        while backlog:
            try:
                if self._carriers and type(backlog[0]) is _Carrier:
                    backlog.popleft().send(self.socket, backlog)
                    self._carriers -= 1
                    continue
                simple = not self._carriers and len(backlog) <= _MAX_PIECES
                sent = self.socket.sendmsg(backlog if simple else _next_pieces(backlog))
            except BlockingIOError:
                if self._blocking:
                    continue  # too many descriptors are on their way: soon there will be fewer
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
            began = self._vigil.keep() if soon else None
            try:
                if not self._parser.read(self.socket):
                    return None
            except BlockingIOError:  # see when_idle
                self._be_idle()
                continue
            if began is not None:
                self._vigil.end(began)
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
                self._out_lane.rest()
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
            if count < READ:  # that was all; if not, the selector will say so
                break
        return frames, False

    def close(self) -> None:
        """Close this end; what was not written is dropped.

        Without the lock: whoever is in the midst of sending may have been interrupted by a signal handler.
        """
        self.socket.close()
        self._out_lane.close()
        self._parser.close()


class _HasFile(Protocol):
    fd: int


class _Carrier:
    """What descriptors travel with: it holds their owners until they are sent."""

    def __init__(self, files: list[_HasFile]) -> None:
        self._files = files

    def send(self, sock: socket.socket, backlog: deque[Any]) -> None:
        """Send it, or put it back."""
        fds = array("i", [file.fd for file in self._files])
        head = memoryview(HEADER.pack(CARRIER, len(fds)))
        try:
            sent = sock.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        except OSError as error:
            backlog.appendleft(self)
            if error.errno != errno.ETOOMANYREFS:
                raise
            time.sleep(CROWDED_SECONDS)
            raise BlockingIOError from error  # until some of those that are on their way have arrived
        if sent < len(head):  # the descriptors have gone with the first byte
            backlog.appendleft(head[sent:])


def _next_pieces(backlog: deque[Any]) -> list[Any]:
    """What can be sent at once: up to the next carrier, and not more than the system takes."""
    return list(takewhile(lambda piece: type(piece) is not _Carrier, islice(backlog, _MAX_PIECES)))


def _receive_within(sock: socket.socket, seconds: int) -> None:
    """Have the system end a recv that has waited for so long: unlike a timeout of Python's, it costs no call more."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", seconds, 0))
