"""From a file to pictures that every operation can work on: RGB, RGBA or L, upright, in sRGB.

What a file may be otherwise (palette, CMYK, 16 bit, another colour profile, turned by a tag) is converted on purpose,
here, and said in the manifest. A truncated file is found by reading it to its end: its header is fine.
"""

from __future__ import annotations

import contextlib
import functools
import io
import stat
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyhands.apps import decoders
from manyhands.apps.images.problems import Unusable, unreadable
from manyhands.interrupts import is_of_a_signal

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112
_SETTINGS = 0x8769
_SIZE = (0xA002, 0xA003)  # among the settings
UNSEEN = 2  # of 255: so far apart are profiles of sRGB by different makers
SHALLOW = "16 bit became 8 bit"
_OF_THE_PHOTO = {  # tags that tell of it, and not of how the pixels lie in the file
    0x010E: "title",
    0x010F: "camera's maker",
    0x0110: "camera",
    ORIENTATION: "turning",
    0x011A: "resolution across",
    0x011B: "resolution down",
    0x0128: "its unit",
    0x0131: "software",
    0x0132: "time",
    0x013B: "artist",
    0x013C: "host computer",
    0x02BC: "XMP",
    0x8298: "copyright",
    _SETTINGS: "the camera's settings",
    0x8825: "the place",
}
_TURNS = {  # what makes a picture upright that its tag says is turned so
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_BACK = {6: _TURNS[8], 8: _TURNS[6]}  # the others undo themselves
_STEPS = {"L;2": 85, "L;4": 17}  # of few bits, from one grey to the next among 8 bits


class _Switch:
    """Pillow has one switch for all threads, by which broken files pass for whole: with it on, nobody else decodes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._decoding = 0
        self._before = False  # as the program has it

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """For as many as like."""
        from PIL import ImageFile

        with self._changed:
            if self._decoding == 0:
                self._before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
            self._decoding += 1
        try:
            yield
        finally:
            with self._changed:
                self._decoding -= 1
                if self._decoding == 0:
                    ImageFile.LOAD_TRUNCATED_IMAGES = self._before
                self._changed.notify_all()

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """For one; the others wait."""
        from PIL import ImageFile

        with self._changed:
            self._changed.wait_for(lambda: not self._decoding)
            before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
            try:
                yield
            finally:
                ImageFile.LOAD_TRUNCATED_IMAGES = before


_switch = _Switch()


@dataclass(slots=True)
class Picture:
    """One frame, ready for operations."""

    image: Image
    size: tuple[int, int]  # upright, of the whole: a JPEG may have been decoded at a part of it
    frame: int = 0
    exif: bytes = b""
    icc: bytes = b""
    notes: list[str] = field(default_factory=list)  # what was converted, or is missing


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read."""

    orient: bool
    max_pixels: int
    truncated: str
    frames: str
    keep: frozenset[str]
    part: int = 1  # of its width and height, which is enough, where a part can be decoded

    @property
    def key(self) -> str:
        """The same text for the same way."""
        return f"{self.orient} {self.truncated} {self.frames} {sorted(self.keep)}"


def open_picture(path: Path, reading: Reading) -> Image:
    """The file's header, checked. Raises Unusable."""
    from PIL import Image as PillowImage
    from PIL import UnidentifiedImageError

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unusable("not a picture", "it is a pipe, a device or the like, and no file")
        if status.st_size == 0:
            raise Unusable("empty", "the file is empty")
        limit = PillowImage.MAX_IMAGE_PIXELS
        if limit is not None and limit < reading.max_pixels:
            PillowImage.MAX_IMAGE_PIXELS = reading.max_pixels  # in this process, until the run is over
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow thinks too large; the limit here is the user's
            image = PillowImage.open(path, formats=decoders.names())
        _mend_key(image)
    except UnidentifiedImageError:
        raise Unusable("not a picture", "no decoder knows this kind of file") from None
    except PillowImage.DecompressionBombError:
        raise Unusable("too large", f"it has far more than {reading.max_pixels:,} pixels (--max-pixels)") from None
    except OSError as error:
        if error.errno is None:
            raise Unusable("damaged", _in_words(error)) from None
        raise unreadable(error) from None
    except (ValueError, SyntaxError, EOFError, IndexError, TypeError) as error:  # broken headers raise all of these
        raise Unusable("damaged", f"its header is broken: {error}") from None
    try:
        check_pixels(image.size, reading.max_pixels, "it is")
    except Unusable:
        image.close()
        raise
    return image


def _mend_key(image: Image) -> None:
    """A PNG tells the colour that is transparent in its own bits, and Pillow loads 8 of them."""
    key = image.info.get("transparency")
    bits = str(getattr(next(iter(getattr(image, "tile", ())), None), "args", ""))
    if image.format != "PNG" or key is None:
        return
    if bits == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)
    elif bits == "1":
        image.info["transparency"] = 0xFF if key else 0  # as some versions of Pillow do
    elif bits in _STEPS:
        image.info["transparency"] = key * _STEPS[bits]


def check_pixels(size: tuple[int, int], limit: int, what: str) -> None:
    """Raise Unusable for more than that; ``what`` begins the sentence."""
    width, height = size
    if width * height > limit:
        raise Unusable("too large", f"{what} {width} x {height}, more than {limit:,} pixels (--max-pixels)")


def part_of(image: Image, need: tuple[int, int]) -> int:
    """The smallest part of its size, 1/8 at least, that has twice the pixels that are needed: which keeps the quality.

    It is that of the decoder of JPEG, which scales by itself; of all else the whole is decoded.
    """
    if image.format != "JPEG":
        return 1
    spare = min(image.width // (2 * need[0]), image.height // (2 * need[1]))
    return next(part for part in (8, 4, 2, 1) if part <= max(1, spare))


def pictures(image: Image, path: Path, reading: Reading) -> Iterator[Picture]:
    """The frames that were asked for."""
    count = _frames(image)
    if count > 1 and reading.frames == "error":
        raise Unusable("unsupported", f"it has {count} frames (--frames first takes one, all takes each)")
    frames = range(count) if reading.frames == "all" else range(1)
    for frame in frames:
        if frame:
            with _reading(f"frame {frame}: "):
                image.seek(frame)
            check_pixels(image.size, reading.max_pixels, f"frame {frame} is")
        made = _picture(image, path, reading, frame)
        if count > 1 and reading.frames == "first":
            made.notes.append(f"the first of {count} frames")
        yield made


def _frames(image: Image) -> int:
    with _reading("its frames cannot be counted: "):
        return int(getattr(image, "n_frames", 1))


@contextlib.contextmanager
def _reading(what: str = "") -> Iterator[None]:
    """Decoders of broken files raise nearly anything: here it becomes Unusable, the reason beginning with ``what``."""
    try:
        yield
    except MemoryError:
        raise Unusable("too large", "there is not enough memory to decode it") from None
    except Exception as error:
        if is_of_a_signal(error):
            raise
        raise Unusable("damaged", f"{what}{_in_words(error)}") from None


def _in_words(error: Exception) -> str:
    """What a decoder says, but of a file that is cut short: there Pillow tells how many bytes were not decoded yet."""
    if isinstance(error, OSError) and str(error).startswith("image file is truncated"):
        return "the file is cut short: its end is missing"
    return str(error) or type(error).__name__


def size_in_file(image: Image) -> tuple[int, int]:
    """As its pixels lie there. Of a TIFF, Pillow tells the size that it has when it is turned upright."""
    return image.size[::-1] if _turned_by_pillow(image) >= 5 else image.size


def _turned_by_pillow(image: Image) -> int:
    """The tag of how a TIFF is turned: it is turned upright when it is loaded, and has no such tag any more then."""
    tag = getattr(image, "tag_v2", {}).get(ORIENTATION)
    return tag if tag in _TURNS else 1


def _picture(image: Image, path: Path, reading: Reading, frame: int) -> Picture:
    notes: list[str] = []
    size, is_deep, by_pillow = image.size, _is_deep(image), _turned_by_pillow(image)
    if reading.part > 1:
        image.draft(None, (image.width // reading.part, image.height // reading.part))
    loaded = _loaded(image, path, reading, notes)
    if loaded.mode == "I" and image.format not in {"PNG", "PPM"}:
        raise Unusable("unsupported", "its pixels have 32 bits and an unknown range: convert it by yourself")
    if is_deep and not loaded.mode.startswith("I"):
        notes.append(SHALLOW)
    icc, exif = bytes(image.info.get("icc_profile") or b""), b""
    tags = _tags(loaded, notes)
    if by_pillow > 1:
        size, tags[ORIENTATION] = loaded.size, by_pillow  # which Pillow has removed
    loaded, is_on_its_side = _turned(loaded, tags, by_pillow=by_pillow > 1, reading=reading, notes=notes)
    size = size[::-1] if is_on_its_side else size
    if "exif" in reading.keep and len(tags):
        exif = _kept_tags(tags, upright=reading.orient, notes=notes)
    by_profile = loaded.mode in {"CMYK", "LAB"}  # what the profile says of these pixels goes first
    if not by_profile:
        loaded = workable(loaded, notes)
    if "icc" in reading.keep and not by_profile and fits(icc, loaded.mode):
        return Picture(loaded, size, frame, exif, icc, notes)
    if icc:
        loaded = _in_srgb(loaded, icc, notes)
    return Picture(workable(loaded, notes), size, frame, exif, b"", notes)


def _turned(image: Image, tags: Any, *, by_pillow: bool, reading: Reading, notes: list[str]) -> tuple[Image, bool]:
    """Upright, or as it lies in the file, and whether it had to be laid on its side for that."""
    from PIL import Image as PillowImage

    tag = tags.get(ORIENTATION)
    if tag not in _TURNS:
        return image, False
    if reading.orient:
        notes.append("turned upright")
    if reading.orient == by_pillow:
        return image, False
    way = _TURNS[tag] if reading.orient else _BACK.get(tag, _TURNS[tag])
    return image.transpose(PillowImage.Transpose[way]), tag >= 5


def _is_deep(image: Image) -> bool:
    """The file has more than 8 bits a channel, which Pillow says nothing of. To be asked before it is loaded."""
    return any(
        ";16" in str(tile.args) or (tile.codec_name == "ppm" and isinstance(tile.args, tuple) and tile.args[-1] > 0xFF)
        for tile in getattr(image, "tile", ())
    )


def fits(icc: bytes, mode: str) -> bool:
    """The profile is of pixels of this kind."""
    return icc[16:20] == (b"GRAY" if mode == "L" else b"RGB ")


def _tags(image: Image, notes: list[str]) -> Any:
    """Its EXIF. Of a PNG it may come last, so it is read after the pixels."""
    from PIL import Image as PillowImage

    try:
        return image.getexif()
    except Exception as error:  # broken ones raise nearly anything
        if is_of_a_signal(error):
            raise
        notes.append("its EXIF is broken and was ignored")
        return PillowImage.Exif()


def _kept_tags(tags: Any, *, upright: bool, notes: list[str]) -> bytes:
    """What goes along: not what a TIFF says of its own pixels, nor how many there were."""
    from PIL import Image as PillowImage

    try:
        kept = PillowImage.Exif()  # the next frame asks for what there was
        kept.load(tags.tobytes())
        for tag in set(kept) - set(_OF_THE_PHOTO):
            del kept[tag]
        for tag in _SIZE:
            kept.get_ifd(_SETTINGS).pop(tag, None)
        if upright:
            kept[ORIENTATION] = 1
        return bytes(kept.tobytes())
    except Exception as error:  # values of other types than the tags'
        if is_of_a_signal(error):
            raise
        notes.append("its EXIF is broken and was not kept")
        return b""


def _loaded(image: Image, path: Path, reading: Reading, notes: list[str]) -> Image:
    try:
        with _switch.off(), _reading():
            image.load()
    except Unusable as problem:
        wanted = problem.kind == "damaged" and reading.truncated == "salvage"
        if not wanted or (saved := _salvaged(path, image.tell())) is None:
            raise
        notes.append("damaged: what could be read was kept")
        return saved
    return image


def _salvaged(path: Path, frame: int) -> Image | None:
    from PIL import Image as PillowImage

    with _switch.on(), contextlib.suppress(Exception):
        again = PillowImage.open(io.BytesIO(path.read_bytes()), formats=decoders.names())
        _mend_key(again)
        again.seek(frame)
        again.load()
        return again
    return None


def _in_srgb(image: Image, icc: bytes, notes: list[str]) -> Image:
    """Colours as they look, since the profile that says so does not go along."""
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if _is_srgb(icc):
            return image
        is_grey = profile.profile.xcolor_space.strip() == "GRAY"
        changed = _converted(image, profile, is_grey=is_grey)
    except (ImageCms.PyCMSError, OSError, ValueError):  # also one of colours on a picture of greys
        notes.append("its colour profile is broken and was ignored")
        return image
    notes.append("converted to sRGB")
    return changed


@functools.lru_cache(maxsize=64)
def _is_srgb(icc: bytes) -> bool:
    """It changes no colour so that anybody could see it. Names tell little: linear ones have sRGB in theirs, too."""
    import numpy as np
    from PIL import Image as PillowImage
    from PIL import ImageCms

    if not fits(icc, "RGB"):
        return False
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    shown = np.asarray(_converted(PillowImage.fromarray(colours), profile, is_grey=False))
    return int(abs(shown.astype(int) - colours).max()) <= UNSEEN


def _converted(image: Image, profile: Any, *, is_grey: bool) -> Image:
    """To sRGB, what is transparent staying so. A grey picture stays grey, and one with alpha may have been."""
    from PIL import ImageCms

    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    source = image.convert("L") if is_grey and alpha else image.convert("RGB") if alpha else image
    changed = ImageCms.profileToProfile(source, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    made: Image = source if changed is None else changed
    if alpha:
        made.putalpha(alpha)
    return made.convert("L") if image.mode == "L" else made


def workable(image: Image, notes: list[str]) -> Image:
    """In a mode that every operation knows. Raises Unusable."""
    has_key = "transparency" in image.info
    if image.mode == "RGBA" or (image.mode in {"RGB", "L"} and not has_key):
        return image
    if image.mode.startswith("I"):
        notes.append(SHALLOW)
        return _eight_bit(image)
    if image.mode == "F":
        raise Unusable("unsupported", "its pixels are floating-point numbers, without a range: convert it by yourself")
    has_alpha = image.mode in {"LA", "PA", "La", "RGBa"} or has_key
    target = "RGBA" if has_alpha else "L" if image.mode == "1" else "RGB"
    notes.append(f"{image.mode} became {target}")
    return image.convert(target)


def _eight_bit(image: Image) -> Image:
    """The high byte of each pixel; of 32 bits, of the lower 16."""
    import numpy as np
    from PIL import Image as PillowImage

    values = np.asarray(image)
    if values.min(initial=0) < 0 or values.max(initial=0) > 0xFFFF:
        raise Unusable("unsupported", "its pixels have 32 bits and an unknown range: convert it by yourself")
    made = PillowImage.fromarray((values >> 8).astype(np.uint8))
    if isinstance(key := image.info.get("transparency"), int):
        made = made.convert("RGBA")
        made.putalpha(PillowImage.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return made
