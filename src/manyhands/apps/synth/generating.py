"""A whole dataset: made on all cores, continued where it was, the same bytes in the end."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import manyhands as mh
from manyhands.apps import files
from manyhands.apps.digests import digest_of
from manyhands.apps.files import DiskFullError
from manyhands.apps.functions import name_of
from manyhands.apps.synth import dataset, formats, inputs, making, noting, planning
from manyhands.apps.synth.bars import Bars
from manyhands.apps.synth.config import FOLDERS, Config, from_mapping, splits_of
from manyhands.apps.synth.dataset import Record
from manyhands.apps.synth.inputs import Ready
from manyhands.apps.synth.making import Maker
from manyhands.apps.synth.planning import Plan, Sample
from manyhands.apps.synth.problems import in_one_line, listed
from manyhands.errors import OptionError

MOST_CLASSES = 12  # that are counted one by one in a summary
TRIED = 3  # samples that the need of disk space is estimated by


@dataclass(frozen=True, slots=True)
class Summary:
    """What there is now: ``planned`` samples = ``written`` + ``rejected``.

    ``objects`` are labelled, so many of each of ``classes``; ``given_up`` counts those that found no place, by reason;
    ``aside`` names files that cannot be used, with the reason; ``made_now`` samples were made by this call, in
    ``seconds``.
    """

    out: Path
    planned: int
    written: int
    made_now: int
    splits: dict[str, int]
    objects: int
    classes: dict[str, int]
    given_up: dict[str, int]
    aside: dict[str, str]
    notes: tuple[str, ...]
    seconds: float
    workers: int

    @property
    def rejected(self) -> int:
        """Samples without a picture: none of their objects found a place."""
        return self.planned - self.written

    def __str__(self) -> str:
        rate = f" ({self.made_now / self.seconds:.1f} pictures/s)" if self.made_now and self.seconds else ""
        counts = f"{self.planned:,} planned = {self.written:,} written + {self.rejected:,} rejected"
        now = f"this run: {self.made_now:,} in {self.seconds:.1f} s{rate}"
        lines = [f"{self.out}: {counts}; {now}", f"{self.objects:,} objects are labelled{_of_each(self.classes)}"]
        if self.given_up:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.given_up.items()))
            lines[1] += f"; {sum(self.given_up.values()):,} found no place: {reasons}"
        splits = ", ".join(f"{name} {count:,}" for name, count in self.splits.items())
        if len(self.splits) > 1:
            lines.append(f"pictures: {splits}; objects and backgrounds of two splits never meet")
        lines += [f"set aside: {path}: {reason}" for path, reason in self.aside.items()]
        if not self.written:
            lines.append(f"no picture was made: in no sample an object {noting.found_no_place(self.given_up)}")
        return "\n".join(map(in_one_line, [*lines, *(f"note: {note}" for note in self.notes)]))


def _of_each(classes: dict[str, int]) -> str:
    if len(classes) <= MOST_CLASSES:
        return ": " * bool(classes) + ", ".join(f"{name} {count:,}" for name, count in classes.items())
    fewest, most = (choose(classes, key=lambda name: classes[name]) for choose in (min, max))
    return f", of {len(classes):,} classes: from {classes[fewest]:,} ({fewest}) to {classes[most]:,} ({most})"


def plan(config: Config) -> Plan:
    """Which samples a dataset would have, from the names of the files alone: as if all pictures could be used.

    >>> import pathlib, tempfile
    >>> from manyhands.apps import synth
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> synth.plan(synth.example(folder)).per_class()
    {'ball': 4, 'box': 2}

    Raises:
        InputProblems: the inputs do not fit together; all that is wrong is told at once.
    """
    return planning.make(inputs.find(config), config)


def generate(
    config: Config,
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    backend: Any = "processes",
    progress: bool | Callable[[Any], object] | None = None,
) -> Summary:
    """Make a dataset, or go on with one that was begun with the same config and inputs.

    >>> import pathlib, tempfile
    >>> from manyhands.apps import synth
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> summary = synth.generate(synth.example(folder, times=3, seed=7), folder / "ds")
    >>> summary.written, len(list((folder / "ds/images/train").iterdir()))
    (18, 18)

    Args:
        config: what it is made of.
        out: its folder; made if it is not there.
        workers: how many; None: one a core.
        backend: where they run: ``processes``, ``threads`` or ``serial``; the dataset is the same.
        progress: None: bars if stderr is a terminal; True, False, or a function as for `mh.map`.

    Returns:
        What there is now.

    Raises:
        InputProblems: the inputs do not fit together, and nothing was done.
        AugmentFailed: the config's own function raised an error, or returned something else; what is there is whole.
        OptionError: ``out`` holds a dataset of another config or of other inputs, or something else.
        OSError: there is not enough room, or ``out`` cannot be written to. What is there is whole; go on later.
        WorkerDied: a process was ended while it made a sample, which is named. What is there is whole.
    """
    into = Path(os.path.abspath(out))  # noqa: PTH100 - links stay as they are
    _check_place(config, into)
    new = [folder for folder in (into, *into.parents) if not folder.exists()]
    into.mkdir(parents=True, exist_ok=True)
    files.check_writable(into)
    with dataset.held(into):
        try:
            return _generate(config, into, workers, backend, progress)
        except BaseException:
            with contextlib.suppress(OSError):
                for folder in new:  # and, if nothing was done, empty; only now, while it is ours alone
                    folder.rmdir()
            raise


def _check_place(config: Config, into: Path) -> None:
    """It is a folder or nothing; and pictures of the dataset are not to become inputs of it."""
    if into.exists() and not into.is_dir():
        raise OptionError(f"{into} is a file: name a folder")
    if not files.is_text(str(into)):
        raise OptionError(f"{str(into)!r} is no UTF-8, and not all that read datasets can open it: name another folder")
    inputs.check_target(into, config)
    dataset.check_target(into)


def _generate(config: Config, into: Path, workers: int | None, backend: Any, progress: Any) -> Summary:
    began = time.monotonic()
    before = dataset.read_about(into)
    if before is None and dataset.holds_other_files(into):
        raise OptionError(f"{into} holds other files: name a new or an empty folder")
    bars, observer = (False, progress) if callable(progress) else (progress, False)
    found = inputs.find(config)
    paths = {one.key: one.path for one in found.all()}
    ready = inputs.prepare(found, config, workers=workers, progress=bars)
    about = _about(config, ready)
    _check_same(before, about, into)
    if before is not None:
        about |= {name: before[name] for name in ("exported", "versions")}  # as it was begun
    wanted = planning.make(ready.found, config)
    maker = making.maker_of(config, ready, wanted, into)
    count = 1 if backend == "serial" else workers or mh.cpu_count()
    if before is None:  # a journal that lies there is of another dataset, of which the rest is gone
        (into / dataset.JOURNAL).unlink(missing_ok=True)
    known = dataset.read_records(into)
    todo = [sample for sample in wanted.samples if not maker.is_made(known.get(sample.id))]
    _check_room(maker, todo, into, workers=count, backend=backend)
    todo.sort(key=lambda sample: sample.background)  # so few backgrounds are needed at a time
    with files.kept_tidy(into):
        (into / dataset.HIDDEN).mkdir(exist_ok=True)
        dataset.write_about(into, about)
        made = _run(maker, todo, shown=bars, workers=count, backend=backend, progress=observer)
    known |= {record.id: record for record in made}
    records = [known[sample.id] for sample in wanted.samples]
    _finish(maker, records, {"seconds": time.monotonic() - began, "made": len(made), "workers": count})
    written = [record for record in records if record.written]
    labelled = Counter(dict.fromkeys(wanted.classes, 0))
    labelled.update(label.name for record in written for label in record.labels)
    notes = (*wanted.notes, *planning.twins(wanted, ready.contents), *(making.upgraded(about) if made else ()))
    notes += (*noting.notes_on_opaque(ready.opaque), *noting.notes_on(records, wanted, config))
    return Summary(
        out=into,
        planned=len(records),
        written=len(written),
        made_now=len(made),
        splits=dict(Counter(record.split for record in written)),
        objects=labelled.total(),
        classes=dict(labelled),
        given_up=dict(dataset.count_given_up(records)),
        aside={str(paths[key]): reason for key, reason in ready.aside.items()},
        notes=notes,
        seconds=time.monotonic() - began,
        workers=count,
    )


def resume(out: str | os.PathLike[str], *, augment: Any = None, **options: Any) -> Summary:
    """Go on with a dataset, by the config that is kept in it.

    >>> import pathlib, tempfile
    >>> from manyhands.apps import synth
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> summary = synth.generate(synth.example(folder), folder / "ds", progress=False)
    >>> next((folder / "ds/images/train").iterdir()).unlink()
    >>> synth.resume(folder / "ds").made_now
    1

    Args:
        out: its folder.
        augment: the function that it was begun with, if there was one: functions are not kept.
        options: ``workers``, ``backend`` and ``progress`` as for `generate`.

    Raises:
        OptionError: there is no dataset, or the inputs are not as they were; the difference is told.
    """
    return generate(config_of(out, augment=augment), out, **options)


def config_of(out: str | os.PathLike[str], *, augment: Any = None) -> Config:
    """The config that a dataset was made by.

    >>> import pathlib, tempfile
    >>> from manyhands.apps import synth
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> summary = synth.generate(synth.example(folder), folder / "ds", progress=False)
    >>> synth.config_of(folder / "ds").scale
    (0.5, 2.0)

    Args:
        out: the dataset's folder.
        augment: the function that it was made with, if there was one: functions are not kept.

    Raises:
        OptionError: there is no dataset.
    """
    return from_mapping(dataset.about_of(Path(out))["config"], augment=augment)


# --- all of them ------------------------------------------------------------------------------------------------


def _run(maker: Maker, todo: Sequence[Sample], *, shown: bool | None, **how: Any) -> list[Record]:
    made: list[Record] = []
    if not todo:
        return made
    totals = Counter(sample.label for sample in todo)
    with Bars(totals, show=shown) as bars:
        try:
            with making.naming(todo, maker), mh.imap(maker, todo, desc="pictures", on_error="raise", **how) as results:
                for record in results:
                    made.append(record)
                    bars.one(record.label)
        except OSError as error:
            if not isinstance(error, DiskFullError) and not files.is_too_long(error):
                raise
            raise _no_room(error, _so_far(made, todo), maker.place.folder) from error
        except KeyboardInterrupt as error:
            error.add_note(f"{_so_far(made, todo)}; `{_call_of_resume(maker)}` goes on with the rest")
            raise
    return made


def _so_far(made: Sequence[Record], todo: Sequence[Sample]) -> str:
    """At least: some may be whole that no worker has told us of yet."""
    return f"at least {len(made):,} of {len(todo):,} samples were made"


def _call_of_resume(maker: Maker) -> str:
    augment = maker.config.augment
    return f"synth.resume({str(maker.place.folder)!r}{f', augment={name_of(augment)}' if augment is not None else ''})"


def _finish(maker: Maker, records: Sequence[Record], run: dict[str, Any]) -> None:
    out = maker.place.folder
    written = [record for record in records if record.written]
    try:
        splits = splits_of(maker.config.split)
        formats.write_whole(maker.place, written, maker.config.formats, maker.classes, splits)
        dataset.write_records(out, records)
        if run["made"]:
            files.append_line(out / dataset.RUNS, json.dumps(run).encode() + b"\n")
    except OSError as error:
        if files.is_disk_full(error) or files.is_too_long(error):
            raise _no_room(error, "all samples were made, and not the files that name them", out) from error
        raise


def _no_room(error: OSError, so_far: str, out: Path) -> OSError:
    if files.is_too_long(error):
        told = f"this file is longer than you may write (see `ulimit -f`): {so_far}. Allow longer ones and resume"
        return OSError(error.errno, told, error.filename or str(out))
    return OSError(error.errno, f"the disk is full: {so_far}. Make room and resume", str(out))


def _about(config: Config, ready: Ready) -> dict[str, Any]:
    told = config.told()
    for name in FOLDERS:
        told[name] = told[name] and os.path.abspath(told[name])  # noqa: PTH100 - links stay as they are
    return {
        "version": dataset.VERSION,
        "config": told,
        "augment": config.augment and digest_of(config.augment),
        "versions": making.versions(),
        "exported": [],
        "classes": list(ready.found.classes),
        "inputs": {one.key: ready.digests[one.key] for one in ready.found.all()},
        "aside": ready.aside,
    }


def _check_same(before: dict[str, Any] | None, about: dict[str, Any], out: Path) -> None:
    if before is not None and (lines := dataset.difference(before, about)):
        raise OptionError(
            f"nothing was done: {out} holds a dataset that was made otherwise; put things back, or name another "
            f"folder. The difference:{listed(lines)}"
        )


def _check_room(maker: Maker, todo: Sequence[Sample], out: Path, **how: Any) -> None:
    """Estimate what the files take, by making some in memory. Raises OSError."""
    if len(todo) <= TRIED:
        return
    with making.naming(todo, maker):
        sizes = mh.map(maker.size_of, todo[:TRIED], progress=False, on_error="raise", **how)
    each = sum(sizes) / TRIED + 4096 * (2 + len(maker.config.formats))
    needed = int(each * (len(todo) + sum(sample.id in maker.previewed for sample in todo)))
    free = shutil.disk_usage(out).free
    if needed > free:
        told = f"{len(todo):,} pictures take about {_bytes(needed)}, and {_bytes(free)} are free"
        raise OSError(errno.ENOSPC, f"nothing was done: {told}", str(out))


def _bytes(count: int) -> str:
    for unit, size in ("GB", 1e9), ("MB", 1e6):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
