"""Every library in its best known form: each makes its workers, and gives what runs the work once.

Nothing is imported before it is needed, so that each runs in a process that knows only itself.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

Run = Callable[[], list[Any]]
CLUSTERS = ("ray", "dask")
_work: dict[str, Any] = {}  # inherited by workers that are forked


class Work:
    """What is to be run."""

    def __init__(
        self,
        func: Callable[[Any], Any],
        items: Sequence[Any],
        workers: int,
        initializer: Callable[[], object] | None = None,
    ) -> None:
        self.func, self.items, self.workers, self.initializer = func, items, workers, initializer
        self.chunksize = max(1, len(items) // (4 * workers))  # multiprocessing's own rule, given to those without one


def _by_index(index: int) -> Any:
    return _work["func"](_work["items"][index])


@contextlib.contextmanager
def loop(work: Work) -> Iterator[Run]:
    yield lambda: [work.func(item) for item in work.items]


def ours(**options: Any) -> Any:
    @contextlib.contextmanager
    def contender(work: Work) -> Iterator[Run]:
        import manyhands as mh

        workers = work.workers if work.workers > 2 or options.get("backend") else None
        yield lambda: mh.map(work.func, work.items, workers=workers, progress=False, **options)

    return contender


@contextlib.contextmanager
def ours_unordered(work: Work) -> Iterator[Run]:
    """From a generator; sorted, so that what it gives can be compared."""
    import manyhands as mh

    options: dict[str, Any] = {"workers": work.workers, "backend": "processes", "progress": False}
    yield lambda: sorted(mh.imap_unordered(work.func, (item for item in work.items), **options))


@contextlib.contextmanager
def pool_imap_unordered(work: Work) -> Iterator[Run]:
    """The same, with a chunk size that is good for it."""
    from multiprocessing import Pool

    with Pool(work.workers) as pool:
        yield lambda: sorted(pool.imap_unordered(work.func, (item for item in work.items), 1000))


@contextlib.contextmanager
def pool_map(work: Work) -> Iterator[Run]:
    from multiprocessing import Pool

    with Pool(work.workers) as pool:
        yield lambda: pool.map(work.func, work.items)


@contextlib.contextmanager
def pool_map_initialised(work: Work) -> Iterator[Run]:
    """What each worker makes once is made as it starts."""
    from multiprocessing import Pool

    with Pool(work.workers, initializer=work.initializer) as pool:
        yield lambda: pool.map(work.func, work.items)


@contextlib.contextmanager
def pool_map_forked(work: Work) -> Iterator[Run]:
    """The inputs are inherited, not sent."""
    from multiprocessing import get_context

    _work.update(func=work.func, items=work.items)
    with get_context("fork").Pool(work.workers) as pool:
        yield lambda: pool.map(_by_index, range(len(work.items)))


@contextlib.contextmanager
def pool_imap(work: Work) -> Iterator[Run]:
    from multiprocessing import Pool

    with Pool(work.workers) as pool:
        yield lambda: list(pool.imap(work.func, work.items))


def futures(kind: str, *, chunks: bool) -> Any:
    @contextlib.contextmanager
    def contender(work: Work) -> Iterator[Run]:
        import concurrent.futures

        size = work.chunksize if chunks else 1
        with getattr(concurrent.futures, kind)(work.workers) as executor:
            yield lambda: list(executor.map(work.func, work.items, chunksize=size))

    return contender


@contextlib.contextmanager
def process_map(work: Work) -> Iterator[Run]:
    from tqdm.contrib.concurrent import process_map

    options = {"max_workers": work.workers, "chunksize": work.chunksize, "disable": True}
    yield lambda: process_map(work.func, work.items, **options)


@contextlib.contextmanager
def loky(work: Work) -> Iterator[Run]:
    from loky import get_reusable_executor

    executor = get_reusable_executor(work.workers)
    yield lambda: list(executor.map(work.func, work.items, chunksize=work.chunksize))
    executor.shutdown()


@contextlib.contextmanager
def joblib(work: Work) -> Iterator[Run]:
    from joblib import Parallel, delayed

    with Parallel(n_jobs=work.workers) as parallel:
        yield lambda: parallel(delayed(work.func)(item) for item in work.items)


@contextlib.contextmanager
def mpire(work: Work) -> Iterator[Run]:
    from mpire import WorkerPool

    wrapped = [(item,) for item in work.items]  # it takes arrays apart otherwise
    with WorkerPool(work.workers, keep_alive=True) as pool:
        yield lambda: pool.map(work.func, wrapped)


@contextlib.contextmanager
def pebble(work: Work) -> Iterator[Run]:
    from pebble import ProcessPool

    with ProcessPool(work.workers) as pool:
        yield lambda: list(pool.map(work.func, work.items, chunksize=work.chunksize).result())


@contextlib.contextmanager
def pathos(work: Work) -> Iterator[Run]:
    from pathos.multiprocessing import ProcessPool

    pool = ProcessPool(work.workers)
    yield lambda: pool.map(work.func, work.items)
    pool.close()
    pool.join()


@contextlib.contextmanager
def mmengine(work: Work) -> Iterator[Run]:
    from mmengine.utils import track_parallel_progress

    def run() -> list[Any]:
        found: list[Any] = track_parallel_progress(
            work.func, list(work.items), nproc=work.workers, chunksize=work.chunksize, file=io.StringIO()
        )
        return found

    yield run


def _batches(work: Work) -> list[Sequence[Any]]:
    """Inputs in batches, as the manuals of ray and dask advise, since each task costs them much more than a call."""
    return [work.items[start : start + work.chunksize] for start in range(0, len(work.items), work.chunksize)]


def _run_batch(func: Callable[[Any], Any], batch: Sequence[Any]) -> list[Any]:
    return [func(item) for item in batch]


@contextlib.contextmanager
def ray(work: Work) -> Iterator[Run]:
    import ray

    ray.init(num_cpus=work.workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    run_batch = ray.remote(_run_batch)

    def run() -> list[Any]:
        func = ray.put(work.func)
        return list(chain.from_iterable(ray.get([run_batch.remote(func, batch) for batch in _batches(work)])))

    yield run
    ray.shutdown()


@contextlib.contextmanager
def dask(work: Work) -> Iterator[Run]:
    from distributed import Client, LocalCluster

    options = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": "ERROR"}
    with LocalCluster(n_workers=work.workers, **options) as cluster, Client(cluster) as client:

        def run() -> list[Any]:
            futures = client.map(partial(_run_batch, work.func), _batches(work), pure=False)
            return list(chain.from_iterable(client.gather(futures)))

        yield run


def images(resample: str = "lanczos", **options: Any) -> Any:
    """The application: the same pictures as the function's, in its own way; safe, and again only what is missing."""

    @contextlib.contextmanager
    def contender(work: Work) -> Iterator[Run]:
        from manyhands.apps import images as application

        steps = [application.Resize("200x200", resample=resample)]

        def run() -> list[Any]:
            with tempfile.TemporaryDirectory(dir=".demo") as out:
                made = application.process(work.items, out, steps, format="jpg", progress=False, **options)
                return [one.status == "written" for one in made.done]

        yield run

    return contender


def _images_alone(items: list[str]) -> list[Any]:
    from manyhands.apps import images as application

    with tempfile.TemporaryDirectory(dir=".demo") as out:
        made = application.process(
            items, out, [application.Resize("200x200")], format="jpg", progress=False, backend="serial"
        )
        return [one.status == "written" for one in made.done]


@contextlib.contextmanager
def images_apart(work: Work) -> Iterator[Run]:
    """A program for each core, that makes its share and knows of no other: what the machine allows."""
    from multiprocessing import Pool

    shares = [work.items[first :: work.workers] for first in range(work.workers)]
    with Pool(work.workers) as pool:
        yield lambda: [one for share in pool.map(_images_alone, shares, chunksize=1) for one in share]


@contextlib.contextmanager
def synth(_work: Work) -> Iterator[Run]:
    """The application: the same objects and backgrounds, the same number of pictures, without marked ones."""
    from benchmarks.tutorial import TIMES, by_application

    yield lambda: [True] * by_application(TIMES)


@contextlib.contextmanager
def synth_long(work: Work) -> Iterator[Run]:
    """The application, where the loop is the application in one process."""
    from benchmarks.tutorial import by_application

    yield lambda: [by_application(times) for times in work.items]


@contextlib.contextmanager
def synth_apart(work: Work) -> Iterator[Run]:
    """A program for each core, that makes its share and knows of no other: what the machine allows."""
    from multiprocessing import Pool

    with Pool(work.workers) as pool:
        yield lambda: [
            sum(pool.map(work.func, [times // work.workers] * work.workers, chunksize=1)) for times in work.items
        ]


@contextlib.contextmanager
def pillow_loop(work: Work) -> Iterator[Run]:
    """As it is mostly written: all of the picture is decoded, then it is shrunk."""
    from PIL import Image

    def run() -> list[Any]:
        with tempfile.TemporaryDirectory(dir=".demo") as out:
            for item in work.items:
                with Image.open(item) as image:
                    image.convert("RGB").resize((200, 200)).save(Path(out) / Path(item).with_suffix(".jpg").name)
            return [True] * len(work.items)

    yield run


@contextlib.contextmanager
def mogrify(work: Work) -> Iterator[Run]:
    """ImageMagick's, as many at a time as there are cores."""

    def run() -> list[Any]:
        with tempfile.TemporaryDirectory(dir=".demo") as out:
            files = "\0".join(work.items).encode()
            options = ["-path", out, "-resize", "200x200!", "-format", "jpg"]
            command = ["xargs", "-0", "-P", str(work.workers), "-n", str(work.chunksize), "mogrify", *options]
            alone = {**os.environ, "MAGICK_THREAD_LIMIT": "1"}
            subprocess.run(command, input=files, check=True, env=alone)
            return [(Path(out) / Path(item).with_suffix(".jpg").name).exists() for item in work.items]

    yield run


# Name: what is imported before the clock starts; the contender. Ours imports its engine when it is first needed; the
# others have theirs when they are imported.
CONTENDERS: dict[str, tuple[str, Any]] = {
    "loop": ("sys", loop),
    "manyhands": ("manyhands.results", ours()),
    "manyhands, processes": ("manyhands.results", ours(backend="processes")),
    "manyhands, forked": ("manyhands.results", ours(backend="processes", start_method="fork")),
    "manyhands, unordered": ("manyhands.results", ours_unordered),
    "manyhands, threads": ("manyhands.results", ours(backend="threads")),
    "manyhands, chunksize=1": ("manyhands.results", ours(backend="processes", chunksize=1)),
    "manyhands images": ("manyhands.apps.images", images()),
    "manyhands images, box": ("manyhands.apps.images", images("box")),
    "manyhands images, one by one": ("manyhands.apps.images", images(backend="serial")),
    "manyhands images, two programs": ("manyhands.apps.images", images_apart),
    "manyhands synth": ("manyhands.apps.synth", synth),
    "manyhands synth, all cores": ("manyhands.apps.synth", synth_long),
    "two programs, half each": ("manyhands.apps.synth", synth_apart),
    "loop, Pillow": ("PIL.Image", pillow_loop),
    "mogrify": ("subprocess", mogrify),
    "threads": ("concurrent.futures.thread", futures("ThreadPoolExecutor", chunks=False)),
    "Pool.map": ("multiprocessing.pool", pool_map),
    "Pool.map, forked": ("multiprocessing.pool", pool_map_forked),
    "Pool.map, initializer": ("multiprocessing.pool", pool_map_initialised),
    "Pool.imap_unordered": ("multiprocessing.pool", pool_imap_unordered),
    "Pool.imap": ("multiprocessing.pool", pool_imap),
    "PPE": ("concurrent.futures.process", futures("ProcessPoolExecutor", chunks=False)),
    "PPE, chunks": ("concurrent.futures.process", futures("ProcessPoolExecutor", chunks=True)),
    "process_map": ("tqdm.contrib.concurrent", process_map),
    "loky": ("loky", loky),
    "joblib": ("joblib", joblib),
    "mpire": ("mpire", mpire),
    "pebble": ("pebble", pebble),
    "pathos": ("pathos.multiprocessing", pathos),
    "mmengine": ("mmengine.utils", mmengine),
    "ray": ("ray", ray),
    "dask": ("distributed", dask),
}


def load(name: str) -> Any:
    """The contender, with its library imported."""
    module, contender = CONTENDERS[name]
    import_module(module)
    if name.startswith("manyhands"):
        import_module("manyhands._engine.supervisor")
    return contender
