"""One transformation for an object and its mask: scale, turn, shear, tilt, mirror; then brightness and blur."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from manyhands.apps.synth.labels import box_of
from manyhands.apps.synth.pictures import HALF, CutOut

if TYPE_CHECKING:
    from manyhands.apps.synth.config import Config, Range
    from manyhands.apps.synth.pictures import Pixels


class TooLarge(Exception):
    """At this scale it is larger than any place for it."""


class TooSmall(Exception):
    """At this scale nothing is left of it."""


def transformed(cut_out: CutOut, config: Config, rng: Any, room: tuple[float, float]) -> CutOut:
    """An object, drawn anew.

    Args:
        cut_out: as it was given.
        config: the ranges to draw from.
        rng: a numpy Generator.
        room: width and height in pixels that it may have at most.

    Raises:
        TooLarge: it would not fit.
        TooSmall: nothing is left of it.
    """
    scale = drawn(rng, config.scale)
    turn, shear = drawn(rng, config.rotate), drawn(rng, config.shear)
    tilt = rng.uniform(-config.perspective, config.perspective, (4, 2)) if config.perspective else None
    mirrored = config.flip and rng.random() < 0.5
    nearest = config.interpolation == "nearest"
    most = 4 * room[0] * room[1]
    made = _scaled(cut_out, scale, most, nearest=nearest)
    if mirrored:
        made = CutOut(made.colour[:, ::-1].copy(), made.mask[:, ::-1].copy())
    if turn or shear or tilt is not None:
        made = _warped(made, turn, shear, tilt, most, nearest=nearest)
    made = _trimmed(made)
    if made.mask.shape[1] > room[0] or made.mask.shape[0] > room[1]:
        raise TooLarge
    return _changed(made, drawn(rng, config.brightness), drawn(rng, config.blur))


def _scaled(cut_out: CutOut, scale: float, most: float, *, nearest: bool) -> CutOut:
    import cv2

    height, width = cut_out.mask.shape
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size[0] * size[1] > most:
        raise TooLarge
    if size == (width, height):
        return cut_out
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return CutOut(*(cv2.resize(part, size, interpolation=how) for part in cut_out))


def _warped(cut_out: CutOut, turn: float, shear: float, tilt: Any, most: float, *, nearest: bool) -> CutOut:
    """Colours go on beyond the object's picture, the mask does not."""
    import cv2
    import numpy as np

    height, width = cut_out.mask.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    moved = corners + (tilt * (width, height) if tilt is not None else 0.0)
    angle = math.radians(turn)
    slant = np.array([[1, math.tan(math.radians(shear))], [0, 1]])
    around = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    moved = moved @ (around @ slant).T
    moved -= moved.min(axis=0)
    across, down = np.ceil(moved.max(axis=0) - 1e-6).astype(int).tolist()
    if across * down > most:  # a long and thin one, turned
        raise TooLarge
    half = 0.5  # of a pixel: its centre
    matrix = cv2.getPerspectiveTransform((corners - half).astype(np.float32), (moved - half).astype(np.float32))
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    colour, mask = (
        cv2.warpPerspective(part, matrix, (across, down), flags=how, borderMode=border)
        for part, border in zip(cut_out, (cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT), strict=True)
    )
    return CutOut(colour, mask)


def _trimmed(cut_out: CutOut) -> CutOut:
    """Without rows and columns in which nothing is of the object. Raises TooSmall."""
    box = box_of(cut_out.mask >= HALF)
    if box is None:
        raise TooSmall
    x0, y0, x1, y1 = box
    return CutOut(cut_out.colour[y0:y1, x0:x1], cut_out.mask[y0:y1, x0:x1])


def _changed(cut_out: CutOut, brightness: float, blur: float) -> CutOut:
    import cv2

    colour = brighter(cut_out.colour, brightness)
    return CutOut(cv2.GaussianBlur(colour, (0, 0), blur) if blur > 0 else colour, cut_out.mask)


def brighter(pixels: Pixels, factor: float) -> Pixels:
    """Every value times a factor."""
    import cv2

    return pixels if factor == 1 else cv2.convertScaleAbs(pixels, alpha=factor)


def drawn(rng: Any, between: Range) -> float:
    """A number from this range; without a range, nothing is drawn."""
    return float(rng.uniform(*between)) if between[0] < between[1] else between[0]
