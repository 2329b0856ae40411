"""The shared page on which each worker shows what it is doing.

One slot of eight 64-bit numbers a worker. The worker writes CURRENT and SINCE before each task, or each slice of tiny
ones; the caller reads them after a death, or when a task may be over its time, and writes LIMIT to keep the worker
from beginning more. Single aligned stores, no lock: a dying worker can hold nothing.

A *tag* names a task: chunk serial and offset in the chunk, in one number. Tasks of a microsecond have CURRENT
written once a slice and a place in the slice before each: a small number, which Python need not make. Slices
use two such places in turn, so that the next slice's is 0 before CURRENT points to it. Where there are no slices
both are 0.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from typing import Any, NamedTuple

from manyhands._core.chunking import SLICE
from manyhands._engine import memory

CURRENT, SINCE, LIMIT = 0, 1, 2  # places in a slot
_STEPS = (3, 4)  # and those of a place in a slice
IDLE = -1  # CURRENT: nothing of the user's is running
NO_LIMIT = (1 << 63) - 1
_OFFSET_BITS = 24
UNPACKING = (1 << _OFFSET_BITS) - 1  # offset: the chunk as a whole is being unpacked
SENDING = UNPACKING - 1  # offset: all of it that was to run has run, and its results are on their way
SLOTS = 2048  # twice as many as there may be workers, since some may be leaving
_SLOT_WORDS = 8
_BYTES = SLOTS * _SLOT_WORDS * 8


class Stamp(NamedTuple):
    """What a slot says: chunk and offset as in the scheduler's messages, and since when (monotonic seconds)."""

    chunk: int | None
    offset: int | None
    since: float
    ran: bool = False  # the chunk's tasks have run, and none is running


def base_tag(serial: int) -> int:
    """Tag of the first task of a chunk."""
    return serial << _OFFSET_BITS


def new_slot() -> list[int]:
    """A slot for a worker that lives in this process."""
    return [IDLE, 0, NO_LIMIT, 0, 0]


def step_of(offset: int) -> int:
    """The place in a slot that counts within the slice which has this offset."""
    return _STEPS[offset // SLICE % 2]


def no_steps(slot: Any) -> None:
    """There is no slice any more, and CURRENT says so."""
    for place in _STEPS:
        slot[place] = 0


def tag(slot: Any) -> int:
    """Of the running task, as seen by its own worker."""
    current: int = slot[CURRENT]
    return IDLE if current == IDLE else current + slot[step_of(current & UNPACKING)]


def read(slot: Any) -> Stamp:
    """What the worker of this slot is doing. ``since`` may be that of the task behind it: late, never early."""
    while True:
        current, since = slot[CURRENT], slot[SINCE]
        offset = current & UNPACKING
        step = slot[step_of(offset)]
        if slot[CURRENT] == current:
            break
    if current == IDLE:
        return Stamp(None, None, since / 1e9)
    if offset >= SENDING:
        return Stamp(current >> _OFFSET_BITS, None, since / 1e9, offset == SENDING)
    return Stamp(current >> _OFFSET_BITS, offset + step, since / 1e9)


class Board:
    """An anonymous shared page: nothing to name, so nothing to leak."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _reserved_file() if fd is None else fd
        try:
            self._map = mmap.mmap(self.fd, _BYTES)
        except OSError:  # it needs a descriptor of its own
            if fd is None:
                os.close(self.fd)
            raise
        self._words = memoryview(self._map).cast("q")
        self._free = list(range(SLOTS - 1, -1, -1))

    def slot(self, number: int) -> memoryview:
        """The numbers of one slot."""
        start = number * _SLOT_WORDS
        return self._words[start : start + _SLOT_WORDS]

    def take(self) -> int:
        """A free slot, made ready for a new worker."""
        number = self._free.pop()
        slot = self.slot(number)
        slot[CURRENT], slot[SINCE], slot[LIMIT] = IDLE, 0, NO_LIMIT
        no_steps(slot)
        return number

    def give_back(self, number: int) -> None:
        """The slot's worker is gone."""
        self._free.append(number)

    def close(self) -> None:
        """Give the descriptor back; the page goes with its last user."""
        os.close(self.fd)
        self._words.release()
        with contextlib.suppress(BufferError):  # a slot is in use
            self._map.close()


def _reserved_file() -> int:
    fd = memory.anonymous_file(_BYTES)
    try:
        memory.reserve(fd, 0, _BYTES)
    except OSError:
        os.close(fd)
        raise
    return fd
