"""`manyhands doctor`: what this machine and this installation are, what is wrong, and how to mend it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from manyhands.cli import machine, packages, starting
from manyhands.cli.findings import Finding, as_object, show
from manyhands.cli.values import show_count


def examine(*, as_json: bool) -> int:
    """Print the findings and return the exit code: 1 if something needed is broken."""
    listed = list(_look()) if as_json else _print_as_found(_look())
    if as_json:
        print(json.dumps(as_object(listed), indent=2))
    return int(any(finding.broken for finding in listed))


def _look() -> Iterator[Finding]:
    yield from machine.look()
    installed = list(packages.look())
    yield from installed
    if not any(finding.broken for finding in installed):  # otherwise nothing can be learnt from trying
        yield from starting.look()


def _print_as_found(findings: Iterable[Finding]) -> list[Finding]:
    """Print each finding when it is there, since trying everything takes a while, and return them all."""
    listed: list[Finding] = []

    def noted() -> Iterator[Finding]:
        for finding in findings:
            listed.append(finding)
            yield finding

    for line in show(noted()):
        print(line, flush=True)
    problems = sum(finding.problem is not None for finding in listed)
    print(f"{show_count(problems, 'problem')}, marked !! above." if problems else "All is well.")
    return listed
