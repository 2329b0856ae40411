"""`manyhands images`: its arguments, and what is printed; the work is that of `manyhands.apps.images`."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

import manyhands as mh
from manyhands.cli.parameters import NONE
from manyhands.cli.problems import CommandError, Exit, UnfinishedError
from manyhands.cli.reporting import ProgressKind, progress_option
from manyhands.cli.streams import StdoutLines, results_apart, say
from manyhands.cli.values import parse_count
from manyhands.comparison.files import may_be_replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from manyhands.apps import images

PAGE, CHART = "comparison.html", "comparison.png"  # in the output folder
NEEDS = "manyhands images needs numpy and Pillow: pip install 'manyhands[images]'"


class Mode(StrEnum):
    """How a picture comes to a size."""

    STRETCH = "stretch"
    CONTAIN = "contain"
    COVER = "cover"
    PAD = "pad"


class Resample(StrEnum):
    """How a new pixel is made of those that it covers."""

    LANCZOS = "lanczos"
    BICUBIC = "bicubic"
    BILINEAR = "bilinear"
    BOX = "box"


class OnConflict(StrEnum):
    """What is done if an output is there that is not this source's, or was changed since."""

    SKIP = "skip"
    NEWER = "newer"
    OVERWRITE = "overwrite"
    RENAME = "rename"
    ERROR = "error"


class OnTruncated(StrEnum):
    """What is done with broken files."""

    FAIL = "fail"
    SALVAGE = "salvage"


class Frames(StrEnum):
    """Which pictures of an animation."""

    FIRST = "first"
    ALL = "all"
    ERROR = "error"


_files = partial(Option, rich_help_panel="Files")
_work = partial(Option, rich_help_panel="What is done, in this order")
_reading = partial(Option, rich_help_panel="Reading and writing")

_comparing = partial(Option, rich_help_panel="Is it worth it here?")
COMPARE = _comparing(
    "--compare", metavar=NONE, help="Make nothing, but compare: one by one, in parallel, in parallel by filter."
)
Rounds = Annotated[
    int | None, _comparing(metavar="N", min=3, help="With --compare: how often each way is measured; 5 if not given.")
]

Sources = Annotated[list[Path], Argument(metavar="SRC...", help="Pictures and folders of them.", show_default=False)]
Out = Annotated[Path, _files("--out", "-o", metavar="DIR", help="Where outputs go.", show_default=False)]
Recursive = Annotated[bool, _files("--recursive", "-r", metavar=NONE, help="Also folders within the folders.")]
Glob = Annotated[str | None, _files(metavar="PATTERN", help="Only files of such a name, as '*.png'.")]
Name = Annotated[
    str | None,
    _files(metavar="TEMPLATE", help="Of outputs: {rel} {stem} {suffix} {ext} {variant} {size} {filter} {frame}."),
]
Conflict = Annotated[
    OnConflict,
    _files(
        metavar="WHAT",  # the choices would take half of the width
        help="If an output is there that is not this source's, or was changed since: skip, newer, overwrite, rename "
        "or error.",
    ),
]
OutInside = Annotated[bool, _files("--out-inside", metavar=NONE, help="The output may lie in a source folder.")]
Again = Annotated[bool, _files("--again", metavar=NONE, help="Make all outputs anew, also those that are up to date.")]
Manifest = Annotated[Path | None, _files(metavar="FILE", help="Write one JSON line a picture, failures included.")]
DryRun = Annotated[
    bool, _files("--dry-run", metavar=NONE, help="Say what would be written, and write nothing; no picture is opened.")
]

Resize = Annotated[
    list[str] | None, _work(metavar="WxH", help="A size, as 200x200 or 200x; several give several outputs.")
]
ModeChoice = Annotated[Mode | None, _work("--mode", help="How a picture comes to that size; stretch if not given.")]
NoUpscale = Annotated[bool, _work("--no-upscale", metavar=NONE, help="Small pictures stay as they are.")]
ResampleChoice = Annotated[
    Resample | None,
    _work("--resample", help="How pixels are weighed: lanczos if not given; box, the mean, is quickest."),
]
Filter = list[str] | None
FILTER = _work("--filter", metavar="NAME", help="As blur(5) or edges; several follow one another.")
EACH_FILTER = _work("--each-filter", metavar="NAMES", help="As blur,edges,emboss: an output for each.")
Apply = Annotated[
    str | None,
    _work(metavar="TARGET", help="file.py:function, from array to array, or of PIL's Image if so annotated; last."),
]

Format = str | None
FORMAT = _reading("--format", metavar="SUFFIX", help="As jpg or png; the source's own if not given.")
Quality = Annotated[int, _reading("--quality", "-Q", metavar="N", min=1, max=100, help="Of JPEG and WebP.")]
Keep = Annotated[str | None, _reading(metavar="WHAT", help="As exif,icc; what is not kept is left out.")]
Orient = Annotated[bool, _reading("--orient/--no-orient", metavar=NONE, help="Turn pictures upright.")]
Background = Annotated[str, _reading(metavar="COLOUR", help="Behind what is transparent, and around what is padded.")]
MaxPixels = Annotated[
    str | None,
    _reading(metavar="N", help="What is larger, as it is read or after a resize, fails; as 120M. [89,478,485]"),
]
Truncated = Annotated[OnTruncated, _reading("--on-truncated", help="A broken file: fail, or keep what can be read.")]
FramesChoice = Annotated[Frames, _reading("--frames", help="Of an animation: the first, all, or fail.")]


def compare(
    sources: list[Path],
    out: Path,
    *,
    operations: Callable[[], Any],
    rounds: int | None,
    language: str,
    progress: ProgressKind,
    **options: Any,
) -> int:
    """Compare the ways to do it, and leave a page and a chart in the output folder."""
    from manyhands.apps import images

    _check_place(sources, out)
    place = out.absolute()  # a function that is applied may go elsewhere
    charts = importlib.util.find_spec("matplotlib") is not None
    with _refusals(out):
        options |= {"rounds": rounds} if rounds is not None else {}
        shown = None if progress is ProgressKind.AUTO else False
        found = images.compare(sources, operations(), language=language, progress=shown, **options)
    written = []
    try:
        with _refusals(out):
            found.html(place / PAGE)
            written.append(PAGE)
            with contextlib.suppress(mh.OptionError):  # there is no font for it
                if charts:
                    found.plot(place / CHART)
                    written.append(CHART)
    finally:  # the figures are there, whatever cannot be written
        with results_apart() as stdout:
            StdoutLines(stdout).write(str(found))
    say(f"written: {', '.join(str(out / name) for name in written)}")
    if not charts:
        say("for a chart as PNG: pip install 'manyhands[plot]'")
    elif CHART not in written:
        say("no chart as PNG: no font with Chinese characters is installed, such as fonts-noto-cjk")
    return Exit.DONE


@contextlib.contextmanager
def _refusals(out: Path) -> Iterator[None]:
    """What is wrong with the command, with this machine, or with what was compared, in one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in {"numpy", "PIL"}:
            raise
        raise CommandError(NEEDS) from error
    except mh.OptionError as error:
        raise CommandError(str(error)) from error
    except mh.ManyhandsError as error:
        raise UnfinishedError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.strerror or error}: {error.filename or out}") from error


def _check_place(sources: list[Path], out: Path) -> None:
    """Before any picture is made: where the page will go, that it is not among the pictures, and replaces nothing."""
    for source in sources:
        # Not Path.resolve: until Python 3.13 it raises RuntimeError for a link to itself.
        if Path(os.path.realpath(out)).is_relative_to(os.path.realpath(source)):
            raise CommandError(f"--out {out} is in {source}, where the pictures are: name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in out / PAGE, out / CHART:
            if path.is_symlink() or (path.exists() and not path.is_file()) or not may_be_replaced(path):
                raise CommandError(f"{path} is there, and no comparison has written it: name another folder")
    except OSError as error:
        raise CommandError(f"{error.strerror or error}: {error.filename or out}") from error


def make(
    sources: list[Path], out: Path, *, operations: Callable[[], Any], manifest: Path | None, **options: Any
) -> int:
    """Run it, print the summary, and return the exit code."""
    from manyhands.apps import images
    from manyhands.apps.images.planning import passed_over
    from manyhands.apps.images.summary import shown

    with _refusals(out):
        if manifest is not None:
            _check_manifest(manifest, out, dry_run=options["dry_run"])
        summary = images.process(sources, out, operations(), **options)
        found = {"recursive": options["recursive"], "glob": options["glob"]}
        if not summary.done and passed_over(sources, out=out, **found):
            raise CommandError(_none_found(**found))
        if manifest is not None:
            summary.write_manifest(manifest)
    with results_apart() as stdout:
        lines = StdoutLines(stdout)
        for one in summary.done:
            for output in one.outputs if one.status == "planned" else ():
                lines.write(f"{shown(one.source)} -> {shown(output)}")
    say(str(summary))
    if not summary.done:
        say(_none_found(**found))
    return Exit.DONE if summary.ok else Exit.FAILED


def _check_manifest(manifest: Path, out: Path, *, dry_run: bool) -> None:
    """It replaces nothing but what a run before has written."""
    from manyhands.apps.images import state
    from manyhands.apps.images.planning import SUFFIXES

    if dry_run:
        raise CommandError("--dry-run writes nothing, so --manifest does not go with it")
    folder = manifest.absolute().parent
    if manifest.is_dir() or not (folder.is_dir() or folder == out.absolute()):
        raise CommandError(f"--manifest {manifest}: name a file in a folder that is there")
    if Path(os.path.realpath(manifest)).name == state.FILE:
        raise CommandError(f"--manifest {manifest}: outputs are known by that file: name another, such as m.jsonl")
    if manifest.suffix[1:].lower() in SUFFIXES:
        raise CommandError(f"--manifest {manifest} is called as a picture is: name another file, such as m.jsonl")
    try:
        is_other = manifest.is_file() and not _is_manifest(manifest)
        manifest.stat()
    except FileNotFoundError:
        is_other = False
    except OSError as error:  # a link to itself, for one
        raise CommandError(f"--manifest {manifest} cannot be written ({error.strerror}): name another file") from error
    if is_other:
        raise CommandError(f"--manifest {manifest} is there, and is no manifest: name another file, such as m.jsonl")


def _is_manifest(path: Path) -> bool:
    """Of a run before, or empty."""
    with path.open("rb") as file:
        line = file.readline(1 << 20)
    try:
        return not line or {"source", "status", "outputs"} <= json.loads(line).keys()
    except (ValueError, AttributeError, RecursionError):  # the last: of brackets without end
        return False


def _none_found(*, recursive: bool, glob: str | None) -> str:
    told = "no pictures were found" if glob is None else f"no pictures were found whose name matches {glob}"
    return told if recursive else f"{told}; with -r those in the folders below are taken as well"


def steps(
    sizes: Sequence[str],
    filters: Sequence[str],
    each: Sequence[str],
    function: str | None,
    *,
    mode: Mode | None,
    upscale: bool,
    resample: Resample | None,
) -> Any:
    """The operations, or a mapping of them if there are several outputs."""
    from manyhands.apps import images

    chain: list[Any] = [images.parse_filter(text) for text in filters]
    last = [images.Apply(_function(function))] if function else []
    ends = [images.parse_filter(text) for text in ",".join(each).split(",")] if each else [None]
    way, weighing = mode or Mode.STRETCH, resample or Resample.LANCZOS
    resizes: list[images.Resize | None] = [images.Resize(size, way.value, upscale, weighing.value) for size in sizes]
    variants = {}
    for resize in resizes or [None]:
        for end in ends:
            parts = [
                resize.size if resize and len(sizes) > 1 else "",
                end.key.strip(")").replace("(", "") if end else "",
            ]
            every = [*([resize] if resize else []), *chain, *([end] if end else []), *last]
            variants["_".join(filter(None, parts))] = every
    return variants if len(variants) > 1 or each else next(iter(variants.values()))


def _function(target: str) -> Any:
    from manyhands.cli.targets import load_target, parse_address

    return load_target(parse_address(target)).function


def pixels(text: str | None) -> dict[str, int]:
    """A number of pixels, as 89M, if one is given: else the library has its own."""
    return {"max_pixels": parse_count(text, "--max-pixels")} if text is not None else {}


def progress(kind: ProgressKind) -> Any:
    """The progress option of a run whose results are files."""
    return progress_option(kind, results_on_terminal=False)
