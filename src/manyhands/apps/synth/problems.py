"""What stands in the way of a dataset, told all at once."""

from __future__ import annotations

from collections.abc import Sequence

from manyhands.errors import ManyhandsError, OptionError, WorkerDied

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


class MakerDied(WorkerDied):
    """The process that was making ``sample`` was ended; the other fields are those of WorkerDied."""

    def __init__(self, died: WorkerDied, sample: str, function: str | None) -> None:
        """``function``: the name of the user's own, which ran in it."""
        super().__init__(pid=died.pid, exitcode=died.exitcode, index=died.index, attempts=died.attempts)
        self.sample = sample
        how = "without a trace of why" if died.exitcode is None else f"with exit code {died.exitcode}"
        how = f"by {died.signal}" if died.signal else how
        own = f" Your function {function} ran in it: look whether it ends its process." if function else ""
        memory = " SIGKILL is often the system's answer to too little memory: try fewer workers."
        told = f"the process that was making {sample} was ended {how}.{own}"
        self.args = (told + memory * (died.signal == "SIGKILL"),)


class InputProblems(OptionError):
    """The pictures that were given do not fit together; ``problems`` has a line for each fault."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"nothing was done; mend what was given:{listed(self.problems)}")

    def __reduce__(self) -> tuple[type[InputProblems], tuple[tuple[str, ...]]]:
        return InputProblems, (self.problems,)
