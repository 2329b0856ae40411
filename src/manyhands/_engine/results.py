"""Results as they travel through the caller's side: packed, until whoever wants them opens them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from manyhands._engine.faults import Fault, revive
from manyhands._engine.payload import Packed, unpack
from manyhands._engine.protocol import unflatten
from manyhands.errors import NotSendable
from manyhands.interrupts import is_of_a_signal
from manyhands.showing import error_text


class Failed(NamedTuple):
    """In the place of a result: what went wrong instead."""

    error: BaseException


class Batch:
    """Results of consecutive tasks as they came; opened (unpacked) once, by whoever wants them."""

    def __init__(
        self,
        count: int,
        *,
        values: list[Any] | None = None,
        sizes: list[Any] | None = None,
        buffers: Sequence[Any] = (),
        errors: Sequence[tuple[int, Any]] = (),
    ) -> None:
        self.count = count
        self.failures = len(errors)  # as far as is known before it is opened
        self._values = values
        self._sizes, self._buffers, self._errors = sizes, buffers, errors

    @classmethod
    def failed(cls, error: BaseException) -> Batch:
        """One task that failed."""
        return cls(1, values=[None], errors=[(0, error)])

    def failed_offsets(self) -> list[int]:
        """Those known to have failed before it is opened."""
        return [offset for offset, _ in self._errors]

    def values(self) -> list[Any]:
        """Each task's result, or Failed. Never raises: a result that cannot be unpacked is a Failed."""
        if self._values is None:
            self._values = self._open()
            self._buffers = ()
            if self._sizes is not None:  # some may not have come out again
                self.failures += sum(type(value) is Failed for value in self._values)
        for offset, error in self._errors:
            self._values[offset] = Failed(revive(error) if isinstance(error, Fault) else error)
        self._errors = ()
        return self._values

    def _open(self) -> list[Any]:
        if self._sizes is None:
            values: list[Any] = unpack(Packed(self._buffers[0], tuple(self._buffers[1:])))
            return values
        return [_open_one(packed) for packed in unflatten(self._sizes, tuple(self._buffers))]


def _open_one(packed: Packed | Fault) -> Any:
    try:
        return unpack(packed) if isinstance(packed, Packed) else Failed(revive(packed))
    except BaseException as error:  # user code in __setstate__
        if is_of_a_signal(error):
            raise
        told = NotSendable(
            f"the task's result could not be unpacked in the caller: {error_text(error)}. The fault is "
            "in how its class is pickled (__reduce__, __getstate__, __setstate__)."
        )
        told.__cause__ = error
        return Failed(told)


class Piece(NamedTuple):
    """Results of tasks ``[start, stop)`` of a job, which begin at ``shift`` in the batch."""

    start: int
    stop: int
    batch: Batch
    shift: int

    def values(self) -> list[Any]:
        """Each task's result, or Failed."""
        values = self.batch.values()
        whole = self.shift == 0 and self.stop - self.start == len(values)
        return values if whole else values[self.shift : self.shift + self.stop - self.start]
