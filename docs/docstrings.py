"""Docstrings as the reference shows them: doctests become blocks of code, and roles (``:class:``) plain names."""
# ruff: noqa: INP001 - not a package: mkdocstrings loads this file by its path

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|mod):(`[^`]+`)")
DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)  # up to the next empty line


class Docstrings(griffe.Extension):
    """Rewrites every docstring once, after it was read and before it is shown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Make Markdown of it."""
        if obj.docstring is not None:
            text = ROLE.sub(r"\1", obj.docstring.value)
            obj.docstring.value = DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
