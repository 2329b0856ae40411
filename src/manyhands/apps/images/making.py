"""One task: from a source to its outputs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
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
from manyhands.apps.images.state import Seal, Writer, seal
from manyhands.apps.images.summary import Done
from manyhands.interrupts import is_of_a_signal
from manyhands.showing import error_text

if TYPE_CHECKING:
    from PIL.Image import Image

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
        done = Done(str(source.path), "failed")
        try:
            self._make(source, done)
            done.status = "written"
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
        began = time.perf_counter()
        with decoding.open_picture(source.path, self.reading) as image:
            done.width, done.height = image.size
            need = _need(image.size, source.all_targets)
            keep = encoding.keepable(self.reading.keep, image, [target.path for target in source.all_targets])
            with self.budget.take(_cost(image.size, source.targets, shrunk=need is not None)):
                written: dict[Target, dict[Path, Seal]] = {target: {} for target in source.targets}
                for picture in decoding.pictures(image, source.path, replace(self.reading, keep=keep), need):
                    done.decode += time.perf_counter() - began
                    done.note(picture.notes)
                    for target in source.targets:
                        self._write(source, target, picture, done, written[target])
                        if not target.numbered:
                            self._finish(source, target, done, written.pop(target))
                    began = time.perf_counter()
        for target, outputs in written.items():
            self._finish(source, target, done, outputs)

    def _finish(self, source: Source, target: Target, done: Done, outputs: dict[Path, Seal]) -> None:
        for path in target.old - outputs.keys():  # a frame that there is no more
            path.unlink(missing_ok=True)
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
        outputs[path] = seal(data)
        self.writer.begin(source, target, path, outputs[path])
        encoding.write(data, path)
        done.bytes += len(data)
        done.operations += made - began
        done.encode += time.perf_counter() - made


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
        except Exception as error:  # user code, and what a filter does not take
            if is_of_a_signal(error):
                raise
            what = f"{operation} raised {error_text(error)}"
            raise Unusable("operation", what + where_raised(error, getattr(operation, "func", None))) from error
    return image


def _cost(size: tuple[int, int], targets: tuple[Target, ...], *, shrunk: bool) -> int:
    """Bytes that a picture of this size, and what becomes of it, may take at a time."""
    largest = width, height = size
    for target in targets:
        for operation in target.variant.operations:
            if isinstance(operation, Resize):
                made = operation.makes(size)
                largest = max(largest, made, key=lambda one: one[0] * one[1])
    if largest == size:
        return (SHRUNK if shrunk else WORKED_ON) * width * height
    return WORKED_ON * largest[0] * largest[1]


def _need(size: tuple[int, int], targets: tuple[Target, ...]) -> tuple[int, int] | None:
    """Pixels of the source that are enough for all targets; None: all, since some target does not shrink it first."""
    needs = []
    for target in targets:
        first = next(iter(target.variant.operations), None)
        if not isinstance(first, Resize):
            return None
        needs.append(first.needs(size))
    return max(width for width, _ in needs), max(height for _, height in needs)
