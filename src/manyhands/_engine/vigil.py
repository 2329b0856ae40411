"""Staying awake for a moment before going to sleep on a socket."""

from __future__ import annotations

import os
import select
import socket
import time
from typing import Any

AWAKE_SECONDS = 0.0002  # a reader stays awake so long for what may come next
WAKING_SECONDS = 0.0002  # what being woken adds to a wait; a guess
YIELDED_SECONDS = 0.0002  # giving way takes longer only if somebody else wanted the processor
MOST_NAPS = 8  # then it is tried again: what took long may have been the hypervisor


class Vigil:
    """Before a read that may have to wait: stays awake for a moment, if that was enough before, or would have been.

    To be woken costs both sides more than a quick call does, most of all in a virtual machine. Whoever is awake
    gives way to all who want the processor; if somebody does, sleep is the better choice, for longer each time.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._poll = _poll(sock)
        self._was_quick = False  # what came last came within the moment
        self._awake = False  # in this wait, it stayed awake
        self._naps = 0  # waits to come that are slept through
        self._backoff = 1

    def keep(self) -> float:
        """Return when something is there, or when it is better to sleep; since when it was waited."""
        began = time.monotonic()
        self._awake = self._was_quick and not self._naps and self._poll is not None  # there are systems without it
        if self._awake:
            self._stay_awake(began)
        elif self._naps:
            self._naps -= 1
        return began

    def end(self, began: float) -> None:
        """What was waited for since then has come."""
        # A wait that was slept through seems longer: without this allowance, one sleep would lead to the next.
        moment = AWAKE_SECONDS if self._awake else AWAKE_SECONDS + WAKING_SECONDS
        self._was_quick = time.monotonic() - began < moment

    def _stay_awake(self, began: float) -> None:
        now, longest = began, 0.0
        while not self._poll.poll(0) and now - began < AWAKE_SECONDS:
            os.sched_yield()
            before, now = now, time.monotonic()
            longest = max(longest, now - before)
        if longest < YIELDED_SECONDS:
            self._backoff = max(1, self._backoff // 2)
        else:
            self._naps = self._backoff = min(2 * self._backoff, MOST_NAPS)


def _poll(sock: socket.socket) -> Any:
    if not hasattr(select, "poll") or not hasattr(os, "sched_yield"):
        return None
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return poll
