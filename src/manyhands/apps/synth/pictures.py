"""Files to pixels and back: any kind of picture as blue, green and red, cut out by its mask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from manyhands.apps import decoders
from manyhands.apps.synth.config import LONGEST_SIDE
from manyhands.apps.synth.labels import box_of
from manyhands.interrupts import is_of_a_signal

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Pixels = NDArray[Any]  # of uint8

HALF = 128  # a pixel whose mask is at least this belongs to the object
REACH = 16  # pixels beyond the edge of an object that are coloured as the edge near them
NO_RANGE = "its pixels are numbers without a known range: convert it to 8 or 16 bits"
LEAST_SHARE = 1e-5  # of what is around a pixel: less is none, but for rounding


class CutOut(NamedTuple):
    """An object: (height, width, 3) in the order blue, green, red, and (height, width); both contiguous."""

    colour: Pixels
    mask: Pixels


class Unusable(Exception):
    """This file cannot be used; the message says why."""


class Mismatch(Exception):
    """A mask does not fit its picture."""


def size_of(path: Path) -> tuple[int, int]:
    """Width and height from the header, before any turning. Raises Unusable, OSError."""
    with _opened(path) as image:
        return image.size


def background(path: Path, size: tuple[int, int] | None = None) -> Pixels:
    """Blue, green and red of a picture; filling ``size``, with what is over cut off. Raises Unusable, OSError."""
    from PIL import Image as PillowImage
    from PIL import ImageOps

    image = _loaded(path).convert("RGB")
    if size is not None and image.size != size:
        image = ImageOps.fit(image, size, PillowImage.Resampling.LANCZOS)
    if max(image.size) > LONGEST_SIDE:
        raise Unusable(f"a side of it is longer than {LONGEST_SIDE:,} pixels: give a size")
    return _bgr(image)


def cut_out(path: Path, mask: Path | None) -> CutOut:
    """A picture, cut to its mask. Raises Unusable, Mismatch, OSError."""
    import numpy as np

    image = _loaded(path)
    if mask is None and "A" not in image.mode:
        told = "it has no transparency to cut it out by: save it with an alpha channel"
        raise Unusable(f"{told} (for objects, not for distractors, masks will do as well)")
    shown = image.getchannel("A") if mask is None else _loaded(mask, opaque=True).convert("L")
    if shown.size != image.size:
        raise Mismatch(mismatch(shown.size, path, image.size))
    alpha = np.asarray(shown)
    box = box_of(alpha >= HALF)
    if box is None:
        raise Unusable(f"its mask is empty: no pixel of it is {HALF} or lighter")
    x0, y0, x1, y1 = box
    colour = np.ascontiguousarray(np.asarray(image.convert("RGB"))[y0:y1, x0:x1, ::-1])
    own = np.ascontiguousarray(alpha[y0:y1, x0:x1])
    return CutOut(_continued(colour, own) if mask is None else colour, own)


def _continued(colour: Pixels, mask: Pixels) -> Pixels:
    """Beyond the edge the colours near it, farther off their mean: else what nobody is to see would show in a blur."""
    import cv2
    import numpy as np

    seen = (mask >= HALF).view(np.uint8)
    if seen.all():
        return colour
    width = (2 * REACH + 1, 2 * REACH + 1)
    share = cv2.blur(seen.astype(np.float32), width)
    mean = cv2.blur(cv2.copyTo(colour, seen).astype(np.float32), width) / np.maximum(share, 1e-6)[:, :, None]
    mean[share <= LEAST_SHARE] = cv2.mean(colour, seen)[:3]
    cv2.copyTo(np.clip(np.rint(mean), 0, 255).astype(np.uint8), 1 - seen, colour)
    return colour


def _opened(path: Path) -> Image:
    from PIL import Image as PillowImage

    try:
        return PillowImage.open(path, formats=decoders.names())
    except PillowImage.DecompressionBombError:
        raise Unusable("it has more pixels than Pillow takes; see PIL.Image.MAX_IMAGE_PIXELS") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise Unusable("it is no picture that can be read" if path.stat().st_size else "the file is empty") from None
    except Exception as error:  # broken headers raise nearly anything
        if is_of_a_signal(error):
            raise
        raise Unusable(f"its header is broken: {error}") from None


def _loaded(path: Path, *, opaque: bool = False) -> Image:
    """Upright, in RGB or RGBA; ``opaque``: what is transparent is black. Raises Unusable, OSError."""
    from PIL import ImageOps

    with _opened(path) as image:
        try:
            image.load()
            is_wide = image.mode == "I" and image.format not in {"PNG", "PPM"}
            plain = None if is_wide else _eight_bit(ImageOps.exif_transpose(image), opaque=opaque)
        except (MemoryError, Unusable):
            raise
        except Exception as error:  # decoders of broken files raise nearly anything
            if is_of_a_signal(error):
                raise
            raise Unusable(f"it is damaged: {error}") from None
    if plain is None:
        raise Unusable(NO_RANGE)
    return plain


def _eight_bit(image: Image, *, opaque: bool) -> Image:
    import numpy as np
    from PIL import Image as PillowImage

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        if image.mode == "F" or values.min(initial=0) < 0 or values.max(initial=0) > 0xFFFF:
            raise Unusable(NO_RANGE)
        return PillowImage.fromarray((values.astype(np.int64) >> 8).astype(np.uint8)).convert("RGB")
    transparent = image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info
    if not transparent:
        return image.convert("RGB")
    whole = image.convert("RGBA")
    if not opaque:
        return whole
    return PillowImage.alpha_composite(PillowImage.new("RGBA", image.size, (0, 0, 0, 255)), whole).convert("RGB")


def _bgr(image: Image) -> Pixels:
    import numpy as np

    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])


def mismatch(mask: tuple[int, int], path: Path, picture: tuple[int, int]) -> str:
    """What is told of a mask of another size than its picture."""
    return f"the mask has {mask[0]} x {mask[1]} pixels and its picture {path} has {picture[0]} x {picture[1]}"


def encoded(pixels: Pixels, suffix: str, quality: int) -> bytes:
    """As a JPEG or PNG file."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == "jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    done, data = cv2.imencode(f".{suffix}", pixels, options)
    if not done:
        raise Unusable(f"it cannot be written as {suffix}")
    return data.tobytes()
