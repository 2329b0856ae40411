"""What was made in a folder, from what and how: so that a second run does only what is missing or stale.

One hidden file in the output folder. While a run goes on, lines are appended to it: one before each output of a source
is moved to its place, one after the last. At the end it is written anew, sorted, so that it only depends on what was
made.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from manyhands.apps import files
from manyhands.apps.images.planning import Source

FILE = ".manyhands-images.jsonl"


class Made(NamedTuple):
    """The outputs of one source; not ``whole`` if a run was ended while they were written."""

    source: str  # relative to the folder, if it can be
    size: int  # of the source, in bytes
    mtime_ns: int  # of the source
    how: str
    outputs: tuple[str, ...]  # relative to the folder
    bytes: tuple[int, ...]  # of the outputs, if ``whole``
    whole: bool


def load(out: Path) -> dict[str, Made]:
    """By the source's key; nothing if there is no such file, and no line that is not as we write them."""
    known: dict[str, Made] = {}
    try:
        lines = (out / FILE).read_bytes().splitlines()
    except OSError:
        return known
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a run was killed in the midst of it
            told = json.loads(line)
            known[str(out / _checked(told["key"]))] = Made(
                told["source"], told["size"], told["mtime_ns"], told["how"], tuple(map(_checked, told["outputs"])),
                tuple(told["bytes"]), told["whole"],
            )  # fmt: skip
    return known


def is_fresh(source: Source, made: Made | None, how: str, out: Path) -> bool:
    """It was made from this very file in this very way, and each output is there and has its length still."""
    return (
        made is not None
        and made.whole
        and (made.size, made.mtime_ns, made.how) == (source.size, source.mtime_ns, how)
        and made.source == _from(source, out)
        and tuple(_size_of(out / output) for output in made.outputs) == made.bytes
    )


def replaceable(source: Source, made: Made | None, out: Path) -> set[Path]:
    """Outputs made from this source, and still as they were written, as far as one can see."""
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

    def begin(self, source: Source, how: str, outputs: Iterable[Path]) -> None:
        """The last of these is about to be in its place: should we be ended now, it is known as ours."""
        self._append(source, how, outputs, (), whole=False)

    def finish(self, source: Source, how: str, outputs: Mapping[Path, int]) -> None:
        """All of these, of so many bytes, are in their places."""
        self._append(source, how, outputs, outputs.values(), whole=True)

    def _append(self, source: Source, how: str, outputs: Iterable[Path], sizes: Iterable[int], *, whole: bool) -> None:
        relative = tuple(path.relative_to(self.out).as_posix() for path in outputs)
        made = Made(_from(source, self.out), source.size, source.mtime_ns, how, relative, tuple(sizes), whole)
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
