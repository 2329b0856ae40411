"""From a picture to a file: whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyhands.apps.images.decoding import Picture, fits
from manyhands.apps.images.problems import Unusable

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG_EXIF = 65_533  # bytes
CLEAR = 255  # among the colours of a GIF, the one that nobody sees
HALF = 128  # of 255: what is less opaque becomes clear where there is nothing between
TELLING = {"JPEG", "PNG", "WEBP", "TIFF"}  # formats that hold EXIF and a colour profile
FORMATS = {  # by suffix: Pillow's name, and the modes that it takes
    "jpg": ("JPEG", ("L", "RGB")),
    "jpeg": ("JPEG", ("L", "RGB")),
    "png": ("PNG", ("L", "RGB", "RGBA")),
    "webp": ("WEBP", ("RGB", "RGBA")),
    "tif": ("TIFF", ("L", "RGB", "RGBA")),
    "tiff": ("TIFF", ("L", "RGB", "RGBA")),
    "bmp": ("BMP", ("L", "RGB")),
    "gif": ("GIF", ("L", "RGB", "RGBA")),
    "ppm": ("PPM", ("L", "RGB")),
    "jp2": ("JPEG2000", ("L", "RGB", "RGBA")),
}


def flattened(image: Image, suffix: str, background: Any) -> Image:
    """In a mode that the format takes; what is transparent shows the background."""
    if image.mode in FORMATS[suffix][1]:
        return image
    if image.mode == "RGBA":
        from PIL import Image as PillowImage

        under = PillowImage.new("RGB", image.size, background("RGB"))
        under.paste(image, mask=image.getchannel("A"))
        return under
    return image.convert("RGB")


def keepable(keep: frozenset[str], image: Image, path: Path) -> frozenset[str]:
    """Of what is to be kept, what this file can hold: a profile that cannot go along is applied instead."""
    name, _ = FORMATS[path.suffix[1:].lower()]
    becomes_colour = name == "WEBP" and image.mode in {"L", "LA", "1", "I", "I;16"}  # its profile is of greys
    return keep - {"icc"} if becomes_colour or name not in TELLING else keep


def encoded(picture: Picture, image: Image, suffix: str, quality: int) -> tuple[bytes, list[str]]:
    """As the file will be, and notes on what it could not take along.

    In memory: Pillow's JPEG encoder takes a write that a full disk has cut short for a whole one.
    """
    name, _ = FORMATS[suffix]
    options: dict[str, Any] = {"quality": quality} if name in {"JPEG", "WEBP"} else {}
    notes = []
    if name == "JPEG" and len(picture.exif) > JPEG_EXIF:
        notes.append("its EXIF was not kept, since it is longer than a JPEG can hold")
    elif picture.exif and name in TELLING:
        options["exif"] = picture.exif
    elif picture.exif:
        notes.append(f"its EXIF was not kept, since {suffix} holds none")
    if picture.icc and fits(picture.icc, image.mode):
        options["icc_profile"] = picture.icc
    elif picture.icc:
        notes.append("its colour profile was not kept, since it is one of other pixels")
    if hasattr(image, "tag_v2"):  # of a TIFF, from which Pillow would take what is not to be kept
        image = image.copy()
    if name == "GIF" and image.mode == "RGBA":
        if any(image.getchannel("A").histogram()[1:255]):
            notes.append("what is half transparent became clear or opaque")
        image, options["transparency"] = _with_clear(image), CLEAR
    before, image.info = image.info, {}  # Pillow writes unasked what is in it: profile, comment, transparency
    into = io.BytesIO()
    try:
        image.save(into, format=name, **options)
    except (ValueError, KeyError, TypeError) as error:  # the encoder's: a picture too large for the format
        raise Unusable("unwritable", f"it cannot be written as {name}: {error}") from None
    finally:
        image.info = before  # it may be the opened file, whose next frame needs that
    return into.getvalue(), notes


def _with_clear(image: Image) -> Image:
    """In 255 colours, and the clear one."""
    made = image.convert("RGB").quantize(CLEAR)
    made.paste(CLEAR, None, image.getchannel("A").point(lambda alpha: 0xFF if alpha < HALF else 0))
    return made
