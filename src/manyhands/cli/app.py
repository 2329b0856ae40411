"""The commands.

Typer only parses here: a command returns what is to be done, and it is done after typer has returned. So
Ctrl-C and closed pipes come to this package as they are, and mean the same with every version of typer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import typer

import manyhands as mh
from manyhands.cli import compare, images, layout, parameters, synth
from manyhands.cli.formats import Call
from manyhands.cli.options import Backend, OnError, Options
from manyhands.cli.outputs import Outputs
from manyhands.cli.problems import CommandError, Exit
from manyhands.cli.reporting import ProgressKind
from manyhands.cli.running import run
from manyhands.cli.sources import Inputs
from manyhands.cli.streams import STDOUT, ReaderGone, say
from manyhands.cli.values import parse_duration, parse_names

Action = Callable[[], int | None]
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EIO}

# The base of every complaint about arguments; typer names only this subclass of it in public.
UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")


def execute(arguments: Sequence[str]) -> int:
    """Parse the arguments, do what they say and return the exit code."""
    try:
        code = _parse_and_do(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except CommandError as error:
        if error.detail:
            say(error.detail)
        say(f"manyhands: {error}")
        return error.code
    except UsageError as error:
        say(f"manyhands: {explain_usage(error)}")
        return Exit.USAGE
    except (BrokenPipeError, ReaderGone):
        _drop_what_is_buffered()
        return Exit.READER_GONE
    except OSError as error:
        if error.filename is not None or error.errno not in {*NO_ROOM, errno.ENOENT}:
            raise
        if error.errno == errno.ENOENT:  # of a path that is not absolute
            say("manyhands: the folder that this was started in is not there any more: go to another")
        else:
            _drop_what_is_buffered()
            say(f"manyhands: cannot write to stdout: {error.strerror}")
        return Exit.USAGE


def _drop_what_is_buffered() -> None:
    """It has nowhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)


def _parse_and_do(arguments: Sequence[str]) -> int:
    command = typer.main.get_command(app)
    with layout.laid_out(command) if "--help" in arguments else contextlib.nullcontext():
        action = command.main(list(arguments), prog_name="manyhands", standalone_mode=False)
    return (action() if callable(action) else action) or Exit.DONE


def explain_usage(error: Any) -> str:
    """Put a complaint of typer into one line with a hint."""
    message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
    message = message.replace("Input should be", "it should be").replace(", unable to parse string as an integer", "")
    option = str(getattr(error, "option_name", ""))
    if option[1:2].isdigit():
        return f"{message}: an ITEM that begins with a dash goes after `--`"
    command = error.ctx.command_path if error.ctx else "manyhands"
    return f"{message} (see {command} --help)"


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"manyhands {mh.__version__}")
        raise typer.Exit


ShowVersion = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
]


@app.callback(invoke_without_command=True)
def _manyhands(*, context: typer.Context, version: ShowVersion = False) -> None:  # noqa: ARG001 - its callback acts
    """Parallel Python that never hangs."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("run")
def _run(
    *,
    target: parameters.TargetText,
    items: parameters.Items = None,
    lines: parameters.Lines = None,
    jsonl: parameters.JsonLines = None,
    csv: parameters.Csv = None,
    files: parameters.Files = None,
    numbers: parameters.Numbers = None,
    call: parameters.Call = None,
    workers: parameters.Workers = None,
    backend: parameters.Backend = Backend.AUTO,
    timeout: parameters.Timeout = None,
    retries: parameters.Retries = 0,
    on_error: parameters.OnError = OnError.COLLECT,
    chunksize: parameters.Chunksize = None,
    seed: parameters.Seed = None,
    out: parameters.Out = None,
    plain: parameters.Plain = False,
    progress: parameters.Progress = ProgressKind.AUTO,
    report: parameters.Report = False,
    explain: parameters.Explain = False,
    dry_run: parameters.DryRun = False,
) -> Action:
    """Call a function on many inputs, in parallel.

    Results are JSON lines on stdout, in the order of the inputs:

    {"index": 0, "input": "a.png", "ok": true, "result": 3}

    {"index": 1, "input": "b.png", "ok": false, "error": {"type": ..., "message": ..., "traceback": ...}}

    A result that JSON cannot hold has "repr" in place of "result". The function's own prints go to stderr.

    Exit codes: 0 all done, 1 some items failed, 2 wrong command or input, 130 interrupted.

    Example: manyhands run thumbs.py:make --files 'photos/**/*.jpg' --timeout 30s --out done.jsonl
    """
    inputs = Inputs(items or (), lines, jsonl, csv, files, numbers)
    options = Options(
        call=call or (Call.KWARGS if csv is not None else Call.ITEM),
        workers=workers,
        backend=backend,
        timeout=None if timeout is None else parse_duration(timeout),
        retries=retries,
        on_error=on_error,
        chunksize=chunksize,
        seed=seed,
        out=out,
        plain=plain,
        progress=progress,
        report=report,
        explain=explain,
    )
    if dry_run:
        from manyhands.cli.rehearsal import rehearse

        return partial(rehearse, target, inputs, options)
    return partial(run, target, inputs, options)


@app.command("compare")
def _compare(
    *,
    target: compare.TargetText = None,
    items: parameters.Items = None,
    lines: parameters.Lines = None,
    jsonl: parameters.JsonLines = None,
    csv: parameters.Csv = None,
    files: parameters.Files = None,
    numbers: parameters.Numbers = None,
    demo: compare.DemoChoice = None,
    functions: compare.Functions = None,
    strategies: compare.Strategies = None,
    workers: compare.Workers = None,
    rounds: compare.Rounds = 7,
    call: parameters.Call = None,
    tolerance: compare.Tolerance = None,
    seed: parameters.Seed = None,
    plot: compare.Plot = None,
    html: compare.Html = None,
    as_json: compare.AsJson = False,
    as_markdown: compare.AsMarkdown = False,
    lang: compare.LanguageChoice = compare.Language.ENGLISH,
) -> Action:
    """Say whether a job is quicker as a loop, in threads or in processes, by how much, and how sure that is.

    Every way must first give the same results. Then all are run in turns, as often as --rounds says, without workers
    (cold) and with those that are there (warm). Give a part of your inputs: all are run some fifty times.

    Exit codes: 0 compared, 1 the results differ or the function fails, 2 wrong command or input, 130 interrupted.

    Example: manyhands compare thumbs.py:make --files 'photos/*.jpg' -j 1,2,4 --plot out.png --html out.html
    """
    inputs = Inputs(items or (), lines, jsonl, csv, files, numbers)
    return partial(
        compare.compare,
        target,
        inputs,
        call=call or (Call.KWARGS if csv is not None else Call.ITEM),
        demo=demo,
        functions=functions,
        strategies=strategies,
        workers=workers,
        rounds=rounds,
        tolerance=tolerance,
        seed=seed,
        language=lang.value,
        outputs=Outputs(plot, html, as_json, as_markdown),
    )


@app.command("images")
def _images(
    *,
    sources: images.Sources,
    out: images.Out,
    recursive: images.Recursive = False,
    glob: images.Glob = None,
    name: images.Name = None,
    on_conflict: images.Conflict = images.OnConflict.SKIP,
    out_inside: images.OutInside = False,
    again: images.Again = False,
    manifest: images.Manifest = None,
    dry_run: images.DryRun = False,
    resize: images.Resize = None,
    mode: images.ModeChoice = None,
    no_upscale: images.NoUpscale = False,
    resample: images.ResampleChoice = None,
    filter_: Annotated[images.Filter, images.FILTER] = None,
    each_filter: Annotated[images.Filter, images.EACH_FILTER] = None,
    apply: images.Apply = None,
    format_: Annotated[images.Format, images.FORMAT] = None,
    quality: images.Quality = 90,
    keep: images.Keep = None,
    orient: images.Orient = True,
    background: images.Background = "white",
    max_pixels: images.MaxPixels = None,
    on_truncated: images.Truncated = images.OnTruncated.FAIL,
    frames: images.FramesChoice = images.Frames.FIRST,
    workers: parameters.Workers = None,
    progress: parameters.Progress = ProgressKind.AUTO,
    compare_: Annotated[bool, images.COMPARE] = False,
    rounds: images.Rounds = None,
    lang: compare.LanguageChoice = compare.Language.ENGLISH,
) -> Action:
    """Resize, filter and convert folders of pictures, on all cores.

    A second run only makes what is missing, or stale since a source or the command has changed. A picture that cannot
    be used is named with the reason, and the others go on.

    Filters: blur, edges, emboss, sharpen, contour, detail, smooth, smooth_more. A number with blur and sharpen, as in
    blur(5), is a radius in pixels (without it: a fixed kernel of 5 x 5); with the others how much of the
    effect, 0 to 1.

    Exit codes: 0 all done, 1 some pictures failed, 2 wrong command, or nothing can be written, or no picture is among
    the files that are there, 130 interrupted.

    Example: manyhands images photos -o small -r --resize 200x200 --mode cover --format jpg
    """
    reading: dict[str, Any] = {
        "operations": partial(
            images.steps,
            resize or (),
            filter_ or (),
            each_filter or (),
            apply,
            mode=mode,
            upscale=not no_upscale,
            resample=resample,
        ),
        "recursive": recursive,
        "glob": glob,
        "name": name,
        "format": format_,
        "quality": quality,
        "keep": parse_names(keep) if keep else (),
        "orient": orient,
        "background": background,
        "on_truncated": on_truncated.value,
        "frames": frames.value,
        "workers": workers,
        **images.pixels(max_pixels),
    }
    if not resize:
        _refuse(
            "{} says how a picture comes to a size, so it goes with --resize only",
            {"--mode": mode is not None, "--no-upscale": no_upscale, "--resample": resample is not None},
        )
    if compare_:
        _refuse(
            "--compare makes no pictures, so {} does not go with it",
            {
                "--dry-run": dry_run,
                "--again": again,
                "--manifest": manifest is not None,
                "--out-inside": out_inside,
                "--on-conflict": on_conflict is not images.OnConflict.SKIP,
                "--progress plain or json": progress in {ProgressKind.PLAIN, ProgressKind.JSON},
            },
        )
        return partial(images.compare, sources, out, rounds=rounds, language=lang.value, progress=progress, **reading)
    _refuse(
        "{} goes with --compare only", {"--rounds": rounds is not None, "--lang": lang is not compare.Language.ENGLISH}
    )
    return partial(
        images.make,
        sources,
        out,
        manifest=manifest,
        on_conflict=on_conflict.value,
        out_inside=out_inside,
        again=again,
        dry_run=dry_run,
        progress=images.progress(progress),
        **reading,
    )


def _refuse(why: str, given: Mapping[str, bool]) -> None:
    """Complain of the first of these options that is given; it stands where ``why`` has braces."""
    if wrong := next((option for option, is_given in given.items() if is_given), None):
        raise typer.BadParameter(why.format(wrong))


app.add_typer(synth.app, name="synth")


@app.command("doctor")
def _doctor(*, as_json: parameters.AsJson = False) -> Action:
    """Look at this machine and this installation, and say what is wrong and how to mend it.

    Exit codes: 0 all that is needed works, 1 something needed is broken.
    """
    from manyhands.cli.doctor import examine

    return partial(examine, as_json=as_json)
