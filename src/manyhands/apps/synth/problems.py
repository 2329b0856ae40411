"""What stands in the way of a dataset, told all at once."""

from __future__ import annotations

from collections.abc import Sequence

from manyhands.errors import ManyhandsError, OptionError

SHOWN = 20


def in_one_line(text: str) -> str:
    """Names of files may have line breaks, and what a terminal would take for commands.

    >>> in_one_line("a.png: 猫"), len(in_one_line(chr(10)))
    ('a.png: 猫', 2)
    """
    return text if text.isprintable() else repr(text)[1:-1]


def listed(lines: Sequence[str]) -> str:
    """Each on a line of its own, indented, and how many more there are."""
    more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    return "".join(f"\n  {in_one_line(line)}" for line in [*lines[:SHOWN], *more])


class AugmentFailed(ManyhandsError):
    """The user's own function raised an error, or returned what is no picture and mask."""


class InputProblems(OptionError):
    """The pictures that were given do not fit together; ``problems`` has a line for each fault."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"nothing was done; mend what was given:{listed(self.problems)}")

    def __reduce__(self) -> tuple[type[InputProblems], tuple[tuple[str, ...]]]:
        return InputProblems, (self.problems,)
