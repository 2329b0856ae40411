"""A finished dataset, opened again: to make its samples anew, or to write its labels in another format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from manyhands.apps import files
from manyhands.apps.digests import digest_of
from manyhands.apps.synth import dataset, formats, inputs, making, planning
from manyhands.apps.synth.config import FORMATS, from_mapping, splits_of
from manyhands.apps.synth.dataset import Dataset
from manyhands.apps.synth.making import Maker
from manyhands.apps.synth.planning import Sample
from manyhands.errors import OptionError


def reopen(
    folder: Path, about: dict[str, Any], *, workers: int | None = None, augment: Any = None
) -> tuple[Maker, dict[str, Sample]]:
    """What makes its samples, and these by identity.

    Raises:
        InputProblems: the inputs are not there any more.
        OptionError: they are not as they were.
    """
    config = from_mapping(about["config"], augment=augment)
    ready = inputs.prepare(inputs.find(config), config, workers=workers, progress=False)
    now = about | {
        "augment": augment and digest_of(augment),
        "inputs": {one.key: ready.digests[one.key] for one in ready.found.all()},
    }
    if lines := dataset.difference(about, now):
        raise OptionError(f"what {folder} was made from is not as it was: {lines[0]}")
    plan = planning.make(ready.found, config)
    return making.maker_of(config, ready, plan, folder), {sample.id: sample for sample in plan.samples}


def replay(
    out: str | os.PathLike[str], sample: str, to: str | os.PathLike[str] | None = None, *, augment: Any = None
) -> bool:
    """Make one sample of a dataset again, from its inputs, seed and identity alone.

    >>> import pathlib, tempfile
    >>> from manyhands.apps import synth
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> summary = synth.generate(synth.example(folder), folder / "ds", progress=False)
    >>> synth.replay(folder / "ds", next((folder / "ds/images/train").iterdir()).stem)
    True

    Args:
        out: the dataset's folder.
        sample: its identity: the name of its picture without the suffix.
        to: where the picture goes; None: it is only compared.
        augment: the function that the dataset was made with, if there was one.

    Returns:
        Its file in the dataset has exactly these bytes.

    Raises:
        InputProblems: the inputs are not there any more.
        AugmentFailed: the function raised an error, or returned something else.
        OptionError: there is no such sample, or it has no picture, or the inputs are not as they were, or ``to`` lies
            among them.
        OSError: there is not enough memory, or the picture cannot be written.
    """
    folder, to = files.absolute(out), None if to is None else files.absolute(to)  # the function may change folders
    about = dataset.about_of(folder)
    if not isinstance(sample, str):
        raise OptionError(f"a sample is named by a string, its identity; got {sample!r}")
    maker, samples = reopen(folder, about, augment=augment)
    sample = sample.removesuffix(f".{maker.config.image_format}")
    if sample not in samples:
        raise OptionError(f"there is no sample {sample!r} in {folder}; their names are those of the pictures")
    if to is not None and to.suffix != f".{maker.config.image_format}":
        raise OptionError(
            f"the picture is a {maker.config.image_format}: name a file that ends in that, not {to.name!r}"
        )
    if to is not None:
        inputs.check_target(to, maker.config)
        dataset.check_target(to)
    made = maker.render(samples[sample])
    if not made.labels:
        raise OptionError(f"the sample {sample!r} has no picture: none of its objects found a place")
    data = maker.encode(made.picture)
    if to is not None:
        making.write_bytes(to, data)
    path = maker.place.picture(samples[sample].split, sample)
    try:
        files.check_regular(path)
        return path.read_bytes() == data
    except FileNotFoundError:
        return False


def export(out: str | os.PathLike[str], to: str) -> list[Path]:
    """Write the labels of a finished dataset in one more format, beside the others; no picture is made.

    >>> import pathlib, tempfile
    >>> from manyhands.apps import synth
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> summary = synth.generate(synth.example(folder, formats="voc"), folder / "ds", progress=False)
    >>> [path.name for path in synth.export(folder / "ds", "yolo")]
    ['labels', 'data.yaml']

    Args:
        out: the dataset's folder.
        to: ``voc``, ``yolo`` or ``coco``.

    Returns:
        The folders and files that hold them.

    Raises:
        OptionError: there is no such format, or no finished dataset, or another run is making it.
        OSError: the dataset's folder cannot be written to.
    """
    if to not in FORMATS:
        raise OptionError(f"there is no format {to!r}; choose one of {', '.join(FORMATS)}")
    folder = Path(out)
    dataset.about_of(folder)
    with dataset.held(folder), files.kept_tidy(folder):
        _export(folder, to)
    return {"voc": [folder / "voc"], "yolo": [folder / "labels", folder / "data.yaml"], "coco": [folder / "coco"]}[to]


def _export(folder: Path, to: str) -> None:
    about, records = dataset.read_finished(folder)
    problems = [problem for problem in map(formats.unfit_for_voc, about["classes"]) if to == "voc" and problem]
    if problems:
        raise OptionError(problems[0])
    place = Dataset(folder, about["config"]["image_format"])
    written = [record for record in records if record.written]
    for record in written:
        formats.write_sample(place, record, [to], about["classes"])
    formats.write_whole(place, written, [to], about["classes"], splits_of(about["config"]["split"]))
    if to not in dataset.formats_of(about):
        dataset.write_about(folder, about | {"exported": [*about["exported"], to]})
