"""The arguments and options of `manyhands run`, each with its help, as typer wants them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from manyhands.cli.formats import Call as CallShape
from manyhands.cli.options import Backend as BackendName
from manyhands.cli.options import OnError as OnErrorChoice
from manyhands.cli.reporting import ProgressKind
from manyhands.cli.values import parse_workers

NONE = " "  # of a flag, beside which typer would write <bool>
_source = partial(Option, rich_help_panel="Inputs: give exactly one source")
_work = partial(Option, rich_help_panel="Work")
_output = partial(Option, rich_help_panel="Output")

TargetText = Annotated[str, Argument(metavar="TARGET", help="module:function or file.py:function.", show_default=False)]
Items = Annotated[
    list[str] | None,
    Argument(
        metavar="ITEM",
        help="Inputs, each a string (for numbers: --jsonl or --range); after -- if one begins with a dash.",
        show_default=False,
    ),
]

Lines = Annotated[str | None, _source(metavar="FILE", help="Each line is an item; - is stdin.")]
JsonLines = Annotated[str | None, _source(metavar="FILE", help="Each line is a JSON value; - is stdin.")]
Csv = Annotated[
    str | None,
    _source(metavar="FILE", help="Each row is a dict of strings named by the header row; - is stdin."),
]
Files = Annotated[str | None, _source(metavar="'GLOB'", help="Files that match, sorted; ** is any folders.")]
Numbers = Annotated[
    str | None, _source("--range", metavar="A:B[:STEP]", help="Whole numbers from A up to, not including, B.")
]

Call = Annotated[
    CallShape | None,
    _work(help="Call f(item), f(*item) or f(**item); kwargs for --csv, else item.", show_default=False),
]
Workers = Annotated[
    int | None, _work("--workers", "-j", metavar="N", parser=parse_workers, help="auto, the default, is one per core.")
]
Backend = Annotated[BackendName, _work(help="Where the workers come from.")]
Timeout = Annotated[str | None, _work(metavar="TIME", help="For each item: 500ms, 30s, 5m, 2h or seconds.")]
Retries = Annotated[int, _work(metavar="N", min=0, help="Extra attempts for an item that fails.")]
OnError = Annotated[
    OnErrorChoice,
    _work(help="A failing item: record it and go on, stop the run there, or leave it out of the results."),
]
Chunksize = Annotated[
    int | None,
    _work(metavar="N", min=1, help="Items sent together, or more if they take next to nothing; by default measured."),
]
Seed = Annotated[int | None, _work(metavar="N", min=0, help="Makes each item's random numbers repeatable.")]

Out = Annotated[
    Path | None,
    _output(
        metavar="FILE",
        help="Write the results here, each line as it comes; an older FILE is kept as FILE.bak.",
    ),
]
Plain = Annotated[bool, _output("--plain", metavar=NONE, help="Only each result: text as it is, all else as JSON.")]
Progress = Annotated[ProgressKind, _output(help="On stderr: a bar on a terminal, lines, JSON lines, or none.")]
Explain = Annotated[bool, _output("--explain", metavar=NONE, help="Tell at the end what ran the tasks, and why.")]
Report = Annotated[bool, _output("--report", metavar=NONE, help="Tell at the end where the time went.")]
DryRun = Annotated[bool, _output("--dry-run", metavar=NONE, help="Say what would run, and run nothing.")]
AsJson = Annotated[bool, Option("--json", metavar=NONE, help="Print one JSON object.")]
