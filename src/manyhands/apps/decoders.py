"""Which of Pillow's decoders files are given to."""

from __future__ import annotations

import functools

# Those of pictures. Others run programs, as that of EPS does with what is in the file, or read data that is none.
_PICTURES = (
    "AVIF", "BMP", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI", "SGI", "TGA",
    "TIFF", "WEBP",
)  # fmt: skip


@functools.cache
def names() -> tuple[str, ...]:
    """Those that this Pillow has, for ``Image.open(formats=...)``."""
    from PIL import Image

    Image.init()
    return tuple(name for name in _PICTURES if name in Image.OPEN)
