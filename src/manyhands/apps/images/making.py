"""One task: from a source to its outputs."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import manyhands as mh
from manyhands.apps.files import DiskFullError, is_disk_full
from manyhands.apps.functions import where_raised
from manyhands.apps.images import decoding, encoding
from manyhands.apps.images.decoding import Picture, Reading
from manyhands.apps.images.operations import Resize
from manyhands.apps.images.planning import Source, Target
from manyhands.apps.images.problems import Unusable
from manyhands.apps.images.state import Seal, Taken, Writer
from manyhands.apps.images.summary import Done
from manyhands.interrupts import is_of_a_signal
from manyhands.showing import error_text

if TYPE_CHECKING:
    from PIL.Image import Image

FOREIGN = "an output is there that is not of this source, or was changed since"
LEFT_ALONE = f"left alone: {FOREIGN}"
FLATTENED = "what is transparent shows the background"
SHRUNK, WORKED_ON = 8, 20  # bytes a pixel: decoded, and a copy; or several, while filters and encoders are at work


@dataclass(frozen=True, slots=True)
class Background:
    """The colour behind what is transparent, and around what is padded, in any mode."""

    name: str

    def __call__(self, mode: str) -> Any:
        """As pixels of this mode have it."""
        from PIL import ImageColor

        return ImageColor.getcolor(self.name, mode)


class Budget:
    """Memory for decoded pictures, shared by threads: who wants more than is left waits for others to finish."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._open = True
        self._changed = threading.Condition()

    @contextmanager
    def take(self, cost: int) -> Iterator[None]:
        """So many bytes; one that is larger than all of it has it alone. Raises RuntimeError after `close`."""
        cost = min(cost, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= cost or not self._open)
            if not self._open:
                raise RuntimeError("the run was ended")
            self._left -= cost
        try:
            yield
        finally:
            with self._changed:
                self._left += cost
                self._changed.notify_all()

    def close(self, patience: float) -> None:
        """Give nothing any more, and wait so many seconds for what was given to come back."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._left == self._size, patience)


@dataclass(frozen=True, slots=True)
class Turns:
    """The same among processes: what is larger than a worker's share takes some of as many places as there are workers.

    So all such pictures together have no more than ``size``, and those that are not larger no more than that again.
    """

    size: int
    workers: int

    @contextmanager
    def take(self, cost: int) -> Iterator[None]:
        """So many bytes; one that is larger than all of it has all the places."""
        places = min(self.workers, -(-cost * self.workers // self.size))
        first = os.getpid() % (self.workers // max(1, places)) * places  # workers' numbers mostly follow one another
        with ExitStack() as held:
            for place in range(first, first + places) if places > 1 else ():  # in order: nobody waits in a circle
                with suppress(OSError):  # there is no shared memory, and so no locks
                    held.enter_context(mh.lock(f"manyhands images {place}"))
            yield


@dataclass(frozen=True, slots=True)
class Maker:
    """How sources become outputs; called with each."""

    reading: Reading
    quality: int
    background: Background
    writer: Writer
    budget: Budget | Turns

    def __call__(self, source: Source) -> Done:
        """Make its outputs, or say why not: one that cannot be made ends nothing. Raises DiskFullError."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # what is wrong with a picture is told of it alone
            return self._made(source)

    def _made(self, source: Source) -> Done:
        done = Done(str(source.path), "failed")
        try:
            self._make(source, done)
            done.status, done.reason = ("written", "") if done.outputs else ("skipped", FOREIGN)
        except Unusable as problem:
            done.kind, done.reason = problem.kind, problem.reason
        except MemoryError:
            done.kind, done.reason = "too large", "there is not enough memory for it"
        except OSError as error:
            if is_of_a_signal(error):
                raise
            if is_disk_full(error):
                raise DiskFullError(error.errno, error.strerror, str(self.writer.out)) from error
            done.kind, done.reason = "unwritable", f"{error.strerror or error}: {error.filename or self.writer.out}"
        except Exception as error:  # of a decoder or encoder: nobody knows what these may raise
            if is_of_a_signal(error):
                raise
            done.kind, done.reason = "failed", error_text(error)
        return done

    def _make(self, source: Source, done: Done) -> None:
        with decoding.open_picture(source.place, self.reading) as image:
            done.width, done.height = decoding.size_in_file(image)
            first, *others = _groups(image, source.targets, self.reading).items()
            self._make_group(source, image, *first, done)
        for group in others:
            with decoding.open_picture(source.place, self.reading) as image:
                self._make_group(source, image, *group, done)

    def _make_group(self, source: Source, image: Image, reading: Reading, targets: list[Target], done: Done) -> None:
        """Those that are made from the same pixels."""
        began = time.perf_counter()
        written: dict[Target, dict[Path, Seal]] = {target: {} for target in targets}
        with self.budget.take(_cost(image.size, targets)):
            for picture in decoding.pictures(image, source.place, reading):
                done.decode += time.perf_counter() - began
                done.note(picture.notes)
                for target in list(written):
                    self._write_if_free(source, target, picture, done, written)
                began = time.perf_counter()
        for target, outputs in written.items():
            self._finish(source, target, done, outputs)

    def _write_if_free(
        self, source: Source, target: Target, picture: Picture, done: Done, written: dict[Target, dict[Path, Seal]]
    ) -> None:
        """What is finished, or cannot be, is no more in ``written``."""
        try:
            self._write(source, target, picture, done, written[target])
        except Taken:
            del written[target]
            done.note([LEFT_ALONE])
        else:
            if not target.numbered:
                self._finish(source, target, done, written.pop(target))

    def _finish(self, source: Source, target: Target, done: Done, outputs: dict[Path, Seal]) -> None:
        self.writer.finish(source, target, outputs)
        done.outputs += map(str, outputs)

    def _write(self, source: Source, target: Target, picture: Picture, done: Done, outputs: dict[Path, Seal]) -> None:
        """Make one output, and put it down with its seal."""
        path = target.of_frame(picture.frame)
        suffix = path.suffix[1:].lower()
        began = time.perf_counter()
        image = _worked_on(picture, target, self.background, self.reading.max_pixels)
        flat = encoding.flattened(image, suffix, self.background)
        if "A" in image.mode and "A" not in flat.mode:
            done.note([FLATTENED])
        made = time.perf_counter()
        data, notes = encoding.encoded(picture, flat, suffix, self.quality)
        done.note(notes)
        outputs[path] = self.writer.put(source, target, path, data)
        done.bytes += len(data)
        done.operations += made - began
        done.encode += time.perf_counter() - made


def _groups(image: Image, targets: Iterable[Target], reading: Reading) -> dict[Reading, list[Target]]:
    """By how each is read, which depends on nothing but itself: so it is the same, whatever else is asked for."""
    groups: dict[Reading, list[Target]] = {}
    for target in targets:
        keep = encoding.keepable(reading.keep, image, target.path)
        groups.setdefault(replace(reading, keep=keep, part=_part(image, target)), []).append(target)
    return groups


def _part(image: Image, target: Target) -> int:
    """Of its width and height so small a part is decoded (1: all), which is enough for this target."""
    first = next(iter(target.variant.operations), None)
    return decoding.part_of(image, first.needs(image.size)) if isinstance(first, Resize) else 1


def _worked_on(picture: Picture, target: Target, background: Background, max_pixels: int) -> Image:
    image, whole = picture.image, picture.size
    for operation in target.variant.operations:
        try:
            if isinstance(operation, Resize):
                decoding.check_pixels(operation.makes(whole), max_pixels, f"{operation} would make it")
                image = operation.drawn(image, background, whole)
            else:
                image = operation(image, background)
            whole = image.size
        except (MemoryError, Unusable):
            raise
        except (Exception, SystemExit) as error:  # user code, and what a filter does not take
            if is_of_a_signal(error):
                raise
            what = f"{operation} raised {error_text(error)}"
            raise Unusable("operation", what + where_raised(error, getattr(operation, "func", None))) from error
    return image


def _cost(size: tuple[int, int], targets: list[Target]) -> int:
    """Bytes that a picture of this size, and what becomes of it, may take at a time."""
    largest = size
    for target in targets:
        for operation in target.variant.operations:
            if isinstance(operation, Resize):
                largest = max(largest, operation.makes(size), key=lambda one: one[0] * one[1])
    shrunk = largest == size and all(_shrinks(target) for target in targets)
    return (SHRUNK if shrunk else WORKED_ON) * largest[0] * largest[1]


def _shrinks(target: Target) -> bool:
    """First of all: what follows works on something smaller."""
    return isinstance(next(iter(target.variant.operations), None), Resize)
