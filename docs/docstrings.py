"""Docstrings as the reference shows them: doctests become blocks of code, which Markdown takes for quotations."""
# ruff: noqa: INP001 - not a package: mkdocstrings loads this file by its path

import re
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)  # up to the next empty line


class Docstrings(griffe.Extension):
    """Rewrites every docstring once, after it was read and before it is shown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Put a fence around each doctest."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
