"""Frames: how messages and their buffers look on a stream socket, and how they are read from it.

A frame is a message (a small tuple of plain values, pickled) and any number of buffers beside it::

    | buffers: u32 | message: u32 bytes | place of each buffer: u64 ... | message | buffer | buffer ...

A buffer travels in one of several ways, which the two highest bits of its place tell: in the frame (then the place is
its length); in the `lane <lanes>` beside the socket (where it lies there, and its length); or by its descriptor, if it
is a `segment <memory.Segment>` (its number among those that came, and its length). Descriptors come with *carriers*,
which go before the frame that needs them.
"""

from __future__ import annotations

import errno
import os
import pickle
import socket
import struct
from array import array
from collections import deque
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

from manyhands._engine.lanes import ALIGNMENT, InLane
from manyhands._engine.memory import Segment
from manyhands.errors import NotSendable

HEADER = struct.Struct("<II")
TAGGED = 1 << 31  # in the header's first number: places tell the way, too
CARRIER = (1 << 32) - 1  # there: this is no frame; so many descriptors came with it as the second number says
MOST_FILES = 64  # descriptors at once; the system's limit is 253
READ = 1 << 17  # bytes asked for at once; a frame of which more is missing is read straight into its place
_ANCILLARY = socket.CMSG_SPACE(4 * MOST_FILES)
# As plain numbers: `&` with a member of an IntFlag takes 0.6 us, with a number 0.03 us.
_CLOSE_ON_EXEC, _CUT_SHORT = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0)), int(socket.MSG_CTRUNC)
_WHERE_BITS, _LENGTH_BITS = 14, 48  # of a place; the two above are the way


class Way(IntEnum):
    """How a buffer travels."""

    INLINE = 0
    LANE = 1
    PRIVATE = 2  # a segment of which each receiver sees its own writes
    SHARED = 3


class Frame(NamedTuple):
    """One message as received; buffers are writable, and the receiver's own unless they are of a shared segment.

    With an ``error`` there are none: there is no memory, or no descriptor, for them here.
    """

    message: Any
    buffers: tuple[memoryview, ...]
    error: Exception | None = None


@lru_cache(64)
def places(count: int) -> struct.Struct:
    """The places of so many buffers."""
    return struct.Struct(f"<{count}Q")


def place(way: Way, where: int, length: int) -> int:
    """Raises NotSendable if there are more segments than can be told apart."""
    if where >> _WHERE_BITS:
        raise NotSendable("too many shared arrays in one message: share one large array and slice it")
    return way << (_WHERE_BITS + _LENGTH_BITS) | where << _LENGTH_BITS | length


def _read_place(found: int) -> tuple[int, int, int]:
    """Way, where, length."""
    where, length = found >> _LENGTH_BITS & (1 << _WHERE_BITS) - 1, found & (1 << _LENGTH_BITS) - 1
    return found >> (_WHERE_BITS + _LENGTH_BITS), where, length


class FrameParser:
    """Bytes in, frames out; holds at most one incomplete frame."""

    def __init__(self) -> None:
        self._scratch = memoryview(bytearray(READ))
        self._loose = bytearray()  # the beginning of a frame
        self._read = self._scratch[:0]  # what was read last
        self._large: bytearray | None = None  # a frame too large to collect piece by piece
        self._filled = 0
        self._files: deque[int] = deque()  # descriptors that came
        self._files_lost = False  # there was no room here for some
        self._lost: Exception | None = None  # so the next frame cannot have them
        self._in_lane: InLane | None = None

    @property
    def has_lane(self) -> bool:
        """Buffers have come through one."""
        return self._in_lane is not None

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
        count, ancillary, flags, _ = sock.recvmsg_into((into,), _ANCILLARY, _CLOSE_ON_EXEC)
        if flags & _CUT_SHORT:
            self._files_lost = True
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
            frame = self._parse(whole, own=True)
            return [] if frame is None else [frame]
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
                if missing >= READ:
                    self._begin_large(size, data[start:])
                break
            frame = self._parse(data[start : start + size], own=False)
            if frame is not None:
                frames.append(frame)
            start += size
        return data[start:], frames

    def _parse(self, frame: memoryview, *, own: bool) -> Frame | None:
        """Take a whole frame apart; unless the memory is its ``own``, buffers are copied out of it. None: a carrier."""
        count, body = HEADER.unpack_from(frame)
        error: Exception | None = None
        elsewhere: dict[int, memoryview] = {}
        if count >= TAGGED:
            if count == CARRIER:
                self._check_files(body)
                return None
            count -= TAGGED
            elsewhere, error = self._from_elsewhere(places(count).unpack_from(frame, HEADER.size))
        at = HEADER.size + 8 * count
        message = pickle.loads(frame[at : at + body])
        at += body
        buffers = []
        for index, length in enumerate(places(count).unpack_from(frame, HEADER.size) if error is None else ()):
            if index in elsewhere:
                buffers.append(elsewhere[index])
                continue
            view = frame[at : at + length]
            buffers.append(view if own else memoryview(bytearray(view)))
            at += length
        return Frame(message, tuple(buffers), error)

    def _from_elsewhere(self, all_places: tuple[int, ...]) -> tuple[dict[int, memoryview], Exception | None]:
        """The buffers that did not come in the frame, by their number; or why they cannot be had.

        In that case, too, all of them are taken, so that the next frame finds its own.
        """
        found: dict[int, memoryview] = {}
        segments: dict[int, Segment | None] = {}
        error, self._lost = self._lost, None
        read = [_read_place(one) for one in all_places]
        if self._in_lane is None and any(way == Way.LANE for way, _, _ in read):
            if error is not None:
                raise error  # what is in the lane cannot be had, now or later
            self._in_lane = InLane(self._files.popleft())  # its descriptor goes before those of segments
        for index, (way, where, length) in enumerate(read):
            try:
                if way == Way.LANE:
                    assert self._in_lane is not None  # noqa: S101 - opened just before
                    found[index] = self._in_lane.take(where * ALIGNMENT, length)
                elif way != Way.INLINE:
                    if where not in segments and error is None:
                        segments[where] = None
                        segments[where] = Segment.received(self._files.popleft(), length, private=way == Way.PRIVATE)
                    if (segment := segments.get(where)) is not None:
                        found[index] = memoryview(segment)
            except (OSError, MemoryError) as failed:
                error = error or failed
        if error is not None:
            self._drop_files()
        return found, error

    def _check_files(self, count: int) -> None:
        """So many descriptors came with this carrier, unless the system has dropped some: then the frame has none."""
        if self._files_lost or len(self._files) < count:
            self._files_lost = False
            self._drop_files()
            self._lost = OSError(
                errno.EMFILE,
                "too many open files to receive shared arrays, which take two each: raise `ulimit -n`, or share one "
                "large array and slice it",
            )

    def _drop_files(self) -> None:
        while self._files:
            os.close(self._files.popleft())

    def close(self) -> None:
        """Nothing more will be read."""
        self._drop_files()
        if self._in_lane is not None:
            self._in_lane.close()

    def _begin_large(self, size: int, beginning: memoryview) -> None:
        self._large = bytearray(size)
        self._filled = len(beginning)
        self._large[: self._filled] = beginning


def _frame_size(data: memoryview, start: int, end: int) -> int | None:
    """Bytes of the frame that begins at ``start``; None while its head is incomplete."""
    at = start + HEADER.size
    if end < at:
        return None
    count, body = HEADER.unpack_from(data, start)
    if count >= TAGGED:
        return _tagged_size(data, count, body, at, end)
    if end < at + 8 * count:
        return None
    return int(at - start + 8 * count + body + sum(places(count).unpack_from(data, at)))


def _tagged_size(data: memoryview, count: int, body: int, at: int, end: int) -> int | None:
    if count == CARRIER:
        return HEADER.size
    count -= TAGGED
    if end < at + 8 * count:
        return None
    read = map(_read_place, places(count).unpack_from(data, at))
    return HEADER.size + 8 * count + body + sum(length for way, _, length in read if way == Way.INLINE)
