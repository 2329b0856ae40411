"""What was made in a folder, from what and how: so that a second run does only what is missing or stale.

One hidden file in the output folder. While a run goes on, lines are appended to it: one before the outputs of a source
are moved to their places, one after. At the end it is written anew, sorted, so that it only depends on what was made.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from manyhands.apps import files
from manyhands.apps.images.planning import Source

FILE = ".manyhands-images.jsonl"


class Made(NamedTuple):
    """The outputs of one source; not ``whole`` if a run was ended while they were written."""

    size: int
    mtime_ns: int
    how: str
    outputs: tuple[str, ...]
    whole: bool = True
    bytes: tuple[int, ...] = ()  # of the outputs
    source: str = ""  # relative to the folder


def load(out: Path) -> dict[str, Made]:
    """By the source's key; nothing if there is no such file, and not what is broken in it."""
    known: dict[str, Made] = {}
    try:
        lines = (out / FILE).read_bytes().splitlines()
    except OSError:
        return known
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a run was killed in the midst of it
            told = json.loads(line)
            known[str(out / _checked(told["key"]))] = Made(
                told["size"], told["mtime_ns"], told["how"], tuple(map(_checked, told["outputs"])), told["whole"],
                tuple(told["bytes"]), told["source"],
            )  # fmt: skip
    return known


def is_fresh(source: Source, made: Made | None, how: str, out: Path) -> bool:
    """It was made from this very file in this very way, and is still there, as long as it was."""
    return (
        made is not None
        and made.whole
        and (made.size, made.mtime_ns, made.how) == (source.size, source.mtime_ns, how)
        and made.source == _from(source, out)
        and tuple(_size_of(out / output) for output in made.outputs) == made.bytes
    )


def outputs_of(source: Source, made: Made | None, out: Path) -> set[Path]:
    """Those that may be replaced: made from this source, and still as they were written, as far as one can see."""
    if made is None or made.source != _from(source, out):
        return set()
    sizes = made.bytes if made.whole else [None] * len(made.outputs)
    return {
        out / output
        for output, size in zip(made.outputs, sizes, strict=False)  # somebody may have edited the file
        if size is None or _size_of(out / output) in {size, -1}
    }


class Writer:
    """Appends to the file; from several threads or processes, since a line is one write."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def note(self, source: Source, how: str, outputs: Mapping[Path, int], *, whole: bool) -> None:
        """These outputs, of so many bytes, are about to be, or are, in their places."""
        relative = tuple(path.relative_to(self.out).as_posix() for path in outputs)
        sizes = tuple(outputs.values()) if whole else ()
        made = Made(source.size, source.mtime_ns, how, relative, whole, sizes, _from(source, self.out))
        line = _line(_relative(source.key, self.out), made)
        with files.locked(self.out):
            files.append_line(self.out / FILE, b"\n" + line)  # a line that was cut short before stays alone


def tidy(out: Path) -> None:
    """Write it anew, sorted, one line for each source that has outputs.

    Also if it has not all of them: the run was ended, or failed there, and they are to be known as ours.
    """
    with files.locked(out):  # other runs may go on
        known = {key: made for key, made in load(out).items() if made.whole or _has_some(made, out)}
        with files.whole(out / FILE) as unfinished:
            unfinished.write_bytes(b"".join(_line(_relative(key, out), made) for key, made in sorted(known.items())))


def _from(source: Source, out: Path) -> str:
    """Relative to the folder: both may be moved together."""
    path = os.path.abspath(source.path)  # noqa: PTH100 - links stay as they are
    try:
        return os.path.relpath(path, out)
    except ValueError:  # on another drive
        return path


def _checked(name: str) -> str:
    """A name within the folder, as we write them. Raises ValueError."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(name)
    return name


def _size_of(path: Path) -> int:
    """In bytes; -1 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _has_some(made: Made, out: Path) -> bool:
    return any(_size_of(out / output) >= 0 for output in made.outputs)


def _relative(key: str, out: Path) -> str:
    return Path(key).relative_to(out).as_posix()


def _line(key: str, made: Made) -> bytes:
    told: dict[str, Any] = {"key": key, **made._asdict()}
    return json.dumps(told, sort_keys=True).encode() + b"\n"
