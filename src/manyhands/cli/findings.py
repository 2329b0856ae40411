"""A finding of the doctor: a fact about this machine or installation, and perhaps what is wrong with it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One fact, for people and, as `data`, for programs; a problem comes with its remedy."""

    section: str
    name: str
    text: str
    data: Any
    problem: str | None = None
    remedy: str | None = None
    needed: bool = False

    @property
    def broken(self) -> bool:
        """Whether something is wrong that manyhands cannot do without."""
        return self.needed and self.problem is not None

    @property
    def mark(self) -> str:
        """Two signs that say at a glance how it stands: fine, wrong, or not there."""
        if self.problem is not None:
            return "!!"
        return "--" if self.data is None else "ok"


def show(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield the findings as lines for people, under the heading of their section."""
    for section, members in itertools.groupby(findings, attrgetter("section")):
        yield section
        for finding in members:
            yield f"  {finding.mark}  {finding.name:<16}{finding.text}".rstrip()
            if finding.problem:
                yield f"      {'':<16}problem: {finding.problem}"
                yield f"      {'':<16}remedy:  {finding.remedy}"
        yield ""


def as_object(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as one JSON object."""
    return {"ok": not any(each.broken for each in findings), "findings": [asdict(each) for each in findings]}
