"""The inputs of a job: a sequence that is there, or an iterable that is read as needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class SequenceSource:
    """Inputs that can be sliced at any time: a list, tuple or range."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def items(self, start: int, stop: int) -> Sequence[Any]:
        """Those of tasks ``[start, stop)``. Of a range they are one, too: a few bytes to send, however many."""
        return self._items[start:stop]

    def discard(self, start: int, stop: int) -> None:
        """They stay: they are not ours."""


class GrowingSource:
    """Inputs that are added one by one and kept until their results are there."""

    def __init__(self) -> None:
        self.count = 0
        self._items: dict[int, Any] = {}

    def extend(self, items: Sequence[Any]) -> None:
        """Add inputs."""
        self._items.update(zip(range(self.count, self.count + len(items)), items, strict=True))
        self.count += len(items)

    def keep(self, start: int, items: Sequence[Any]) -> None:
        """These are inputs from task ``start`` on, which had gone elsewhere."""
        self._items.update(zip(range(start, start + len(items)), items, strict=True))

    def skip(self, count: int) -> None:
        """So many inputs go elsewhere."""
        self.count += count

    def items(self, start: int, stop: int) -> list[Any]:
        """Those of tasks ``[start, stop)`` that are still here."""
        if stop - start == 1:
            try:
                return [self._items[start]]
            except KeyError:
                return []
        return list(map(self._items.__getitem__, range(start, stop)))

    def discard(self, start: int, stop: int) -> None:
        """Let go of them."""
        pop = self._items.pop
        for index in range(start, stop):
            pop(index, None)
