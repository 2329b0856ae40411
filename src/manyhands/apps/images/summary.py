"""What a run has done."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from manyhands.apps import files

LOSSES = ("16 bit became", "the first of", "what is transparent", "what is half", "damaged", "its ")  # notes of these
SHOWN = 5  # failures of an operation with the same error
_OF_ONE = re.compile(r"(\(\d+(?:, ?\d+)*,?\)|(?<![\w.])(?<!line )\d+\b)")  # of one picture: a shape, a number


@dataclass(slots=True)
class Done:
    """One source: what became of it."""

    source: str
    status: str  # "written", "up to date", "skipped", "planned", "failed"
    outputs: list[str] = field(default_factory=list)
    kind: str = ""  # of failure: one of those in problems, or "failed" for whatever else went wrong
    reason: str = ""
    width: int = 0
    height: int = 0
    notes: list[str] = field(default_factory=list)  # what was converted
    decode: float = 0.0  # seconds
    operations: float = 0.0
    encode: float = 0.0
    bytes: int = 0  # written

    def note(self, notes: Iterable[str]) -> None:
        """Once each."""
        self.notes += [note for note in notes if note not in self.notes]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run has done: every source once. ``seconds`` by the clock."""

    done: tuple[Done, ...]
    seconds: float
    workers: int

    def count(self, status: str) -> int:
        """Sources that were ``written``, ``up to date``, ``skipped``, ``planned`` or ``failed``."""
        return sum(one.status == status for one in self.done)

    @property
    def failed(self) -> list[Done]:
        """Those that failed, each with its reason."""
        return [one for one in self.done if one.status == "failed"]

    @property
    def ok(self) -> bool:
        """Nothing has failed."""
        return not self.failed

    def __str__(self) -> str:
        written = [one for one in self.done if one.status == "written"]
        outputs = sum(len(one.outputs) for one in written)
        planned = [one for one in self.done if one.status == "planned"]
        would = f"{_number(sum(len(one.outputs) for one in planned), 'file')} would be written"
        made = (
            f"{_number(outputs, 'file')} written"
            if outputs == len(written)
            else f"{len(written)} made into {outputs} files"
        )
        what = would if planned else f"{made} in {self.seconds:.1f} s"
        lines = [f"{_number(len(self.done), 'picture')}: {what}"]
        others = [f"{self.count(status)} {status}" for status in ("up to date", "skipped", "failed")]
        lines[0] += "".join(f", {text}" for text in others if not text.startswith("0 "))
        if written and self.seconds > 0:
            pixels = sum(one.width * one.height for one in written) / 1e6
            lines.append(
                f"{len(written) / self.seconds:.1f} pictures/s, {pixels / self.seconds:.1f} Mpx/s with "
                f"{_number(self.workers, 'worker')}; decoding {self._share('decode')}, operations "
                f"{self._share('operations')}, encoding {self._share('encode')}"
            )
        lines += _losses(written)
        if self.count("skipped"):
            first = next(one for one in self.done if one.status == "skipped")
            more = ", ..." if self.count("skipped") > 1 else ""
            lines.append(
                f"skipped, since outputs are there that are not theirs, or were changed since (see --on-conflict): "
                f"{shown(first.source)}{more}"
            )
        if failed := self.failed:
            kinds = Counter(one.kind for one in failed)
            lines.append("failed: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
            lines += _named(failed)
        return "\n".join(lines)

    def _share(self, step: str) -> str:
        total = sum(one.decode + one.operations + one.encode for one in self.done)
        own = sum(getattr(one, step) for one in self.done)
        return f"{own:.1f} s ({own / total if total else 0:.0%})"

    def write_manifest(self, path: Path) -> None:
        """One JSON object a source, in the order of the sources."""
        text = "".join(json.dumps(_plain(one)) + "\n" for one in self.done)
        if path.exists() and not path.is_file():  # a pipe, a device
            path.write_text(text)
            return
        with files.whole(Path(os.path.realpath(path))) as unfinished:
            unfinished.write_text(text)


def _losses(written: list[Done]) -> list[str]:
    """What is not in the outputs, though it was in the pictures: one would not see it at once."""
    lost = Counter(re.sub(r"\d+ frames", "several frames", note) for one in written for note in one.notes)
    told = [f"{note} ({_number(count, 'picture')})" for note, count in lost.items() if note.startswith(LOSSES)]
    return ["not all of it was kept: " + "; ".join(told)] if told else []


def shown(text: str) -> str:
    """On one line of a terminal, whatever is in the name of a file."""
    return text if text.isprintable() else repr(text)[1:-1]


def _named(failed: list[Done]) -> list[str]:
    """A line for each; where an operation fails at picture after picture in the same way, only for the first ones."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    lines = []
    for one in failed:
        kin = alike[_OF_ONE.sub("\0", one.reason)]
        kin += [one.reason] if one.kind == "operation" else []
        if len(kin) <= SHOWN:
            lines.append(f"  {shown(one.source)}: {shown(one.reason)}")
    return lines + [f"  and {len(kin) - SHOWN:,} more: {shown(_common(kin))}" for kin in alike.values() if kin[SHOWN:]]


def _common(reasons: list[str]) -> str:
    """What all of them say, with dots for the shapes and numbers that are others in each."""
    parts = zip(*(_OF_ONE.split(reason) for reason in set(reasons)), strict=True)
    return "".join(first if set(others) <= {first} else "..." for first, *others in parts)


def _plain(done: Done) -> dict[str, Any]:
    told = asdict(done)
    return told | {step: round(told[step], 6) for step in ("decode", "operations", "encode")}


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
