"""What stands in the way of a dataset, told all at once."""

from __future__ import annotations

from collections.abc import Sequence

from manyhands.errors import ManyhandsError, OptionError

SHOWN = 20


class AugmentFailed(ManyhandsError):
    """The user's own function raised an error, or returned what is no picture and mask."""


class InputProblems(OptionError):
    """The pictures that were given do not fit together; ``problems`` has a line for each fault."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        shown = "".join(f"\n  {problem}" for problem in self.problems[:SHOWN])
        more = f"\n  and {len(self.problems) - SHOWN} more" if len(self.problems) > SHOWN else ""
        super().__init__(f"nothing was done; mend what was given:{shown}{more}")

    def __reduce__(self) -> tuple[type[InputProblems], tuple[tuple[str, ...]]]:
        return InputProblems, (self.problems,)
