"""A training set as the scripts of tutorials make it, a sample at a time: what `manyhands synth` is compared with."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path
from typing import Any

SYNTH = Path(".demo/synth")
MEMORY = Path("/dev/shm")  # noqa: S108 - if it is there, all is written to it: cores are compared, no disks
MADE = MEMORY / f"manyhands-benchmark-{os.getuid()}" if MEMORY.is_dir() else Path(".demo/made")
CLASSES = {"apple": 1, "bottle": 2, "cup": 4, "dish": 8}
BACKGROUNDS, TIMES = 4, 5

Job = tuple[str, str, int]  # object, background, which time


def jobs() -> list[Job]:
    """Every object on every background; the pictures are made on the first run."""
    make_inputs()
    MADE.mkdir(parents=True, exist_ok=True)
    objects = sorted(map(str, (SYNTH / "photo").rglob("*.png")))
    backgrounds = sorted(map(str, (SYNTH / "back").glob("*.jpg")))
    return list(itertools.product(objects, backgrounds, range(TIMES)))


def long_run() -> list[int]:
    """How many times each object comes on each background."""
    make_inputs()
    return [40]


def by_application(times: int, **options: Any) -> int:
    """A dataset of every object on every background, so many times; how many pictures it has."""
    from manyhands.apps import synth

    make_inputs()
    MADE.mkdir(parents=True, exist_ok=True)
    config = synth.Config(
        objects=SYNTH / "photo", masks=SYNTH / "photo_copy", backgrounds=SYNTH / "back", times=times, quadrants=True,
        shear=(-11, 11), interpolation="nearest", formats=("voc",), max_truncation=0.1, min_size=1,
    )  # fmt: skip
    return synth.generate(config, tempfile.mkdtemp(dir=MADE), progress=False, **options).written


def in_one_process(times: int) -> int:
    """The same, on one core."""
    import cv2

    cv2.setNumThreads(1)
    return by_application(times, backend="serial")


def make_inputs() -> None:
    """Backgrounds of 1920x1080, and objects of 300 to 500 pixels with their masks."""
    import cv2
    import numpy as np

    if (SYNTH / "made").exists():
        return
    for kind in ["back", *(f"{kind}/{name}" for kind in ("photo", "photo_copy") for name in CLASSES)]:
        (SYNTH / kind).mkdir(parents=True, exist_ok=True)
    for number in range(BACKGROUNDS):
        cv2.imwrite(str(SYNTH / "back" / f"{number}.jpg"), _texture(number, 1080, 1920), [cv2.IMWRITE_JPEG_QUALITY, 92])
    for name, count in CLASSES.items():
        for number in range(count):
            side = 300 + 25 * number
            mask = np.zeros((side, side), np.uint8)
            cv2.ellipse(mask, (side // 2, side // 2), (side // 2 - 4, side // 3), 30 * number, 0, 360, 255, -1)
            cv2.imwrite(str(SYNTH / "photo" / name / f"{number}.png"), _texture(99 + number, side, side))
            cv2.imwrite(str(SYNTH / "photo_copy" / name / f"{number}.png"), mask)
    (SYNTH / "made").touch()


def _texture(seed: int, height: int, width: int) -> Any:
    import cv2
    import numpy as np

    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.add(smooth, random.integers(0, 12, smooth.shape, dtype=np.uint8))


def pasted(job: Job) -> bool:
    """Read, change, paste, and write: picture, marked picture and label, all of it anew for each sample."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    path, behind, turn = job
    random = np.random.default_rng([len(path), turn, int(Path(behind).stem)])
    picture = _background(behind, random)
    photo = cv2.imread(path)
    mask = cv2.imread(path.replace("photo", "photo_copy"), cv2.IMREAD_GRAYSCALE)
    photo = np.clip(photo.astype(np.float32) * random.uniform(0.7, 1.3), 0, 255).astype(np.uint8)
    picture = np.clip(picture.astype(np.float32) * random.uniform(0.7, 1.3), 0, 255).astype(np.uint8)
    photo = cv2.GaussianBlur(photo, (0, 0), random.uniform(0.1, 1.0))
    scale = random.uniform(0.5, 2.0)
    side = int(photo.shape[0] * scale)
    photo = cv2.resize(photo, (side, side), interpolation=cv2.INTER_NEAREST)
    mask = cv2.resize(mask, (side, side), interpolation=cv2.INTER_NEAREST)
    height, width = picture.shape[:2]
    slant = random.uniform(-0.2, 0.2)
    x, y = random.integers(0, width - side), random.integers(0, height - side)
    matrix = np.float32([[1, slant, x], [0, 1, y]])
    layer = cv2.warpAffine(photo, matrix, (width, height))
    shown = cv2.warpAffine(mask, matrix, (width, height))
    share = (shown.astype(np.float32) / 255)[:, :, None]
    picture = (layer * share + picture * (1 - share)).astype(np.uint8)
    rows, columns = np.where(shown > 127)
    if not len(rows):
        return True
    box = int(columns.min()) + 1, int(rows.min()) + 1, int(columns.max()) + 1, int(rows.max()) + 1
    return _written(picture, box, f"{Path(path).parent.name}-{Path(path).stem}-{Path(behind).stem}-{turn}")


def _background(path: str, random: Any) -> Any:
    """Three quarters of it each show another one."""
    import cv2

    picture = cv2.imread(path)
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    for top, left in ((0, width), (height, 0), (height, width)):
        other = cv2.imread(str(SYNTH / "back" / f"{random.integers(BACKGROUNDS)}.jpg"))
        picture[top : top + height, left : left + width] = cv2.resize(other, (width, height))
    return picture


def _written(picture: Any, box: tuple[int, int, int, int], name: str) -> bool:
    import cv2

    cv2.imwrite(str(MADE / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    cv2.rectangle(picture, box[:2], box[2:], (0, 0, 255), 3)
    cv2.imwrite(str(MADE / f"{name}-marked.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
    tags = "".join(f"<{tag}>{at}</{tag}>" for tag, at in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    (MADE / f"{name}.xml").write_text(f"<annotation><object><bndbox>{tags}</bndbox></object></annotation>")
    return True
