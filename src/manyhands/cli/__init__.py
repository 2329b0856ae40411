"""The `manyhands` command. It parses arguments and prints; the work is done through the public names alone.

::

    app           the commands; parameters has those of `run`, with help, and options what is made of them
    layout        how --help is laid out
    values        small notations: 30s, 0:10:2
    sources       where inputs come from; reading and formats are behind it
    targets       module:function and file.py:function; calls is what travels to the workers
    running       `manyhands run`: inputs in, records out, a summary, an exit code; rehearsal is its --dry-run
    records       one result as a line; streams keeps results and the user's prints apart
    reporting     progress, and the summary
    compare       `manyhands compare`; outputs is what it leaves
    images        `manyhands images`; synth is `manyhands synth`
    doctor        `manyhands doctor`; its findings come from machine, packages and starting, by way of apart
    problems      how a command can end
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from manyhands.cli.problems import Exit

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after `manyhands`; by default those this process was started with.

    Returns:
        The exit code: 0 all done, 1 some tasks failed, 2 the command or its input is wrong, 130 interrupted,
        129 and 143 ended by SIGHUP and SIGTERM, 141 the reader of the results went away.
    """
    ending = _Ending()
    try:
        if arguments is None:  # the program is ours, and so are its signals
            ending.listen()
        from manyhands.cli.app import execute  # not above: Ctrl-C during a slow import ends quietly as well

        code = execute(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt as interrupted:
        print("manyhands: " + ": ".join(["interrupted", *getattr(interrupted, "__notes__", [])]), file=sys.stderr)
        code = Exit.INTERRUPTED
    return ending.code if code == Exit.INTERRUPTED else code


class _Ending:
    """Signals by which a program is asked to end are taken as Ctrl-C is: nothing unfinished is left behind.

    The second one ends it on the spot.
    """

    def __init__(self) -> None:
        self.code: int = Exit.INTERRUPTED
        self._pid = os.getpid()

    def listen(self) -> None:
        """Unless somebody has wished otherwise, as `nohup` does."""
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != self._pid:  # a process that a task has forked: it ends as any does
            os.kill(os.getpid(), number)
            return
        self.code = 128 + number
        raise KeyboardInterrupt
