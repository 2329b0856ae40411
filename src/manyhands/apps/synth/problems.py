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


class AugmentFailed(ManyhandsError):
    """The user's own function raised an error, or returned what is no picture and mask."""


class InputProblems(OptionError):
    """The pictures that were given do not fit together; ``problems`` has a line for each fault."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        shown = "".join(f"\n  {in_one_line(problem)}" for problem in self.problems[:SHOWN])
        more = f"\n  and {len(self.problems) - SHOWN} more" if len(self.problems) > SHOWN else ""
        super().__init__(f"nothing was done; mend what was given:{shown}{more}")

    def __reduce__(self) -> tuple[type[InputProblems], tuple[tuple[str, ...]]]:
        return InputProblems, (self.problems,)
