"""What a call's inputs, results and function weigh, as far as it is worth to know."""

from __future__ import annotations

import math
from collections.abc import Callable

from manyhands._engine.payload import Weight

AGAIN = 4  # times the time that did not do before: then it is tried again
TRIES = 3  # the first may have had to wait for memory, and one of 0.2 ms would keep a second of work in the caller
QUICK_SECONDS = 20e-6  # so quick that it does not matter


class Scale:
    """Weighs something once, or, if that took too long, again when there is much more time for it."""

    def __init__(self) -> None:
        self.megabytes: float | None = None  # infinitely many if it took too long
        self.seconds = 0.0  # of work that it took
        self._within = 0.0

    @property
    def known(self) -> float | None:
        """The megabytes, if they were found within the time."""
        return None if self.megabytes == math.inf else self.megabytes

    def read(self, weigh: Callable[[float], Weight], within: float) -> float:
        """Find out, unless it is known; the seconds that this took now."""
        if self.megabytes is not None and (self.megabytes < math.inf or within <= AGAIN * self._within):
            return 0.0
        self._within = within
        weight = weigh(within)
        took, least = weight.seconds, weight
        for _ in range(TRIES - 1):
            if least.seconds <= QUICK_SECONDS or took + least.seconds > within:
                break
            weight = weigh(within - took)
            took, least = took + weight.seconds, min(least, weight, key=lambda weight: weight.seconds)
        self.megabytes, self.seconds = least.bytes / 1e6, least.seconds
        return took
