"""Which pictures a dataset has: decided before any is made, the same for any number of workers."""

from __future__ import annotations

import hashlib
import heapq
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, NamedTuple, TypeVar

from manyhands.apps.synth.config import SPLITS, Config, splits_of
from manyhands.apps.synth.inputs import Found, Picture, same_content
from manyhands.errors import OptionError

MOST = 10_000_000  # samples: their names alone take gigabytes
TWINS = 3  # that are named
LONGEST = 48  # bytes of each name in an identity: a file's name has at most 255


T = TypeVar("T")


class Sample(NamedTuple):
    """One picture to be made: this object on this background, for the ``turn``-th time."""

    id: str
    split: str
    label: str
    object: str  # keys of pictures
    background: str
    turn: int

    def __repr__(self) -> str:
        """Short, for errors: the identity alone tells which it is."""
        return f"Sample({self.id!r})"


class Stock(NamedTuple):
    """What the pictures of a split are made from: keys."""

    objects: tuple[str, ...]
    backgrounds: tuple[str, ...]


class Plan(NamedTuple):
    """All samples, and what each split draws from. ``notes``: what one might not expect.

    However many of the samples one takes from the beginning, each object of a split is used as often as another, give
    or take one, and so is each background; classes and splits have their shares.
    """

    samples: tuple[Sample, ...]
    stocks: dict[str, Stock]
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def per_class(self) -> dict[str, int]:
        """How many samples have an object of this class first."""
        return dict(sorted(Counter(sample.label for sample in self.samples).items()))


def make(found: Found, config: Config) -> Plan:
    """Every object on every background of its split, so many times; or the first of these."""
    notes: list[str] = []
    objects = {split: [] for split in SPLITS}  # type: dict[str, list[Picture]]
    for label in found.classes:
        own = [one for one in found.objects if one.label == label]
        for split, part in _divided(own, config, f"class {label}", notes).items():
            objects[split] += part
    backgrounds = _divided(list(found.backgrounds), config, "the backgrounds", notes)
    blocks = [_block(split, objects[split], backgrounds[split], config) for split in SPLITS]
    total = sum(block.size for block in blocks)
    count = total if config.count is None else min(config.count, total)
    if count > MOST:
        raise OptionError(f"a dataset has at most {MOST:,} pictures, and this would have {count:,}: set a lower count")
    if config.count is not None and config.count > total:
        notes.append(f"there are only {total:,} combinations, not {config.count:,}: raise times")
    samples = islice(_blended([(block.size, block) for block in blocks]), count)
    stocks = {
        split: Stock(tuple(one.key for one in objects[split]), tuple(one.key for one in backgrounds[split]))
        for split in SPLITS
    }
    return Plan(tuple(samples), stocks, found.classes, tuple(notes))


def twins(plan: Plan, contents: Mapping[str, str]) -> tuple[str, ...]:
    """Notes on inputs that are the same picture, under other names, in several splits; whatever masks they have."""
    places: dict[str, dict[str, str]] = {}
    for split, stock in plan.stocks.items():
        for key in (*stock.objects, *stock.backgrounds):
            places.setdefault(contents[key], {}).setdefault(split, key)
    told = [
        f"{' and '.join(keys.values())} are the same picture, in {' and '.join(keys)}: leave out all but one"
        for keys in places.values()
        if len(keys) > 1
    ]
    more = [f"so it is with {len(told) - TWINS} more"] if len(told) > TWINS else []
    return (*told[:TWINS], *more)


@dataclass(frozen=True, slots=True)
class _Block:
    """Every object on every background of a split, so many times: in diagonals, so that each beginning is even."""

    split: str
    objects: Sequence[Picture]
    backgrounds: Sequence[Picture]
    times: int

    @property
    def size(self) -> int:
        return len(self.objects) * len(self.backgrounds) * self.times

    def __iter__(self) -> Iterator[Sample]:
        across, down = len(self.objects), len(self.backgrounds)
        for number in range(self.size):
            turn, at = divmod(number, across * down)
            later = at // math.lcm(across, down)  # a diagonal has come back to its beginning so often
            one, behind = self.objects[at % across], self.backgrounds[(at + later) % down]
            yield Sample(identity(one, behind, turn), self.split, one.label, one.key, behind.key, turn)


def _block(split: str, objects: list[Picture], backgrounds: list[Picture], config: Config) -> _Block:
    """In an order by chance, so that names and diagonals have nothing to do with one another."""
    shuffled = _shuffled(objects, config.seed)
    classes = [list(own) for _, own in groupby(sorted(shuffled, key=lambda one: one.label), lambda one: one.label)]
    mixed = list(_blended([(len(own), own) for own in classes]))
    return _Block(split, mixed, _shuffled(backgrounds, config.seed), config.times)


def _blended(parts: Iterable[tuple[int, Iterable[T]]]) -> Iterator[T]:
    """All of them, each part (how many, which) as evenly spread over the whole as it can be.

    >>> "".join(_blended([(4, "aaaa"), (2, "bb")]))
    'abaaba'
    """

    def placed(number: int, count: int, ones: Iterable[T]) -> Iterator[tuple[float, int, T]]:
        return (((at + 0.5) / count, number, one) for at, one in enumerate(ones))

    lines = [placed(number, count, ones) for number, (count, ones) in enumerate(parts) if count]
    return (one for _, _, one in heapq.merge(*lines, key=lambda place: place[:2]))


def identity(one: Picture, behind: Picture, turn: int) -> str:
    """A name for files, and all that a sample's random numbers depend on besides the seed."""
    told = "\0".join([one.key, behind.key, str(turn)])
    digest = hashlib.sha256(told.encode()).hexdigest()[:12]
    names = [one.label, one.path.stem, behind.path.stem]
    return "-".join([*map(_short, names), f"{turn:02}", digest])


def _short(name: str) -> str:
    return re.sub(r"\W+", "_", name).encode()[:LONGEST].decode(errors="ignore")


def random_of(seed: int, sample: str) -> Any:
    """The random numbers of one sample: of nothing but these two."""
    import numpy as np

    digest = hashlib.sha256(f"{seed}\0{sample}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def _shuffled(pictures: list[Picture], seed: int) -> list[Picture]:
    """In an order that depends on their names and the seed alone."""
    return sorted(pictures, key=lambda one: hashlib.sha256(f"{seed}\0{one.key}".encode()).digest())


def _divided(pictures: list[Picture], config: Config, what: str, notes: list[str]) -> dict[str, list[Picture]]:
    """Over the splits, by shares; which goes where depends on all their names and the seed.

    Files of the same content go to the same split.
    """
    order = _shuffled(pictures, config.seed)
    wanted = splits_of(config.split)
    counts = _counts(len(order), config.split)
    parts: dict[str, list[Picture]] = {split: [] for split in SPLITS}
    groups = same_content(order) if len(wanted) > 1 else [[one] for one in order]
    for at, (split, count) in enumerate(zip(SPLITS, counts, strict=True)):
        later = sum(count > 0 for count in counts[at + 1 :])  # each is to have something, the first ones first
        while groups and count and _takes_more(parts[split], count, len(groups), later):
            parts[split] += groups.pop(0)
        parts[split].sort(key=lambda one: one.key)
    missing = [split for split in wanted if not parts[split]]
    if missing and order:
        notes.append(f"{what}: too few different pictures (of {len(order)}) for {' and '.join(missing)}")
    return parts


def _takes_more(part: list[Picture], count: int, groups: int, later: int) -> bool:
    """A split with these pictures, of so many that it should have, while so many splits come after it."""
    if not part or not later:
        return True
    return groups > later and len(part) < count


def _counts(total: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers near the shares that add up to the total; each split has one if there are enough.

    >>> _counts(10, (0.8, 0.1, 0.1)), _counts(4, (0.8, 0.1, 0.1)), _counts(2, (0.8, 0.1, 0.1))
    ([8, 1, 1], [2, 1, 1], [1, 1, 0])
    """
    counts = [0] * len(shares)
    for at, share in enumerate(shares):
        counts[at] = int(share > 0 and sum(counts) < total)
    while sum(counts) < total:
        short = [share * total - count for share, count in zip(shares, counts, strict=True)]
        counts[short.index(max(short))] += 1
    return counts
