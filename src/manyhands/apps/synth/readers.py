"""Label files as programs read them that others wrote: pycocotools, globox and supervision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from manyhands.apps.synth.dataset import Dataset

Boxes = list[tuple[str, tuple[float, ...]]]  # of one picture: class, and box as it is here


class Part(NamedTuple):
    """One split of a dataset."""

    place: Dataset
    split: str
    classes: Sequence[str]


Read = Callable[[Part], dict[str, Boxes]]


def _by_pycocotools(part: Part) -> dict[str, Boxes]:
    """Boxes; those of masks must be the same."""
    from pycocotools import mask as masks
    from pycocotools.coco import COCO

    coco = COCO(str(part.place.coco(part.split)))
    found: dict[str, Boxes] = {}
    for image in coco.loadImgs(coco.getImgIds()):
        boxes = found.setdefault(Path(image["file_name"]).stem, [])
        for one in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
            x, y, width, height = one["bbox"]
            seen = masks.toBbox(one["segmentation"]).tolist()
            if seen != [x, y, width, height] or int(masks.area(one["segmentation"])) != one["area"]:
                raise ValueError(f"annotation {one['id']}: the box or area is not that of its mask")
            boxes.append((coco.loadCats(one["category_id"])[0]["name"], (x, y, x + width, y + height)))
    return found


def _globox(found: Any, shift: int = 0, classes: Sequence[str] | None = None) -> dict[str, Boxes]:
    named: dict[str, Boxes] = {}
    for one in found:
        named[Path(one.image_id).stem] = [
            (classes[int(box.label)] if classes else box.label,
             (box.xmin - shift, box.ymin - shift, box.xmax, box.ymax)) for box in one.boxes
        ]  # fmt: skip
    return named


def _coco_by_globox(part: Part) -> dict[str, Boxes]:
    import globox

    return _globox(globox.AnnotationSet.from_coco(file_path=part.place.coco(part.split)))


def _yolo_by_globox(part: Part) -> dict[str, Boxes]:
    import globox

    folders = part.place.folder / "labels" / part.split, part.place.folder / "images" / part.split
    read = globox.AnnotationSet.from_yolo_v5
    return _globox(
        read(folders[0], image_folder=folders[1], image_extension=f".{part.place.suffix}"), classes=part.classes
    )


def _voc_by_globox(part: Part) -> dict[str, Boxes]:
    """It takes the numbers as they stand: they count from 1."""
    import globox

    return _globox(globox.AnnotationSet.from_pascal_voc(part.place.folder / "voc" / "Annotations"), shift=1)


def _supervision(found: Any) -> dict[str, Boxes]:
    return {
        Path(path).stem: [
            (found.classes[number], tuple(map(float, box))) for number, box in zip(one.class_id, one.xyxy, strict=True)
        ]
        for path, one in found.annotations.items()
    }


def _coco_by_supervision(part: Part) -> dict[str, Boxes]:
    import supervision

    read = supervision.DetectionDataset.from_coco
    return _supervision(read(str(part.place.folder / "images"), str(part.place.coco(part.split))))


def _yolo_by_supervision(part: Part) -> dict[str, Boxes]:
    import supervision

    images, labels = (str(part.place.folder / name / part.split) for name in ("images", "labels"))
    return _supervision(supervision.DetectionDataset.from_yolo(images, labels, str(part.place.folder / "data.yaml")))


def _voc_by_supervision(part: Part) -> dict[str, Boxes]:
    import supervision

    images, labels = (str(part.place.folder / "voc" / name) for name in ("JPEGImages", "Annotations"))
    return _supervision(supervision.DetectionDataset.from_pascal_voc(images, labels))


# By name, as it is installed: a function for each format, from a split to the boxes of its pictures.
READERS: tuple[tuple[str, dict[str, Read]], ...] = (
    ("pycocotools", {"coco": _by_pycocotools}),
    ("globox", {"voc": _voc_by_globox, "yolo": _yolo_by_globox, "coco": _coco_by_globox}),
    ("supervision",
     {"voc": _voc_by_supervision, "yolo": _yolo_by_supervision, "coco": _coco_by_supervision}),
)  # fmt: skip
