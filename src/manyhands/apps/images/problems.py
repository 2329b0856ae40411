"""Why a picture could not be made: one reason each, told in the summary and the manifest."""

from __future__ import annotations

from typing import Literal

Kind = Literal[
    "empty",  # the file is
    "not a picture",  # no decoder knows it
    "damaged",  # cut short, or broken inside
    "too large",  # it has, or would have, more pixels than --max-pixels, or than there is memory for
    "unreadable",  # the system does not let us read it
    "unsupported",  # its kind of pixels, or its frames, cannot become what was asked for
    "operation",  # one raised an error
    "unwritable",  # the format does not take it
]


class Unusable(Exception):
    """This file cannot become what was asked for; the others go on."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


def unreadable(error: OSError) -> Unusable:
    """For an error of the system's."""
    return Unusable("unreadable", error.strerror or str(error))
