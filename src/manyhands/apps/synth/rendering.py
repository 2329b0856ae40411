"""One sample: from its identity to a picture and its labels."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from manyhands.apps.functions import name_of, where_raised
from manyhands.apps.synth import blending, placing, planning, transforming
from manyhands.apps.synth.config import Config
from manyhands.apps.synth.inputs import Decoded
from manyhands.apps.synth.labels import Label
from manyhands.apps.synth.pictures import HALF, CutOut
from manyhands.apps.synth.placing import Layout, Refused
from manyhands.apps.synth.planning import Sample, Stock
from manyhands.apps.synth.problems import AugmentFailed, in_one_line
from manyhands.interrupts import is_of_a_signal
from manyhands.showing import error_text

if TYPE_CHECKING:
    from manyhands.apps.synth.pictures import Pixels


EMPTIED = "emptied by augment"


class Rendered(NamedTuple):
    """A picture and what is known of it. ``background``: as it was before anything was laid on it, if asked for."""

    picture: Pixels
    labels: list[Label]
    unlabelled: list[str]  # masks of distractors, as run lengths
    given_up: Counter[str]  # objects that found no place, by reason
    layout: Layout
    background: Pixels | None = None


def render(
    sample: Sample, config: Config, decoded: Decoded, stock: Stock, distractors: tuple[str, ...], *, keep: bool = False
) -> Rendered:
    """Make one picture, of nothing but the seed, the sample's identity and the inputs."""
    import numpy as np

    rng = planning.random_of(config.seed, sample.id)
    picture = _background(sample, config, decoded, stock, rng)
    before = picture.copy() if keep else None
    layout = Layout(config, np.zeros(picture.shape[:2], np.uint16))
    for key, label in _cast(sample, config, stock, distractors, rng):
        try:
            original = decoded.cut_out(key)
            if config.augment is not None:
                original = _augmented(original, config, rng, f"It was given {key}, for the sample {sample.id}")
            _lay(original, (key, label), picture, layout, rng)
        except Refused as refused:
            if label:
                layout.given_up[refused.reason] += 1
    return Rendered(picture, layout.labels(), layout.unlabelled(), layout.given_up, layout, before)


def _cast(
    sample: Sample, config: Config, stock: Stock, distractors: tuple[str, ...], rng: Any
) -> list[tuple[str, str]]:
    """Who appears, from the bottom to the top: keys, and classes of those that are labelled."""
    objects, others = config.objects_per_image, config.distractors_per_image
    more = int(rng.integers(objects[0], objects[1] + 1)) - 1
    cast = [(sample.object, sample.label)]
    for at in rng.integers(0, len(stock.objects), more):
        key = stock.objects[at]
        cast.append((key, key.split("/")[1]))
    if distractors:
        count = int(rng.integers(others[0], others[1] + 1))
        cast += [(distractors[at], "") for at in rng.integers(0, len(distractors), count)]
    return [cast[at] for at in rng.permutation(len(cast))]


def _background(sample: Sample, config: Config, decoded: Decoded, stock: Stock, rng: Any) -> Pixels:
    """A picture of its own that may be written to."""
    import cv2

    whole = decoded.background(sample.background)
    factor = transforming.drawn(rng, config.brightness)
    made: Pixels = cv2.convertScaleAbs(whole, alpha=factor) if factor != 1 else whole.copy()
    if not config.quadrants or min(made.shape[:2]) < 2:
        return made
    middle = made.shape[0] // 2, made.shape[1] // 2
    rows, columns = (slice(None, middle[0]), slice(middle[0], None)), (slice(None, middle[1]), slice(middle[1], None))
    quarters = [made[down, across] for down in rows for across in columns]
    del quarters[int(rng.integers(4))]
    others = [key for key in stock.backgrounds if key != sample.background] or [sample.background]
    for quarter in quarters:
        other = decoded.background(others[int(rng.integers(len(others)))])
        small = cv2.resize(other, (quarter.shape[1], quarter.shape[0]), interpolation=cv2.INTER_AREA)
        quarter[...] = transforming.brighter(small, factor)
    return made


def _lay(original: CutOut, name: tuple[str, str], picture: Pixels, layout: Layout, rng: Any) -> None:
    """Draw an object anew and try a place, until one will do. Raises Refused: the last reason."""
    config = layout.config
    size = (picture.shape[1], picture.shape[0])
    seen = 1 - min(config.max_truncation, 0.95)
    room = (size[0] / seen, size[1] / seen)
    way = blending.WAYS[config.blend[int(rng.integers(len(config.blend)))]]
    reason = Refused("")
    for _ in range(config.attempts):
        try:
            drawn = transforming.transformed(original, config, rng, room)
            corner = placing.corner(rng, drawn.mask.shape[::-1], size, config.max_truncation)
            (x0, y0, x1, y1), own = layout.add(drawn.mask, corner, *name)
        except transforming.TooLarge:
            reason = Refused("too large")
        except transforming.TooSmall:
            reason = Refused("small")
        except Refused as refused:
            reason = refused
        else:
            part = drawn.colour[y0 - corner[1] : y1 - corner[1], x0 - corner[0] : x1 - corner[0]]
            _blend(way, picture[y0:y1, x0:x1], part, own)
            return
    raise reason


def _blend(way: Any, under: Pixels, colour: Pixels, own: Any) -> None:
    import numpy as np

    mixed = np.ascontiguousarray(under)
    way(mixed, np.ascontiguousarray(colour), np.ascontiguousarray(own))
    if mixed is not under:
        under[...] = mixed


def _augmented(given: CutOut, config: Config, rng: Any, which: str) -> CutOut:
    """What the user's function makes of an object: checked, since what it returns decides the labels.

    ``which`` object that is, for errors.
    """
    import numpy as np

    func: Any = config.augment
    try:
        own = (np.array(pixels, order="C") for pixels in (given.colour[:, :, ::-1], given.mask))  # of numpy's own type
        made = func(*own, rng)
        if isinstance(made, tuple):
            made = tuple(map(np.asarray, made))
    except (Exception, SystemExit, GeneratorExit) as error:
        if is_of_a_signal(error):
            raise
        what = f"{name_of(func)} raised {error_text(error)}{where_raised(error, func)}"
        raise AugmentFailed(f"{what}. {in_one_line(which)}") from error
    if problem := _unfit(made):
        raise AugmentFailed(f"{name_of(func)} returned {problem}. {in_one_line(which)}")
    image, mask = made
    if not (mask >= HALF).any():
        raise Refused(EMPTIED)
    return CutOut(np.ascontiguousarray(image[:, :, ::-1]), np.ascontiguousarray(mask))


def _unfit(made: Any) -> str:
    """What is wrong with what such a function returned; empty: nothing."""
    import numpy as np

    if isinstance(made, tuple) and len(made) == 2:
        return _misshapen(*made)
    if isinstance(made, np.ndarray):
        shape = f"an array of shape {made.shape}"
        told = f"only an image ({shape})" if made.ndim == 3 else f"only {shape}"
    elif isinstance(made, tuple):
        told = f"a tuple of {len(made)}"
    else:
        told = "None" if made is None else f"a value of type {type(made).__name__}"
    return f"{told}; it must return (image, mask)"


def _misshapen(image: Any, mask: Any) -> str:
    import numpy as np

    wanted = "it must return arrays of uint8, (height, width, 3) and (height, width)"
    if image.dtype != np.uint8 or mask.dtype != np.uint8 or (image.ndim, mask.ndim) != (3, 2) or image.shape[2] != 3:
        return f"{image.dtype} {image.shape} and {mask.dtype} {mask.shape}; {wanted}"
    if image.shape[:2] != mask.shape:
        sizes = [f"{one.shape[1]} x {one.shape[0]} pixels" for one in (image, mask)]
        return f"an image of {sizes[0]} and a mask of {sizes[1]}; they must have the same size"
    return "" if mask.size else f"an image without a pixel; {wanted}"
