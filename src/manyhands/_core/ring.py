"""Places in a memory that is used round and round: given back in the order in which they were taken.

>>> ring = Ring(100)
>>> [ring.take(40), ring.take(40), ring.take(40)]
[0, 40, None]
>>> ring.give_back(1)
>>> ring.take(30)
0
"""

from __future__ import annotations

from collections import deque


class Ring:
    """Who owns which part of so many bytes. When nothing is taken it begins anew at the front."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._taken: deque[tuple[int, int]] = deque()  # (start, stop) of each place, the oldest first
        self._given_back = 0

    @property
    def empty(self) -> bool:
        """Nothing is taken."""
        return not self._taken

    def take(self, length: int) -> int | None:
        """A place of so many bytes; None if there is none now."""
        start = self._free(length)
        if start is not None:
            self._taken.append((start, start + length))
        return start

    def give_back(self, count: int) -> None:
        """So many places, since the ring was made, are free again: the oldest ones."""
        while self._given_back < count and self._taken:
            self._taken.popleft()
            self._given_back += 1

    def _free(self, length: int) -> int | None:
        if not self._taken:
            return 0 if length <= self.size else None
        front, (last, end) = self._taken[0][0], self._taken[-1]
        if last >= front:  # what is taken is in one piece: there is room behind it, or before
            if end + length <= self.size:
                return end
            return 0 if length < front else None  # not up to the front: full would look like one piece
        return end if end + length < front else None
