"""The `manyhands` command. It parses arguments and prints; the work is done through the public names alone.

::

    app           the commands; their parameters, with help, and the options made of them
    values        small notations: 30s, 0:10:2
    sources       where inputs come from; reading and formats are behind it
    targets       module:function and file.py:function; calls is what travels to the workers
    running       a run: inputs in, records out, a summary, an exit code
    records       one result as a line; streams keeps results and the user's prints apart
    preview       what --dry-run says
    doctor        what `manyhands doctor` says; its findings come from machine, packages and starting
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after `manyhands`; by default those this process was started with.

    Returns:
        The exit code: 0 all done, 1 some tasks failed, 2 the command or its input is wrong, 130 interrupted,
        141 the reader of the results went away.
    """
    try:
        from manyhands.cli.app import execute  # not above: Ctrl-C during a slow import ends quietly as well

        return execute(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt as interrupted:
        print("manyhands: " + ": ".join(["interrupted", *getattr(interrupted, "__notes__", [])]), file=sys.stderr)
        return 130
