"""The inputs of a job: a sequence that is there, or an iterable that is read as needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import is_
from typing import Any

from manyhands.showing import MISSING

BLOCK = 1024  # inputs


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
    """Inputs that are added at the end and kept until their results are there.

    They lie in blocks, so that they come and go by the slice. The caller adds while the dispatcher takes away, without
    a lock, which a fork could leave locked: each change is a single step, and only a block that is full is let go.
    """

    def __init__(self) -> None:
        self.count = 0
        self._blocks: dict[int, list[Any]] = {}  # MISSING in place of those that are not here
        self._back: dict[int, Any] = {}  # those that went elsewhere and came back: there, their block may be going

    def extend(self, items: Sequence[Any]) -> None:
        """Add inputs."""
        stop = self.count + len(items)
        for number, first, last in _parts(self.count, stop):
            block = self._blocks.setdefault(number, [])
            block += [MISSING] * (first - len(block))  # were skipped
            block[first:] = items[number * BLOCK + first - self.count : number * BLOCK + last - self.count]
        self.count = stop

    def keep(self, start: int, items: Sequence[Any]) -> None:
        """These are inputs from task ``start`` on, which had gone elsewhere."""
        self._back.update(zip(range(start, start + len(items)), items, strict=True))

    def skip(self, count: int) -> None:
        """So many inputs go elsewhere."""
        self.count += count

    def items(self, start: int, stop: int) -> list[Any]:
        """Those of tasks ``[start, stop)`` that are still here."""
        found: list[Any] = []
        for number, first, last in _parts(start, stop):
            part = self._blocks.get(number, [])[first:last]
            found += part + [MISSING] * (last - first - len(part)) if len(part) < last - first else part
        if self._back:
            found = list(map(self._back.get, range(start, stop), found))
        return [] if stop - start == 1 and found[0] is MISSING else found

    def discard(self, start: int, stop: int) -> None:
        """Let go of them."""
        for number, first, last in _parts(start, stop):
            if last - first == BLOCK:
                self._blocks.pop(number, None)
            elif block := self._blocks.get(number):
                block[first:last] = [MISSING] * (min(last, len(block)) - first)
                if (number + 1) * BLOCK <= self.count and all(map(is_, block, repeat(MISSING))):
                    del self._blocks[number]
        if self._back:
            deque(map(self._back.pop, range(start, stop), repeat(None)), maxlen=0)


def _parts(start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Of each block that has some of these tasks: its number, and from where to where in it."""
    while start < stop:
        number, first = divmod(start, BLOCK)
        last = min(BLOCK, first + stop - start)
        yield number, first, last
        start += last - first
