"""Is it worth it here? The same pictures made one after the other, in parallel, and in parallel by filter."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import manyhands as mh
from manyhands.apps import files
from manyhands.apps.images import planning, processing
from manyhands.apps.images.operations import Operation
from manyhands.apps.images.processing import Places
from manyhands.apps.images.summary import Summary
from manyhands.errors import OptionError

ROUNDS = 5
PICTURES = 100
TEMPORARY = "manyhands-comparison-"
NAMES = {
    "en": ("sequential", "parallel over images", "parallel over filters"),
    "zh": ("顺序处理", "按图片并行", "按滤镜并行"),
}
TITLES = {"en": "{pictures} pictures, {outputs} outputs", "zh": "{pictures} 张图片，{outputs} 个输出"}
PARTS = {"en": "{chosen} of {usable}", "zh": "{usable} 张中的 {chosen}"}
LEFT_OUT = {"en": "; {failed} more cannot be made", "zh": "；另有 {failed} 张无法处理"}


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
        ManyhandsError: a way did not make all pictures, though each could be made before.
        OSError: the folder for temporary files is full.
    """
    if language not in NAMES:
        raise OptionError(f"language= takes 'en' or 'zh'; got {language!r}")
    if pictures < 1:
        raise OptionError(f"pictures= takes 1 or more; got {pictures!r}")
    named = dict(operations) if isinstance(operations, Mapping) else {"": operations}
    with _nothing_to_go_on_with(), _temporary() as folder:
        job = _Job([], named, mh.cpu_count() if workers is None else workers, options, folder)
        usable, failed = _usable(job, src)
        job.places = _some(usable, pictures, folder)
        ways: list[Callable[[str], Outputs]] = [job.sequential, job.over_images]
        if len(named) > 1:
            ways.append(job.over_filters)
        return mh.compare_functions(
            ways,
            [f"{len(job.places)} pictures"],
            names=NAMES[language][: len(ways)],
            title=_title(language, len(job.places), len(usable), len(job.places) * len(named), failed),
            unit="run",
            rounds=rounds,
            progress=progress,
            language=language,
        )


def _title(language: str, chosen: int, usable: int, outputs: int, failed: int) -> str:
    pictures = str(chosen) if chosen == usable else PARTS[language].format(chosen=chosen, usable=usable)
    left_out = LEFT_OUT[language].format(failed=failed) if failed else ""
    return TITLES[language].format(pictures=pictures, outputs=outputs) + left_out


@contextlib.contextmanager
def _nothing_to_go_on_with() -> Iterator[None]:
    """Ctrl-C ends all of it: without the note that tells how far a run came."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    """A folder that is removed at the end; those that killed runs have left are removed as well.

    Who has one holds its lock, before anything is in it: so what is not empty and not locked is nobody's.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*") if os.name == "posix" else ():
        with contextlib.suppress(OSError), files.locked(left, wait=False):  # somebody has it, or it is not ours
            if any(left.iterdir()):
                shutil.rmtree(left, ignore_errors=True)
    own = tempfile.TemporaryDirectory(prefix=TEMPORARY, ignore_cleanup_errors=True)
    with own as folder, files.locked(Path(folder)):
        yield Path(folder)


def _usable(job: _Job, src: Places | Iterable[Places]) -> tuple[list[Path], int]:
    """Pictures all of whose outputs can be made, and how many others there are.

    Seen by making them, which warms up what all ways use.
    """
    looked_at = job.make(src, job.folder / "seen", job.operations)
    usable = [Path(one.source) for one in looked_at.done if one.status == "written"]
    shutil.rmtree(job.folder / "seen", ignore_errors=True)
    if not usable:
        raise OptionError(f"there is nothing to compare: {_why_none(job, looked_at)}")
    return usable, len(looked_at.failed)


def _why_none(job: _Job, looked_at: Summary) -> str:
    if looked_at.failed:
        return f"no picture can be made: {looked_at.failed[0].source}: {looked_at.failed[0].reason}"
    below = (
        "" if job.options.get("recursive") else "; with recursive=True (-r) those in the folders below are taken, too"
    )
    return f"no pictures were found{below}"


def _some(paths: list[Path], most: int, folder: Path) -> list[Path]:
    """So many of them, evenly chosen, in one folder, with short names: longer than its own no picture's may become."""
    chosen = paths if len(paths) <= most else [paths[at * len(paths) // most] for at in range(most)]
    here = folder / "pictures"
    here.mkdir()
    places = [here / f"{number:04}{path.suffix}" for number, path in enumerate(chosen)]
    for path, place in zip(chosen, places, strict=True):
        try:
            place.symlink_to(path.absolute())
        except OSError:  # not every system lets everybody
            shutil.copyfile(path, place)
    return places


class Outputs(Mapping[str, str]):
    """What one way has made: a digest of each file, by its name. Once these are known, the files are removed."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        found = {}
        for folder in self._folders:
            for path in folder.rglob("*"):
                if path.is_file() and not path.name.startswith("."):
                    found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            shutil.rmtree(folder, ignore_errors=True)
        return found

    def __getitem__(self, name: str) -> str:
        return self._digests[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)


@dataclass
class _Job:
    """The same work, three ways; each run goes into a folder of its own."""

    places: list[Path]
    operations: dict[str, Sequence[Operation]]
    workers: int
    options: dict[str, Any]
    folder: Path
    runs: int = 0

    def make(self, src: Any, out: Path, operations: Mapping[str, Sequence[Operation]], **how: Any) -> Summary:
        """Make the pictures of some of the operations; their names are those that all of them have."""
        frames = self.options.get("frames", "first")
        name = self.options.get("name") or planning.default_name(processing.variants(self.operations), frames=frames)
        settings = {"workers": self.workers, "progress": False} | self.options | {"name": name} | how
        return processing.process(src, out, operations, **settings)

    def make_all(self, out: Path, operations: Mapping[str, Sequence[Operation]], **how: Any) -> None:
        """Make those that are compared. Raises ManyhandsError if one cannot be made: the time would be of less work."""
        made = self.make(self.places, out, operations, **how)
        if made.failed:
            lost = made.failed[0]
            raise mh.ManyhandsError(
                f"{Path(lost.source).resolve()} could be made before the comparison, and now fails: {lost.reason}"
            )

    def sequential(self, _: str) -> Outputs:
        """One picture after the other."""
        out = self._next_folder()
        self.make_all(out, self.operations, backend="serial")
        return Outputs([out])

    def over_images(self, _: str) -> Outputs:
        """Each worker takes a picture, decodes it once and makes all its outputs."""
        out = self._next_folder()
        self.make_all(out, self.operations)
        return Outputs([out])

    def over_filters(self, _: str) -> Outputs:
        """Each worker takes a filter, and makes its output of all the pictures."""
        out = self._next_folder()
        parts = {name: out / str(number) for number, name in enumerate(self.operations)}
        backend = processing.backend_for(processing.variants(self.operations))
        run = functools.partial(_one_filter, self)
        mh.starmap(run, list(parts.items()), backend=backend, workers=self.workers, progress=False, on_error="raise")
        return Outputs(list(parts.values()))

    def _next_folder(self) -> Path:
        self.runs += 1
        return self.folder / f"run-{self.runs}"


def _one_filter(job: _Job, name: str, out: Path) -> None:
    job.make_all(out, {name: job.operations[name]}, backend="serial")
