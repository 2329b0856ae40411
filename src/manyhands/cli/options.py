"""How to run: the options of `manyhands run`, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from manyhands.cli.formats import Call
from manyhands.cli.reporting import ProgressKind


class OnError(StrEnum):
    """What a failing item does to the run."""

    COLLECT = "collect"
    RAISE = "raise"
    SKIP = "skip"


class Backend(StrEnum):
    """Where the workers come from."""

    AUTO = "auto"
    SERIAL = "serial"
    THREADS = "threads"
    PROCESSES = "processes"


@dataclass(frozen=True)
class Options:
    """The options of a run; each has its default here."""

    call: Call = Call.ITEM
    workers: int | None = None
    backend: Backend = Backend.AUTO
    timeout: float | None = None
    retries: int = 0
    on_error: OnError = OnError.COLLECT
    chunksize: int | None = None
    seed: int | None = None
    out: Path | None = None
    plain: bool = False
    progress: ProgressKind = ProgressKind.AUTO
    report: bool = False
    explain: bool = False
