"""What was made in a folder, from what and how: so that a second run does only what is missing or stale.

One hidden file in the output folder. While a run goes on, lines are appended to it: one before a file is moved to its
place, and one when all files of a target are in theirs. At the end it is written anew, sorted, so that it only depends
on what was made.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from manyhands.apps import files
from manyhands.apps.images.planning import Source, Target

FILE = ".manyhands-images.jsonl"
Seal = tuple[int, int]  # of a file: its bytes, and their checksum


class Taken(Exception):
    """Something is there by now that may not be replaced."""


class Made(NamedTuple):
    """The files of one target, by their places in the folder; not ``whole`` if a run was ended while it wrote them."""

    source: str  # relative to the folder, if it can be
    size: int  # of the source, in bytes
    mtime_ns: int  # of the source
    how: str
    outputs: dict[str, tuple[Seal, ...]]  # one, or, of what was about to be replaced, the one before as well
    whole: bool


def load(out: Path) -> dict[str, Made]:
    """By the target's key; nothing if there is no such file, and no line that is not as we write them.

    Raises OSError if there is one that cannot be read: without it, outputs would pass for somebody's own files.
    """
    known: dict[str, Made] = {}
    owners: dict[str, str] = {}  # of each output: the key of the last line that has it
    for line in _lines(out / FILE):
        with contextlib.suppress(Exception):  # a run was killed meanwhile, or somebody has edited it
            key, made = _read(line, out)
            known[key] = _following(key, made, known, owners)
            owners |= dict.fromkeys(made.outputs, key)
    return known


def _lines(path: Path) -> list[bytes]:
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
        lines = path.read_bytes().splitlines() if is_file else []
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _no_list(error.errno, error.strerror, path) from error
    if not is_file:
        raise _no_list(errno.EINVAL, "it is no file", path)
    return lines


def _no_list(code: int | None, why: str | None, path: Path) -> OSError:
    return OSError(
        code, f"the list of what was made here cannot be read ({why}): mend that, or name another folder", str(path)
    )


def _following(key: str, made: Made, known: dict[str, Made], owners: Mapping[str, str]) -> Made:
    """With what was known before. An output is that of the last line that has it, and no other's any more."""
    outputs = dict(made.outputs)
    for name in outputs:
        if (other := owners.get(name, key)) != key:
            before = known[other].outputs.pop(name, ())
            known[other] = known[other]._replace(whole=False)
            outputs[name] += () if made.whole else before  # it may be there still
    earlier = known.get(key)
    if not made.whole and earlier is not None and earlier.source == made.source:  # that is ours still
        outputs = {name: (*seals, *earlier.outputs.get(name, ())) for name, seals in outputs.items()}
        outputs = earlier.outputs | outputs
    return made._replace(outputs=outputs)


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
    return frozenset(path for path, seals in outputs.items() if is_as_it_was(path, seals))


def outputs_among(known: Mapping[str, Made], out: Path) -> Callable[[Path], bool]:
    """Whether a file is an output of a run before. If its source has gone and it has changed, it may be a new photo."""
    owners = {out / output: made for made in known.values() for output in made.outputs}

    def is_output(path: Path) -> bool:
        made = owners.get(path)
        if made is None:
            return False
        return os.path.lexists(out / made.source) or is_as_it_was(path, made.outputs[path.relative_to(out).as_posix()])

    return is_output


def seal(data: bytes) -> Seal:
    """Of what is written."""
    return len(data), zlib.crc32(data)


class Writer:
    """Brings outputs to their places and appends to the file; from several threads or processes: a line is one write.

    ``on_conflict``: as of `process`; what is there may have come since the run was planned, also from another run.
    """

    def __init__(self, out: Path, on_conflict: str) -> None:
        self.out = out
        self.on_conflict = on_conflict

    def put(self, source: Source, target: Target, path: Path, data: bytes) -> Seal:
        """Write it, and have it known as ours before it is in its place: we may be ended at any time. Raises Taken."""
        coming = seal(data)
        with files.beside(path) as unfinished:
            unfinished.write_bytes(data)
            with files.locked(self.out):
                is_free = not os.path.lexists(path)
                if not is_free and not self._may_replace(path, source, target):
                    raise Taken
                self._append(source, target, {path: coming}, whole=False)
                if not is_free:
                    unfinished.replace(path)
                    return coming
                try:
                    files.move(unfinished, path)
                except FileExistsError:  # by somebody who does not ask for the lock
                    raise Taken from None
        return coming

    def finish(self, source: Source, target: Target, outputs: Mapping[Path, Seal]) -> None:
        """All of these are in their places; what there was of others, such as of more frames, goes."""
        with files.locked(self.out):
            for path in target.old - outputs.keys():
                if is_as_it_was(path, target.seals):
                    path.unlink(missing_ok=True)
            self._append(source, target, outputs, whole=True)

    def _may_replace(self, path: Path, source: Source, target: Target) -> bool:
        if self.on_conflict == "overwrite" or (self.on_conflict == "newer" and is_older(path, source)):
            return True
        return is_as_it_was(path, target.seals)

    def _append(self, source: Source, target: Target, outputs: Mapping[Path, Seal], *, whole: bool) -> None:
        relative: dict[str, tuple[Seal, ...]] = {_relative(path, self.out): (one,) for path, one in outputs.items()}
        made = Made(_from(source, self.out), source.size, source.mtime_ns, target.variant.how, relative, whole)
        # A line that was cut short before stays alone.
        files.append_line(self.out / FILE, b"\n" + _line(_relative(Path(target.key), self.out), made))


def tidy(out: Path) -> None:
    """Write it anew, sorted, one line for each target that has outputs.

    Also if it has not all of them: the run was ended, or failed there, and they are to be known as ours.
    """
    with files.locked(out):  # other runs may go on
        data = _tidied(load(out), out)
        with files.whole(out / FILE) as unfinished:
            unfinished.write_bytes(data)


def is_tidy(out: Path, known: Mapping[str, Made]) -> bool:
    """As the end of a run leaves it: one may have been killed after its last output."""
    return b"".join(line + b"\n" for line in _lines(out / FILE)) == _tidied(known, out)


def _tidied(known: Mapping[str, Made], out: Path) -> bytes:
    kept = {key: made for key, made in known.items() if made.whole or _has_some(made, out)}
    return b"".join(_line(_relative(Path(key), out), made) for key, made in sorted(kept.items()))


def _from(source: Source, out: Path) -> str:
    """Relative to the folder: both may be moved together."""
    try:
        return os.path.relpath(source.place, out)
    except ValueError:  # on another drive
        return str(source.place)


def _read(line: bytes, out: Path) -> tuple[str, Made]:
    """A target's key, and what was made. Raises all that can be raised of a line that is not as we write them."""
    told = json.loads(line)
    key = str(out / _checked(told.pop("key")))
    made = Made(**told)
    _check_name(made.source)
    return key, made._replace(outputs={_checked(name): _seals_from(seals) for name, seals in made.outputs.items()})


def _checked(name: str) -> str:
    """A name within the folder, as we write them. Raises ValueError."""
    _check_name(name)
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(name)
    return name


def _check_name(name: str) -> None:
    """Raise ValueError for what no file can be called."""
    if not isinstance(name, str) or "\0" in name:
        raise ValueError(name)


def _seals_from(told: Any) -> tuple[Seal, ...]:
    """As they are in the file. Raises TypeError, ValueError."""
    first, *more = [(int(size), int(checksum)) for size, checksum in told]
    return first, *more


def is_older(path: Path, source: Source) -> bool:
    """It was there before the source is as it is now."""
    try:
        return path.stat().st_mtime_ns < source.mtime_ns
    except OSError:  # a link to nowhere, or to where we may not look
        return False


def is_as_it_was(path: Path, wanted: Collection[Seal]) -> bool:
    """Or not there at all. Somebody may have edited it, or put a link in its place."""
    size = _size_of(path)
    if size not in {length for length, _ in wanted}:
        return size < 0 and not os.path.lexists(path)
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
