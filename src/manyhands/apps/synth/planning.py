"""Which pictures a dataset has: decided before any is made, the same for any number of workers."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from manyhands.apps.synth.config import SPLITS, Config
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


class Pool(NamedTuple):
    """What the pictures of a split are made from: keys."""

    objects: tuple[str, ...]
    backgrounds: tuple[str, ...]


class Plan(NamedTuple):
    """All samples in order, and what each split draws from. ``notes``: what one might not expect."""

    samples: tuple[Sample, ...]
    pools: dict[str, Pool]
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def per_class(self) -> dict[str, int]:
        """How many samples have an object of this class first."""
        return dict(sorted(Counter(sample.label for sample in self.samples).items()))


def make(found: Found, config: Config) -> Plan:
    """Every object on every background of its split, so many times; or so many of these, evenly chosen."""
    notes: list[str] = []
    objects = {split: [] for split in SPLITS}  # type: dict[str, list[Picture]]
    for label in found.classes:
        own = [one for one in found.objects if one.label == label]
        for split, part in _divided(own, config, f"class {label}", notes).items():
            objects[split] += part
    backgrounds = _divided(list(found.backgrounds), config, "the backgrounds", notes)
    blocks = [(split, objects[split], backgrounds[split]) for split in SPLITS]
    total = sum(len(ones) * len(behinds) * config.times for _, ones, behinds in blocks)
    count = total if config.count is None else min(config.count, total)
    if count > MOST:
        raise OptionError(f"a dataset has at most {MOST:,} pictures, and this would have {count:,}: set a lower count")
    if config.count is not None and config.count > total:
        notes.append(f"there are only {total:,} combinations, not {config.count:,}: raise times")
    samples = [_sample_at(at * total // count, blocks, config.times) for at in range(count)]
    pools = {
        split: Pool(tuple(one.key for one in objects[split]), tuple(one.key for one in backgrounds[split]))
        for split in SPLITS
    }
    return Plan(tuple(samples), pools, found.classes, tuple(notes))


def twins(plan: Plan, digests: Mapping[str, str]) -> tuple[str, ...]:
    """Notes on inputs that are the same picture, under other names, in several splits."""
    places: dict[str, dict[str, str]] = {}
    for split, pool in plan.pools.items():
        for key in (*pool.objects, *pool.backgrounds):
            places.setdefault(digests[key], {}).setdefault(split, key)
    told = [
        f"{' and '.join(keys.values())} are the same picture, in {' and '.join(keys)}: leave out all but one"
        for keys in places.values()
        if len(keys) > 1
    ]
    more = [f"so it is with {len(told) - TWINS} more"] if len(told) > TWINS else []
    return (*told[:TWINS], *more)


def _sample_at(number: int, blocks: Sequence[tuple[str, list[Picture], list[Picture]]], times: int) -> Sample:
    """The one of this number, of every object on every background of its split, so many times."""
    for split, ones, behinds in blocks:
        size = len(ones) * len(behinds) * times
        if number < size:
            rest, turn = divmod(number, times)
            one, behind = ones[rest // len(behinds)], behinds[rest % len(behinds)]
            return Sample(identity(one, behind, turn), split, one.label, one.key, behind.key, turn)
        number -= size
    raise IndexError(number)


def identity(one: Picture, behind: Picture, turn: int) -> str:
    """A name for files, and all that a sample's random numbers depend on besides the seed."""
    told = "\0".join([one.key, behind.key, str(turn)])
    digest = hashlib.sha256(told.encode()).hexdigest()[:12]
    names = [one.label, one.path.stem, behind.path.stem]
    return "-".join([*map(_short, names), f"{turn:02}", digest])


def _short(name: str) -> str:
    return re.sub(r"\W+", "_", name).encode()[:LONGEST].decode(errors="ignore")


def evenly(items: Sequence[T], count: int) -> list[T]:
    """So many of them, from beginning to end.

    >>> evenly("abcdef", 3)
    ['a', 'c', 'e']
    """
    return [items[at * len(items) // count] for at in range(count)]


def random_of(seed: int, sample: str) -> Any:
    """The random numbers of one sample: of nothing but these two."""
    import numpy as np

    digest = hashlib.sha256(f"{seed}\0{sample}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def _divided(pictures: list[Picture], config: Config, what: str, notes: list[str]) -> dict[str, list[Picture]]:
    """Over the splits, by shares; which goes where depends on all their names and the seed.

    Files of the same content go to the same split.
    """
    order = sorted(pictures, key=lambda one: hashlib.sha256(f"{config.seed}\0{one.key}".encode()).digest())
    wanted = [split for split, share in zip(SPLITS, config.split, strict=True) if share > 0]
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
