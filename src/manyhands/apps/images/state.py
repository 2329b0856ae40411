"""What was made in a folder, from what and how: so that a second run does only what is missing or stale.

One hidden file in the output folder. While a run goes on, lines are appended to it: one before a file is moved to its
place, and one when all files of a target are in theirs. At the end it is written anew, sorted, so that it only depends
on what was made.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from manyhands.apps import files
from manyhands.apps.images.planning import Source, Target

FILE = ".manyhands-images.jsonl"
Seal = tuple[int, int]  # of a file: its bytes, and their checksum


class Made(NamedTuple):
    """The files of one target, by their places in the folder; not ``whole`` if a run was ended while it wrote them."""

    source: str  # relative to the folder, if it can be
    size: int  # of the source, in bytes
    mtime_ns: int  # of the source
    how: str
    outputs: dict[str, tuple[Seal, ...]]  # one, or, of what was about to be replaced, the one before as well
    whole: bool


def load(out: Path) -> dict[str, Made]:
    """By the target's key; nothing if there is no such file, and no line that is not as we write them."""
    known: dict[str, Made] = {}
    try:
        lines = (out / FILE).read_bytes().splitlines()
    except OSError:
        return known
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):  # a run was killed meanwhile
            told = json.loads(line)
            key = str(out / _checked(told.pop("key")))
            made = Made(**told)
            outputs = {_checked(name): _seals_from(seals) for name, seals in made.outputs.items()}
            before = known.get(key)
            if not made.whole and before is not None and before.source == made.source:  # that is ours still
                outputs = {name: (*seals, *before.outputs.get(name, ())) for name, seals in outputs.items()}
                outputs = before.outputs | outputs
            known[key] = made._replace(outputs=outputs)
    return known


def is_fresh(source: Source, target: Target, made: Made | None, out: Path) -> bool:
    """It was made from this very file in this very way, and each output is there and has its length still."""
    return (
        made is not None
        and made.whole
        and (made.size, made.mtime_ns, made.how) == (source.size, source.mtime_ns, target.variant.how)
        and made.source == _from(source, out)
        and all(_size_of(out / output) == seals[0][0] for output, seals in made.outputs.items())
    )


def replaceable(source: Source, made: Made | None, out: Path) -> frozenset[Path]:
    """Outputs made from this source, and still as they were written."""
    if made is None or made.source != _from(source, out):
        return frozenset()
    outputs = {out / name: seals for name, seals in made.outputs.items()}
    return frozenset(path for path, seals in outputs.items() if _is_as_it_was(path, seals))


def outputs_of(known: Mapping[str, Made], out: Path) -> set[Path]:
    """All files that were made."""
    return {out / output for made in known.values() for output in made.outputs}


def seal(data: bytes) -> Seal:
    """Of what is written."""
    return len(data), zlib.crc32(data)


class Writer:
    """Appends to the file; from several threads or processes, since a line is one write."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def begin(self, source: Source, target: Target, path: Path, coming: Seal) -> None:
        """This is about to be in its place: should we be ended now, it is known as ours."""
        self._append(source, target, {path: coming}, whole=False)

    def finish(self, source: Source, target: Target, outputs: Mapping[Path, Seal]) -> None:
        """All of these are in their places."""
        self._append(source, target, outputs, whole=True)

    def _append(self, source: Source, target: Target, outputs: Mapping[Path, Seal], *, whole: bool) -> None:
        relative: dict[str, tuple[Seal, ...]] = {_relative(path, self.out): (one,) for path, one in outputs.items()}
        made = Made(_from(source, self.out), source.size, source.mtime_ns, target.variant.how, relative, whole)
        with files.locked(self.out):
            # A line that was cut short before stays alone.
            files.append_line(self.out / FILE, b"\n" + _line(_relative(Path(target.key), self.out), made))


def tidy(out: Path) -> None:
    """Write it anew, sorted, one line for each target that has outputs.

    Also if it has not all of them: the run was ended, or failed there, and they are to be known as ours.
    """
    with files.locked(out):  # other runs may go on
        known = {key: made for key, made in load(out).items() if made.whole or _has_some(made, out)}
        with files.whole(out / FILE) as unfinished:
            lines = [_line(_relative(Path(key), out), made) for key, made in sorted(known.items())]
            unfinished.write_bytes(b"".join(lines))


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


def _seals_from(told: Any) -> tuple[Seal, ...]:
    """As they are in the file. Raises TypeError, ValueError."""
    first, *more = [(int(size), int(checksum)) for size, checksum in told]
    return first, *more


def _is_as_it_was(path: Path, wanted: tuple[Seal, ...]) -> bool:
    """Or not there at all. Somebody may have edited it."""
    size = _size_of(path)
    if size not in {length for length, _ in wanted}:
        return size < 0
    try:
        return seal(path.read_bytes()) in wanted
    except OSError:
        return False


def _size_of(path: Path) -> int:
    """In bytes; -1 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _has_some(made: Made, out: Path) -> bool:
    return any(_size_of(out / output) >= 0 for output in made.outputs)


def _relative(path: Path, out: Path) -> str:
    return path.relative_to(out).as_posix()


def _line(key: str, made: Made) -> bytes:
    return json.dumps({"key": key, **made._asdict()}, sort_keys=True).encode() + b"\n"
