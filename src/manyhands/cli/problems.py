"""What the caller of the command line can mend: told in one line, with exit code 2."""

from __future__ import annotations


class CommandError(Exception):
    """The command, or what it names, is wrong; the message says what and how to mend it.

    `detail` is shown above the message: the traceback of the user's own module, for one.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        self.detail = detail
        super().__init__(message)


class InputError(CommandError):
    """A line of the input cannot be read."""
