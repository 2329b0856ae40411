"""How an object meets the background; outside its mask no pixel changes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from manyhands.apps.synth.labels import Mask
    from manyhands.apps.synth.pictures import Pixels

EDGE = 2.0  # pixels: standard deviation of a soft edge
LEAST = 0.5  # share of the object in any pixel of its mask: what is labelled can be seen, thin parts, too


def hard(under: Pixels, colour: Pixels, mask: Mask) -> None:
    """The object's own pixels, up to its edge."""
    import cv2
    import numpy as np

    cv2.copyTo(colour, mask.view(np.uint8), under)


def gaussian(under: Pixels, colour: Pixels, mask: Mask) -> None:
    """Softer towards the edge, within the mask."""
    import cv2
    import numpy as np

    wide = round(4 * EDGE)  # beyond the box there is nothing of the object
    framed = cv2.copyMakeBorder(
        mask.view(np.uint8) * np.uint8(255), wide, wide, wide, wide, cv2.BORDER_CONSTANT, value=0
    )
    soft = cv2.GaussianBlur(framed, (0, 0), EDGE)[wide:-wide, wide:-wide]
    share = np.maximum(soft.astype(np.float32) / 255, np.float32(LEAST))
    mixed = cv2.blendLinear(colour, np.ascontiguousarray(under), share, 1 - share)
    hard(under, mixed, mask)


def poisson(under: Pixels, colour: Pixels, mask: Mask) -> None:
    """The object's contrasts in the colours of the background around it."""
    import cv2
    import numpy as np

    # seamlessClone puts the middle of the mask's box on a point, and needs a pixel around it.
    around = cv2.copyMakeBorder
    wide_under = around(under, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    wide_colour = around(colour, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    wide_mask = around(mask.view(np.uint8) * np.uint8(255), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    left, top, across, down = cv2.boundingRect(wide_mask)
    if min(across, down) < 3:  # it has no middle
        return hard(under, colour, mask)
    middle = (left + across // 2, top + down // 2)
    with _the_same_on_all_processors():
        mixed = cv2.seamlessClone(wide_colour, wide_under, wide_mask, middle, cv2.NORMAL_CLONE)
    return hard(under, np.ascontiguousarray(mixed[1:-1, 1:-1]), mask)


@contextlib.contextmanager
def _the_same_on_all_processors() -> Iterator[None]:
    """Without Intel's IPP, whose Fourier transforms differ by processor; the switch is this thread's own."""
    import cv2

    was_used = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(was_used)


WAYS: dict[str, Callable[[Pixels, Pixels, Mask], None]] = {"hard": hard, "gaussian": gaussian, "poisson": poisson}
