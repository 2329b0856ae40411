"""The work that is compared: functions, their inputs, and the goal of each case.

Work is a fixed amount of computing, never a wait for the clock, except where waiting is the case.
"""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import tutorial

MILLISECOND = 30_000  # steps of ``compute``, roughly
PICTURES = Path(".demo/pictures")
LARGE = Path(".demo/photos")
THUMBNAILS = Path(".demo/bench")
CORES = len(os.sched_getaffinity(0))


def plus_one(x: int) -> int:
    return x + 1


def compute(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step * step
    return total


def total_of(array: Any) -> float:
    return float(array.sum())


def doubled(array: Any) -> Any:
    return array * 2


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def thumbnail(path: str) -> bool:
    import cv2

    cv2.setNumThreads(1)
    small = cv2.resize(cv2.imread(path), (200, 200), interpolation=cv2.INTER_AREA)
    return bool(cv2.imwrite(str(THUMBNAILS / Path(path).with_suffix(".jpg").name), small))


def window_total(array: Any, start: int) -> float:
    return float(array[start::40].sum())


def large_array_captured() -> Callable[[int], float]:
    """A function that brings along 200 MB."""
    import numpy as np

    return functools.partial(window_total, np.arange(25_000_000.0))


def convolved(image: Any, kernel: Any) -> Any:
    from scipy.signal import convolve2d

    return convolve2d(image, kernel)[::50, ::50]


def image_captured() -> Callable[[Any], Any]:
    import numpy as np

    return functools.partial(convolved, np.random.default_rng(0).random((1500, 1500)))


def kernels() -> list[Any]:
    import numpy as np

    return list(np.random.default_rng(1).random((20, 4, 4)))


_prefixes: dict[str, int] = {}  # what a worker has counted so far


def count_prefixes(document: str) -> int:
    """State that a worker keeps from task to task."""
    for word in document.split():
        _prefixes[word[:2]] = _prefixes.get(word[:2], 0) + 1
    return len(document)


def documents() -> list[str]:
    draw = random.Random(3)
    words = ["".join(draw.choices("abcdefgh", k=6)) for _ in range(5000)]
    return [" ".join(draw.choices(words, k=4000)) for _ in range(2000)]


@functools.cache
def model() -> list[int]:
    """What takes a while to make, and is made once in each worker."""
    return [compute(1000) + number for number in range(3000)]


def predict(number: int) -> int:
    weights = model()
    return sum(weights[(number * step) % len(weights)] for step in range(3000))


def heavy_tail() -> list[int]:
    """400 tasks of very different length, the longest last: where schedulers show what they are worth."""
    draw = random.Random(7).paretovariate
    return sorted(int(MILLISECOND * min(60.0, draw(1.1))) for _ in range(400))


def arrays() -> list[Any]:
    import numpy as np

    return [np.full(1_000_000, float(n)) for n in range(16)]


def pictures() -> list[str]:
    THUMBNAILS.mkdir(parents=True, exist_ok=True)
    found = sorted(map(str, PICTURES.glob("*.png")))
    if not found:
        raise SystemExit("there are no pictures: examples/photos.py makes them")
    return found


def photos() -> list[str]:
    """As a camera makes them: 6000 by 4000; made on the first run."""
    import cv2
    import numpy as np

    LARGE.mkdir(parents=True, exist_ok=True)
    THUMBNAILS.mkdir(parents=True, exist_ok=True)
    paths = [LARGE / f"{number:02}.jpg" for number in range(24)]
    for number, path in enumerate(paths):
        if not path.exists():
            random = np.random.default_rng(number)
            coarse = random.integers(0, 256, (400, 600, 3), dtype=np.uint8)
            photo = cv2.resize(coarse, (6000, 4000), interpolation=cv2.INTER_CUBIC)
            photo = cv2.add(photo, random.integers(0, 12, photo.shape, dtype=np.uint8))
            path.write_bytes(cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
    return list(map(str, paths))


PROCESSES = (
    "Pool.map", "Pool.imap", "PPE", "PPE, chunks", "process_map", "loky", "joblib", "mpire", "pebble", "pathos",
    "mmengine",
)  # fmt: skip
QUICK = tuple(name for name in PROCESSES if name not in {"Pool.imap", "PPE", "mmengine"})  # at a hundred thousand tasks
OURS = ("manyhands", "manyhands, processes")
WITH_FORKED = (*OURS, "manyhands, forked")  # as pools of processes start by themselves
COPY = 0.0003  # seconds a megabyte
PICTURE_PEERS = ("Pool.map", "joblib", "mpire", "mmengine", "mogrify")


@dataclass(frozen=True)
class Goal:
    """``ours`` takes at most ``factor`` times what the quickest of ``theirs``, or the limit, takes."""

    ours: str
    factor: float
    theirs: Sequence[str]  # names of contenders, "loop", or "limit"
    plus: float = 0.0  # seconds on top

    def __str__(self) -> str:
        theirs = "the best process peer" if len(self.theirs) > 2 else " or ".join(self.theirs)
        more = f" + {self.plus:g} s" if self.plus else ""
        return f"{self.ours} ≤ {self.factor:g} × {theirs}{more}"


@dataclass(frozen=True)
class Case:
    """One comparison."""

    title: str
    func: Callable[[Any], Any]
    items: Callable[[], Sequence[Any]]
    contenders: Sequence[str]
    goals: Sequence[Goal]
    warm: bool = False  # the workers have served a call before
    workers: int = 2
    limit: Callable[[float, int, Sequence[Any]], float] | None = field(default=None)  # of loop seconds, cores, items
    made: bool = False  # ``func`` makes the function
    initializer: Callable[[], object] | None = None  # for those that have such a form


def shared(loop: float, cores: int, _items: Sequence[Any]) -> float:
    return loop / cores


def longest(loop: float, cores: int, items: Sequence[Any]) -> float:
    return max(loop / cores, loop * max(items) / sum(items))


CASES = {
    "tiny": Case(
        "100,000 × `x + 1`, all defaults", plus_one, lambda: range(100_000), (*OURS, "threads", *QUICK),
        [Goal("manyhands", 1.5, ["loop"])],
    ),
    "tiny-warm": Case(
        "1,000,000 × `x + 1`, warm workers", plus_one, lambda: range(1_000_000),
        (*OURS, "Pool.map", "PPE, chunks", "loky", "pebble", "pathos"),
        [Goal("manyhands, processes", 1.0, ["Pool.map"])], warm=True,
    ),
    "chunksize-1": Case(
        "20,000 × `x + 1` with `chunksize=1`, warm", plus_one, lambda: range(20_000),
        ("manyhands, chunksize=1", "Pool.imap", "PPE"), [Goal("manyhands, chunksize=1", 0.5, ["Pool.imap"])], warm=True,
    ),
    "generator-speed": Case(
        "1,000,000 × `x + 1` from a generator, results as they come, warm", plus_one, lambda: range(1_000_000),
        ("manyhands, unordered", "Pool.imap_unordered", "Pool.map"),
        [Goal("manyhands, unordered", 1.0, ["Pool.map"])], warm=True,
    ),
    "millisecond": Case(
        "2,000 × about 1 ms of computing", compute, lambda: [MILLISECOND] * 2000, (*WITH_FORKED, *PROCESSES),
        [Goal("manyhands", 1 / 0.97, ["limit"]), Goal("manyhands", 1.0, PROCESSES)], limit=shared,
    ),
    "heavy-tail": Case(
        "400 tasks of very different length, the longest last", compute, heavy_tail, (*WITH_FORKED, *PROCESSES),
        [Goal("manyhands", 1.05, ["limit"]), Goal("manyhands", 1.0, PROCESSES)], limit=longest,
    ),
    "arrays-in": Case(
        "16 arrays of 8 MB, each summed, warm", total_of, arrays,
        (*OURS, "threads", "Pool.map", "Pool.map, forked", "PPE", "loky", "joblib", "mpire", "pebble", "pathos"),
        [Goal("manyhands, processes", 0.25, ["Pool.map", "PPE", "loky", "joblib", "mpire", "pebble", "pathos"]),
         Goal("manyhands", 1.1, ["loop", "threads"])], warm=True,
    ),
    "arrays-in-out": Case(
        "16 arrays of 8 MB, each doubled and returned, warm", doubled, arrays,
        (*OURS, "threads", "Pool.map", "PPE", "loky", "joblib", "mpire", "pebble", "pathos"),
        [Goal("manyhands, processes", 0.3, ["Pool.map", "PPE", "loky", "joblib", "mpire", "pebble", "pathos"])],
        warm=True,
    ),
    "captured": Case(
        "A function that captures 200 MB, 40 tasks, the first call", large_array_captured, lambda: range(40),
        (*OURS, "Pool.map, forked", "joblib", "loky", "mpire"),
        [Goal("manyhands, processes", 1.0, ["Pool.map, forked"], plus=COPY * 200),
         Goal("manyhands, processes", 1.0, ["joblib", "loky"])],
        made=True,
    ),
    "captured-again": Case(
        "The same, the second call", large_array_captured, lambda: range(40),
        (*OURS, "Pool.map, forked", "joblib", "loky", "mpire"),
        [Goal("manyhands, processes", 1.0, ["Pool.map, forked"]),
         Goal("manyhands, processes", 1.0, ["joblib", "loky"])],
        warm=True, made=True,
    ),
    "numerical": Case(
        "A 1500×1500 image that the function captures, 20 filters (as in mpire's benchmark)", image_captured, kernels,
        (*WITH_FORKED, "Pool.map, forked", "PPE, chunks", "loky", "joblib", "mpire"),
        [Goal("manyhands", 1.0, PROCESSES)],
        made=True,
    ),
    "stateful": Case(
        "2,000 documents, words counted by prefix, state kept per worker (as in mpire's)", count_prefixes, documents,
        (*WITH_FORKED, *PROCESSES), [Goal("manyhands", 1.0, PROCESSES)],
    ),
    "initialisation": Case(
        "3,000 predictions by a model that each worker makes once (as in mpire's)", predict, lambda: range(3000),
        (*WITH_FORKED, "Pool.map, initializer", *PROCESSES),
        [Goal("manyhands", 1.0, (*PROCESSES, "Pool.map, initializer"))], initializer=model,
    ),
    "sleep": Case(
        "400 × 50 ms of waiting, 20 workers", nap, lambda: [0.05] * 400,
        (*WITH_FORKED, "manyhands, threads", "threads", *PROCESSES),
        [Goal("manyhands, processes", 1.1, ["limit"]), Goal("manyhands, threads", 1.1, ["limit"])], workers=20,
        limit=lambda _loop, _cores, items: sum(items) / 20,
    ),
    "pictures": Case(
        "600 PNGs of 800×600 → JPEGs of 200×200, OpenCV", thumbnail, pictures,
        (
            *OURS, "manyhands images", "manyhands images, box", "manyhands images, one by one",
            "manyhands images, two programs", "threads", *PICTURE_PEERS,
        ),
        [
            Goal("manyhands images", 1 / (0.95 * CORES), ["manyhands images, one by one"]),
            Goal("manyhands images", 1 / 0.95, ["manyhands images, two programs"]),
            Goal("manyhands", 1 / 0.95, ["limit"]), Goal("manyhands", 1.0, PICTURE_PEERS),
            Goal("manyhands images, box", 1.0, PICTURE_PEERS),
        ],
        limit=shared,
    ),
    "photos": Case(
        "24 JPEGs of 24 Mpx → 200×200; the loop decodes all of each", thumbnail, photos,
        ("manyhands images", "loop, Pillow", "mogrify"),
        [Goal("manyhands images", 1 / (3 * CORES), ["loop, Pillow"]), Goal("manyhands images", 1.0, ["mogrify"])],
    ),
    "synth": Case(
        "300 training pictures of 1920×1080 by cut and paste; the loop is the script of tutorials", tutorial.pasted,
        tutorial.jobs, ("manyhands synth", "Pool.map"),
        [Goal("manyhands synth", 1 / (4 * CORES), ["loop"])],
    ),
    "synth-long": Case(
        "2,400 training pictures by `manyhands synth`; the loop is the same in a single process",
        tutorial.in_one_process, tutorial.long_run, ("manyhands synth, all cores", "two programs, half each"),
        [Goal("manyhands synth, all cores", 1 / 0.9, ["limit"]),
         Goal("manyhands synth, all cores", 1.0, ["two programs, half each"])], limit=shared,
    ),
}  # fmt: skip
