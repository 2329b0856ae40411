"""The inputs of a job: a sequence that is there, or an iterable that is read as needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import repeat
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


class Columns(Sequence[tuple[Any, ...]]):
    """Arguments side by side: what zip makes of lists, tuples and ranges, row by row when it is wanted."""

    def __init__(self, columns: Sequence[Sequence[Any]]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return min(map(len, self._columns))

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return zip(*self._columns, strict=False)

    def __getitem__(self, where: Any) -> Any:
        """A row, or for a slice as many."""
        parts = [column[where] for column in self._columns]
        return Columns(parts) if isinstance(where, slice) else tuple(parts)


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
        deque(map(self._items.pop, range(start, stop), repeat(None)), maxlen=0)
