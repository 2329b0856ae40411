"""Numpy arrays that every worker sees and may write in place; needs numpy."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from manyhands._engine import payload
from manyhands._engine.memory import Segment, segment_of
from manyhands.errors import OptionError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray


def share(array: ArrayLike) -> SharedArray:
    """Copy an array to memory that all workers see: given to tasks, used by them or returned, it is never copied again.

    >>> import manyhands as mh, numpy as np
    >>> squares = mh.share(np.arange(1_000_000.0))
    >>> def square(start):
    ...     squares[start : start + 250_000] **= 2   # each task its own range: no lock is needed
    >>> _ = mh.map(square, range(0, 1_000_000, 250_000))
    >>> float(squares[999_999])
    999998000001.0

    Args:
        array: anything numpy makes an array of, of any shape and dtype but those with Python objects.

    Returns:
        A numpy array. All views of it stay shared: slices, reshaped and transposed ones, and those of ``np.asarray``.
        What numpy computes from it, and a copy, has memory of its own; ``is_shared`` tells. The memory goes with its
        last user, in whatever process, however that ends.

    Raises:
        OptionError: The array holds Python objects, or is masked.
        OSError: There is not enough memory, or no descriptor left (each shared array needs two).
    """
    if isinstance(array, np.ma.MaskedArray):
        raise OptionError("a masked array is two arrays: share its .data and its .mask")
    source = np.asarray(array)
    shared = _zeros(source.shape, source.dtype, order="F" if source.flags.fnc else "C")
    shared[...] = source
    return shared


def empty_shared(shape: int | tuple[int, ...], dtype: DTypeLike = float) -> SharedArray:
    """Make an array of zeros in memory that all workers see, for tasks to fill in.

    >>> import manyhands as mh
    >>> table = mh.empty_shared((3, 4), dtype="int32")
    >>> def fill(row):
    ...     table[row] = row
    >>> _ = mh.map(fill, range(3))
    >>> table.sum(axis=1).tolist()
    [0, 4, 8]

    Args:
        shape: as in ``numpy.empty``.
        dtype: any but those with Python objects.

    Returns:
        As `share` does.

    Raises:
        OptionError: The dtype holds Python objects, or a dimension is negative or no whole number.
        OSError: There is not enough memory, or no descriptor left.
    """
    try:
        sizes = tuple(map(index, shape if isinstance(shape, Iterable) else (shape,)))
    except TypeError:
        raise OptionError(f"shape={shape!r}: a whole number, or a tuple of them") from None
    if any(size < 0 for size in sizes):
        raise OptionError(f"shape={shape!r}: no dimension can be negative")
    return _zeros(sizes, np.dtype(dtype), order="C")


class SharedArray(np.ndarray[Any, Any]):
    """A numpy array whose memory other processes see, too; made by `share` and `empty_shared`.

    >>> import manyhands as mh
    >>> table = mh.empty_shared((3, 4))
    >>> table[1].is_shared, table.copy().is_shared
    (True, False)
    """

    segment: Segment | None = None  # that holds the memory

    @property
    def is_shared(self) -> bool:
        """Other processes see its memory; False of a copy, which numpy makes of the same class."""
        return self._offset() is not None

    def __array_finalize__(self, obj: Any) -> None:
        """A view of a shared array is one, too; what has memory of its own is not."""
        self.segment = None if self.flags.owndata else getattr(obj, "segment", None)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:  # noqa: FBT001, FBT002
        """What was computed is an ordinary array, unless it was written into a shared one."""
        return array if getattr(array, "segment", None) is not None else np.asarray(array)[()]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """To our workers and back goes the memory itself; anywhere else, a copy."""
        offset = self._offset() if protocol >= 5 and payload.is_packing() else None
        if offset is None or self.segment is None:
            return np.asarray(self).__reduce_ex__(protocol)
        form = self.dtype, self.shape, self.strides, offset, self.flags.writeable
        return _view, (pickle.PickleBuffer(self.segment), *form)

    def _offset(self) -> int | None:
        """Where it begins in the shared memory; None if it is elsewhere, as some copies are that numpy calls views."""
        if self.segment is None:
            return None
        offset = _address(self) - _address(np.frombuffer(self.segment, np.uint8))
        return offset if 0 <= offset < len(self.segment) else None


def _segment_below(array: Any) -> Segment | None:
    """What a plain array is a view of, however far down, if that is shared."""
    below = array.base
    while below is not None and not isinstance(below, Segment):
        below = below.obj if isinstance(below, memoryview) else getattr(below, "base", None)
    return below if below is not None and not below.private else None


def _reduce_plain(array: NDArray[Any]) -> Any:
    """A plain array: as numpy does, unless it is a view of a shared one."""
    segment = _segment_below(array)
    if segment is None:
        return array.__reduce_ex__(5)
    shared = array.view(SharedArray)
    shared.segment = segment
    reduced = shared.__reduce_ex__(5)
    return (_plain_view, *reduced[1:]) if reduced[0] is _view else reduced


def _zeros(shape: tuple[int, ...], dtype: np.dtype[Any], order: Any) -> SharedArray:
    if dtype.hasobject:
        raise OptionError(
            f"an array of dtype {dtype} holds Python objects, which processes cannot share: give it to the tasks as an "
            "argument, or convert it with .astype(...)"
        )
    segment = Segment.new(int(np.prod(shape, dtype=object)) * dtype.itemsize)
    made = np.ndarray.__new__(SharedArray, shape, dtype, buffer=segment, order=order)
    made.segment = segment
    return made


def _view(buffer: Any, dtype: Any, shape: Any, strides: Any, offset: int, writeable: bool) -> NDArray[Any]:  # noqa: FBT001, PLR0917
    segment = segment_of(memoryview(buffer))
    if segment is None:  # it was pickled within a pickle: the bytes came along, and it is a copy
        return np.ndarray(shape, dtype, buffer=buffer, offset=offset, strides=strides)
    made = np.ndarray.__new__(SharedArray, shape, dtype, buffer=buffer, offset=offset, strides=strides)
    made.segment = segment
    made.flags.writeable = writeable
    return made


def _plain_view(*form: Any) -> NDArray[Any]:
    return np.asarray(_view(*form))


payload.reduce_specially(np.ndarray, _reduce_plain)  # from here on: before, there was nothing shared


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
