"""The files of a sample: rendered, encoded, and put in their places."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import manyhands as mh
from manyhands.apps import files
from manyhands.apps.files import DiskFullError
from manyhands.apps.functions import name_of
from manyhands.apps.synth import dataset, drawing, formats, pictures, planning, rendering
from manyhands.apps.synth.config import Config
from manyhands.apps.synth.dataset import Dataset, Record
from manyhands.apps.synth.inputs import Decoded, Ready
from manyhands.apps.synth.planning import Plan, Sample
from manyhands.apps.synth.problems import MakerDied

PREVIEW_QUALITY = 90  # as JPEG
OPENCV_NO_MEMORY = -4  # the code of its error


@dataclass(frozen=True, slots=True)
class Maker:
    """How samples become files; called with each. It travels to workers, the pixels do not."""

    config: Config
    decoded: Decoded
    stocks: dict[str, planning.Stock]
    distractors: tuple[str, ...]
    classes: tuple[str, ...]
    place: Dataset
    previewed: frozenset[str]

    def __call__(self, sample: Sample) -> Record:
        """Make its files; the record comes last. Raises AugmentFailed, DiskFullError, OSError."""
        try:
            with _memory_for(sample):
                return self._make(sample)
        except OSError as error:
            if files.is_disk_full(error):
                raise DiskFullError(error.errno, error.strerror, str(self.place.folder)) from error
            raise

    def render(self, sample: Sample, *, keep: bool = False) -> rendering.Rendered:
        """Its picture and labels, in memory. Raises AugmentFailed, OSError."""
        stock = self.stocks[sample.split]
        with _memory_for(sample):
            return rendering.render(sample, self.config, self.decoded, stock, self.distractors, keep=keep)

    def encode(self, picture: Any) -> bytes:
        """As the file that it will be."""
        return pictures.encoded(picture, self.config.image_format, self.config.jpeg_quality)

    def marked(self, made: rendering.Rendered) -> Any:
        """Its picture with the boxes drawn."""
        return drawing.marked(made.picture, made.labels, self.classes)

    def encode_preview(self, made: rendering.Rendered) -> bytes:
        """The same as a file."""
        return pictures.encoded(self.marked(made), "jpg", PREVIEW_QUALITY)

    def size_of(self, sample: Sample) -> int:
        """Bytes of its picture's file."""
        return len(self.encode(self.render(sample).picture))

    def record(self, sample: Sample, made: rendering.Rendered) -> Record:
        """What is kept of it."""
        size = (made.picture.shape[1], made.picture.shape[0])
        shown = sample.id in self.previewed and bool(made.labels)
        return Record(
            sample.id, sample.split, sample.label, size, sample.background, tuple(made.labels),
            tuple(made.unlabelled), dict(sorted(made.given_up.items())), shown,
        )  # fmt: skip

    def is_made(self, record: Record | None) -> bool:
        """It is known, and its files are there."""
        return record is not None and all(map(_is_there, self.place.files_of(record, self.config.formats)))

    def _make(self, sample: Sample) -> Record:
        made = self.render(sample)
        record = self.record(sample, made)
        if record.written:
            write_bytes(self.place.picture(sample.split, sample.id), self.encode(made.picture))
            if record.preview:
                write_bytes(self.place.preview(sample.split, sample.id), self.encode_preview(made))
            formats.write_sample(self.place, record, self.config.formats, self.classes)
        dataset.note(self.place.folder, record)
        return record


@contextlib.contextmanager
def _memory_for(sample: Sample) -> Iterator[None]:
    """If there is too little, that is what is told."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, MemoryError) and getattr(error, "code", None) != OPENCV_NO_MEMORY:
            raise
        told = f"there is not enough memory to make {sample.id}: take fewer workers, or smaller pictures"
        raise OSError(errno.ENOMEM, told) from error


@contextlib.contextmanager
def naming(samples: Sequence[Sample], maker: Maker) -> Iterator[None]:
    """If the process that makes one of these is ended, which one is told, and of the function that ran in it."""
    try:
        yield
    except mh.WorkerDied as error:
        if error.index is None or isinstance(error, MemoryError):  # of a limit, which it tells of
            raise
        augment = maker.config.augment
        raise MakerDied(error, samples[error.index].id, augment and name_of(augment)) from error


def _is_there(path: Path) -> bool:
    """And not empty, as a file that was being written when the machine lost its power."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def write_bytes(path: Path, data: bytes) -> None:
    """As a whole or not at all."""
    with files.whole(path) as unfinished:
        unfinished.write_bytes(data)


def versions() -> dict[str, str]:
    """Of what decides the bytes."""
    import cv2
    import numpy as np
    import PIL

    return {"opencv": cv2.__version__, "numpy": np.__version__, "pillow": PIL.__version__}


def upgraded(about: dict[str, Any]) -> list[str]:
    """Why samples made now may have other bytes than those made before."""
    changed = [name for name, version in versions().items() if about["versions"].get(name) != version]
    return [f"{name} is another version than the dataset was begun with" for name in changed]


def maker_of(config: Config, ready: Ready, wanted: Plan, out: Path) -> Maker:
    """What makes the samples of this plan."""
    names = [sample.id for sample in wanted.samples]
    count = len(names) if config.preview is None else min(config.preview, len(names))
    previewed = frozenset(names[:count])
    distractors = tuple(one.key for one in ready.found.distractors)
    place = Dataset(out, config.image_format)
    return Maker(config, ready.decoded, wanted.stocks, distractors, wanted.classes, place, previewed)
