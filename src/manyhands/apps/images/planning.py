"""What is to be made from what, found out and checked before anything is written."""

from __future__ import annotations

import bisect
import fnmatch
import functools
import os
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import NamedTuple

from manyhands.apps import files
from manyhands.apps.images.encoding import FORMATS
from manyhands.apps.images.operations import Operations
from manyhands.apps.images.problems import unreadable
from manyhands.errors import OptionError

SUFFIXES = (*FORMATS, "jpe", "jfif", "pgm", "pnm", "pbm", "ico", "tga", "dib", "avif", "j2k", "mpo")
FIELDS = ("rel", "stem", "suffix", "ext", "variant", "size", "filter", "frame")
CONFLICTS = ("skip", "newer", "overwrite", "rename", "error")
LONGEST = 240  # bytes of a name: most systems take 255, and numbers may be added
SHOWN = 5  # collisions that an error names
Identity = tuple[int, int] | None
Names = Callable[[Path], list[str]]  # of the files in a folder, in order


class Variant(NamedTuple):
    """One output of each source. ``size`` and ``filter`` may stand in its name; ``how``: a digest of how it is made."""

    name: str
    operations: Operations
    size: str = ""
    filter: str = ""
    how: str = ""


class Target(NamedTuple):
    """One file to be written; ``numbered``: one for each frame, whose number ``{frame}`` in its name stands for.

    ``key``: what it is known by from run to run, also if it is renamed; ``old``: what is there of it that may go, as
    long as it has one of the ``seals``.
    """

    path: Path
    variant: Variant
    numbered: bool
    key: str
    old: frozenset[Path] = frozenset()
    seals: frozenset[tuple[int, int]] = frozenset()

    def of_frame(self, frame: int) -> Path:
        """Where this frame goes."""
        if not self.numbered:
            return self.path
        return self.path.with_name(self.path.name.replace("{frame}", f"{frame:03}"))


class Source(NamedTuple):
    """One file to be read, as it is now, and what is made from it.

    ``path``: as it was named; ``place``: from the root on, since a function of the user's may go to another folder.
    """

    path: Path
    place: Path
    size: int
    mtime_ns: int
    targets: tuple[Target, ...]


class Lost(NamedTuple):
    """A file or folder that cannot even be looked at."""

    path: Path
    kind: str
    reason: str


class Plan(NamedTuple):
    """All that would be done."""

    sources: list[Source]
    lost: list[Lost]


def find(places: Iterable[Path], *, recursive: bool, glob: str | None, out: Path) -> Iterator[tuple[Path, Path] | Lost]:
    """Files below these places, each with the folder that its place in the output is relative to."""
    for place in places:
        if place.is_dir():
            yield from _in_folder(place, recursive=recursive, glob=glob, out=_identity(out))
        elif place.exists():
            yield place, place.parent
        else:
            hint = f"; for files of such names give the folder, and the pattern as glob (--glob {place.name!r})"
            raise OptionError(f"there is no file or folder {place}{hint if set('*?[') & set(place.name) else ''}")


def _in_folder(place: Path, *, recursive: bool, glob: str | None, out: Identity) -> Iterator[tuple[Path, Path] | Lost]:
    lost: list[Lost] = []

    def note(error: OSError) -> None:
        problem = unreadable(error)
        lost.append(Lost(Path(error.filename or place), problem.kind, problem.reason))

    for folder, inner, names in files.walk(place, note):
        inner[:] = [name for name in inner if _is_entered(folder / name, out)] if recursive else []
        for name in names:
            if _is_wanted(name, glob):
                yield folder / name, place
    yield from lost


def passed_over(places: Iterable[Path], *, recursive: bool, glob: str | None, out: Path) -> bool:
    """`find` has left out a file that has another name than those looked for, or one in folders that it did not enter.

    Not what is hidden, and not the output folder.
    """
    own = _identity(out)
    for place in places:
        for folder, inner, names in files.walk(place):
            inner[:] = [name for name in inner if _is_entered(folder / name, own)]
            is_reached = recursive or folder == place
            if any(_is_wanted(name, glob) != is_reached for name in names if not name.startswith(".")):
                return True
    return False


def _is_entered(folder: Path, out: Identity) -> bool:
    return not folder.name.startswith(".") and (out is None or _identity(folder) != out)


def _identity(folder: Path) -> Identity:
    """The same by whatever way one comes to it; None if it is not there."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_wanted(name: str, glob: str | None) -> bool:
    if name.startswith("."):
        return False
    if glob is not None:
        return fnmatch.fnmatchcase(name, glob)
    return PurePosixPath(name).suffix[1:].lower() in SUFFIXES


def check_name(template: str, variants: list[Variant], *, frames: str) -> None:
    """Raise OptionError for a template with unknown fields, or one that would give all outputs the same name."""
    try:
        fields = [(field, way or conversion) for _, field, way, conversion in Formatter().parse(template) if field]
        used = {field for field, _ in fields}
        in_folders = {field for _, field, _, _ in Formatter().parse(template.rpartition("/")[0])}
    except ValueError as error:
        raise OptionError(f"the name {template!r} is no template: {error}") from None
    if "frame" in in_folders:
        raise OptionError(f"{{frame}} belongs into the name of the file, not of a folder; got {template!r}")
    if any(field == "frame" and way for field, way in fields):
        raise OptionError(
            f"{{frame}} is a number of three digits or more, without a format of its own; got {template!r}"
        )
    if "\0" in template:
        raise OptionError(f"the name {template!r} has a character that no name of a file can have")
    if unknown := used - set(FIELDS):
        known = ", ".join(f"{{{field}}}" for field in FIELDS)
        raise OptionError(f"the name {template!r} has an unknown field {{{min(unknown)}}}; there are {known}")
    try:
        template.format(**dict.fromkeys(FIELDS, "a"))
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise OptionError(f"the name {template!r} is no template: {error}") from None
    if len(variants) > 1 and not used & {"variant", "size", "filter"}:
        raise OptionError(
            f"{len(variants)} outputs of a file would have the same name: put {{variant}} into {template!r}"
        )
    if frames == "all" and "frame" not in used:
        raise OptionError(f"all frames of a file would have the same name: put {{frame}} into {template!r}")


def default_name(variants: list[Variant], *, frames: str) -> str:
    """Where outputs go if nothing is said."""
    variant = "_{variant}" if any(variant.name for variant in variants) else ""
    frame = "_{frame}" if frames == "all" else ""
    return f"{{rel}}/{{stem}}{variant}{frame}.{{ext}}"


class Naming(NamedTuple):
    """Where outputs go. ``ext``: the suffix of all; None: each source's own."""

    out: Path
    template: str
    ext: str | None
    frames: str = "first"

    def target(self, path: Path, root: Path, variant: Variant) -> Target:
        """This output of the file; of all frames ``{frame}`` stays, since nobody knows yet how many there are."""
        numbered = self.frames == "all"
        told = self.template.format(
            rel=path.parent.relative_to(root).as_posix(), stem=path.stem, suffix=path.suffix[1:],
            ext=self.ext or _own_suffix(path), variant=variant.name, size=variant.size, filter=variant.filter,
            frame="{frame}" if numbered else "000",
        )  # fmt: skip
        target = Path(os.path.normpath(self.out / told))
        if not target.is_relative_to(os.path.normpath(self.out)):
            empty = "" if variant.name else " ({variant} is empty, since there is one output only)"
            raise OptionError(f"the name {self.template!r} leads out of the folder {self.out}: {target}{empty}")
        if target.suffix[1:].lower() not in FORMATS:
            raise OptionError(
                f"{target.name} has no suffix that can be written: end the name in .{{ext}}, or in one of "
                f"{', '.join(FORMATS)}"
            )
        return Target(target, variant, numbered, str(target))


def make(
    found: Iterable[tuple[Path, Path] | Lost],
    naming: Naming,
    variants: list[Variant],
    is_output: Callable[[Path], bool],
) -> Plan:
    """The plan for these files, each once; not for outputs of runs before that lie among the sources."""
    plan = Plan([], [])
    seen: set[Path] = set()
    for one in found:
        if isinstance(one, Lost):
            plan.lost.append(one)
            continue
        path, root = one
        place = files.absolute(path)
        if place in seen or is_output(place):
            continue
        seen.add(place)
        if naming.frames == "all" and "{frame}" in path.name:
            plan.lost.append(Lost(path, "unsupported", "its name has {frame} in it, which stands for a number here"))
            continue
        try:
            status = path.stat()
        except OSError as error:
            problem = unreadable(error)
            plan.lost.append(Lost(path, problem.kind, problem.reason))
            continue
        targets = tuple(naming.target(path, root, variant) for variant in variants)
        if any(len(os.fsencode(target.path.name)) > LONGEST for target in targets):
            plan.lost.append(Lost(path, "unwritable", f"an output's name would be longer than {LONGEST} bytes"))
            continue
        plan.sources.append(Source(path, place, status.st_size, status.st_mtime_ns, targets))
    return plan


def _own_suffix(path: Path) -> str:
    suffix = path.suffix[1:].lower()
    return suffix if suffix in FORMATS else "jpg" if suffix in {"jpe", "jfif", "mpo"} else "png"


def check_collisions(sources: list[Source], names: Names, usual: str) -> None:
    """Raise OptionError if two outputs would be one file, or a source would be overwritten.

    ``usual``: the name that outputs have if nothing is said.
    """
    owners: dict[str, tuple[Path, str]] = {}
    folder = functools.cache(os.path.realpath)  # in the output, too, a folder may be a link to another
    inputs = {_real(source.path, folder) for source in sources}
    clashes: list[str] = []
    are_of_sources = False
    for source in sources:
        for target in source.targets:
            mine = source.path, target.variant.name
            other = owners.setdefault(os.path.normcase(Path(folder(target.path.parent), target.path.name)), mine)
            if other[0] != source.path:
                clashes.append(f"{other[0]} and {source.path} would both become {target.path}")
                are_of_sources = True
            elif other != mine:
                clashes.append(
                    f"two outputs of {source.path} would both become {target.path}: {{variant}} tells them apart"
                )
            elif inputs & {_real(path, folder) for path in (target.path, *existing(target, names))}:
                clashes.append(f"{target.path} is one of the sources, which are never written to")
                are_of_sources = True
    if clashes:
        more = f"\n... and {len(clashes) - SHOWN} more" if len(clashes) > SHOWN else ""
        told = "\n".join(clashes[:SHOWN])
        advice = ""
        if are_of_sources:
            apart = usual.replace("{stem}", "{stem}-{suffix}")
            advice = (
                f"; a name as {apart!r}, another format, or a run for each source folder with an output folder of its "
                "own may help"
            )
        raise OptionError(f"nothing was done, since outputs collide{advice}:\n{told}{more}")


def _real(path: Path, folder: Callable[[Path], str]) -> str:
    """As `os.path.realpath`, which looks at every folder on the way; ``folder`` remembers those it was asked for."""
    return os.path.realpath(path) if path.is_symlink() else os.path.join(folder(path.parent), path.name)  # noqa: PTH118 - a text is wanted


def linked(sources: Iterable[Source], out: Path) -> list[Path]:
    """Where outputs go if not below the output folder itself, since a folder in it is a link."""
    root = os.path.realpath(out)
    folders = {target.path.parent for source in sources for target in source.targets}
    ways = ((Path(os.path.realpath(folder)), Path(root, folder.relative_to(out))) for folder in folders)
    return sorted(there for there, expected in ways if there != expected)


def check_place(places: Iterable[Path], out: Path, *, inside: bool) -> None:
    """Raise OptionError if the output is to lie in a source folder, and nobody asked for that."""
    resolved = Path(os.path.realpath(out))
    for place in places:
        if place.is_dir() and not inside and resolved.is_relative_to(os.path.realpath(place)):
            raise OptionError(
                f"the output folder {out} lies in the source folder {place}: choose another, or say --out-inside "
                "(it is left out when pictures are looked for)"
            )


def names_once() -> Names:
    """As they were when first asked for: to look again for each source would take for ever."""

    @functools.cache
    def names(folder: Path) -> list[str]:
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208 - names are wanted
        except OSError:
            return []

    return names


def existing(target: Target, names: Names) -> list[Path]:
    """The file, or the files of all frames, that are there."""
    path = target.path
    if not target.numbered:
        return [path] if os.path.lexists(path) else []  # also a link to nowhere: it is somebody's
    before, *others = path.name.split("{frame}")
    there, fixed = names(path.parent), len(before) + sum(map(len, others))
    found = []
    for place in range(bisect.bisect_left(there, before), len(there)):
        name = there[place]
        if not name.startswith(before):
            break
        number = name[len(before) :][: (len(name) - fixed) // len(others)]
        if len(number) >= 3 and number.isdecimal() and name == path.name.replace("{frame}", number):
            found.append(path.parent / name)
    return found


def renamed(target: Target, taken: Container[Path], names: Names) -> Target:
    """Under the first name of this kind that is free, or was given to it before."""
    for number in range(1, 1_000_000):
        other = target._replace(path=target.path.with_stem(f"{target.path.stem}_{number}"))
        if other.path not in taken and set(existing(other, names)) <= target.old:
            return other
    raise OptionError(f"there is no free name for {target.path}")
