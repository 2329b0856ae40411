"""`manyhands synth`: its commands and arguments; the work is that of `manyhands.apps.synth`."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer import Argument, Option
from typer.core import TyperCommand

import manyhands as mh
from manyhands.cli import parameters
from manyhands.cli.parameters import NONE
from manyhands.cli.problems import CommandError, Exit, UnfinishedError
from manyhands.cli.reporting import ProgressKind, progress_option
from manyhands.cli.streams import STDOUT, ReaderGone, StdoutLines, say

if TYPE_CHECKING:
    from manyhands.apps import synth

Action = Callable[[], int | None]

GO_ON = "What was made is whole; `{}` goes on with the rest."
ANOTHER = "What was made is whole. A mended function makes other pictures: name a new folder for them."

SAME, OTHER = "has the same bytes", "has OTHER bytes"
MISSING = "is missing: `manyhands synth resume` makes it"

NEEDS = "manyhands synth needs numpy, Pillow and OpenCV: pip install numpy Pillow opencv-python-headless"

app = typer.Typer(rich_markup_mode="rich")

_inputs = partial(Option, rich_help_panel="Inputs")
_output = partial(Option, rich_help_panel="Output")
_change = partial(Option, rich_help_panel="What is drawn for each object, from a range LOW:HIGH")
_rule = partial(Option, rich_help_panel="Where objects may lie")

Text = str | None
Whole = int | None
Share = float | None

Folder = Annotated[Path, Argument(metavar="DATASET", help="The dataset's folder.", show_default=False)]
Augment = Annotated[
    Text, Option(metavar="TARGET", help="file.py:function (image, mask, rng) -> (image, mask), for each object.")
]
ConfigFile = Annotated[Path | None, _inputs("--config", metavar="FILE", help="Settings as TOML; options override it.")]
Preset = Annotated[Text, _inputs(metavar="NAME", help="tutorial: as the script of many tutorials does it.")]
Objects = Annotated[Text, _inputs(metavar="DIR", help="A folder for each class, with pictures of single objects.")]
Masks = Annotated[Text, _inputs(metavar="DIR", help="The same pictures as masks; else their alpha channel.")]
Backgrounds = Annotated[Text, _inputs(metavar="DIR", help="Pictures to put them on.")]
Distractors = Annotated[
    Text, _inputs(metavar="DIR", help="Cut-outs with an alpha channel, pasted, too, and not labelled.")
]
Times = Annotated[Whole, _inputs(metavar="N", min=1, help="Every object on every background so often; 1 if not given.")]
Count = Annotated[Whole, _inputs(metavar="N", min=1, help="So many of these pictures, each input as often.")]
Seed = Annotated[Whole, _inputs(metavar="N", min=0, help="The same seed gives the same bytes; 0 if not given.")]
Split = Annotated[
    Text,
    _inputs(
        metavar="A/B/C", help="Shares of the inputs for train, val and test, as 0.8/0.1/0.1; all in train if not given."
    ),
]


def _new_folder(text: str) -> Path:
    if not text:
        raise CommandError("--out '': name a folder")
    return Path(text)


Out = Annotated[
    Path,
    _output("--out", "-o", metavar="DIR", parser=_new_folder, help="The dataset's folder.", show_default=False),
]
Formats = Annotated[Text, _output(metavar="NAMES", help="Of the labels; voc,yolo,coco if not given.")]
Size = Annotated[Text, _output(metavar="WxH", help="Of the pictures; else each is as its background.")]
Preview = Annotated[
    Text, _output(metavar="all|N|none", help="Second pictures with the boxes drawn; none if not given.")
]
ImageFormat = Annotated[Text, _output(metavar="SUFFIX", help="jpg, if not given, or png.")]
JpegQuality = Annotated[Whole, _output(metavar="N", help="1 to 100; 95 if not given.")]

PerImage = Annotated[Text, _rule(metavar="LOW:HIGH", help="Labelled objects in a picture; 1 if not given.")]
DistractorsPer = Annotated[Text, _rule(metavar="LOW:HIGH", help="Distractors in a picture; 0:2 if not given.")]
MaxOverlap = Annotated[Share, _rule(metavar="SHARE", help="Of an object, that another may cover; 0.3 if not given.")]
MinVisible = Annotated[Share, _rule(metavar="SHARE", help="Of an object, that is seen at least; 0.4 if not given.")]
MaxTruncation = Annotated[
    Share, _rule(metavar="SHARE", help="Of an object, that is beyond the edges at most; 0.25 if not given.")
]
Aspect = Annotated[Text, _rule(metavar="LOW:HIGH", help="Width through height of boxes; 0.2:5 if not given.")]
MinSize = Annotated[Whole, _rule(metavar="PIXELS", help="Of the shorter side of boxes; 8 if not given.")]
Attempts = Annotated[Whole, _rule(metavar="N", min=1, help="Places that are tried for an object; 20 if not given.")]
Quadrants = Annotated[bool | None, _rule("--quadrants/--no-quadrants", metavar=NONE, help="Backgrounds of four parts.")]

Scale = Annotated[Text, _change(metavar="LOW:HIGH", help="Times its own size; 0.5:2 if not given.")]
Rotate = Annotated[
    Text, _change(metavar="LOW:HIGH", help="Degrees, as -30:30; 5 is always 5; by its name alone -30:30; else 0.")
]
Shear = Annotated[
    Text, _change(metavar="LOW:HIGH", help="Degrees, as -30:30; 5 is always 5; by its name alone -15:15; else 0.")
]
Perspective = Annotated[
    Share, _change(metavar="SHARE", help="How far a corner moves at most; by its name alone 0.1; else 0.")
]
Flip = Annotated[bool | None, _change("--flip/--no-flip", metavar=NONE, help="Mirror half of them.")]
Brightness = Annotated[
    Text,
    _change(metavar="LOW:HIGH", help="A factor; of the background, too; by its name alone 0.6:1.4; else 0.7:1.3."),
]
Blur = Annotated[
    Text, _change(metavar="LOW:HIGH", help="Standard deviation in pixels; by its name alone 0:2; else 0:1.")
]
Blend = Annotated[Text, _change(metavar="NAMES", help="Any of hard,gaussian,poisson; hard if not given.")]
Interpolation = Annotated[Text, _change(metavar="NAME", help="smooth, if not given, or nearest.")]

Workers = parameters.Workers
Progress = parameters.Progress


@app.callback(invoke_without_command=True)
def _synth(*, context: typer.Context) -> None:
    """Training sets for object detection: cut-outs pasted on backgrounds, labelled exactly, on all cores."""
    if context.invoked_subcommand is None:
        print(context.get_help())


# What is drawn if an option of a change is given by its name alone.
USUAL = {"--rotate": "-30:30", "--shear": "-15:15", "--perspective": "0.1", "--brightness": "0.6:1.4", "--blur": "0:2"}


class _Run(TyperCommand):
    """A change may be asked for without saying how much of it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _with_usual(args))


def _with_usual(words: list[str]) -> list[str]:
    """Each that is followed by another option, or by nothing, gets what is usual.

    >>> _with_usual(["--shear", "--blur", "1", "--rotate", "-5:5", "--perspective"])
    ['--shear', '-15:15', '--blur', '1', '--rotate', '-5:5', '--perspective', '0.1']
    """
    found = []
    for word, following in zip(words, [*words, "--"][1:], strict=True):
        found.append(word)
        if word in USUAL and re.match("--|-[A-Za-z]", following):
            found.append(USUAL[word])
    return found


@app.command("run", cls=_Run)
def _run(
    *,
    out: Out,
    config: ConfigFile = None,
    preset: Preset = None,
    objects: Objects = None,
    masks: Masks = None,
    backgrounds: Backgrounds = None,
    distractors: Distractors = None,
    times: Times = None,
    count: Count = None,
    seed: Seed = None,
    split: Split = None,
    formats: Formats = None,
    size: Size = None,
    preview: Preview = None,
    image_format: ImageFormat = None,
    jpeg_quality: JpegQuality = None,
    objects_per_image: PerImage = None,
    distractors_per_image: DistractorsPer = None,
    max_overlap: MaxOverlap = None,
    min_visible: MinVisible = None,
    max_truncation: MaxTruncation = None,
    aspect: Aspect = None,
    min_size: MinSize = None,
    attempts: Attempts = None,
    quadrants: Quadrants = None,
    scale: Scale = None,
    rotate: Rotate = None,
    shear: Shear = None,
    perspective: Perspective = None,
    flip: Flip = None,
    brightness: Brightness = None,
    blur: Blur = None,
    blend: Blend = None,
    interpolation: Interpolation = None,
    augment: Augment = None,
    workers: Workers = None,
    progress: Progress = ProgressKind.AUTO,
) -> Action:
    """Make a dataset, or go on with one of the same settings and inputs.

    Exit codes: 0 done, 1 it could not be finished, 2 wrong command or inputs, 130 interrupted.

    Example: manyhands synth run --objects photo --backgrounds back --times 3 --out ds --seed 7
    """
    given = {
        "preset": preset, "objects": objects, "masks": masks, "backgrounds": backgrounds, "distractors": distractors,
        "times": times, "count": count, "seed": seed, "split": _split(split), "formats": _names(formats),
        "size": _size(size), "preview": _preview(preview), "image_format": image_format, "jpeg_quality": jpeg_quality,
        "max_overlap": max_overlap, "min_visible": min_visible, "max_truncation": max_truncation,
        "min_size": min_size, "attempts": attempts, "quadrants": quadrants, "perspective": perspective, "flip": flip,
        "blend": _names(blend), "interpolation": interpolation,
    }  # fmt: skip
    ranges = {
        "objects_per_image": objects_per_image, "distractors_per_image": distractors_per_image, "aspect": aspect,
        "scale": scale, "rotate": rotate, "shear": shear, "brightness": brightness, "blur": blur,
    }  # fmt: skip
    given |= {name: _pair(name, text) for name, text in ranges.items()}

    def run() -> int:
        from manyhands.apps import synth

        settings = synth.read_settings(config) if config is not None else {}
        settings |= {name: value for name, value in given.items() if value is not None}
        try:
            wanted = synth.from_mapping(settings, augment=_function(augment))
        except mh.OptionError as error:
            raise CommandError(_as_typed(str(error), given)) from error
        return _made(synth.generate(wanted, out, workers=workers, progress=_shown(progress)))

    return partial(_ended_well, run, begun=_Begun(out, augment))


@app.command("resume")
def _resume(
    *, dataset: Folder, augment: Augment = None, workers: Workers = None, progress: Progress = ProgressKind.AUTO
) -> Action:
    """Go on with a dataset that was interrupted, by the settings that are kept in it."""

    def run() -> int:
        from manyhands.apps import synth

        options: dict[str, Any] = {"workers": workers, "progress": _shown(progress)}
        return _made(synth.resume(dataset, augment=_function(augment), **options))

    return partial(_ended_well, run, begun=_Begun(dataset, augment))


@app.command("preview")
def _preview_sheet(
    *,
    config: Annotated[Path, Argument(metavar="CONFIG", help="Settings as TOML.", show_default=False)],
    count: Annotated[int, Option("-n", metavar="N", min=1, help="Samples; 400 at most.")] = 16,
    out: Annotated[Path, Option("--out", "-o", metavar="FILE", help="A .jpg or .png file.")] = Path("preview.jpg"),
    augment: Augment = None,
    workers: Workers = None,
) -> Action:
    """Draw one contact sheet of samples with their boxes, before the hours are spent."""

    def run() -> int:
        from manyhands.apps import synth

        settings = synth.load(config, augment=_function(augment))
        drawn = synth.preview(settings, out, count=count, workers=workers)
        say(f"{drawn} samples are drawn in {out}")
        return Exit.DONE

    return partial(_ended_well, run)


@app.command("verify")
def _verify(
    *, dataset: Folder, augment: Augment = None, workers: Workers = None, progress: Progress = ProgressKind.AUTO
) -> Action:
    """Read a dataset back with pycocotools, globox and supervision, and compare every box, mask and pixel.

    Exit codes: 0 all is right, 1 something is wrong, or the pictures cannot be made again, 2 wrong command.
    """

    def run() -> int:
        from manyhands.apps import synth

        found = synth.verify(dataset, augment=_function(augment), workers=workers, progress=_shown(progress))
        try:
            StdoutLines(STDOUT).write(str(found))  # names come out as they are, whatever stdout is set to
        except ReaderGone:
            return Exit.READER_GONE
        return Exit.DONE if found.ok else Exit.FAILED

    return partial(_ended_well, run)


@app.command("report")
def _report(
    *,
    dataset: Folder,
    out: Annotated[
        Path | None, Option("--out", "-o", metavar="FILE", help="The page; else report.html in the folder.")
    ] = None,
) -> Action:
    """Write one HTML page about a dataset: pictures with boxes, and what is in them."""

    def run() -> int:
        from manyhands.apps import synth

        say(f"written: {synth.report(dataset, out)}")
        return Exit.DONE

    return partial(_ended_well, run)


@app.command("replay")
def _replay(
    *,
    dataset: Folder,
    sample: Annotated[str, Argument(metavar="ID", help="The name of a picture, without its suffix.")],
    out: Annotated[Path | None, Option("--out", "-o", metavar="FILE", help="Where the picture goes.")] = None,
    augment: Augment = None,
) -> Action:
    """Make one sample again, from the inputs, the seed and its name alone, and compare it with its file.

    Exit codes: 0 the same bytes, 1 others, or it is missing, 2 wrong command.
    """

    def run() -> int:
        from manyhands.apps import synth

        folder = dataset.absolute()  # the function may change folders
        same = synth.replay(dataset, sample, out, augment=_function(augment))
        is_there = any(folder.glob(f"images/*/{Path(sample).stem}.*"))
        say(f"the file in the dataset {SAME if same else OTHER if is_there else MISSING}")
        if out is not None:
            say(f"written: {out}")
        return Exit.DONE if same else Exit.FAILED

    return partial(_ended_well, run)


@app.command("export")
def _export(
    *,
    dataset: Folder,
    to: Annotated[str, Option("--to", metavar="FORMAT", help="voc, yolo or coco.", show_default=False)],
) -> Action:
    """Write a dataset's labels in one more format, beside the others."""

    def run() -> int:
        from manyhands.apps import synth

        say("written: " + ", ".join(map(str, synth.export(dataset, to))))
        return Exit.DONE

    return partial(_ended_well, run)


# --- how it ends ------------------------------------------------------------------------------------------------


class _Begun(NamedTuple):
    """A dataset that one may go on with, and the function that it is made with."""

    folder: Path
    augment: str | None

    def command(self) -> str:
        """To go on with it.

        >>> _Begun(Path("my ds"), "mine.py:stripes").command()
        "manyhands synth resume 'my ds' --augment mine.py:stripes"
        """
        augment = [] if self.augment is None else ["--augment", self.augment]
        return shlex.join(["manyhands", "synth", "resume", str(self.folder), *augment])


def _ended_well(run: Callable[[], int], begun: _Begun | None = None) -> int:
    """Run it; whatever is wrong is one message, with a hint if a dataset was ``begun`` that one may go on with."""
    try:
        with _calls_as_commands(begun):
            return run()
    except BrokenPipeError:
        raise
    except (FileNotFoundError, IsADirectoryError) as error:
        if error.filename is None:  # of os.getcwd
            raise CommandError("the folder you are in was removed: change to another one") from error
        raise CommandError(f"{error.strerror}: {error.filename}") from error
    except ModuleNotFoundError as error:
        if error.name not in {"numpy", "PIL", "cv2"}:
            raise
        raise CommandError(NEEDS) from error
    except mh.OptionError as error:
        raise CommandError(str(error)) from error
    except mh.ManyhandsError as error:
        raise UnfinishedError(f"{error}{_hint(error, begun)}") from error
    except OSError as error:
        raise UnfinishedError(
            f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        ) from error


@contextlib.contextmanager
def _calls_as_commands(begun: _Begun | None) -> Iterator[None]:
    """If it is interrupted, the library notes its own call that goes on."""
    try:
        yield
    except KeyboardInterrupt as error:
        if begun is not None:
            error.__notes__ = [_as_command(note, begun.command()) for note in getattr(error, "__notes__", [])]
        raise


def _as_command(note: str, command: str) -> str:
    """What the library says to call is a command here.

    >>> _as_command("1 of 2; `synth.resume('ds')` goes on", "manyhands synth resume ds")
    '1 of 2; `manyhands synth resume ds` goes on'
    """
    return re.sub(r"`synth\.resume\(.*\)`", lambda _: f"`{command}`", note)


def _hint(error: Exception, begun: _Begun | None) -> str:
    from manyhands.apps.synth import dataset, problems

    if begun is None or not (begun.folder / dataset.ABOUT).exists():
        return ""
    return f"\n{ANOTHER if isinstance(error, problems.AugmentFailed) else GO_ON.format(begun.command())}"


def _made(summary: synth.Summary) -> int:
    say(str(summary))
    return Exit.DONE if summary.written else Exit.FAILED


def _as_typed(told: str, given: dict[str, Any]) -> str:
    """A setting that came as an option is called by the option's name.

    >>> _as_typed("max_overlap takes a share", {"max_overlap": 7}), _as_typed("seed takes ...", {"seed": None})
    ('--max-overlap takes a share', 'seed takes ...')
    """
    name, space, rest = told.partition(" ")
    return f"{_option(name)}{space}{rest}" if given.get(name) is not None else told


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


# --- small notations --------------------------------------------------------------------------------------------


def _pair(name: str, text: str | None) -> tuple[float, float] | None:
    """A range, as 0.5:2, or one number.

    >>> _pair("scale", "0.5:2"), _pair("shear", "-30:30"), _pair("blur", "3")
    ((0.5, 2.0), (-30.0, 30.0), (3.0, 3.0))
    """
    if text is None:
        return None
    low, colon, high = text.partition(":")
    try:
        return float(low), float(high if colon else low)
    except ValueError:
        raise CommandError(f"{_option(name)} {text!r}: write two numbers as 0.5:2, or one") from None


def _split(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in re.split("[/:,]", text))
    except ValueError:
        raise CommandError(f"--split {text!r}: write shares as 0.8/0.1/0.1") from None


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(","))


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text.strip(), re.ASCII)
    if found is None:
        raise CommandError(f"--size {text!r}: write WIDTHxHEIGHT, as 1280x720")
    return int(found[1]), int(found[2])


def _preview(text: str | None) -> int | str | None:
    if text is None or text in {"all", "none"}:
        return text
    if not re.fullmatch(r"\d{1,12}", text, re.ASCII):
        raise CommandError(f"--preview {text!r}: write all, none, or a number")
    return int(text)


def _function(target: str | None) -> Any:
    from manyhands.cli.targets import load_target, parse_address

    return None if target is None else load_target(parse_address(target)).function


def _shown(kind: ProgressKind) -> Any:
    return progress_option(kind, results_on_terminal=False)
