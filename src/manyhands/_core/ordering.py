"""Putting ranges of results back in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Reorder(Generic[T]):
    """Takes ranges ``[start, stop)`` in any order and gives them out in order of ``start``.

    >>> order = Reorder()
    >>> list(order.put(2, 5, "later")), list(order.put(0, 2, "first"))
    ([], ['first', 'later'])
    """

    def __init__(self, start: int = 0) -> None:
        self.next = start
        self._waiting: dict[int, tuple[int, T]] = {}

    def put(self, start: int, stop: int, what: T) -> Iterator[T]:
        """Take one range in; give out all that are now in order."""
        self._waiting[start] = (stop, what)
        return self._drain()

    def _drain(self) -> Iterator[T]:
        while self.next in self._waiting:
            self.next, what = self._waiting.pop(self.next)
            yield what
