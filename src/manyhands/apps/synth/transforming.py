"""One transformation for an object and its mask: scale, turn, shear, tilt, mirror; then brightness and blur."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from manyhands.apps.synth.labels import box_of
from manyhands.apps.synth.pictures import HALF

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from manyhands.apps.synth.config import Config, Range

    Pixels = NDArray[Any]  # of uint8


class TooLarge(Exception):
    """At this scale it is larger than any place for it."""


class TooSmall(Exception):
    """At this scale nothing is left of it."""


def transformed(cut_out: Pixels, config: Config, rng: Any, room: tuple[float, float]) -> Pixels:
    """Blue, green, red and mask, drawn anew.

    Args:
        cut_out: (height, width, 4).
        config: the ranges to draw from.
        rng: a numpy Generator.
        room: width and height in pixels that it may have at most.

    Raises:
        TooLarge: it would not fit.
        TooSmall: nothing is left of it.
    """
    import cv2
    import numpy as np

    scale = _drawn(rng, config.scale)
    turn, shear = _drawn(rng, config.rotate), _drawn(rng, config.shear)
    tilt = rng.uniform(-config.perspective, config.perspective, (4, 2)) if config.perspective else None
    mirrored = config.flip and rng.random() < 0.5
    nearest = config.interpolation == "nearest"
    height, width = cut_out.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size[0] * size[1] > 4 * room[0] * room[1]:
        raise TooLarge
    flat = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    made = cut_out if size == (width, height) else cv2.resize(cut_out, size, interpolation=flat)
    if mirrored:
        made = np.ascontiguousarray(made[:, ::-1])
    if turn or shear or tilt is not None:
        made = _warped(made, turn, shear, tilt, nearest=nearest)
    made = _trimmed(made)
    if made.shape[1] > room[0] or made.shape[0] > room[1]:
        raise TooLarge
    return _changed(made, _drawn(rng, config.brightness), _drawn(rng, config.blur))


def _trimmed(pixels: Pixels) -> Pixels:
    """Without rows and columns in which nothing is of the object. Raises TooSmall."""
    box = box_of(pixels[:, :, 3] >= HALF)
    if box is None:
        raise TooSmall
    return pixels[box[1] : box[3], box[0] : box[2]]


def _warped(pixels: Pixels, turn: float, shear: float, tilt: Any, *, nearest: bool) -> Pixels:
    import cv2
    import numpy as np

    height, width = pixels.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    moved = corners + (tilt * (width, height) if tilt is not None else 0.0)
    angle = math.radians(turn)
    slant = np.array([[1, math.tan(math.radians(shear))], [0, 1]])
    around = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    moved = moved @ (around @ slant).T
    moved -= moved.min(axis=0)
    size = np.ceil(moved.max(axis=0) - 1e-6).astype(int)
    half = 0.5  # of a pixel: its centre
    matrix = cv2.getPerspectiveTransform((corners - half).astype(np.float32), (moved - half).astype(np.float32))
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    to = (int(size[0]), int(size[1]))
    colour = cv2.warpPerspective(pixels[:, :, :3], matrix, to, flags=how, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpPerspective(pixels[:, :, 3], matrix, to, flags=how, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return np.dstack([colour, mask])


def _changed(pixels: Pixels, brightness: float, blur: float) -> Pixels:
    import cv2
    import numpy as np

    if brightness == 1 and blur == 0:
        return pixels
    colour = brighter(np.ascontiguousarray(pixels[:, :, :3]), brightness)
    if blur > 0:
        colour = cv2.GaussianBlur(colour, (0, 0), blur)
    return np.dstack([colour, pixels[:, :, 3]])


def brighter(pixels: Pixels, factor: float) -> Pixels:
    """Every value times a factor."""
    import cv2

    return pixels if factor == 1 else cv2.convertScaleAbs(pixels, alpha=factor)


def _drawn(rng: Any, between: Range) -> float:
    return float(rng.uniform(*between)) if between[0] < between[1] else between[0]
