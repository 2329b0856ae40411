"""A lane: shared memory beside a socket, in which big buffers travel one way.

    the sender:    copies a buffer into a free place ─► says in the frame where it lies
    the receiver:  copies it out ─► counts it as taken

Two copies, and yet four to ten times as fast as the socket: the same few pages are used again and again, so that they
stay in the processor's caches and no page is ever new. What arrives is the receiver's own, as if it had come through
the socket: it may be written, nobody else sees it, and no view keeps the lane from being used again. That is why
buffers are not handed over as views of shared memory: mapping them anew costs more than copying them.

If there is no room, or no memory, the buffer takes the socket: a lane never makes anybody wait.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os

from manyhands._core.ring import Ring
from manyhands._engine import forks, heap, memory

BYTES = 128 << 20  # of places; only those that are used take memory
STEP = 1 << 20  # so much memory is reserved at once
ALIGNMENT = 1 << 14  # a place begins at a multiple of this; see the 14 bits in `frames`
_HEAD = memory.PAGE  # before the places: how many the receiver has taken out
_log = logging.getLogger("manyhands")
_warned = False


class _Mapping:
    """The mapping, and how many buffers were taken out."""

    def __init__(self, fd: int) -> None:
        self.map = mmap.mmap(fd, _HEAD + BYTES)
        whole = memoryview(self.map)
        self.taken_out, self.places = whole[:_HEAD].cast("q"), whole[_HEAD:]
        whole.release()

    def close(self) -> None:
        self.taken_out.release()
        with contextlib.suppress(BufferError):  # somebody is in the midst of copying
            self.places.release()
            self.map.close()


class OutLane:
    """The sender's end, made on first use. Who calls sees to it that only one thread is in here, but for ``close``."""

    def __init__(self, *, quiet: bool) -> None:
        self.fd = -1
        self._quiet = quiet
        self._ring = Ring(BYTES)
        self._reserved = 0
        self._lane: _Mapping | None = None
        self._broken = False

    def put(self, buffer: memoryview) -> int | None:
        """Copy it in; at which offset. None if that cannot be done now."""
        if self._broken:
            return None
        try:
            lane = self._lane or self._open()
            self._ring.give_back(lane.taken_out[0])
            start = self._ring.take(-(-buffer.nbytes // ALIGNMENT) * ALIGNMENT)
            if start is None:
                return None
            self._reserve(start + buffer.nbytes)
            lane.places[start : start + buffer.nbytes] = buffer
        except ValueError:  # it was closed meanwhile
            return None
        except OSError as error:
            self._broken = True
            if not self._quiet:
                _warn(error)
            return None
        return start

    def _open(self) -> _Mapping:
        memory.check_allowed()
        fd = memory.anonymous_file(_HEAD + BYTES)
        try:
            memory.reserve(fd, 0, _HEAD)
            self._lane = _Mapping(fd)
        except BaseException:
            os.close(fd)
            raise
        forks.close_in_child(fd)
        self.fd = fd
        return self._lane

    def _reserve(self, stop: int) -> None:
        if stop > self._reserved:
            wanted = min(BYTES, -(-stop // STEP) * STEP)
            memory.reserve(self.fd, _HEAD + self._reserved, _HEAD + wanted)
            self._reserved = wanted

    def rest(self) -> None:
        """Nothing is to be sent for a while: give the memory back, unless something still lies there."""
        if self._lane is None or not self._reserved or self._broken:
            return
        self._ring.give_back(self._lane.taken_out[0])
        if self._ring.empty and hasattr(mmap, "MADV_REMOVE"):
            with contextlib.suppress(OSError):
                self._lane.map.madvise(mmap.MADV_REMOVE, _HEAD, self._reserved)
                self._reserved = 0

    def close(self) -> None:
        """The memory goes with its last user."""
        self._broken = True
        if self._lane is not None:
            forks.keep_in_child(self.fd)
            os.close(self.fd)
            self._lane.close()
            self._lane = None


class InLane:
    """The receiver's end."""

    def __init__(self, fd: int) -> None:
        try:
            self._lane = _Mapping(fd)
        finally:
            os.close(fd)

    def take(self, start: int, length: int) -> memoryview:
        """Copy a buffer out; its place is free from here on, also if there is no memory for the copy."""
        try:
            return heap.copied(self._lane.places[start : start + length])
        finally:
            self._lane.taken_out[0] += 1  # an aligned word that nobody else writes, after the copy

    def close(self) -> None:
        """The memory goes with its last user."""
        self._lane.close()


def _warn(error: OSError) -> None:
    global _warned  # noqa: PLW0603 - once is enough
    if not _warned:
        _warned = True
        _log.warning("big arrays take the slower way through a socket, since shared memory failed: %s", error)
