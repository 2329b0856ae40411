"""Labels from visible masks, exact to the pixel, and their three notations.

Inside, a box is ``(x0, y0, x1, y1)``, 0-based, without its last column and row. Everything is derived from masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

Box = tuple[int, int, int, int]


class Label(NamedTuple):
    """One object as it is seen in a picture."""

    name: str  # of its class
    box: Box
    area: int  # visible pixels
    rle: str  # the visible mask: COCO's compressed run lengths, column by column
    visible: float  # share of its pixels that are seen
    truncation: float  # share of its pixels that are beyond the edges
    source: str  # the picture it comes from


def box_of(mask: Mask, left: int = 0, top: int = 0) -> Box | None:
    """The smallest box around what is true, of a mask whose corner is at (left, top); None if nothing is."""
    import numpy as np

    columns = np.flatnonzero(mask.any(axis=0))
    if len(columns) == 0:
        return None
    rows = np.flatnonzero(mask.any(axis=1))
    return left + int(columns[0]), top + int(rows[0]), left + int(columns[-1]) + 1, top + int(rows[-1]) + 1


# --- run lengths ------------------------------------------------------------------------------------------------


def runs_of(mask: Mask, box: Box, size: tuple[int, int]) -> list[int]:
    """Run lengths of a whole picture of this (width, height), of which ``mask`` is the part in ``box``.

    Column by column, beginning with a run of what is not there, which may be 0.
    """
    import numpy as np

    width, height = size
    x0, y0, x1, y1 = box
    tall = np.zeros((x1 - x0, height), bool)
    tall[:, y0:y1] = mask.T
    flat = np.concatenate([[False], tall.ravel(), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + x0 * height
    runs: list[int] = np.diff(np.concatenate([[0], changes, [width * height]])).tolist()
    return runs if runs[-1] else runs[:-1]


def compressed(runs: Sequence[int]) -> str:
    """Run lengths as COCO writes them: differences to the last but one, in groups of five bits."""
    text = []
    for index, run in enumerate(runs):
        rest = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            group = rest & 0x1F
            rest >>= 5
            more = rest != (-1 if group & 0x10 else 0)
            text.append(chr(48 + group + (0x20 if more else 0)))
    return "".join(text)


def decompressed(text: str) -> list[int]:
    """The run lengths that `compressed` has written.

    >>> decompressed(compressed([5, 3, 1000, 2]))
    [5, 3, 1000, 2]
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        value |= (group & 0x1F) << shift
        shift += 5
        if not group & 0x20:
            if group & 0x10:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def mask_of(rle: str, size: tuple[int, int]) -> Mask:
    """The whole picture's mask, (height, width)."""
    import numpy as np

    runs = decompressed(rle)
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(size[0], size[1]).T


# --- notations --------------------------------------------------------------------------------------------------


def yolo_line(label: Label, size: tuple[int, int], classes: Sequence[str]) -> str:
    """``class cx cy w h``, as shares of the picture's size.

    >>> yolo_line(Label("cat", (0, 0, 50, 20), 1000, "", 1.0, 0.0, ""), (100, 80), ["cat"])
    '0 0.250000000 0.125000000 0.500000000 0.250000000'
    """
    x0, y0, x1, y1 = label.box
    width, height = size
    shares = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
    return " ".join([str(classes.index(label.name)), *(f"{share:.9f}" for share in shares)])


def voc_xml(labels: Sequence[Label], size: tuple[int, int], folder: str, filename: str) -> str:
    """A Pascal VOC annotation: boxes count from 1 and have their last column and row."""
    width, height = size
    objects = "".join(_voc_object(label) for label in labels)
    return (
        f"<annotation>\n  <folder>{escape(folder)}</folder>\n  <filename>{escape(filename)}</filename>\n"
        f"  <path>{escape(f'{folder}/{filename}')}</path>\n  <source><database>manyhands synth</database></source>\n"
        f"  <size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n"
        f"  <segmented>0</segmented>\n{objects}</annotation>\n"
    )


def _voc_object(label: Label) -> str:
    x0, y0, x1, y1 = label.box
    return (
        f"  <object>\n    <name>{escape(label.name)}</name>\n    <pose>Unspecified</pose>\n"
        f"    <truncated>{int(label.truncation > 0)}</truncated>\n    <difficult>0</difficult>\n"
        f"    <bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>\n"
        "  </object>\n"
    )


def coco_annotation(label: Label, number: int, image: int, size: tuple[int, int], classes: Sequence[str]) -> Any:
    """One of COCO's ``annotations``; categories count from 1."""
    x0, y0, x1, y1 = label.box
    return {
        "id": number,
        "image_id": image,
        "category_id": classes.index(label.name) + 1,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "area": label.area,
        "segmentation": {"size": [size[1], size[0]], "counts": label.rle},
        "iscrowd": 0,
    }
