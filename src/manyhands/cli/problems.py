"""How the command can end, and what its caller can mend: told in one line, with exit code 2."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of the command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    READER_GONE = 141  # what a shell reports of a program that a closed pipe ended


class CommandError(Exception):
    """The command, or what it names, is wrong; the message says what and how to mend it.

    `detail` is shown above the message: the traceback of the user's own module, for one.
    """

    code = Exit.USAGE

    def __init__(self, message: str, detail: str = "") -> None:
        self.detail = detail
        super().__init__(message)


class UnfinishedError(CommandError):
    """The command was right; the machine, or an input, was not."""

    code = Exit.FAILED


class InputError(CommandError):
    """A line of the input cannot be read."""
