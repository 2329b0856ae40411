"""Which part of a picture is drawn, how large, and on what canvas: pure arithmetic."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, get_args

from manyhands.errors import OptionError

Size = tuple[int, int]  # width, height in pixels
Mode = Literal["stretch", "contain", "cover", "pad"]
MODES: tuple[str, ...] = get_args(Mode)


class Fit(NamedTuple):
    """The part ``box`` of the source (left, top, right, bottom) is drawn as ``size`` at ``offset`` on ``canvas``."""

    box: tuple[float, float, float, float]
    size: Size
    offset: Size
    canvas: Size


def parse_size(text: str) -> tuple[int | None, int | None]:
    """Width and height, of which one may be left out to keep the shape.

    >>> parse_size("200x100"), parse_size("200x"), parse_size("x100")
    ((200, 100), (200, None), (None, 100))
    """
    found = re.fullmatch(r"(\d{1,9})?[xX×](\d{1,9})?", text.strip() if isinstance(text, str) else "")  # noqa: RUF001 - people paste that sign
    width, height = (int(number) if number else None for number in found.groups()) if found else (None, None)
    if (width, height) == (None, None) or 0 in {width, height}:
        raise OptionError(f"a size is WIDTHxHEIGHT in pixels, as in 200x200, 200x or x200; got {text!r}")
    return width, height


def fit(source: Size, wanted: tuple[int | None, int | None], mode: Mode, *, upscale: bool = True) -> Fit:
    """How a picture of this size becomes one of the wanted size.

    >>> fit((800, 600), (200, 200), "contain").size
    (200, 150)
    >>> fit((800, 600), (200, 200), "cover").box
    (100.0, 0.0, 700.0, 600.0)
    """
    width, height = source
    across = wanted[0] / width if wanted[0] is not None else None
    down = wanted[1] / height if wanted[1] is not None else None
    if across is None or down is None:
        return _drawn(source, _limited(across or down or 1.0, upscale=upscale))
    target = (wanted[0] or 1, wanted[1] or 1)
    if mode == "stretch":
        size = target if upscale else (min(target[0], width), min(target[1], height))
        return Fit((0.0, 0.0, float(width), float(height)), size, (0, 0), size)
    if mode == "cover":
        return _cropped(source, target, _limited(max(across, down), upscale=upscale))
    inside = _drawn(source, _limited(min(across, down), upscale=upscale))
    if mode == "contain":
        return inside
    left, top = (target[0] - inside.size[0]) // 2, (target[1] - inside.size[1]) // 2
    return inside._replace(offset=(left, top), canvas=target)


def _limited(scale: float, *, upscale: bool) -> float:
    return scale if upscale else min(1.0, scale)


def _drawn(source: Size, scale: float) -> Fit:
    """All of it."""
    width, height = source
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Fit((0.0, 0.0, float(width), float(height)), size, (0, 0), size)


def _cropped(source: Size, target: Size, scale: float) -> Fit:
    """The middle."""
    width, height = source
    size = min(target[0], max(1, round(width * scale))), min(target[1], max(1, round(height * scale)))
    across, down = min(width, size[0] / scale), min(height, size[1] / scale)
    left, top = (width - across) / 2, (height - down) / 2
    return Fit((left, top, left + across, top + down), size, (0, 0), size)
