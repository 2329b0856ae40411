"""Resize a folder of pictures twice, in a plain loop and on all cores, and compare the times.

    python examples/demo.py            makes 600 pictures first, once, in .demo/
    python examples/demo.py FOLDER     takes the pictures in FOLDER, at most 600; they are only read

Each picture is read, resized to 200x200 and written as a JPEG. Both find the pictures in the disk cache, take
turns in three rounds, and must write the same files, byte by byte. The first parallel run starts the workers;
its time is shown besides.

The efficiency may be over 100%: a worker keeps the memory that one picture leaves for the next one, while the loop, as
Python programs on Linux usually do, returns it to the system and is given it back page by page.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np

import manyhands as mh

COUNT = 600
ROUNDS = 3
CACHE = Path(__file__).parents[1] / ".demo"
OUTPUT = CACHE / "resized"
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

Run = Callable[[list[Path]], list[bool]]


def resize(index: int, path: Path) -> bool:
    """Write a 200x200 JPEG of one picture; False if it cannot be read as a picture."""
    cv2.setNumThreads(1)  # a worker is one core, and so is the loop
    try:
        picture = cv2.imread(str(path))
    except cv2.error:  # far too large, for one
        return False
    if picture is None:
        return False
    small = cv2.resize(picture, (200, 200), interpolation=cv2.INTER_AREA)
    return cv2.imwrite(str(OUTPUT / f"{index:04}.jpg"), small)


def plain_loop(paths: list[Path]) -> list[bool]:
    """Resize one picture after the other."""
    return [resize(index, path) for index, path in enumerate(paths)]


def in_parallel(paths: list[Path]) -> list[bool]:
    """Resize on all cores."""
    return mh.starmap(resize, enumerate(paths))


def timed(run: Run, paths: list[Path]) -> tuple[float, list[bool], list[bytes]]:
    """Run with an empty output folder; return the seconds, what was readable, and every file written."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for old in OUTPUT.iterdir():
        old.unlink()
    start = time.perf_counter()
    readable = run(paths)
    seconds = time.perf_counter() - start
    return seconds, readable, [file.read_bytes() for file in sorted(OUTPUT.iterdir())]


def made_pictures() -> list[Path]:
    """The demo's own pictures, made on the first run: the same ones on every machine."""
    folder = CACHE / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:04}.png" for index in range(COUNT)]
    missing = [path for path in paths if not path.exists()]
    if missing:
        print(f"Making {len(missing)} pictures of 800x600 in {folder}, this once ...")
    for path in missing:
        unfinished = path.with_suffix(".part")  # an interrupted run leaves no half picture behind
        unfinished.write_bytes(cv2.imencode(".png", photo(seed=int(path.stem)))[1].tobytes())
        unfinished.replace(path)
    return paths


def photo(seed: int) -> np.ndarray:
    """Something that compresses like a photo: a gradient, blobs of two sizes, and the noise of a sensor."""
    random = np.random.default_rng(seed)
    light = 128 + 4 * random.standard_normal((600, 800, 3), dtype=np.float32)
    for columns, rows, strength in (4, 3, 50), (12, 9, 25), (80, 60, 8):
        coarse = strength * random.standard_normal((rows, columns, 3), dtype=np.float32)
        light += cv2.resize(coarse, (800, 600), interpolation=cv2.INTER_CUBIC)
    return light.clip(0, 255).astype(np.uint8)


def users_pictures(folder: Path) -> list[Path]:
    """The pictures in a folder and the folders below it, at most as many as the demo makes itself."""
    if not folder.is_dir():
        sys.exit(f"There is no folder {folder}.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        sys.exit(f"There is no picture in {folder}; looked for {', '.join(sorted(SUFFIXES))}.")
    if len(paths) > COUNT:
        print(f"{folder} holds {len(paths)} pictures; the first {COUNT} will do.")
    return paths[:COUNT]


def warm_disk_cache(paths: list[Path]) -> None:
    """Read every file once, so that the first run does not pay for the disk and the second not."""
    for path in paths:
        if os.access(path, os.R_OK):
            path.read_bytes()


def main() -> None:
    """Run both, check that they agree, and print the figures."""
    paths = users_pictures(Path(sys.argv[1]).expanduser()) if len(sys.argv) > 1 else made_pictures()
    cores = len(os.sched_getaffinity(0))
    warm_disk_cache(paths)

    loop_times, parallel_times = [], []
    for _ in range(ROUNDS):
        seconds, readable, loop_files = timed(plain_loop, paths)
        loop_times.append(seconds)
        seconds, readable_too, files = timed(in_parallel, paths)
        parallel_times.append(seconds)
        if (readable_too, files) != (readable, loop_files):
            sys.exit("The two runs did not write the same files: please report this as a bug in manyhands.")
        if not files:
            sys.exit("None of the pictures could be read.")

    for path in (path for path, fine in zip(paths, readable, strict=True) if not fine):
        print(f"Left out: {path} cannot be read as a picture.")
    loop_seconds, seconds = median(loop_times), median(parallel_times)
    speedup = loop_seconds / seconds
    print(f"{len(files)} pictures resized to 200x200, with {cores} cores; the files are byte-identical.")
    print(f"plain loop   {loop_seconds:7.2f} s   {len(files) / loop_seconds:7.0f} images/s   median of {ROUNDS} rounds")
    print(f"mh.starmap   {seconds:7.2f} s   {len(files) / seconds:7.0f} images/s   first {parallel_times[0]:.2f} s")
    print(f"speed-up     {speedup:7.2f}     efficiency {speedup / cores:.0%} of {cores} cores")


main()  # manyhands needs no `if __name__ == "__main__"`
