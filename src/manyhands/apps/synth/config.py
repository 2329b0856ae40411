"""What a dataset is made of: every setting, checked, and the same text for the same settings."""

from __future__ import annotations

import dataclasses
import difflib
import math
import numbers
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from manyhands.errors import OptionError
from manyhands.showing import short_repr

Range = tuple[float, float]
FORMATS = ("voc", "yolo", "coco")
BLENDS = ("hard", "gaussian", "poisson")
SPLITS = ("train", "val", "test")
MOST_PER_IMAGE = 1000  # objects
DISTRACTORS = (0, 2)  # in a picture, if there are any
LONGEST_SIDE = 65_500  # pixels: that of a JPEG
FOLDERS = ("objects", "backgrounds", "masks", "distractors")  # the settings that are folders of inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that decides what is in a dataset; the same config, inputs and versions give the same bytes.

    >>> Config(objects="photo", backgrounds="back", scale=(0.5, 1)).scale
    (0.5, 1.0)

    Args:
        objects: folder with a folder for each class, in which are the pictures of single objects.
        backgrounds: folder of pictures, also in folders within it.
        masks: folder with the same pictures as masks, light where the object is; None: the alpha channel.
        distractors: folder of pictures with an alpha channel that are pasted as well, and not labelled.
        times: how often every object is put on every background of its split.
        count: so many of those pictures, such that objects and backgrounds are used evenly; None: all.
        seed: of all that is random.
        formats: of the labels, any of ``voc``, ``yolo`` and ``coco``.
        size: of the pictures, ``(width, height)`` in pixels: backgrounds are scaled and cut to it; None: each is as
            its background.
        objects_per_image, distractors_per_image: how many are tried, at least and at most.
        scale: of objects, times their own size.
        rotate, shear: in degrees.
        perspective: how far a corner moves at most, as a share of the size; 0 to 0.25.
        flip: mirror half of the objects.
        brightness: factors, drawn apart for the background and each object.
        blur: of objects: standard deviation in pixels.
        blend: how objects meet the background, drawn for each object from these: ``hard``, ``gaussian`` (a soft edge
            within the mask) and ``poisson`` (colours flow from the background, within the mask).
        max_overlap: the share of an object that another one may cover.
        min_visible: the share of an object that is seen at least, in all.
        max_truncation: the share of an object that is beyond the edges at most.
        aspect: width through height of boxes, at least and at most.
        min_size: of boxes: pixels of the shorter side.
        attempts: places that are tried for an object before it is given up.
        quadrants: three quarters of the background each show another background, drawn at random.
        interpolation: of objects: ``smooth`` or ``nearest``.
        split: shares of ``train``, ``val`` and ``test``; they share no object picture and no background.
        preview: second pictures with the boxes drawn: how many; None or ``"all"``: of all; ``"none"``: of none.
        image_format: ``jpg`` or ``png``.
        jpeg_quality: 1 to 100.
        augment: a function of yours ``(image, mask, rng) -> (image, mask)`` for each object, before it is
            transformed: arrays of uint8, (height, width, 3) in RGB order and (height, width).

    Raises:
        OptionError: a setting is out of range.
    """

    objects: str | os.PathLike[str]
    backgrounds: str | os.PathLike[str]
    masks: str | os.PathLike[str] | None = None
    distractors: str | os.PathLike[str] | None = None
    times: int = 1
    count: int | None = None
    seed: int = 0
    formats: tuple[str, ...] = FORMATS
    size: tuple[int, int] | None = None
    objects_per_image: tuple[int, int] = (1, 1)
    distractors_per_image: tuple[int, int] = DISTRACTORS
    scale: Range = (0.5, 2.0)
    rotate: Range = (0.0, 0.0)
    shear: Range = (0.0, 0.0)
    perspective: float = 0.0
    flip: bool = False
    brightness: Range = (0.7, 1.3)
    blur: Range = (0.0, 1.0)
    blend: tuple[str, ...] = ("hard",)
    max_overlap: float = 0.3
    min_visible: float = 0.4
    max_truncation: float = 0.25
    aspect: Range = (0.2, 5.0)
    min_size: int = 8
    attempts: int = 20
    quadrants: bool = False
    interpolation: Literal["smooth", "nearest"] = "smooth"
    split: tuple[float, float, float] = (1.0, 0.0, 0.0)
    preview: int | None = 0
    image_format: Literal["jpg", "png"] = "jpg"
    jpeg_quality: int = 95
    augment: Callable[[Any, Any, Any], tuple[Any, Any]] | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field.name, getattr(self, field.name)))
        if self.distractors is None and self.distractors_per_image != DISTRACTORS:
            raise OptionError("distractors_per_image needs distractors: the folder of their pictures")

    def told(self) -> dict[str, Any]:
        """As plain values that JSON can hold, but for ``augment``."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del plain["augment"]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def splits_of(shares: Sequence[float]) -> tuple[str, ...]:
    """Those that are asked for.

    >>> splits_of((0.9, 0.1, 0.0))
    ('train', 'val')
    """
    return tuple(split for split, share in zip(SPLITS, shares, strict=True) if share > 0)


def tutorial(**settings: Any) -> Config:
    """The settings of the script that many tutorials have: one object, quadrants, nearest pixels, marked pictures, VOC.

    >>> tutorial(objects="photo", masks="photo_copy", backgrounds="back").formats
    ('voc',)
    """
    usual: dict[str, Any] = {
        "formats": ("voc",), "objects_per_image": (1, 1), "scale": (0.5, 2.0), "shear": (-15.0, 15.0),
        "brightness": (0.6, 1.4), "blur": (0.0, 2.0), "aspect": (0.2, 2.0), "quadrants": True,
        "interpolation": "nearest", "preview": None, "max_truncation": 0.0, "min_size": 1,
    }  # fmt: skip
    return Config(**usual | settings)


PRESETS: dict[str, Callable[..., Config]] = {"tutorial": tutorial, "": Config}


def from_mapping(settings: Mapping[str, Any], *, augment: Any = None) -> Config:
    """A config from names and values, as they stand in a file; ``preset`` among them says what the others change.

    >>> from_mapping({"preset": "tutorial", "objects": "photo", "backgrounds": "back"}).quadrants
    True

    Raises:
        OptionError: a name is none of a setting, or a value is out of range.
    """
    if not isinstance(settings, Mapping):
        raise OptionError(f"settings are names and values, as of a dict; got {short_repr(settings)}")
    names = [field.name for field in dataclasses.fields(Config) if field.name != "augment"]  # a file has no functions
    preset = str(settings.get("preset") or "")
    if preset not in PRESETS:
        raise OptionError(f"there is no preset {preset!r}; there is {', '.join(filter(None, PRESETS))}")
    given = {name: value for name, value in settings.items() if name != "preset"}
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names)}"
            hint = "; the dataset's folder is named by --out" if name == "out" else hint
            raise OptionError(f"there is no setting {name!r}{hint}")
    for name in ("objects", "backgrounds"):
        if name not in given:
            raise OptionError(f"the setting {name!r} is missing: it is the folder of the {name}")
    return PRESETS[preset](**given, augment=augment)


def load(path: str | os.PathLike[str], *, augment: Any = None) -> Config:
    """A config from a TOML file; folders in it are relative to the file.

    >>> import pathlib, tempfile
    >>> from manyhands.apps import synth
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "synth.toml"
    >>> lines = ["objects = 'photo'", "backgrounds = 'back'", "scale = [0.5, 1]"]
    >>> _ = file.write_text(chr(10).join(lines))
    >>> synth.load(file).scale
    (0.5, 1.0)

    Raises:
        OptionError: it is no TOML, or has a wrong setting.
        OSError: it cannot be read.
    """
    settings = read_settings(path)
    try:
        return from_mapping(settings, augment=augment)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What stands in a TOML file, to be changed before `from_mapping`. Raises OptionError, OSError."""
    file = Path(path)
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise OptionError(f"{file} is no TOML: {error}") from None
    for name in FOLDERS:
        if isinstance(settings.get(name), str) and settings[name]:
            settings[name] = str(file.parent / settings[name])
    return settings


# --- one setting ------------------------------------------------------------------------------------------------


def _checked(name: str, value: Any) -> Any:
    """The value in its one form. Raises OptionError."""
    form = _FORMS[name]
    try:
        return form.of(value)
    except (TypeError, ValueError, OverflowError):
        raise OptionError(f"{name} takes {form.takes}; got {short_repr(value)}") from None


class _Form(NamedTuple):
    """``of(value)`` is a setting's value in its one form, or raises; ``takes`` says in words what it can be."""

    of: Callable[[Any], Any]
    takes: str


def _within(value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not low <= value <= high:
        raise ValueError
    return float(value) if isinstance(value, float) or isinstance(low, float) else value


def _whole(value: Any, low: int, high: int) -> int:
    if _within(value, low, high) != int(value):
        raise ValueError
    return int(value)


def _pair(value: Any, low: float, high: float) -> tuple[float, float]:
    first, last = (value, value) if isinstance(value, numbers.Real) else value
    first, last = _within(first, low, high), _within(last, low, high)
    if first > last:
        raise ValueError
    return float(first), float(last)


def _known(value: Any, words: tuple[str, ...]) -> Any:
    if value not in words:
        raise ValueError
    return value


def _number(low: int, high: int) -> _Form:
    return _Form(partial(_whole, low=low, high=high), f"a whole number from {low} to {high:,}")


def _share(most: float) -> _Form:
    return _Form(partial(_within, low=0.0, high=most), f"a share from 0 to {most:g}")


def _range(low: float, high: float) -> _Form:
    told = f"from {low:g} to {high:g}" if high < math.inf else f"of at least {low:g}"
    return _Form(partial(_pair, low=low, high=high), f"a number or two {told}, the smaller first")


def _counts(low: int) -> _Form:
    def both(value: Any) -> tuple[int, int]:
        first, last = _pair(value, low, MOST_PER_IMAGE)
        return _whole(first, low, MOST_PER_IMAGE), _whole(last, low, MOST_PER_IMAGE)

    return _Form(both, f"one or two whole numbers from {low} to {MOST_PER_IMAGE:,}, the smaller first")


def _one_of(*words: str) -> _Form:
    return _Form(partial(_known, words=words), f"one of {', '.join(words)}")


def _any_of(words: tuple[str, ...]) -> _Form:
    def several(value: Any) -> tuple[str, ...]:
        chosen = (value,) if isinstance(value, str) else tuple(value)
        if not chosen or len(set(chosen)) < len(chosen):
            raise ValueError
        return tuple(word for word in words if word in {_known(one, words) for one in chosen})

    return _Form(several, f"any of {', '.join(words)}, each once")


def _folder(value: Any) -> str:
    folder = os.fspath(value)
    if not isinstance(folder, str) or not folder or "\0" in folder:
        raise ValueError
    return folder


def _maybe(form: _Form) -> _Form:
    return _Form(lambda value: None if value is None else form.of(value), form.takes)


def _shares(value: Any) -> tuple[float, float, float]:
    given = [_within(one, 0.0, math.inf) for one in value]
    padded = given + [0.0] * (3 - len(given))
    if len(padded) != 3 or padded[0] == 0 or abs(sum(padded) - 1) > 1e-6:
        raise ValueError
    return padded[0], padded[1], padded[2]


def _size(value: Any) -> tuple[int, int]:
    width, height = value
    return _whole(width, 1, LONGEST_SIDE), _whole(height, 1, LONGEST_SIDE)


def _preview(value: Any) -> int | None:
    count = {"all": None, "none": 0}.get(value, value) if isinstance(value, str) else value
    return None if count is None else _whole(count, 0, 10**12)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _function(value: Any) -> Any:
    if not callable(value):
        raise TypeError
    return value


_FOLDER = _Form(_folder, "a folder")
_FLAG = _Form(_flag, "true or false")
_FORMS = {
    "objects": _FOLDER,
    "backgrounds": _FOLDER,
    "masks": _maybe(_FOLDER),
    "distractors": _maybe(_FOLDER),
    "times": _number(1, 10**9),
    "count": _maybe(_number(1, 10**12)),
    "seed": _number(0, 2**63),
    "formats": _any_of(FORMATS),
    "size": _maybe(_Form(_size, f"width and height in pixels, each from 1 to {LONGEST_SIDE:,}")),
    "objects_per_image": _counts(1),
    "distractors_per_image": _counts(0),
    "scale": _range(0.01, 100.0),
    "rotate": _range(-360.0, 360.0),
    "shear": _range(-60.0, 60.0),
    "perspective": _share(0.25),
    "flip": _FLAG,
    "brightness": _range(0.0, 10.0),
    "blur": _range(0.0, 100.0),
    "blend": _any_of(BLENDS),
    "max_overlap": _share(1.0),
    "min_visible": _share(1.0),
    "max_truncation": _share(1.0),
    "aspect": _range(0.0, float(LONGEST_SIDE)),
    "min_size": _number(1, 10**6),
    "attempts": _number(1, 10**6),
    "quadrants": _FLAG,
    "interpolation": _one_of("smooth", "nearest"),
    "split": _Form(
        _shares,
        "the shares of train, val and test, which add up to 1, as [0.8, 0.1, 0.1] in a file, "
        "0.8/0.1/0.1 in a command; train is not 0",
    ),
    "preview": _Form(_preview, "how many pictures, 'all' or 'none'"),
    "image_format": _one_of("jpg", "png"),
    "jpeg_quality": _number(1, 100),
    "augment": _maybe(_Form(_function, "a function (image, mask, rng) -> (image, mask)")),
}
