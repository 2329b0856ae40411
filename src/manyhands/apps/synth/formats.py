"""The files of the three formats: those of one sample, and those of a whole dataset."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from manyhands.apps import files
from manyhands.apps.synth import labels
from manyhands.apps.synth.config import SPLITS
from manyhands.apps.synth.dataset import Dataset, Record


def write_sample(dataset: Dataset, record: Record, formats: Sequence[str], classes: Sequence[str]) -> None:
    """The label files that each picture has of its own; the picture is there already."""
    if "voc" in formats:
        _link(dataset.picture(record.split, record.id), dataset.voc_picture(record.id))
    for path, text in texts_of(dataset, record, formats, classes).items():
        write_text(path, text)


def write_whole(
    dataset: Dataset, records: Sequence[Record], formats: Sequence[str], classes: Sequence[str], splits: Sequence[str]
) -> None:
    """The files that name all pictures; ``records`` of those that were written, in order."""
    for path, text in texts_of_all(dataset, records, formats, classes, splits).items():
        write_text(path, text)


def texts_of(dataset: Dataset, record: Record, formats: Sequence[str], classes: Sequence[str]) -> dict[Path, str]:
    """What stands in the label files of one picture."""
    texts = {}
    if "yolo" in formats:
        lines = "".join(labels.yolo_line(label, record.size, classes) + "\n" for label in record.labels)
        texts[dataset.yolo(record.split, record.id)] = lines
    if "voc" in formats:
        name = dataset.voc_picture(record.id).name
        texts[dataset.voc(record.id)] = labels.voc_xml(record.labels, record.size, "JPEGImages", name)
    return texts


def texts_of_all(
    dataset: Dataset, records: Sequence[Record], formats: Sequence[str], classes: Sequence[str], splits: Sequence[str]
) -> dict[Path, str]:
    """What stands in the files that name all pictures; ``splits``: those that were asked for."""
    texts, main = {}, dataset.folder / "voc" / "ImageSets" / "Main"
    parts = {split: [one for one in records if one.split == split] for split in SPLITS}
    parts = {split: part for split, part in parts.items() if part}
    if "yolo" in formats:
        texts[dataset.folder / "data.yaml"] = _data_yaml(splits, classes)
    if "voc" in formats:
        texts[dataset.folder / "voc" / "labelmap.txt"] = _labelmap(classes)
    for split, part in parts.items():
        if "voc" in formats:
            texts[main / f"{split}.txt"] = "".join(f"{one.id}\n" for one in part)
        if "coco" in formats:
            texts[dataset.coco(split)] = json.dumps(_coco(part, dataset.suffix, classes), ensure_ascii=False)
    return texts


def unfit_for_voc(name: str) -> str:
    """Why no class can be called so; empty if one can."""
    if name != "background" and ":" not in name and not name.startswith("#"):
        return ""
    told = "is taken" if name == "background" else "would be read otherwise"
    return f"in VOC's labelmap.txt the name {name!r} {told}: rename the class, or leave voc out of formats"


def write_text(path: Path, text: str) -> None:
    """As a whole or not at all."""
    with files.whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _link(picture: Path, linked: Path) -> None:
    """The same file under another name, where the file system can do that; else a copy."""
    if linked.exists() and linked.samefile(picture):
        return  # renaming one name of a file to another of it does nothing
    with files.whole(linked) as unfinished:
        with contextlib.suppress(OSError):
            os.link(picture, unfinished)
            return
        shutil.copyfile(picture, unfinished)


def _data_yaml(splits: Sequence[str], classes: Sequence[str]) -> str:
    """Without ``path``: then it is the file's own folder, wherever a training is started.

    A split that was asked for and came out empty is named all the same: a training says so, and tests on nothing else.
    """
    lines = [f"{split}: images/{split}" for split in splits]
    if "val" not in splits:  # the key must be there
        lines.append(f"val: images/{splits[0]}")
    lines += ["names:", *(f"  {number}: {json.dumps(name, ensure_ascii=False)}" for number, name in enumerate(classes))]
    return "\n".join(lines) + "\n"


def _labelmap(classes: Sequence[str]) -> str:
    return "# label:color_rgb:parts:actions\n" + "".join(f"{name}:::\n" for name in ("background", *classes))


def _coco(records: Sequence[Record], suffix: str, classes: Sequence[str]) -> dict[str, object]:
    images: list[object] = []
    annotations: list[object] = []
    for number, record in enumerate(records, 1):
        name = f"{record.split}/{record.id}.{suffix}"
        images.append({"id": number, "file_name": name, "width": record.size[0], "height": record.size[1]})
        for label in record.labels:
            annotations.append(labels.coco_annotation(label, len(annotations) + 1, number, record.size, classes))
    categories = [{"id": number, "name": name} for number, name in enumerate(classes, 1)]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
