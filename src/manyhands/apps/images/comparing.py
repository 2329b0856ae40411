"""Is it worth it here? The same pictures made one after the other, in parallel, and in parallel by filter."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import manyhands as mh
from manyhands.apps.images import planning, processing
from manyhands.apps.images.operations import Operation
from manyhands.apps.images.processing import Places
from manyhands.errors import OptionError

ROUNDS = 5
PICTURES = 100
NAMES = {
    "en": ("sequential", "parallel over images", "parallel over filters"),
    "zh": ("顺序处理", "按图片并行", "按滤镜并行"),
}
TITLES = {"en": "{pictures} pictures, {outputs} outputs", "zh": "{pictures} 张图片，{outputs} 个输出"}


def compare(
    src: Places | Iterable[Places],
    operations: Sequence[Operation] | Mapping[str, Sequence[Operation]] = (),
    *,
    pictures: int = PICTURES,
    rounds: int = ROUNDS,
    workers: int | None = None,
    language: str = "en",
    progress: bool | None = None,
    **options: Any,
) -> mh.FunctionComparison:
    """Make the same pictures one after the other, in parallel, and in parallel by filter; nothing of it is kept.

    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> from manyhands.apps import images
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (80, 60)).save(folder / "a.png")
    >>> each = {name: [images.Filter(name)] for name in ("blur", "edges")}
    >>> [row.name for row in images.compare(folder, each, rounds=3).rows]
    ['sequential', 'parallel over images', 'parallel over filters']

    Args:
        src: files and folders, as for `process`.
        operations: as for `process`. Only a mapping has outputs, of filters for one, to divide by.
        pictures: at most so many, evenly chosen from all.
        rounds: how often each way is measured, 3 at least, in random order.
        workers: how many; None: one a core.
        language: of tables, charts and verdict: ``"en"`` or ``"zh"``.
        progress: show a bar on stderr; None: if that is a terminal.
        options: what `process` takes besides: ``recursive``, ``glob``, ``format`` and others.

    Returns:
        An `mh.FunctionComparison`; its first row is the sequential way.

    Raises:
        OptionError: an argument is wrong, or there are no pictures.
        ResultsDiffer: the ways do not make the same files.
        OSError: the folder for temporary files is full.
    """
    if language not in NAMES:
        raise OptionError(f"language= takes 'en' or 'zh'; got {language!r}")
    named = dict(operations) if isinstance(operations, Mapping) else {"": operations}
    places = [src] if isinstance(src, str | os.PathLike) else list(src)
    with tempfile.TemporaryDirectory(prefix="manyhands-") as folder:
        job = _Job(places, named, workers or mh.cpu_count(), options, Path(folder))
        looked_at = job.make(folder, named, dry_run=True)
        planned = [one for one in looked_at.done if one.status == "planned"]
        if not planned:
            raise OptionError("there are no pictures to compare with: SRC has none that can be read")
        job.places = _some([Path(one.source) for one in planned], pictures)
        ways: list[Callable[[str], Any]] = [job.sequential, job.over_images, job.over_filters][
            : 3 if len(named) > 1 else 2
        ]
        outputs = len(job.places) * len(named)
        return mh.compare_functions(
            ways,
            [""],
            names=NAMES[language][: len(ways)],
            title=TITLES[language].format(pictures=len(job.places), outputs=outputs),
            rounds=rounds,
            progress=progress,
            language=language,
        )


@dataclass
class _Job:
    """The same work, three ways. Each goes into a folder of its own, and the first time tells what has come of it."""

    places: list[Places]
    operations: dict[str, Sequence[Operation]]
    workers: int
    options: dict[str, Any]
    folder: Path
    seen: set[str] = field(default_factory=set)

    def make(self, out: str | Path, operations: Mapping[str, Sequence[Operation]], **how: Any) -> Any:
        """Make the pictures of some of the operations; their names are those that all of them have."""
        frames = self.options.get("frames", "first")
        name = self.options.get("name") or planning.default_name(processing.variants(self.operations), frames=frames)
        settings = {"workers": self.workers, "progress": False} | self.options | {"name": name} | how
        return processing.process(self.places, out, operations, **settings)

    def sequential(self, _: str) -> dict[str, str]:
        """One picture after the other."""
        return self._told("sequential", lambda out: self.make(out, self.operations, backend="serial"))

    def over_images(self, _: str) -> dict[str, str]:
        """Each worker takes a picture, decodes it once and makes all its outputs."""
        return self._told("images", lambda out: self.make(out, self.operations))

    def over_filters(self, _: str) -> dict[str, str]:
        """Each worker takes a filter, and makes its output of all the pictures."""
        return self._told("filters", self._by_filter)

    def _by_filter(self, out: Path) -> None:
        backend = "processes" if processing.applies(processing.variants(self.operations)) else "threads"
        run = functools.partial(_one_filter, self, out)
        mh.map(run, self.operations, backend=backend, workers=self.workers, progress=False)

    def _told(self, way: str, make: Callable[[Path], object]) -> dict[str, str]:
        out = self.folder / way
        shutil.rmtree(out, ignore_errors=True)
        make(out)
        if way in self.seen:
            return {}
        self.seen.add(way)
        folders = [out] if way != "filters" else [out / str(number) for number in range(len(self.operations))]
        return {name: digest for folder in folders for name, digest in _digests(folder)}


def _some(paths: list[Path], most: int) -> list[Places]:
    """Of names that no other has, since all will be in one folder."""
    named = {path.stem: path for path in paths}
    chosen = list(named.values())
    return [chosen[at * len(chosen) // most] for at in range(most)] if len(chosen) > most else [*chosen]


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _one_filter(job: _Job, out: Path, name: str) -> None:
    number = list(job.operations).index(name)
    job.make(out / str(number), {name: job.operations[name]}, backend="serial")
