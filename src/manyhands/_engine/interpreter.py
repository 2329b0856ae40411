"""How a new interpreter with code of ours is started."""

from __future__ import annotations

import os
import subprocess
import sys

_HOME = os.path.abspath(f"{__file__}/../../..")  # noqa: PTH100 - pathlib's import would take longer than the rest


def python_command(code: str, *args: object) -> list[str]:
    """A command that runs this code of ours in a new interpreter with our import path.

    -P: the working directory is not searched before that path is set; an os.py there would end it all.
    """
    if not sys.executable:
        raise FileNotFoundError("this Python does not know its own executable, so it cannot start another one")
    setup = f"__manyhands__ = True; import sys; sys.path[:] = {_path()!a}; "
    call = f"{code}({', '.join(map(str, args))})"
    return [sys.executable, *subprocess._args_from_interpreter_flags(), "-P", "-c", setup + call]  # type: ignore[attr-defined]


def _path() -> list[str]:
    """The import path without entries that mean "the current directory"."""
    return [entry for entry in sys.path if entry and isinstance(entry, str)] + [_HOME]


def working_directory() -> str | None:
    """Where to start an interpreter: it refuses to in a folder that was deleted, with a relative PYTHONPATH."""
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return "/"
    return None
