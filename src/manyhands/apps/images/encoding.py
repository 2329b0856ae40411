"""From a picture to a file: whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyhands.apps import files
from manyhands.apps.images.decoding import Picture
from manyhands.apps.images.problems import Unusable

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = {  # by suffix: Pillow's name, and the modes that it takes
    "jpg": ("JPEG", ("L", "RGB")),
    "jpeg": ("JPEG", ("L", "RGB")),
    "png": ("PNG", ("L", "RGB", "RGBA")),
    "webp": ("WEBP", ("RGB", "RGBA")),
    "tif": ("TIFF", ("L", "RGB", "RGBA")),
    "tiff": ("TIFF", ("L", "RGB", "RGBA")),
    "bmp": ("BMP", ("L", "RGB")),
    "gif": ("GIF", ("L", "RGB")),
    "ppm": ("PPM", ("L", "RGB")),
    "jp2": ("JPEG2000", ("L", "RGB", "RGBA")),
}


def flattened(image: Image, suffix: str, background: Any) -> Image:
    """In a mode that the format takes; what is transparent shows the background."""
    modes = FORMATS[suffix][1]
    if image.mode in modes:
        return image
    if image.mode == "RGBA":
        from PIL import Image as PillowImage

        under = PillowImage.new("RGB", image.size, background("RGB"))
        under.paste(image, mask=image.getchannel("A"))
        return under
    return image.convert(modes[-1] if image.mode == "L" and "RGB" not in modes else "RGB")


def save(picture: Picture, image: Image, path: Path, quality: int) -> int:
    """Write it beside its place and move it there; the bytes written.

    Encoded in memory first: Pillow's JPEG encoder takes a write that a full disk has cut short for a whole one.
    """
    suffix = path.suffix[1:].lower()
    name, _ = FORMATS[suffix]
    options: dict[str, Any] = {"quality": quality} if name in {"JPEG", "WEBP"} else {}
    if picture.exif and name in {"JPEG", "PNG", "WEBP", "TIFF"}:
        options["exif"] = picture.exif
    if picture.icc and name in {"JPEG", "PNG", "WEBP", "TIFF"}:
        options["icc_profile"] = picture.icc
    image.info = {}  # what Pillow would write of it unasked: profile, comment, transparency of another mode
    encoded = io.BytesIO()
    try:
        image.save(encoded, format=name, **options)
    except (ValueError, KeyError, TypeError) as error:  # the encoder's: a picture too large for the format
        raise Unusable("unwritable", f"it cannot be written as {name}: {error}") from None
    with files.whole(path) as unfinished:
        return unfinished.write_bytes(encoded.getbuffer())
