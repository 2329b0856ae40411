"""`python -m manyhands` does what the command `manyhands` does."""

import sys

# Python has put the working folder first, where a json.py of the user would hide the real json from typer and
# everyone else. The installed command does not look there first, so neither does this one.
if not sys.flags.safe_path:
    sys.path.append(sys.path.pop(0))

from manyhands.cli import main

sys.exit(main())
