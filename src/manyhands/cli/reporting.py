"""What people and programs are told while a run goes on: progress as lines or as JSON, and the summary."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import manyhands as mh
from manyhands.cli.streams import say
from manyhands.cli.values import show_duration

PLAIN_SECONDS = 2.0  # between two lines for people: a log stays readable
JSON_SECONDS = 0.2  # between two lines for programs: a bar drawn from them looks alive


class ProgressKind(StrEnum):
    """How progress is shown on stderr."""

    AUTO = "auto"
    PLAIN = "plain"
    JSON = "json"
    NONE = "none"


_COLLECTS = "on_error='collect' asks that nothing but a task is lost with it"


def in_options(text: str) -> str:
    """What the library tells a program, as it is said to whoever typed a command.

    >>> in_options("backend='threads', workers=32 would take about 1/16 of the call's time.")
    "--backend threads --workers 32 would take about 1/16 of the call's time."
    """
    text = text.replace(_COLLECTS, "an item that fails, or ends its process, is not to end the others")
    text = text.replace("a plain loop may be", "a plain loop (--backend serial) may be")
    return re.sub(r"\b(backend|workers)=('?)(\w+)\2(,(?= \w+=))?", r"--\1 \3", text)


@dataclass
class Tally:
    """What has come out of a run so far."""

    done: int = 0  # the failed ones, too
    failed: int = 0
    first_failure: str = ""


class Throttled:
    """An observer of progress that writes at most one line in so many seconds."""

    def __init__(self, write: Callable[[mh.Progress], str], seconds: float) -> None:
        self._write = write
        self._seconds = seconds
        self._next = seconds

    def __call__(self, progress: mh.Progress) -> None:
        """Write a line if it is time for one."""
        if progress.elapsed >= self._next:
            self._next = progress.elapsed + self._seconds
            say(self._write(progress))


def progress_option(kind: ProgressKind, *, results_on_terminal: bool) -> bool | Throttled | None:
    """Return the `progress` option of a run; None lets manyhands decide.

    Results that scroll by on the terminal show progress themselves; a bar between them would only flicker.
    """
    if kind is ProgressKind.PLAIN:
        return Throttled(plain_progress, PLAIN_SECONDS)
    if kind is ProgressKind.JSON:
        return Throttled(json_progress, JSON_SECONDS)
    return False if kind is ProgressKind.NONE or results_on_terminal else None


def plain_progress(progress: mh.Progress) -> str:
    """Write progress for people: `120/1000 items, 2 failed, 35.1/s, 25.1 s left`."""
    total = "" if progress.total is None else f"/{progress.total}"
    parts = [f"{progress.done}{total} items"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    parts.append(f"{progress.rate:.1f}/s")
    if progress.remaining is not None:
        parts.append(f"{show_duration(progress.remaining)} left")
    return ", ".join(parts)


def json_progress(progress: mh.Progress) -> str:
    """Write progress as one JSON object."""
    names = ("desc", "done", "total", "failed", "elapsed", "rate", "remaining")
    return json.dumps({"event": "progress"} | {name: getattr(progress, name) for name in names})


def summary(kind: ProgressKind, tally: Tally, seconds: float, ending: str) -> str:
    """Write the last line: what was done, how long it took, and how it ended if not as planned."""
    if kind is ProgressKind.JSON:
        counts = {"event": "summary", "done": tally.done, "failed": tally.failed}
        return json.dumps(counts | {"elapsed": seconds, "ending": ending or "complete"})
    failed = f", {tally.failed} of them failed," if tally.failed else ""
    why = f"; {ending}" if ending else ""
    return f"{tally.done} done{failed} in {show_duration(seconds)}{why}"
