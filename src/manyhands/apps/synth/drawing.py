"""Boxes and names drawn on pictures, and contact sheets of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from manyhands.apps.synth.labels import Label

if TYPE_CHECKING:
    from manyhands.apps.synth.pictures import Pixels

BOLD = 2.5  # on a contact sheet
ACROSS = 4  # pictures side by side
WIDTH, GAP = 1600, 6  # pixels: of a sheet, and around each picture
HIGHEST = 1.5  # times the width that a picture has room for
# Told apart by people with colour-blindness as well (Okabe and Ito); red, green, blue.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


def marked(picture: Pixels, labels: Sequence[Label], classes: Sequence[str], *, bold: float = 1.0) -> Pixels:
    """A copy with a box and the name of its class for each object; ``bold`` where it will be shown smaller."""
    import cv2

    made = picture.copy()
    thick = max(1, round(bold * min(picture.shape[:2]) / 300))
    for label in labels:
        red, green, blue = COLOURS[classes.index(label.name) % len(COLOURS)]
        x0, y0, x1, y1 = label.box
        cv2.rectangle(made, (x0, y0), (x1 - 1, y1 - 1), (blue, green, red), thick)
    return _named(made, labels, classes, max(11, round(bold * min(picture.shape[:2]) / 40)))


def _named(picture: Pixels, labels: Sequence[Label], classes: Sequence[str], size: int) -> Pixels:
    """Names in any language, which OpenCV's own letters are not."""
    import numpy as np
    from PIL import Image, ImageDraw

    image = Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1]))
    draw, font = ImageDraw.Draw(image), _font(size)
    for label in labels:
        colour = COLOURS[classes.index(label.name) % len(COLOURS)]
        left, top, right, bottom = draw.textbbox((0, 0), label.name, font=font)
        x = max(0, min(label.box[0], image.width - (right - left) - 4))
        y = max(0, label.box[1] - (bottom - top) - 4)
        draw.rectangle((x, y, x + right - left + 4, y + bottom - top + 4), fill=colour)
        draw.text((x + 2 - left, y + 2 - top), label.name, fill=_readable(colour), font=font)
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])


def _readable(colour: tuple[int, int, int]) -> str:
    red, green, blue = colour
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 110 else "white"


def _font(size: int) -> Any:
    """One with Chinese characters, if there is one."""
    from PIL import ImageFont

    for name in ("NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "msyh.ttc", "PingFang.ttc", "DejaVuSans.ttf"):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


# --- contact sheets ---------------------------------------------------------------------------------------------


def thumbnail(picture: Pixels, labels: Sequence[Label], classes: Sequence[str], *, across: int = ACROSS) -> Pixels:
    """A picture with its boxes, as large as there is room for it on a contact sheet."""
    import cv2
    import numpy as np

    field, (height, width) = _field(across), picture.shape[:2]
    scale = min(field / width, HIGHEST * field / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = marked(picture, labels, classes, bold=BOLD)
    return np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_AREA), np.uint8)


def contact_sheet(thumbnails: Sequence[Pixels], *, across: int = ACROSS) -> Pixels:
    """Many in one, so many side by side, each in a field of the same size."""
    import numpy as np

    field, tall = _field(across), max(one.shape[0] for one in thumbnails)
    rows = -(-len(thumbnails) // across)
    sheet = np.full((rows * (tall + GAP) + GAP, WIDTH, 3), 255, np.uint8)
    for at, one in enumerate(thumbnails):
        height, width = one.shape[:2]
        x = GAP + (at % across) * (field + GAP) + (field - width) // 2
        y = GAP + (at // across) * (tall + GAP) + (tall - height) // 2
        sheet[y : y + height, x : x + width] = one
    return sheet


def _field(across: int) -> int:
    return (WIDTH - GAP * (across + 1)) // across
