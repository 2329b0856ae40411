"""OpenCV as the decoder, where it gives what Pillow gives: plain JPEG and PNG files, 8 bit, colour or grey, whole.

It says nothing of a file that is cut short; so only what is seen to be whole is given to it.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_TAIL = 1 << 16  # bytes after the end of a JPEG that cameras add


def decoded(header: Image, path: Path, need: tuple[int, int] | None) -> Image | None:
    """The picture; None if Pillow is to decode it. ``need``: pixels that are enough, as for Pillow."""
    if header.format not in {"JPEG", "PNG"} or header.mode not in {"RGB", "L"} or "transparency" in header.info:
        return None
    data = path.read_bytes()
    if not (jpeg_is_whole(data) if header.format == "JPEG" else png_is_plain(data)):
        return None
    import cv2
    import numpy as np
    from PIL import Image as PillowImage

    factor = _reduction(header.size, need) if header.format == "JPEG" else 1
    kind = "COLOR" if header.mode == "RGB" else "GRAYSCALE"
    flag = getattr(cv2, f"IMREAD_{kind}" if factor == 1 else f"IMREAD_REDUCED_{kind}_{factor}")
    array: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if array is None:
        return None
    if header.mode == "RGB":
        array = cv2.cvtColor(array, cv2.COLOR_BGR2RGB)
    return PillowImage.fromarray(array)


def _reduction(size: tuple[int, int], need: tuple[int, int] | None) -> int:
    """By how much the decoder may shrink the picture, so that twice what is needed is left, as for Pillow."""
    if need is None:
        return 1
    return next((by for by in (8, 4, 2) if size[0] >= 2 * need[0] * by and size[1] >= 2 * need[1] * by), 1)


def jpeg_is_whole(data: bytes) -> bool:
    r"""It has its end marker.

    >>> jpeg_is_whole(b"\xff\xd8...\xff\xd9"), jpeg_is_whole(b"\xff\xd8...")
    (True, False)
    """
    return data.rfind(b"\xff\xd9", max(0, len(data) - _TAIL)) >= 0


def png_is_plain(data: bytes) -> bool:
    """All its chunks are there, to the last one, with the right checksums; and none of them turns it, or might."""
    if not data.startswith(_PNG):
        return False
    at, view = len(_PNG), memoryview(data)
    while at + 12 <= len(data):
        length = int.from_bytes(view[at : at + 4])
        end = at + 12 + length
        if end > len(data) or zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            return False
        kind = bytes(view[at + 4 : at + 8])
        if kind == b"IEND":
            return True
        if kind == b"eXIf" or (kind in _TEXTS and bytes(view[at + 8 : at + 24]) == b"Raw profile type"):
            return False
        at = end
    return False
