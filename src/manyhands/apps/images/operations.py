"""What is done to a picture: resizing, filters, and functions of the user's."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

from manyhands.apps.digests import digest_of
from manyhands.apps.functions import name_of
from manyhands.apps.images.decoding import workable
from manyhands.apps.images.problems import Unusable
from manyhands.apps.images.sizes import MODES, Mode, fit, parse_size
from manyhands.errors import OptionError

if TYPE_CHECKING:
    from PIL.Image import Image

_KERNELS = {  # of each filter, in Pillow
    "blur": "BLUR",
    "edges": "FIND_EDGES",
    "emboss": "EMBOSS",
    "sharpen": "SHARPEN",
    "contour": "CONTOUR",
    "detail": "DETAIL",
    "smooth": "SMOOTH",
    "smooth_more": "SMOOTH_MORE",
}
FILTERS = tuple(_KERNELS)
Resample = Literal["lanczos", "bicubic", "bilinear", "box"]  # each weighs all pixels that a new one covers
RESAMPLES: tuple[str, ...] = get_args(Resample)
_MEANS = {"blur", "smooth", "smooth_more"}  # of neighbours: those that nobody sees have no part in it


class Operation(Protocol):
    """One step from picture to picture."""

    @property
    def key(self) -> str:
        """The same text for the same step: another one makes what was written before stale."""

    def __call__(self, image: Image, background: Any) -> Image:
        """The picture after it."""


Operations: TypeAlias = Sequence[Operation]


@dataclass(frozen=True, slots=True)
class Resize:
    """Bring a picture to a size, without aliasing.

    >>> Resize("200x200", "cover").key
    'resize(200x200, cover)'

    Args:
        size: ``WIDTHxHEIGHT`` in pixels; ``200x`` and ``x200`` keep the shape.
        mode: ``stretch`` to exactly that; ``contain``: as large as fits into it; ``cover``: fill it and cut off what
            is over; ``pad``: as contain, on a canvas of exactly that size.
        upscale: also make small pictures larger.
        resample: how a new pixel is made of those that it covers. ``lanczos`` is the sharpest. ``box`` is their mean,
            and the quickest: made much smaller, a picture of 800x600 takes 0.9 ms of resizing and not 3.

    Raises:
        OptionError: size, mode or resample is none.
    """

    size: str
    mode: Mode = "stretch"
    upscale: bool = True
    resample: Resample = "lanczos"

    def __post_init__(self) -> None:
        parse_size(self.size)
        if self.mode not in MODES:
            raise OptionError(f"there is no mode {self.mode!r}; choose one of {', '.join(MODES)}")
        if self.resample not in RESAMPLES:
            raise OptionError(f"there is no resample {self.resample!r}; choose one of {', '.join(RESAMPLES)}")

    @property
    def key(self) -> str:
        """The same text for the same step."""
        told = [self.size, self.mode, *([] if self.upscale else ["no upscale"])]
        return f"resize({', '.join(told + ([] if self.resample == 'lanczos' else [self.resample]))})"

    @property
    def is_exact(self) -> bool:
        """Every picture becomes of that very size."""
        return self.mode == "pad" or (self.mode != "contain" and self.upscale)

    def __str__(self) -> str:
        return self.key

    def __call__(self, image: Image, background: Any) -> Image:
        """The picture at that size."""
        return self.drawn(image, background, image.size)

    def drawn(self, image: Image, background: Any, whole: tuple[int, int]) -> Image:
        """The same, where ``image`` is one of the size ``whole`` that was decoded at a part of it."""
        from PIL import Image as PillowImage

        way = fit(whole, parse_size(self.size), self.mode, upscale=self.upscale)
        across, down = image.width / whole[0], image.height / whole[1]
        left, top, right, bottom = way.box
        box = (left * across, top * down, min(right * across, image.width), min(bottom * down, image.height))
        resample = PillowImage.Resampling[self.resample.upper()]
        gap = None if self.resample == "box" else 2.0  # the mean of means is not the mean, and takes as long
        drawn = image.resize(way.size, resample, box=box, reducing_gap=gap)
        if way.canvas == way.size:
            return drawn
        if drawn.mode == "L" and len(set(background("RGB"))) > 1:
            drawn = drawn.convert("RGB")  # around it there is colour
        canvas = PillowImage.new(drawn.mode, way.canvas, background(drawn.mode))
        canvas.paste(drawn, way.offset)
        return canvas

    def makes(self, source: tuple[int, int]) -> tuple[int, int]:
        """The size of what becomes of a picture of this size."""
        return fit(source, parse_size(self.size), self.mode, upscale=self.upscale).canvas

    def needs(self, source: tuple[int, int]) -> tuple[int, int]:
        """Pixels of the whole source that are enough to draw it: a JPEG can be decoded at a part of its size."""
        scale = 0.0
        for size in (source, source[::-1]):  # it may be turned upright first
            way = fit(size, parse_size(self.size), self.mode, upscale=self.upscale)
            scale = max(scale, way.size[0] / (way.box[2] - way.box[0]), way.size[1] / (way.box[3] - way.box[1]))
        return max(1, round(source[0] * min(1.0, scale))), max(1, round(source[1] * min(1.0, scale)))


@dataclass(frozen=True, slots=True)
class Filter:
    """One of Pillow's filters: blur, edges, emboss, sharpen, contour, detail, smooth, smooth_more.

    >>> Filter("blur", 5).key
    'blur(5)'

    Args:
        name: the filter.
        amount: of ``blur`` and ``sharpen`` the radius in pixels; of the others how much of the effect, 0 to 1.
            Without it, Pillow's own kernel of that name.

    Raises:
        OptionError: there is no such filter, or the amount is out of range.
    """

    name: str
    amount: float | None = None

    def __post_init__(self) -> None:
        if self.name not in _KERNELS:
            raise OptionError(f"there is no filter {self.name!r}; choose one of {', '.join(FILTERS)}")
        most = 1000.0 if self.name in {"blur", "sharpen"} else 1.0
        if self.amount is not None and not 0 <= self.amount <= most:
            raise OptionError(f"{self.name} takes a number from 0 to {most:g}; got {self.amount:g}")

    @property
    def key(self) -> str:
        """The same text for the same step."""
        return self.name if self.amount is None else f"{self.name}({self.amount:g})"

    def __str__(self) -> str:
        return self.key

    def __call__(self, image: Image, background: Any) -> Image:  # noqa: ARG002 - other operations need it
        """The picture, filtered; what is transparent stays so."""
        if image.mode != "RGBA":
            return self._filtered(image)
        if self.name in _MEANS:
            made = self._filtered(image.convert("RGBa")).convert("RGBA")
        else:
            made = self._filtered(image.convert("RGB"))
        made.putalpha(image.getchannel("A"))
        return made

    def _filtered(self, image: Image) -> Image:
        from PIL import Image as PillowImage
        from PIL import ImageFilter

        if self.amount is None:
            return image.filter(getattr(ImageFilter, _KERNELS[self.name]))
        if self.name == "blur":
            return image.filter(ImageFilter.GaussianBlur(self.amount))
        if self.name == "sharpen":
            return image.filter(ImageFilter.UnsharpMask(self.amount))
        return PillowImage.blend(image, image.filter(getattr(ImageFilter, _KERNELS[self.name])), self.amount)


@dataclass(frozen=True, slots=True, eq=False)  # a function of theirs may be one that has no hash
class Apply:
    """A function of yours: it gets an array (height, width, channels) of uint8 and gives one back.

    If its first argument is annotated with PIL's ``Image``, it gets that instead. It may return either.
    """

    func: Callable[[Any], Any]

    def __post_init__(self) -> None:
        if not callable(self.func):
            raise OptionError(f"Apply takes a function; got {self.func!r}")

    @property
    def key(self) -> str:
        """The same text for the same function: its name, and a digest of its code."""
        return f"apply({self}, {digest_of(self.func)})"

    def __str__(self) -> str:
        return name_of(self.func)

    def __call__(self, image: Image, background: Any) -> Image:  # noqa: ARG002 - other operations need it
        """What the function makes of it."""
        import numpy as np
        from PIL import Image as PillowImage

        # A copy: it may change what it gets, which other outputs, and the next frame, are made from.
        result = self.func(image.copy() if self._takes_image() else np.asarray(image).copy())
        if isinstance(result, PillowImage.Image) and result.mode not in {"I", "F"}:
            return workable(result, [])
        if not _is_picture(result):
            raise Unusable(
                "operation",
                f"{self} returned {_kind_of(result)}; it must return an array of uint8 or an Image: an array of the "
                "shape (height, width) or (height, width, 1 to 4), an Image of any mode but I and F",
            )
        grey = result[:, :, 0] if result.shape[2:] == (1,) else result
        return workable(PillowImage.fromarray(grey), [])

    def _takes_image(self) -> bool:
        try:
            first = next(iter(inspect.signature(self.func).parameters.values()))
        except (TypeError, ValueError, StopIteration):  # of some builtins nobody knows
            return False
        told = first.annotation if isinstance(first.annotation, str) else inspect.formatannotation(first.annotation)
        return re.search(r"\bImage\b", told) is not None


def _is_picture(result: Any) -> bool:
    import numpy as np

    is_bytes = isinstance(result, np.ndarray) and result.dtype == np.uint8 and result.size > 0
    return is_bytes and (result.ndim == 2 or (result.ndim == 3 and result.shape[2] <= 4))


def _kind_of(result: Any) -> str:
    import numpy as np
    from PIL import Image as PillowImage

    if isinstance(result, np.ndarray):
        return f"an array of {result.dtype} of the shape {result.shape}"
    if isinstance(result, PillowImage.Image):
        return f"an Image of mode {result.mode}"
    return "None" if result is None else f"a {type(result).__name__}"


def parse_filter(text: str) -> Filter:
    """A filter from text such as ``edges`` or ``blur(5)``.

    >>> parse_filter("blur(5)")
    Filter(name='blur', amount=5)
    """
    found = re.fullmatch(r"\s*([a-z_-]+)\s*(?:\(\s*([^()]*?)\s*\))?\s*", text)
    if found is None:
        raise OptionError(f"a filter is a name with an optional number, as in blur(5), and one at a time; got {text!r}")
    name, amount = found.group(1).replace("-", "_"), found.group(2)
    if not amount:
        return Filter(name)
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            number = kind(amount)
            break
    else:
        raise OptionError(f"a filter takes one number, as in blur(5); got {text!r}")
    return Filter(name, number)
