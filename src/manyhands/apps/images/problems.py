"""Why a picture could not be made: one reason each, told in the summary and the manifest."""

from __future__ import annotations


class Unusable(Exception):
    """This file cannot become what was asked for; the others go on. ``kind`` is one of the words in `KINDS`."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


KINDS = {
    "empty": "the file is empty",
    "not a picture": "no decoder knows it",
    "damaged": "it is cut short, or broken inside",
    "too large": "it has, or would have, more pixels than --max-pixels",
    "unreadable": "the system does not let us read it",
    "unsupported": "its kind of pixels, or its frames, cannot become what was asked for",
    "operation": "an operation raised an error",
    "failed": "its worker died, or something else went wrong",
    "unwritable": "the result could not be written",
}


def unreadable(error: OSError) -> Unusable:
    """For an error of the system's."""
    return Unusable("unreadable", error.strerror or str(error))
