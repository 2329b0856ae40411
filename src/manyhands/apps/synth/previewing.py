"""A look at what a config makes, before the hours are spent."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import manyhands as mh
from manyhands.apps.synth import dataset, drawing, inputs, making, noting, pictures, planning
from manyhands.apps.synth.config import Config
from manyhands.apps.synth.making import Maker
from manyhands.apps.synth.planning import Sample
from manyhands.errors import OptionError

MOST = 400  # samples on a sheet: many high ones would make it higher than a JPEG may be


def preview(config: Config, to: str | os.PathLike[str], *, count: int = 16, workers: int | None = None) -> int:
    """Draw one contact sheet of samples with their boxes; no dataset is made.

    >>> import pathlib, tempfile
    >>> from manyhands.apps import synth
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> synth.preview(synth.example(folder), folder / "sheet.png", count=4)
    4

    Args:
        config: what it would be made of.
        to: the sheet, a file that ends in ``.jpg`` or ``.png``.
        count: how many samples, up to 400: the first of the plan, in which objects and backgrounds are used evenly.
        workers: how many; None: one a core.

    Returns:
        How many samples are on it: some may have found no place for any object.

    Raises:
        InputProblems: the inputs do not fit together.
        AugmentFailed: the config's own function raised an error, or returned something else.
        WorkerDied: a process was ended while it made a sample, which is named.
        OptionError: an argument is wrong, or none of the samples has a picture.
        OSError: there is not enough memory, or the sheet cannot be written.
    """
    sheet = Path(to)
    if sheet.suffix.lower() not in {".jpg", ".png"}:
        raise OptionError(f"a contact sheet is a .jpg or .png file; got {str(to)!r}")
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST:
        raise OptionError(f"count is a whole number from 1 to {MOST}, for which a sheet has room; got {count!r}")
    inputs.check_target(sheet, config)
    dataset.check_target(sheet)
    ready = inputs.prepare(inputs.find(config), config, workers=workers, progress=False)
    plan = planning.make(ready.found, config)
    across = min(drawing.ACROSS, count, len(plan.samples))
    sketch = _Sketch(making.maker_of(config, ready, plan, sheet.parent), across)
    with making.naming(plan.samples, sketch.maker):
        sketched = mh.map(sketch, plan.samples[:count], backend="processes", workers=workers, on_error="raise")
    thumbnails = [thumbnail for thumbnail, _ in sketched if thumbnail is not None]
    if not thumbnails:
        given_up = sum((reasons for _, reasons in sketched), Counter[str]())
        raise OptionError(f"nothing was drawn: in no sample an object {noting.found_no_place(given_up)}")
    drawn = drawing.contact_sheet(thumbnails, across=across)
    making.write_bytes(sheet, pictures.encoded(drawn, sheet.suffix.lower()[1:], making.PREVIEW_QUALITY))
    return len(thumbnails)


@dataclass(frozen=True, slots=True)
class _Sketch:
    """Makes a sample, small as it is shown: no memory holds hundreds of large pictures. Called with each."""

    maker: Maker
    across: int

    def __call__(self, sample: Sample) -> tuple[Any, Counter[str]]:
        """Its thumbnail, None if it has no picture; and the objects that found no place, by reason."""
        made = self.maker.render(sample)
        if not made.labels:
            return None, made.given_up
        shown = drawing.thumbnail(made.picture, made.labels, self.maker.classes, across=self.across)
        return shown, made.given_up
