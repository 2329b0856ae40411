"""The pictures that a dataset is made from: found, checked, and decoded once into memory that all workers share."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import manyhands as mh
from manyhands.apps import files
from manyhands.apps.synth import formats, pictures, roles
from manyhands.apps.synth.config import FOLDERS, Config
from manyhands.apps.synth.pictures import CutOut, Unusable
from manyhands.apps.synth.problems import InputProblems
from manyhands.apps.synth.roles import Role
from manyhands.errors import OptionError

if TYPE_CHECKING:
    from manyhands.apps.synth.pictures import Pixels

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2", ".avif",
)  # fmt: skip
SHARED_BYTES = 2 << 30  # decoded pictures that are kept; of those beyond, each is decoded when it is needed
KEPT_BYTES = 256 << 20  # of these, in each process


class Picture(NamedTuple):
    """One file, and its mask if it has one in a file of its own. ``key``: what it is called in the dataset."""

    key: str
    path: Path
    label: str = ""  # the class of an object
    mask: Path | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """All files, in the order of their names."""

    objects: tuple[Picture, ...]
    backgrounds: tuple[Picture, ...]
    distractors: tuple[Picture, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, sorted; the numbers in labels go by this order."""
        return tuple(sorted({one.label for one in self.objects}))

    def all(self) -> tuple[Picture, ...]:
        """Every file once."""
        return self.objects + self.backgrounds + self.distractors


def check(config: object) -> None:
    """Raise OptionError for what is no config."""
    if not isinstance(config, Config):
        told = f"a dataset is made of a Config, not of a {type(config).__name__}; from_mapping makes one of a dict"
        raise OptionError(told)


def check_target(path: Path, config: Config) -> None:
    """Raise OptionError if it lies among the inputs: nothing is written over them, nor becomes one of them."""
    check(config)
    there = path.resolve()
    for role in FOLDERS:
        folder = getattr(config, role)
        if folder is not None and there.is_relative_to(Path(folder).resolve()):
            raise OptionError(f"{path} is in {folder}, where the {role} are: name another place")


def find(config: Config) -> Found:
    """Look for the files and check that they fit together. Raises InputProblems, with all that is wrong."""
    check(config)
    problems: list[str] = []
    masks = _masks(config.masks, problems)
    objects = list(_objects(config, masks, problems))
    if masks is not None and (left := sorted(set(masks) - {_stem_key(one.key) for one in objects})):
        problems += [f"{masks[key]}: a mask without a picture of this name in {config.objects}" for key in left]
    backgrounds = _flat(Path(config.backgrounds), "backgrounds", problems)
    distractors = _flat(Path(config.distractors), "distractors", problems) if config.distractors else []
    found = Found(tuple(objects), tuple(backgrounds), tuple(distractors))
    problems += _in_two_roles(found, masks or {}, config)
    problems += [
        f"{folder!r}: its name is not UTF-8, and the dataset keeps where its {role} are: rename it, or move them"
        for role, folder in _absolute(config).items()
        if not files.is_text(folder)
    ]
    problems += [f"{one.key!r}: its name is not UTF-8: rename it" for one in found.all() if not files.is_text(one.key)]
    if problems:
        raise InputProblems(problems)
    return found


def _in_two_roles(found: Found, masks: dict[str, Path], config: Config) -> Iterator[str]:
    labelled = [Role("object", Path(config.objects), [one.path for one in found.objects])]
    if config.masks:
        labelled.append(Role("mask", Path(config.masks), list(masks.values())))
    others = [Role("background", Path(config.backgrounds), [one.path for one in found.backgrounds])]
    if config.distractors:
        others.append(Role("distractor", Path(config.distractors), [one.path for one in found.distractors]))
    return roles.same_files(labelled, others)


def _absolute(config: Config) -> dict[str, str]:
    given = {role: getattr(config, role) for role in FOLDERS}
    return {role: os.path.abspath(folder) for role, folder in given.items() if folder}  # noqa: PTH100 - links stay


def _objects(config: Config, masks: dict[str, Path] | None, problems: list[str]) -> Iterator[Picture]:
    folder = Path(config.objects)
    if not folder.is_dir():
        problems.append(f"{folder}: there is no such folder (objects)")
        return
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        problems.append(f"{folder}: has no folders; it needs one for each class, with the pictures in it")
    problems += _lost_in(folder)
    if classes:
        told = "this picture is in no class's folder: put it into one, or elsewhere"
        problems += [f"{path}: {told}" for path in _pictures_in(folder)]
    for place in classes:
        there = _pictures_in(place)
        problems += _unfit(place, there, config)
        for file in there:
            key = f"objects/{place.name}/{file.name}"
            mask = masks.get(_stem_key(key)) if masks is not None else None
            if masks is not None and mask is None:
                there_is = Path(config.masks or "", place.name, file.stem)
                problems.append(f"{file}: it has no mask: there is no {there_is} with any suffix")
            elif mask is not None:
                problems += _misfit(file, mask)
            yield Picture(key, file, place.name, mask)


def _unfit(place: Path, there: list[Path], config: Config) -> Iterator[str]:
    """What is wrong with the folder of a class, in which are these pictures."""
    if any(map(_is_forbidden, place.name)):
        yield f"{str(place)!r}: in the name of a class are characters that no label file can hold: rename it"
    if "voc" in config.formats and (problem := formats.unfit_for_voc(place.name)):
        yield f"{place}: {problem}"
    if not there:
        yield f"{place}: an empty class; put pictures in it or remove the folder"
    yield from _lost_in(place)
    yield from (
        f"{path}: pictures in a folder of a class's folder are not looked at: put them into {place}"
        for path in place.iterdir()
        if path.is_dir() and not path.name.startswith(".") and _pictures_in(path)
    )
    yield from (f"{place}: two pictures are called {name!r}" for name in _twice(file.stem for file in there))


def _masks(folder: str | os.PathLike[str] | None, problems: list[str]) -> dict[str, Path] | None:
    if folder is None:
        return None
    if not Path(folder).is_dir():
        problems.append(f"{folder}: there is no such folder (masks)")
        return {}
    places = [path for path in Path(folder).iterdir() if path.is_dir() and not path.name.startswith(".")]
    found = [(place, file) for place in places for file in _pictures_in(place)]
    for place in (Path(folder), *places):
        problems += _lost_in(place)
    twice = _twice(f"{place.name}/{file.stem}" for place, file in found)
    problems += [f"{folder}: two masks are called {name!r}" for name in twice]
    return {f"objects/{place.name}/{file.stem}": file for place, file in found}


def _flat(folder: Path, what: str, problems: list[str]) -> list[Picture]:
    places = list(_walk(folder)) if folder.is_dir() else []
    there = sorted(file for place in places for file in _pictures_in(place))
    for place in places:
        problems += _lost_in(place)
    if not there:
        problems.append(f"{folder}: there are no pictures in it ({what})" if folder.is_dir() else
                        f"{folder}: there is no such folder ({what})")  # fmt: skip
    return [Picture(f"{what}/{file.relative_to(folder).as_posix()}", file) for file in there]


def _walk(folder: Path, seen: set[Path] | None = None) -> Iterator[Path]:
    """It and the folders in it; one that links lead to as well, or back to, is looked at once."""
    seen = set() if seen is None else seen
    seen.add(folder.resolve())
    inner = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for path in sorted(inner, key=lambda path: (path.is_symlink(), path.name)):
        if path.resolve() not in seen:
            yield from _walk(path, seen)
    yield folder


def _pictures_in(folder: Path) -> list[Path]:
    there = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in there if path.suffix.lower() in SUFFIXES and path.is_file())


def _lost_in(folder: Path) -> Iterator[str]:
    """Of links that lead nowhere, those that may be meant for a picture or for a folder of them."""
    for path in sorted(folder.iterdir()):
        is_ours = path.suffix.lower() in {"", *SUFFIXES} and not path.name.startswith(".")
        if is_ours and path.is_symlink() and not path.exists():
            yield f"{path}: this link leads nowhere"


def _misfit(picture: Path, mask: Path) -> list[str]:
    """By their headers, which are quick to read, and do not tell of turning; what cannot be read is told later."""
    try:
        own, wanted = pictures.size_of(mask), pictures.size_of(picture)
    except (Unusable, OSError):
        return []
    if sorted(own) == sorted(wanted):
        return []
    return [f"{mask}: {pictures.mismatch(own, picture, wanted)}"]


def _stem_key(key: str) -> str:
    return key.rpartition(".")[0]


def _bytes_of(pixels: Pixels | CutOut) -> int:
    return sum(part.nbytes for part in pixels) if isinstance(pixels, CutOut) else pixels.nbytes


def _is_forbidden(letter: str) -> bool:
    """A control character, or another one that XML cannot hold; not one that is newer than this Python's table."""
    return unicodedata.category(letter) == "Cc" or letter in "\ufffe\uffff"


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def same_content(ones: Iterable[Picture]) -> list[list[Picture]]:
    """In their order, each with all later ones whose files have the same bytes; few need be read for that."""
    sizes = {one: _length(one.path) for one in ones}
    often = Counter(sizes.values())
    groups: dict[Any, list[Picture]] = {}
    for one, size in sizes.items():
        content = hashlib.sha256(one.path.read_bytes()).digest() if size and often[size] > 1 else one.key
        groups.setdefault(content, []).append(one)
    return list(groups.values())


def _length(path: Path) -> int:
    """In bytes; 0 if nobody may look."""
    try:
        return path.stat().st_size if os.access(path, os.R_OK) else 0
    except OSError:
        return 0


# --- decoded ----------------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """Where a decoded picture is in the shared memory."""

    offset: int
    height: int
    width: int


@dataclass
class Decoded:
    """Pictures as pixels, by their keys. Travels to workers; the pixels do not. They are not to be written to."""

    sources: dict[str, Picture]
    digests: dict[str, str]
    size: tuple[int, int] | None
    memory: Any  # a shared array of uint8
    places: dict[str, _Place]
    kept: dict[str, Any] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def background(self, key: str) -> Pixels:
        """Blue, green and red."""
        place = self.places.get(key)
        if place is None:
            return self._decoded(key)  # type: ignore[no-any-return]
        return self._at(place.offset, (place.height, place.width, 3))

    def cut_out(self, key: str) -> CutOut:
        """An object."""
        place = self.places.get(key)
        if place is None:
            return self._decoded(key)  # type: ignore[no-any-return]
        height, width = place.height, place.width
        behind = place.offset + 3 * height * width
        return CutOut(self._at(place.offset, (height, width, 3)), self._at(behind, (height, width)))

    def _at(self, offset: int, shape: tuple[int, ...]) -> Pixels:
        pixels: Pixels = self.memory[offset : offset + math.prod(shape)]
        return pixels.reshape(shape)

    def _decoded(self, key: str) -> Any:
        with self.lock:
            if key in self.kept:
                return self.kept[key]
        one = self.sources[key]
        try:
            pixels, is_same = _decode(one, self.size), _digests(one)[1] == self.digests[key]
        except (Unusable, pictures.Mismatch, FileNotFoundError):
            is_same = False
        except OSError as error:  # such as too many open files: the picture may be as it was
            told = f"{error.strerror or error}: it cannot be read any more; mend that and resume"
            raise OSError(error.errno or errno.EIO, told, str(one.path)) from error
        if not is_same:
            raise OSError(errno.EINVAL, "it has changed since the run began: put it back and resume", str(one.path))
        with self.lock:
            self.kept[key] = pixels
            while len(self.kept) > 1 and sum(map(_bytes_of, self.kept.values())) > KEPT_BYTES:
                del self.kept[next(iter(self.kept))]
        return pixels

    def __reduce__(self) -> tuple[type[Decoded], tuple[Any, ...]]:
        return Decoded, (self.sources, self.digests, self.size, self.memory, self.places)


class Ready(NamedTuple):
    """All inputs that can be used, decoded; a digest of each file, and why others were set aside."""

    found: Found
    decoded: Decoded
    digests: dict[str, str]
    contents: dict[str, str]  # digests of the pictures alone, without their masks
    aside: dict[str, str]
    opaque: tuple[str, ...]  # objects that are cut out by nothing: their masks cover all


def prepare(found: Found, config: Config, *, workers: int | None = None, progress: Any = None) -> Ready:
    """Decode every input once, in threads, into shared memory as far as that goes.

    Raises:
        InputProblems: masks have other sizes than their pictures, or of a class or the backgrounds nothing is left.
        OSError: there is not enough memory.
    """
    jobs = [(one, config.size) for one in found.all()]
    sizes = mh.map(_room, jobs, backend="threads", workers=workers, progress=False, on_error="raise")
    offsets, total = [], 0
    for size in sizes:
        offsets.append(total if total + size <= SHARED_BYTES else None)
        total += size if offsets[-1] is not None else 0
    memory = _shared(max(1, total))
    looked_at = mh.map(
        lambda job: _load(memory, config.size, *job),
        list(zip(found.all(), offsets, sizes, strict=True)),
        backend="threads", workers=workers, progress=progress, desc="inputs", on_error="raise",
    )  # fmt: skip
    aside = {one.key: seen.problem for one, seen in zip(found.all(), looked_at, strict=True) if seen.problem}
    left = Found(*(tuple(one for one in group if one.key not in aside) for group in
                   (found.objects, found.backgrounds, found.distractors)))  # fmt: skip
    loaded = {one.key: seen for one, seen in zip(found.all(), looked_at, strict=True)}
    faults = [seen.fault for seen in looked_at if seen.fault]
    contents = {key: seen.content for key, seen in loaded.items()}
    _check_left(found, left, aside, [*faults, *roles.copies(found.objects, left, contents)])
    places = {key: seen.place for key, seen in loaded.items() if seen.place is not None}
    sources = {one.key: _rooted(one) for one in left.all()}
    digests = {key: seen.digest for key, seen in loaded.items()}
    opaque = tuple(one.key for one in left.objects if loaded[one.key].is_opaque)
    return Ready(left, Decoded(sources, digests, config.size, memory, places), digests, contents, aside, opaque)


def _shared(count: int) -> Any:
    try:
        return mh.empty_shared((count,), "uint8")
    except OSError as error:
        if not files.is_too_long(error):
            raise
        told = (
            f"the decoded pictures take {count / 1e6:.1f} MB of memory that is shared as a file, and you may write none"
        )
        raise OSError(error.errno, f"{told} of that length (see `ulimit -f`): allow longer ones") from error


def _rooted(one: Picture) -> Picture:
    """To be found as well after the user's own function has changed folders."""
    mask = one.mask and one.mask.absolute()
    return one._replace(path=one.path.absolute(), mask=mask)


class _Seen(NamedTuple):
    digest: str = ""
    content: str = ""  # a digest of the picture without its mask
    problem: str = ""  # it is set aside
    fault: str = ""  # nothing can be made
    place: _Place | None = None
    is_opaque: bool = False


def _load(memory: Any, size: tuple[int, int] | None, one: Picture, offset: int | None, room: int) -> _Seen:
    content = ""
    try:
        content, digest = _digests(one)
        pixels = _decode(one, size)
    except pictures.Mismatch as fault:
        return _Seen(content=content, fault=f"{one.mask}: {fault}")
    except (Unusable, OSError) as problem:
        return _Seen(content=content, problem=str(getattr(problem, "strerror", None) or problem))
    except MemoryError:
        return _Seen(content=content, problem="there is not enough memory for it")
    is_opaque = isinstance(pixels, CutOut) and _bytes_of(pixels) == room and pixels.mask.min() >= pictures.HALF
    if offset is None or _bytes_of(pixels) > room:  # the file is another one than a moment ago
        return _Seen(digest, content, is_opaque=is_opaque)
    parts = pixels if isinstance(pixels, CutOut) else (pixels,)
    at = offset
    for part in parts:
        memory[at : at + part.size] = part.ravel()
        at += part.size
    return _Seen(digest, content, place=_Place(offset, *parts[0].shape[:2]), is_opaque=is_opaque)


def _decode(one: Picture, size: tuple[int, int] | None) -> Pixels | CutOut:
    if one.key.startswith("backgrounds/"):
        return pictures.background(one.path, size)
    return pictures.cut_out(one.path, one.mask)


def _room(job: tuple[Picture, tuple[int, int] | None]) -> int:
    """Bytes that it may take at most, from its header."""
    one, size = job
    try:
        width, height = pictures.size_of(one.path)
    except (Unusable, OSError):
        return 0
    if one.key.startswith("backgrounds/"):
        width, height = size or (width, height)
        return width * height * 3
    return width * height * 4


def _digests(one: Picture) -> tuple[str, str]:
    """Of what is in the picture's file, and of that with what is in its mask's."""
    told = hashlib.sha256(one.path.read_bytes())
    content = told.hexdigest()[:32]
    if one.mask is not None:
        told.update(one.mask.read_bytes())
    return content, told.hexdigest()[:32]


def _check_left(found: Found, left: Found, aside: dict[str, str], faults: list[str]) -> None:
    named = {one.key: one.path for one in found.all()}
    lost = sorted(set(found.classes) - set(left.classes))
    problems = [*faults, *(f"{label}: of this class no picture can be used" for label in lost)]
    if found.distractors and not left.distractors:
        problems.append("no distractor can be used")
    if not left.backgrounds:
        problems.append("no background can be used")
    if problems:
        raise InputProblems([*problems, *(f"{named[key]}: {reason}" for key, reason in aside.items())])
