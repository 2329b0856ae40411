"""`python -m manyhands` does what the command `manyhands` does."""

import os
import sys


def _is_working_folder(entry: str) -> bool:
    try:
        return entry == os.getcwd()  # noqa: PTH109 - a pathlib.py there would be imported
    except FileNotFoundError:  # it has been removed, and Python has put nothing first
        return False


# Python has put the working folder first, where a json.py of the user would hide the real json from typer and
# everyone else. The installed command does not look there first, so neither does this one.
if not sys.flags.safe_path and _is_working_folder(sys.path[0]):
    sys.path.append(sys.path.pop(0))

from manyhands.cli import main  # noqa: E402

sys.exit(main())
