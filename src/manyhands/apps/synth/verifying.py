"""A dataset read back by programs that others wrote, and each picture made again and looked at pixel by pixel."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import manyhands as mh
from manyhands.apps import files
from manyhands.apps.synth import dataset, labels, making, reopening
from manyhands.apps.synth import formats as label_files
from manyhands.apps.synth.config import splits_of
from manyhands.apps.synth.dataset import Dataset, Record
from manyhands.apps.synth.making import Maker
from manyhands.apps.synth.planning import Sample
from manyhands.apps.synth.problems import InputProblems, in_one_line
from manyhands.apps.synth.readers import READERS, Boxes, Part, Read
from manyhands.errors import OptionError
from manyhands.showing import error_text

SHOWN = 20
OTHER = "is not what its seed gives"
MISSING, ENDLESS = "is missing", "is no regular file"
STRANGE = "is no file of the dataset"
# All such files that are found there.
READ_WHOLE = {"YOLO, read by globox": ("labels", ".txt"), "VOC, read by globox": ("voc", ".xml")}
NEAR = 0.01  # pixels: readers keep boxes as numbers of 32 bits
NEAR_PREVIEW = 3.0  # levels of 256, on average: letters look otherwise where there are other fonts


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at and what was found. See ``left_out`` for what was not."""

    samples: int
    pictures: bool  # were made again and compared
    checks: tuple[str, ...]
    left_out: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Nothing is wrong, and the pictures were compared, too."""
        return self.pictures and not self.problems

    def __str__(self) -> str:
        told = "nothing is wrong in what was checked" if self.left_out else "all is as it should be"
        told = "not as it should be" if self.problems else told
        pictures = "" if self.pictures else ", and the pictures were NOT checked"
        lines = [f"{self.samples:,} samples: {told}{pictures}"]
        lines += [f"checked: {check}" for check in self.checks]
        lines += [f"not checked: {reason}" for reason in self.left_out]
        lines += [f"wrong: {problem}" for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"and {len(self.problems) - SHOWN:,} more")
        if self.problems:
            lines.append(
                "missing files are made by `resume`, label files by `export`; delete wrong pictures first, "
                "and files that are none of the dataset"
            )
        return "\n".join(map(in_one_line, lines))


def verify(
    out: str | os.PathLike[str],
    *,
    augment: Any = None,
    workers: int | None = None,
    progress: bool | Callable[[Any], object] | None = None,
) -> Verification:
    """Read a dataset back and compare every box, mask, class and pixel with how it must be.

    Each picture is made again: its file must have the same bytes, what is labelled must be what is seen, and outside
    objects and distractors no pixel may differ from the background. The label files are read by pycocotools, globox
    and supervision, as far as they are installed.

    >>> import pathlib, tempfile
    >>> from manyhands.apps import synth
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> summary = synth.generate(synth.example(folder), folder / "ds", progress=False)
    >>> synth.verify(folder / "ds").ok
    True

    Args:
        out: the dataset's folder.
        augment: the function it was made with, if there was one.
        workers: how many; None: one a core.
        progress: as in `mh.map`.

    Raises:
        AugmentFailed: the function raised an error, or returned something else.
        WorkerDied: a process was ended while it made a sample, which is named.
        OptionError: there is no dataset, or it is not finished.
        OSError: there is not enough memory, or an input has changed meanwhile.
    """
    folder = files.absolute(out)  # the function may change folders
    about, records, fault = dataset.read_ended(folder)
    if fault:
        return Verification(len(records), False, ("the records",), ("all else, for that reason",), (fault,))
    place = Dataset(folder, about["config"]["image_format"])
    used_formats = dataset.formats_of(about)
    problems = list(_files(place, records, used_formats, about))
    checks = ["which files are there, and what every label file says"]
    left_out, pictures = [], True
    try:
        maker, samples = reopening.reopen(folder, about, workers=workers, augment=augment)
    except OptionError as error:
        pictures = False
        why = error.problems[0] if isinstance(error, InputProblems) else str(error).splitlines()[-1].strip()
        left_out.append(f"the pictures themselves, since they cannot be made again: {why}")
    else:
        problems += _made_again(maker, samples, records, workers=workers, progress=progress)
        if any(problem.endswith(OTHER) for problem in problems):
            problems[:0] = _why_other(about, augment)
        checks.append("every picture, made again: labels, masks, and the pixels outside them")
    is_endless = any(problem.endswith(ENDLESS) for problem in problems)
    if is_endless:
        left_out.append("what other programs read: they would wait without end for what is no regular file")
    for reader, ways in () if is_endless else READERS:
        if find_spec(reader) is None:
            left_out.append(f"{reader}, which is not installed: pip install {reader}")
            continue
        used = {f"{name.upper()}, read by {reader}": read for name, read in ways.items() if name in used_formats}
        misled = [told for told in _misled(place, problems) if used.pop(told, None)]
        left_out += (f"{told}: it takes strange files for labels; delete them first" for told in misled)
        checks += used
        problems += _read_back(used, place, records, about["classes"], workers)
    return Verification(len(records), pictures, tuple(checks), tuple(left_out), tuple(problems))


def _why_other(about: dict[str, Any], augment: Any) -> Iterator[str]:
    """What may be behind it if samples made again are others."""
    yield from making.upgraded(about)
    if augment is not None:
        yield "not the same again: is your function repeatable? It must draw from its rng alone"


# --- files ------------------------------------------------------------------------------------------------------


def _files(place: Dataset, records: Sequence[Record], formats: Sequence[str], about: dict[str, Any]) -> Iterator[str]:
    """Those that are missing or too many; and of labels, those that say something else than the records."""
    written = [record for record in records if record.written]
    splits = splits_of(about["config"]["split"])
    texts = label_files.texts_of_all(place, written, formats, about["classes"], splits)
    for record in written:
        texts |= label_files.texts_of(place, record, formats, about["classes"])
    expected = {path for record in records for path in place.files_of(record, formats)} | set(texts)
    folders = ["images", "labels", "previews", "voc", "coco"]
    there = {path for name in folders for path in _in(place.folder / name)}
    there = {path for path in there if path.suffix != ".cache"}  # that trainers leave beside labels
    faults = {path: _fault_of(path) for path in sorted(expected | there)}
    for path, fault in faults.items():
        if path not in expected and fault != ENDLESS:
            yield f"{path} {STRANGE}"
        elif fault:
            yield f"{path} {fault}"
    for path, text in texts.items():
        if not faults[path] and _bytes_of(path) != text.encode():
            yield f"{path} does not say what was made"


def _in(folder: Path) -> Iterator[Path]:
    """All that is in it and its folders, but for these; links are not followed."""
    for place, inner, names in os.walk(folder):
        found = (Path(place, name) for name in [*inner, *names])
        yield from (path for path in found if path.name in names or os.path.islink(path))  # noqa: PTH114 - may be closed


def _fault_of(path: Path) -> str:
    """Why it cannot be read like a file; nothing is told of folders, which others take for files, too."""
    try:
        return ENDLESS if files.is_endless(path) else ""
    except (FileNotFoundError, NotADirectoryError):
        return MISSING
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"


def _bytes_of(path: Path) -> bytes | None:
    """Nothing of what is a folder, has no end, or may not be read."""
    try:
        files.check_regular(path)
        return path.read_bytes()
    except OSError:
        return None


def _misled(place: Dataset, problems: Sequence[str]) -> list[str]:
    """Who would read a strange file with the others."""
    strange = [Path(problem.removesuffix(f" {STRANGE}")) for problem in problems if problem.endswith(STRANGE)]
    return [
        told
        for told, (folder, suffix) in READ_WHOLE.items()
        if any(path.suffix == suffix and place.folder / folder in path.parents for path in strange)
    ]


# --- pixels -----------------------------------------------------------------------------------------------------


def _made_again(maker: Maker, samples: dict[str, Sample], records: Sequence[Record], **how: Any) -> Iterator[str]:
    """The samples that there are, against those that there must be; then every one, made again."""
    known = {record.id for record in records}
    yield from (f"{name}: it has no record" for name in samples if name not in known)
    yield from (f"{record.id}: there is no such sample" for record in records if record.id not in samples)
    jobs = [(record, samples[record.id]) for record in records if record.id in samples]
    with making.naming([sample for _, sample in jobs], maker):
        found = mh.map(_Again(maker), jobs, backend="processes", desc="verify", on_error="raise", **how)
    for problems in found:
        yield from problems


@dataclass(frozen=True, slots=True)
class _Again:
    """Makes a sample again and compares; called with each."""

    maker: Maker

    def __call__(self, job: tuple[Record, Sample]) -> list[str]:
        record, sample = job
        made = self.maker.render(sample, keep=True)
        if self.maker.record(sample, made) != record:
            return [f"{record.id}: its record {OTHER}"]
        if not record.written:
            return []
        return [f"{record.id}: {problem}" for problem in [*self._labels(record, made), *self._pixels(record, made)]]

    def _labels(self, record: Record, made: Any) -> Iterator[str]:
        """From who owns which pixel, counted plainly."""
        import numpy as np

        numbers = [number for number, one in enumerate(made.layout.placed, 1) if one.label]
        for number, label in zip(numbers, record.labels, strict=True):
            rows, columns = np.nonzero(made.layout.owners == number)
            box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
            if box != label.box:
                yield f"a {label.name} is seen in {box} and labelled {label.box}"
            if len(rows) != label.area:
                yield f"of a {label.name} {len(rows)} pixels are seen and {label.area} noted"
            if not np.array_equal(labels.mask_of(label.rle, record.size), made.layout.owners == number):
                yield f"the mask of a {label.name} is another"

    def _pixels(self, record: Record, made: Any) -> Iterator[str]:
        outside = made.layout.owners == 0
        changed = (made.picture != made.background).any(axis=2)
        if (changed & outside).any():
            yield "pixels outside all objects differ from the background"
        wanted = self.maker.encode(made.picture)
        place = self.maker.place
        paths = {
            "its picture": place.picture(record.split, record.id),
            "its picture in voc": place.voc_picture(record.id),
        }
        for told, path in paths.items():
            data = _bytes_of(path)
            if data is None and _fault_of(path) != MISSING:
                yield f"{told} cannot be read"
            elif data is not None and data != wanted:
                yield f"{told} {'is damaged' if _pixels_of(data) is None else OTHER}"
        preview = place.preview(record.split, record.id)
        if record.preview and _fault_of(preview) != MISSING:
            there, again = _pixels_of(_bytes_of(preview)), _pixels_of(self.maker.encode_preview(made))
            if there is None or there.shape != again.shape:
                yield "its preview is damaged"
            elif not _shows(there, again, made.picture, self.maker.marked(made)):
                yield "its preview shows something else"


def _shows(there: Any, again: Any, plain: Any, marked: Any) -> bool:
    """A preview is like the one made now; where boxes and names are drawn, much more than the plain picture is."""
    import numpy as np

    drawn = (marked != plain).any(axis=2)
    off = np.abs(there.astype(np.int16) - again)
    unmarked = np.abs(plain.astype(np.int16) - again)[drawn].mean() if drawn.any() else 0.0
    return bool(off.mean() <= NEAR_PREVIEW and (not unmarked or off[drawn].mean() <= unmarked / 2))


def _pixels_of(data: bytes | None) -> Any:
    """Of a picture's file; None if that is none."""
    import cv2
    import numpy as np

    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None


# --- readers ----------------------------------------------------------------------------------------------------


def _read_back(
    used: Mapping[str, Read], place: Dataset, records: Sequence[Record], classes: Sequence[str], workers: int | None
) -> Iterator[str]:
    """What one program finds otherwise than it is, in these formats."""
    written = [record for record in records if record.written]
    parts = [
        _ReadBack(told, read, Part(place, split, classes), [one for one in written if one.split == split])
        for told, read in used.items()
        for split in sorted({record.split for record in written})
    ]
    # In processes: what they print, import and leave behind stays there.
    how: dict[str, Any] = {"workers": workers, "backend": "processes", "progress": False}
    for found in mh.map(_ReadBack.problems, parts, on_error="raise", **how):
        yield from found


@dataclass(frozen=True, slots=True)
class _ReadBack:
    """One split of one format, by one reader."""

    told: str
    read: Read
    part: Part
    records: list[Record]

    def problems(self) -> list[str]:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # they report on it
                boxes = self.read(self.part)
        except Exception as error:  # noqa: BLE001 - whatever it stumbles over is a fault of the dataset
            return [f"{self.told}: {self.part.split}: {error_text(error)}"]
        found = []
        for record in self.records:
            wanted = sorted((label.name, tuple(map(float, label.box))) for label in record.labels)
            there = sorted(boxes.get(record.id, []), key=lambda one: (one[0], [round(edge) for edge in one[1]]))
            if not _same(wanted, there):
                found.append(f"{self.told}: {record.id}: {there} instead of {wanted}")
        return found


def _same(wanted: Boxes, found: Boxes) -> bool:
    return len(wanted) == len(found) and all(
        name == other and all(abs(a - b) <= NEAR for a, b in zip(box, another, strict=True))
        for (name, box), (other, another) in zip(wanted, found, strict=True)
    )
