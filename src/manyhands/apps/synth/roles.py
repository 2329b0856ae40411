"""That no picture is given as two things: as a background or a distractor, an object would be seen and not labelled."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from manyhands.apps.synth.inputs import Found, Picture


class Role(NamedTuple):
    """What pictures are given as; ``name`` is that of one of them."""

    name: str
    folder: Path
    files: Sequence[Path]


def same_files(labelled: Sequence[Role], others: Sequence[Role]) -> Iterator[str]:
    """What is wrong if files are both, whichever way they are reached; folders within one another are told as such."""
    for other in others:
        seen = _real(other.files)
        for own in labelled:
            both = [(seen[real], path) for real, path in _real(own.files).items() if real in seen]
            if nested := both and _nested(own, other):
                yield nested
            else:
                yield from (_same(other.name, path, own.name, twin) for path, twin in both)


def copies(objects: Sequence[Picture], left: Found, contents: Mapping[str, str]) -> Iterator[str]:
    """The same for copies, by digests of the pictures; ``objects``: also those that were set aside."""
    own = {contents[one.key]: one.path for one in objects if contents[one.key]}
    for name, others in (("background", left.backgrounds), ("distractor", left.distractors)):
        for one in others:
            if twin := own.get(contents[one.key]):
                yield _same(name, one.path, "object", twin)


def _same(name: str, path: Path, own: str, twin: Path) -> str:
    return f"{path}: this {name} is the same file as the {own} {twin}: leave it out"


def _nested(own: Role, other: Role) -> str:
    """What is told of folders that are the same or within one another; nothing of others."""
    here, there = own.folder.resolve(), other.folder.resolve()
    told = f"each {own.name} would be a {other.name} as well, and not labelled there: name another folder"
    if here == there:
        return f"{own.folder}: {own.name}s and {other.name}s are in the same folder: {told}"
    if here.is_relative_to(there):
        return f"{own.folder}: the {own.name}s are in {other.folder}, where the {other.name}s are: {told}"
    if there.is_relative_to(here):
        return f"{other.folder}: the {other.name}s are in {own.folder}, where the {own.name}s are: {told}"
    return ""


def _real(paths: Sequence[Path]) -> dict[str, Path]:
    """By where they are without links; each folder is looked up once, since there may be very many files."""
    folders = {path.parent for path in paths}
    real = {folder: os.path.realpath(folder) for folder in folders}
    return {
        os.path.realpath(path) if path.is_symlink() else os.path.join(real[path.parent], path.name): path  # noqa: PTH118
        for path in paths
    }
