"""Make sample pictures: 600 of 800x600 in .demo/pictures, once; the same ones on every machine.

    python examples/photos.py

`make demo` has `manyhands images` work on them.
"""

from pathlib import Path

import cv2
import numpy as np

import manyhands as mh

COUNT = 600
FOLDER = Path(__file__).parents[1] / ".demo" / "pictures"


def photo(seed: int) -> np.ndarray:
    """Something that compresses like a photo: a gradient, blobs of two sizes, and the noise of a sensor."""
    random = np.random.default_rng(seed)
    light = 128 + 4 * random.standard_normal((600, 800, 3), dtype=np.float32)
    for columns, rows, strength in (4, 3, 50), (12, 9, 25), (80, 60, 8):
        coarse = strength * random.standard_normal((rows, columns, 3), dtype=np.float32)
        light += cv2.resize(coarse, (800, 600), interpolation=cv2.INTER_CUBIC)
    return light.clip(0, 255).astype(np.uint8)


def make(path: Path) -> None:
    """Write one of them; an interrupted run leaves no half picture behind."""
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(cv2.imencode(".png", photo(seed=int(path.stem)))[1].tobytes())
    unfinished.replace(path)


FOLDER.mkdir(parents=True, exist_ok=True)
missing = [path for path in (FOLDER / f"{index:04}.png" for index in range(COUNT)) if not path.exists()]
if missing:
    print(f"Making {len(missing)} pictures of 800x600 in {FOLDER}, this once ...")
    mh.map(make, missing)  # manyhands needs no `if __name__ == "__main__"`
