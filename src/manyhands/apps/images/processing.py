"""A folder of pictures, or several, made into another."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import manyhands as mh
from manyhands.apps import files
from manyhands.apps.files import DiskFullError
from manyhands.apps.images import encoding, planning, state
from manyhands.apps.images.decoding import Reading
from manyhands.apps.images.making import FOREIGN, LEFT_ALONE, Background, Budget, Maker, Turns
from manyhands.apps.images.operations import Apply, Filter, Operation, Resize
from manyhands.apps.images.planning import Source, Variant
from manyhands.apps.images.sizes import parse_size
from manyhands.apps.images.summary import Done, Summary
from manyhands.errors import OptionError
from manyhands.showing import error_text

Places = str | os.PathLike[str]
MAX_PIXELS = 89_478_485  # Pillow's own limit: a third of a gigabyte of pixels of four bytes
PATIENCE = 2.0  # seconds for threads to end their pictures after Ctrl-C
IN_FLIGHT = 1 << 30  # bytes of decoded pictures at a time: of all threads; of processes, see Turns


def process(
    src: Places | Iterable[Places],
    out: Places,
    operations: Sequence[Operation] | Mapping[str, Sequence[Operation]] = (),
    *,
    recursive: bool = False,
    glob: str | None = None,
    format: str | None = None,  # noqa: A002 - as in Pillow
    quality: int = 90,
    name: str | None = None,
    on_conflict: Literal["skip", "newer", "overwrite", "rename", "error"] = "skip",
    out_inside: bool = False,
    keep: Iterable[str] = (),
    orient: bool = True,
    background: str = "white",
    max_pixels: int = MAX_PIXELS,
    on_truncated: Literal["fail", "salvage"] = "fail",
    frames: Literal["first", "all", "error"] = "first",
    workers: int | None = None,
    backend: Literal["auto", "processes", "threads", "serial"] | None = None,
    progress: bool | Callable[[Any], object] | None = None,
    again: bool = False,
    dry_run: bool = False,
) -> Summary:
    """Make pictures from pictures, on all cores; what a run before has made already is not made again.

    >>> import pathlib, tempfile
    >>> from PIL import Image
    >>> from manyhands.apps import images
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "photos").mkdir()
    >>> Image.new("RGB", (800, 600)).save(folder / "photos" / "a.png")
    >>> summary = images.process(folder / "photos", folder / "small", [images.Resize("200x200")], format="jpg")
    >>> summary.count("written"), [path.name for path in (folder / "small").glob("*.jpg")]
    (1, ['a.jpg'])

    Args:
        src: files and folders; files are only read.
        out: the folder to write to; made if it is not there.
        operations: what is done to each picture, in order; or a mapping of names to such sequences: several outputs
            of each picture, which is decoded once.
        recursive: also the folders within the folders.
        glob: only files whose name matches this; None: those whose suffix is of a picture.
        format: the suffix to write, ``jpg`` for one; None: the source's own.
        quality: of JPEG and WebP, 1 to 100.
        name: of the outputs, below ``out``: a template with ``{rel}`` (the folder within ``src``), ``{stem}``,
            ``{ext}``, ``{variant}``, ``{size}``, ``{filter}`` and ``{frame}``.
        on_conflict: if an output is there that was not made from this source, or was changed since: leave it; replace
            it if the source is newer; replace it; write beside it under another name; or do nothing at all and raise
            OptionError.
        out_inside: ``out`` may lie in a source folder.
        keep: any of ``exif`` and ``icc``; a colour profile that is not kept is converted to sRGB.
        orient: turn pictures upright as their EXIF tag says.
        background: behind what is transparent where the format has no transparency, and around what is padded.
        max_pixels: of a picture, as it is read and after each Resize; larger ones fail.
        on_truncated: ``salvage`` keeps what can be read of a broken file.
        frames: of an animation: the ``first``, ``all`` as an output each, or ``error``: such files fail.
        workers: how many; None: one a core.
        backend: None: ``auto`` as for `map`, or ``processes`` from the first picture on if a function of yours is
            applied. ``threads`` are slower by a tenth: between two pictures they wait for each other.
        progress: as in `map`.
        again: make all outputs anew, also those that are up to date: a function of yours may depend on what is not
            seen, such as a file that it reads.
        dry_run: look and check, and write nothing: what would be written has the status ``planned``.

    Returns:
        What was done, source by source. A file that cannot be used is told there, with the reason; the others go on.

    Raises:
        OptionError: an argument is wrong, or outputs would collide; nothing was done.
        OSError: the disk is full, or ``out`` cannot be written to. No half-written file is left; run it again to go on.
    """
    began = time.monotonic()
    places = [Path(src)] if isinstance(src, str | os.PathLike) else [Path(place) for place in src]
    into = files.absolute(out)
    wanted = variants(operations)  # checked, before anything else is
    usual = planning.default_name(wanted, frames=frames)
    template = name if name is not None else usual
    ext = _checked_format(format, quality)
    count = mh.cpu_count() if workers is None else workers
    _check_positive("workers", count)
    _check_positive("max_pixels", max_pixels)
    reading = Reading(orient, max_pixels, on_truncated, frames, _checked_keep(keep))
    _check_words(on_conflict, on_truncated, frames, background)
    _check_sizes(wanted, max_pixels)
    planning.check_name(template, wanted, frames=frames)
    if os.path.lexists(into) and not into.is_dir():
        raise OptionError(f"{into} is a file, or a link to no folder: the output is a folder")
    if not into.exists() and into.suffix[1:].lower() in planning.SUFFIXES:
        raise OptionError(f"{into} is called as a picture is, and would be a folder: name the folder of the outputs")
    planning.check_place(places, into, inside=out_inside)
    wanted = [variant._replace(how=_how(reading, variant, quality, background)) for variant in wanted]
    names, known = planning.names_once(), state.load(into)
    found = planning.find(places, recursive=recursive, glob=glob, out=into)
    naming = planning.Naming(into, template, ext, frames)
    plan = planning.make(found, naming, wanted, state.outputs_among(known, into))
    planning.check_collisions(plan.sources, names, usual)
    linked = planning.linked(plan.sources, into)
    for folder in linked:
        planning.check_place(places, folder, inside=out_inside)
    fresh, stale = _compared(plan.sources, known, into, again=again)
    taken = {target.path for source in plan.sources for target in source.targets}
    todo, skipped, partly = _settled(stale, taken, on_conflict, names)
    done = [Done(str(lost.path), "failed", kind=lost.kind, reason=lost.reason) for lost in plan.lost]
    done += [
        Done(str(source.path), "up to date", [str(into / o) for t in source.targets for o in known[t.key].outputs])
        for source in fresh
    ]
    done += [Done(str(source.path), "skipped", reason=FOREIGN) for source in skipped]
    chosen = backend or backend_for(wanted)
    if dry_run:
        done += [Done(str(s.path), "planned", [str(target.path) for target in s.targets]) for s in todo]
    elif todo:
        budget = Budget(IN_FLIGHT) if chosen == "threads" else Turns(IN_FLIGHT, 1 if chosen == "serial" else count)
        maker = Maker(reading, quality, Background(background), state.Writer(into, on_conflict), budget)
        with _folder(into, linked), _pixel_limit():
            done += _run(maker, todo, chosen, count, progress)
    elif files.has_unfinished(into, linked) or not state.is_tidy(into, known):  # a run was killed when all was made
        with suppress(PermissionError), _folder(into, linked):
            pass
    for one in done:
        if one.source in partly:
            one.note([LEFT_ALONE])
    order = {str(source.path): index for index, source in enumerate(plan.sources)}
    done.sort(key=lambda one: order.get(one.source, -1))
    return Summary(tuple(done), time.monotonic() - began, count)


def _run(maker: Maker, todo: list[Source], backend: Any, workers: int, progress: Any) -> list[Done]:
    done: list[Done] = []
    options = {"workers": workers, "progress": progress}
    try:
        if backend == "auto":
            # One that ends its worker: which, is found out by those who lose nothing but that.
            with suppress(mh.WorkerDied):
                _make(maker, todo, done, backend="auto", on_error="raise", **options)
                return done
            backend = "processes"
        _make(maker, todo, done, backend=backend, on_error="collect", **options)
    except DiskFullError as error:
        reason = f"the disk is full: {_so_far(done, todo)}. Make room and run it again"
        raise OSError(error.errno, reason, str(maker.writer.out)) from error
    except BaseException as error:
        if isinstance(maker.budget, Budget):
            maker.budget.close(PATIENCE)  # threads cannot be stopped in the midst of a picture
        if isinstance(error, KeyboardInterrupt):
            error.add_note(f"{_so_far(done, todo)}; run it again to go on")
        raise
    return done


def _make(maker: Maker, todo: list[Source], done: list[Done], **options: Any) -> None:
    """Make those that are not done yet."""
    rest = todo[len(done) :]
    with mh.imap(maker, rest, desc="pictures", **options) as results:
        for source, result in zip(rest, results, strict=False):
            done.append(_done_of(source, result))


def _done_of(source: Source, result: Done | mh.Failure) -> Done:
    if not isinstance(result, mh.Failure):
        return result
    if isinstance(result.error, DiskFullError):
        raise result.error
    return Done(str(source.path), "failed", kind="failed", reason=error_text(result.error))


def _so_far(done: list[Done], todo: list[Source]) -> str:
    return f"at least {sum(one.status == 'written' for one in done)} of {len(todo)} pictures were made"


@contextmanager
def _folder(out: Path, linked: list[Path]) -> Iterator[None]:
    """The output folder, there and tidy, before and after."""
    with files.kept_tidy(out, linked):
        try:
            yield
        except BaseException:
            with suppress(OSError):  # what has ended the run is told already
                state.tidy(out)
            raise
        try:
            state.tidy(out)
        except OSError as error:
            if files.is_disk_full(error):
                reason = "the disk is full: all was done, and the list of it is not whole. Make room and run it again"
                raise OSError(error.errno, reason, str(out)) from error
            raise


_limits = threading.Lock()
_runs = 0  # that are going on in this process
_limit_before: int | None = None


@contextmanager
def _pixel_limit() -> Iterator[None]:
    """Pillow has one limit for the whole process, which a run may raise: until the last one is over."""
    from PIL import Image

    global _runs, _limit_before  # noqa: PLW0603 - as Pillow's is
    with _limits:
        if _runs == 0:
            _limit_before = Image.MAX_IMAGE_PIXELS
        _runs += 1
    try:
        yield
    finally:
        with _limits:
            _runs -= 1
            if _runs == 0:
                Image.MAX_IMAGE_PIXELS = _limit_before


def _compared(
    sources: list[Source], known: Mapping[str, state.Made], out: Path, *, again: bool
) -> tuple[list[Source], list[Source]]:
    """Those that have all their outputs, unless these are to be made ``again``; and the others, with what they lack."""
    fresh: list[Source] = []
    stale: list[Source] = []
    for source in sources:
        targets = () if again else source.targets
        there = {target for target in targets if state.is_fresh(source, target, known.get(target.key), out)}
        lacking = tuple(
            _with_old(target, source, known.get(target.key), out) for target in source.targets if target not in there
        )
        if lacking:
            stale.append(source._replace(targets=lacking))
        else:
            fresh.append(source)
    return fresh, stale


def _with_old(target: planning.Target, source: Source, made: state.Made | None, out: Path) -> planning.Target:
    """Together with what a run before has made of it."""
    old = state.replaceable(source, made, out)
    seals = (seal for seals in made.outputs.values() for seal in seals) if made and old else ()
    return target._replace(old=old, seals=frozenset(seals))


def _settled(
    sources: list[Source], taken: set[Path], on_conflict: str, names: planning.Names
) -> tuple[list[Source], list[Source], set[str]]:
    """What is to be made, and what is left alone since something is there that is not ours; all of it, or partly."""
    todo: list[Source] = []
    skipped: list[Source] = []
    foreign: list[Path] = []
    partly: set[str] = set()
    for source in sources:
        there = {
            target: others
            for target in source.targets
            if (others := [path for path in planning.existing(target, names) if path not in target.old])
        }
        foreign += [path for others in there.values() for path in others]
        if not there or on_conflict == "overwrite":
            todo.append(source)
        elif on_conflict == "rename":
            moved = tuple(
                planning.renamed(target, taken, names) if target in there else target for target in source.targets
            )
            taken.update(target.path for target in moved)
            todo.append(source._replace(targets=moved))
        else:
            older = on_conflict == "newer"
            left = {
                t for t, others in there.items() if not (older and all(state.is_older(path, source) for path in others))
            }
            targets = tuple(target for target in source.targets if target not in left)
            if not targets:
                skipped.append(source)
                continue
            partly |= {str(source.path)} if left else set()
            todo.append(source._replace(targets=targets))
    if foreign and on_conflict == "error":
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        raise OptionError(
            f"nothing was done: {foreign[0]}{more}: {FOREIGN}. Move it away, or choose another "
            "on_conflict (--on-conflict)"
        )
    written = {target.path for source in todo for target in source.targets}
    return [_without(source, written) for source in todo], skipped, partly


def _without(source: Source, written: set[Path]) -> Source:
    """Of what it has made before, that keeps what this run writes for others."""
    return source._replace(targets=tuple(target._replace(old=target.old - written) for target in source.targets))


def variants(operations: Any) -> list[Variant]:
    """The outputs that are asked for. Raises OptionError."""
    if callable(operations):
        raise OptionError(f"operations are a list, as [{type(operations).__name__}(...)], or a mapping of such lists")
    named = operations if isinstance(operations, Mapping) else {"": operations}
    for one in named.values():
        if callable(one) or not isinstance(one, Iterable):
            raise OptionError(f"the operations of an output are a list, as [{type(one).__name__}(...)]; got {one!r}")
    found = [Variant(str(name), tuple(one)) for name, one in named.items()]
    for variant in found:
        for operation in variant.operations:
            if not callable(operation) or not hasattr(operation, "key"):
                raise OptionError(f"an operation is a Resize, a Filter or an Apply; got {operation!r}")
    if not found:
        raise OptionError("no outputs are asked for: the mapping of operations is empty")
    return [_described(variant) for variant in found]


def _described(variant: Variant) -> Variant:
    sizes = [operation.size for operation in variant.operations if isinstance(operation, Resize)]
    filters = [operation.name for operation in variant.operations if isinstance(operation, Filter)]
    return variant._replace(size="_".join(sizes), filter="_".join(filters))


def backend_for(variants: list[Variant]) -> Literal["auto", "processes"]:
    """The one that is taken if none is named: a function of the user's may end its process, so not this one's."""
    own = any(isinstance(step, Apply) for variant in variants for step in variant.operations)
    return "processes" if own else "auto"


def _how(reading: Reading, variant: Variant, quality: int, background: str) -> str:
    told = [reading.key, quality, background, [step.key for step in variant.operations]]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _checked_format(format: str | None, quality: int) -> str | None:  # noqa: A002
    if not 1 <= quality <= 100:
        raise OptionError(f"quality is 1 to 100; got {quality!r}")
    ext = format.lower().lstrip(".") if format is not None else None
    if ext is not None and ext not in encoding.FORMATS:
        raise OptionError(f"there is no format {format!r}; choose one of {', '.join(encoding.FORMATS)}")
    return ext


def _checked_keep(keep: Iterable[str]) -> frozenset[str]:
    kept = frozenset([keep] if isinstance(keep, str) else keep)
    if unknown := kept - {"exif", "icc"}:
        raise OptionError(f"there is nothing called {min(unknown)!r} to keep; there are exif and icc")
    return kept


def _check_sizes(variants: list[Variant], max_pixels: int) -> None:
    """Raise OptionError for a size that would be too large for every picture."""
    for operation in (step for variant in variants for step in variant.operations if isinstance(step, Resize)):
        width, height = parse_size(operation.size)
        pixels = (width or 0) * (height or 0)
        if operation.is_exact and pixels > max_pixels:
            raise OptionError(
                f"{operation} would make pictures of {width} x {height}, more than {max_pixels:,} pixels: a slip of "
                "the pen? If not, raise max_pixels (--max-pixels)"
            )


def _check_positive(name: str, value: Any) -> None:
    if not isinstance(value, int) or value < 1:
        raise OptionError(f"{name} is a whole number of at least 1; got {value!r}")


def _check_words(on_conflict: str, on_truncated: str, frames: str, background: str) -> None:
    for name, value, known in (
        ("on_conflict", on_conflict, planning.CONFLICTS),
        ("on_truncated", on_truncated, ("fail", "salvage")),
        ("frames", frames, ("first", "all", "error")),
    ):
        if value not in known:
            raise OptionError(f"{name} is one of {', '.join(known)}; got {value!r}")
    try:
        Background(background)("RGB")
    except ValueError:
        raise OptionError(f"there is no colour {background!r}; write white, #ffcc00 or rgb(255, 204, 0)") from None
