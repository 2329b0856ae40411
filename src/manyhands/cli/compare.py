"""`manyhands compare`: its arguments, and what is printed; the measuring is that of `manyhands.compare`."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

import manyhands as mh
from manyhands.cli.calls import fit_call
from manyhands.cli.formats import Call
from manyhands.cli.outputs import Outputs
from manyhands.cli.parameters import NONE
from manyhands.cli.problems import CommandError, Exit
from manyhands.cli.sources import Inputs, choose_source
from manyhands.cli.streams import StdoutLines, results_apart
from manyhands.cli.targets import load_target, parse_address
from manyhands.cli.values import parse_names, parse_several_workers
from manyhands.errors import ManyhandsError
from manyhands.showing import error_text

MOST = 1_000_000  # inputs; a guess: more would be run for hours


class Demo(StrEnum):
    """Ready-made jobs."""

    IO = "io"
    CPU = "cpu"


class Language(StrEnum):
    """Of tables, charts and the verdict."""

    ENGLISH = "en"
    CHINESE = "zh"


_work = partial(Option, rich_help_panel="Work")
_output = partial(Option, rich_help_panel="Output")

TargetText = Annotated[
    str | None,
    Argument(metavar="[TARGET]", help="module:function or file.py:function; not with --demo.", show_default=False),
]
DemoChoice = Annotated[
    Demo | None,
    _work("--demo", help="Ten waiting (io) or ten computing (cpu) tasks; about half a minute.", show_default=False),
]
Functions = Annotated[
    str | None,
    _work(metavar="NAMES", help="Compare functions instead: names in TARGET's file, as b,c, with its own the first."),
]
Strategies = Annotated[
    str | None, _work(metavar="NAMES", help="Of loop, threads, processes and auto; all if not given.")
]
Workers = Annotated[
    str | None, _work("--workers", "-j", metavar="N,...", help="Several are compared. By default one per core.")
]
Rounds = Annotated[int, _work(metavar="N", min=3, help="How often each is measured.")]
Tolerance = Annotated[
    float | None, _work(metavar="X", min=0.0, help="With --functions: how far numbers in results may be apart.")
]
Plot = Annotated[Path | None, _output(metavar="FILE", help="Draw a chart, as out.png.")]
Html = Annotated[Path | None, _output(metavar="FILE", help="Write a page with chart, figures and raw data.")]
AsJson = Annotated[bool, _output("--json", metavar=NONE, help="Print all that was measured as JSON.")]
AsMarkdown = Annotated[bool, _output("--md", metavar=NONE, help="Print Markdown.")]
LanguageChoice = Annotated[Language, _output("--lang", help="English or Chinese.")]


def compare(
    target: str | None,
    inputs: Inputs,
    *,
    call: Call,
    demo: Demo | None,
    functions: str | None,
    strategies: str | None,
    workers: str | None,
    rounds: int,
    tolerance: float | None,
    seed: int | None,
    language: str,
    outputs: Outputs,
) -> Exit:
    """Compare, print and write what was found.

    Raises:
        CommandError: the target, the inputs or the options are wrong, or a file cannot be written.
    """
    outputs.check(language)
    outputs = outputs.anchored()
    if functions is not None and (strategies is not None or workers is not None):
        raise CommandError("--functions runs each in a loop: --strategies and --workers do not go with it")
    if functions is None and tolerance is not None:
        raise CommandError("--tolerance goes with --functions: strategies must give the same results")
    with results_apart() as stdout:
        if demo is not None and (target is not None or inputs.given() or functions is not None):
            raise CommandError("--demo brings its own function and inputs: give nothing else to run")
        func, items, usual = _job(target, inputs, call) if demo is None else _demo(demo)
        listed = items if inputs.files is not None else inputs.items
        outputs.check_inputs([name for name in (inputs.lines, inputs.jsonl, inputs.csv, *listed) if name])
        numbers = parse_several_workers(workers) if workers is not None else usual
        common: dict[str, Any] = {"rounds": rounds, "seed": seed, "language": language}
        names = parse_names(strategies or "loop,threads,processes,auto")
        others = [_sibling(str(target), name, call) for name in parse_names(functions)] if functions is not None else []
        try:
            if functions is not None:
                found: Any = mh.compare_functions([func, *others], items, tolerance=tolerance, **common)
            else:
                found = mh.compare(func, items, strategies=names, workers=numbers, **common)
        except mh.OptionError as error:
            raise CommandError(str(error)) from error
        except ManyhandsError as error:  # a worker died, or something cannot be sent
            raise FailedError(str(error)) from error
        except (Exception, SystemExit) as error:  # the user's own
            notes = "; ".join(getattr(error, "__notes__", []))
            told = f"the function failed: {error_text(error)}{f' ({notes})' if notes else ''}"
            raise FailedError(told, detail=_users_part(error)) from error
        outputs.tell(found, StdoutLines(stdout))
    return Exit.DONE


class FailedError(CommandError):
    """The results differ, or tasks fail: the command was right, and the answer is no."""

    code = Exit.FAILED


def _users_part(error: BaseException) -> str:
    """The traceback without what is ours."""
    here = str(Path(mh.__file__).parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(here)]
    return "".join(traceback.format_list(frames)).rstrip()


Job = tuple[Callable[[Any], Any], list[Any], list[int] | None]  # function, inputs, and the usual numbers of workers


def _job(target: str | None, inputs: Inputs, call: Call) -> Job:
    if target is None:
        raise CommandError("name a function to compare, as file.py:function, or give --demo io or --demo cpu")
    address = parse_address(target)
    source = choose_source(inputs, call)
    func = fit_call(load_target(address).function, call)
    count = source.examine() or 0  # of a pipe, nobody knows
    items = list(islice(source, MOST + 1)) if count <= MOST else []
    if max(count, len(items)) > MOST:
        raise CommandError(
            f"{source.label} holds more than {MOST:,} items, to be run some fifty times: give a part of them"
        )
    if not items:
        raise CommandError(f"{source.label} holds no items: there is nothing to compare")
    return func, items, None


def _sibling(target: str, name: str, call: Call) -> Callable[[Any], Any]:
    address = name if ":" in name else f"{target.rpartition(':')[0]}:{name}"
    return fit_call(load_target(parse_address(address)).function, call)


def _demo(demo: Demo) -> Job:
    from manyhands.comparison import demos

    if demo is Demo.IO:
        return demos.wait, [demos.WAIT_SECONDS] * demos.TASKS, [demos.TASKS]
    return demos.compute, [demos.STEPS] * demos.TASKS, [mh.cpu_count()]
