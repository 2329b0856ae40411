"""A few inputs to try things with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from manyhands.apps.synth.config import Config


def example(folder: str | os.PathLike[str], **settings: Any) -> Config:
    """Draw some cut-outs and backgrounds into a folder, and give the config that uses them.

    >>> import tempfile
    >>> from manyhands.apps import synth
    >>> len(synth.plan(synth.example(tempfile.mkdtemp(), times=2)).samples)
    12

    Args:
        folder: where they go: ``photo`` with two classes, and ``back``.
        settings: of the config, besides ``objects`` and ``backgrounds``.

    Raises:
        OptionError: a setting is wrong.
        OSError: the folder cannot be written to.
    """
    import numpy as np
    from PIL import Image, ImageDraw

    place = Path(folder)
    for name in ("photo/ball", "photo/box", "back"):
        (place / name).mkdir(parents=True, exist_ok=True)
    for number, colour in enumerate([(220, 60, 40, 255), (240, 190, 30, 255)]):
        ball = Image.new("RGBA", (60, 60))
        ImageDraw.Draw(ball).ellipse((5, 5, 55, 55), fill=colour)
        ball.save(place / "photo" / "ball" / f"{number}.png")
    Image.new("RGBA", (50, 40), (40, 90, 200, 255)).save(place / "photo" / "box" / "0.png")
    for number in range(2):
        pixels = np.random.default_rng(number).integers(90, 160, (240, 320, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / "back" / f"{number}.png")
    return Config(objects=place / "photo", backgrounds=place / "back", **settings)
