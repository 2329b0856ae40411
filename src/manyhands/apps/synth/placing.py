"""One picture's objects: where each lies, what of it is seen, and when a place will not do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from manyhands.apps.synth import labels
from manyhands.apps.synth.config import Config
from manyhands.apps.synth.labels import Box, Label
from manyhands.apps.synth.pictures import HALF

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from manyhands.apps.synth.labels import Mask
    from manyhands.apps.synth.pictures import Pixels


class Refused(Exception):
    """This place will not do; ``reason`` is one of a few words, to be counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Placed:
    """An object in the picture. ``label`` is empty if it is not to be labelled."""

    source: str
    label: str
    total: int  # pixels of its mask, those beyond the edges as well
    inside: int  # pixels within the picture
    visible: int  # of these, those that no other object covers
    region: Box  # where any of it may be
    box: Box  # around what is visible


@dataclass(slots=True)
class Layout:
    """Who owns which pixel. Objects come one after the other, each on top of those before."""

    config: Config
    owners: NDArray[np.uint16]  # 0: the background; else the object's number, from 1
    placed: list[Placed] = field(default_factory=list)
    given_up: Counter[str] = field(default_factory=Counter)  # the reasons why objects have no place

    def add(self, mask: Pixels, corner: tuple[int, int], source: str, label: str) -> tuple[Box, Mask]:
        """Lay an object of this mask with its corner there, which may be beyond the edges.

        Returns:
            The region within the picture, and what of it is the object's.

        Raises:
            Refused: it breaks a rule, of its own or of an object that it would cover; nothing has changed.
        """
        import numpy as np

        config, (height, width) = self.config, self.owners.shape
        (left, top), own = corner, mask >= HALF
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(width, left + own.shape[1]), min(height, top + own.shape[0])
        if x0 >= x1 or y0 >= y1:
            raise Refused("truncated")
        inside = own[y0 - top : y1 - top, x0 - left : x1 - left]
        total, within = int(np.count_nonzero(own)), int(np.count_nonzero(inside))
        if total - within > config.max_truncation * total or within == 0:
            raise Refused("truncated")
        box = labels.box_of(inside, x0, y0)
        assert box is not None  # noqa: S101 - something is within
        new = Placed(source, label, total, within, within, (x0, y0, x1, y1), box)
        self._check_box(new.box, label)
        if within < config.min_visible * total:
            raise Refused("hidden")
        under = self.owners[y0:y1, x0:x1]
        covered = self._covered(under, inside, new.region)
        self.placed.append(new)
        np.putmask(under, inside, len(self.placed))
        for index, pixels_left, seen in covered:
            self.placed[index].visible, self.placed[index].box = pixels_left, seen
        return new.region, inside

    def _covered(self, under: NDArray[np.uint16], own: Mask, region: Box) -> list[tuple[int, int, Box]]:
        """What would be left of those below: number, visible pixels and box. Raises Refused."""
        import numpy as np

        left = []
        for index, below in enumerate(self.placed):
            if not _meet(below.region, region):
                continue
            lost = int(np.count_nonzero(own & (under == index + 1)))
            if not lost:
                continue
            visible = below.visible - lost
            if below.label and lost > self.config.max_overlap * below.total:
                raise Refused("overlap")
            if below.label and (visible < self.config.min_visible * below.total or not visible):
                raise Refused("hidden")
            box = self._box_without(index, own, region) if visible else below.box
            self._check_box(box, below.label)
            left.append((index, visible, box))
        return left

    def _box_without(self, index: int, own: Mask, region: Box) -> Box:
        x0, y0, x1, y1 = self.placed[index].region
        mine = self.owners[y0:y1, x0:x1] == index + 1
        ax, ay, bx, by = max(x0, region[0]), max(y0, region[1]), min(x1, region[2]), min(y1, region[3])
        mine[ay - y0 : by - y0, ax - x0 : bx - x0] &= ~own[
            ay - region[1] : by - region[1], ax - region[0] : bx - region[0]
        ]
        box = labels.box_of(mine, x0, y0)
        assert box is not None  # noqa: S101 - some pixels are left
        return box

    def _check_box(self, box: Box, label: str) -> None:
        if not label:
            return
        width, height = box[2] - box[0], box[3] - box[1]
        if min(width, height) < self.config.min_size:
            raise Refused("small")
        if not self.config.aspect[0] <= width / height <= self.config.aspect[1]:
            raise Refused("aspect")

    def mask(self, index: int) -> Mask:
        """What is seen of the object, within its box."""
        x0, y0, x1, y1 = self.placed[index].box
        seen: Mask = self.owners[y0:y1, x0:x1] == index + 1
        return seen

    def labels(self) -> list[Label]:
        """Of every object that has a class, from what is seen of it in the end."""
        size = (self.owners.shape[1], self.owners.shape[0])
        found = []
        for index, one in enumerate(self.placed):
            if one.label:
                rle = labels.compressed(labels.runs_of(self.mask(index), one.box, size))
                visible, truncation = one.visible / one.total, (one.total - one.inside) / one.total
                found.append(Label(one.label, one.box, one.visible, rle, visible, truncation, one.source))
        return found

    def unlabelled(self) -> list[str]:
        """The visible masks of the others, as run lengths."""
        size = (self.owners.shape[1], self.owners.shape[0])
        others = [(index, one) for index, one in enumerate(self.placed) if not one.label]
        return [labels.compressed(labels.runs_of(self.mask(index), one.box, size)) for index, one in others]


def corner(rng: Any, size: tuple[int, int], room: tuple[int, int], max_truncation: float) -> tuple[int, int]:
    """A random place: wholly within the picture, or beyond an edge by what may be cut off. Raises Refused."""
    place = []
    for length, available in zip(size, room, strict=True):
        beyond = int(length * max_truncation)
        low, high = -beyond, available - length + beyond
        if low > high:
            raise Refused("too large")
        place.append(int(rng.integers(low, high + 1)))
    return place[0], place[1]


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
