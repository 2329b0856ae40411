"""Whether two results are the same, and if not, where they differ."""

from __future__ import annotations

import dataclasses
import math
import numbers
import pickle
from collections.abc import Callable, Mapping
from typing import Any

from manyhands.showing import short_repr

CLOSE = 1e-6  # relative: sums in another order differ by less
OF_BYTES = "bytes differ)"  # how the difference ends, if it is one of as many bytes
_PLAIN = (str, bytes, bytearray, bool, type(None))
_NUMBERS = "iufc"  # kinds of arrays


def difference(one: Any, other: Any, where: str = "") -> str | None:
    """Where they differ, and how, in words; None if they are equal, or close where they are floats.

    >>> difference({"mean": 0.1 + 0.2}, {"mean": 0.3}) is None
    True
    >>> difference([1, {"mean": 2.0}], [1, {"mean": 2.5}])
    "at [1]['mean']: 2.0 and 2.5"
    """
    try:
        return _differs(one, other, where)
    except Exception as error:  # noqa: BLE001 - user code that compares, and what holds itself: the bytes will tell
        deep = ", nested too deep to be compared" if isinstance(error, RecursionError) else ""
        return None if _same_bytes(one, other) else _told(one, other, where) + deep


def _differs(one: Any, other: Any, where: str) -> str | None:
    if one is other:
        return None
    one, other = _plain(one), _plain(other)
    for fits, compare in _KINDS:
        if fits(one) and fits(other):
            return compare(one, other, where)
        if fits(one) or fits(other):
            return _told(one, other, where)
    return _of_objects(one, other, where) if type(one) is type(other) else _told(one, other, where)


def _same_bytes(one: Any, other: Any) -> bool:
    try:
        return pickle.dumps(one, 5) == pickle.dumps(other, 5)
    except Exception:  # noqa: BLE001 - then nothing is known of them but that they say to differ
        return False


def largest_difference(one: Any, other: Any) -> float | None:
    """The largest absolute difference of the numbers in both; None if they are not alike in all else.

    >>> largest_difference([1.0, 2.0], [1.0, 2.5])
    0.5
    """
    try:
        return _furthest(one, other)
    except Exception:  # noqa: BLE001 - as above
        return 0.0 if difference(one, other) is None else None


def _furthest(one: Any, other: Any) -> float | None:
    one, other = _plain(one), _plain(other)
    if _is_array(one) and _is_array(other):
        return _of_numbers_in_arrays(one, other)
    plain = isinstance(one, _PLAIN) or isinstance(other, _PLAIN)
    if not plain and isinstance(one, numbers.Number) and isinstance(other, numbers.Number):
        return _apart(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping) and one.keys() == other.keys():
        return _largest((one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and type(one) is type(other) and len(one) == len(other):
        return _largest(zip(one, other, strict=True))
    if dataclasses.is_dataclass(one) and type(one) is type(other):
        return _largest((getattr(one, name), getattr(other, name)) for name in _compared(one))
    return 0.0 if difference(one, other) is None else None


def _apart(one: Any, other: Any) -> float | None:
    if one == other or (one != one and other != other):  # noqa: PLR0124 - not a number is not itself
        return 0.0
    try:
        found = float(abs(one - other))
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):  # two kinds of number that do not go together
        return 0.0 if _close(one, other) else None
    return math.inf if math.isnan(found) else found


def _largest(pairs: Any) -> float | None:
    worst = 0.0
    for one, other in pairs:
        found = _furthest(one, other)
        if found is None:
            return None
        worst = max(worst, found)
    return worst


def _told(one: Any, other: Any, where: str) -> str:
    return f"{f'at {where}: ' if where else ''}{short_repr(one)} and {short_repr(other)}"


def _of_plain(one: Any, other: Any, where: str) -> str | None:
    return None if type(one) is type(other) and one == other else _told(one, other, where)


def _of_bytes(one: Any, other: Any, where: str) -> str | None:
    if type(one) is not type(other) or len(one) != len(other):
        return _told(one, other, where)
    apart = sum(a != b for a, b in zip(one, other, strict=True)) if one != other else 0
    return f"{_told(one, other, where)} ({apart:,} of {len(one):,} {OF_BYTES}" if apart else None


def _of_numbers(one: Any, other: Any, where: str) -> str | None:
    return None if _close(one, other) else _told(one, other, where)


def _close(one: Any, other: Any) -> bool:
    if one == other:
        return True
    if one != one and other != other:  # noqa: PLR0124 - not a number is not itself
        return True
    if not any(isinstance(number, float | complex) for number in (one, other)):
        return False
    try:
        apart = abs(one - other)
        return bool(apart < math.inf and apart <= CLOSE * max(abs(one), abs(other)) + CLOSE**2)
    except (TypeError, OverflowError):  # kinds that do not go together
        return False


def _of_mappings(one: Any, other: Any, where: str) -> str | None:
    if one.keys() != other.keys():
        return _told(sorted(map(repr, one)), sorted(map(repr, other)), f"the keys{f' of {where}' if where else ''}")
    return next((told for key in one if (told := _differs(one[key], other[key], f"{where}[{key!r}]"))), None)


def _of_sequences(one: Any, other: Any, where: str) -> str | None:
    if isinstance(one, tuple) is not isinstance(other, tuple):
        return _told(one, other, where)
    if len(one) != len(other):
        return _told(len(one), len(other), f"the length{f' of {where}' if where else ''}")
    pairs = enumerate(zip(one, other, strict=True))
    return next((told for at, (a, b) in pairs if (told := _differs(a, b, f"{where}[{at}]"))), None)


def _of_objects(one: Any, other: Any, where: str) -> str | None:
    if dataclasses.is_dataclass(one):
        pairs = ((name, getattr(one, name), getattr(other, name)) for name in _compared(one))
        return next((told for name, a, b in pairs if (told := _differs(a, b, f"{where}.{name}"))), None)
    try:
        if bool(one == other):
            return None
    except Exception:  # noqa: BLE001, S110 - tables and the like: they are compared by what they hold
        pass
    says_nothing = "__eq__" not in {name for kind in type(one).__mro__[:-1] for name in vars(kind)}
    if says_nothing and (fields := _fields(one)):
        return _of_mappings(fields, _fields(other), f"the fields of {where or 'the result'}")
    return None if _same_bytes(one, other) else _told(one, other, where)


def _compared(record: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(record) if field.compare]


def _fields(value: Any) -> dict[str, Any]:
    """All that it holds, as far as that is seen."""
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    found = {name: getattr(value, name) for name in slots if hasattr(value, name) and name != "__dict__"}
    found |= {"args": value.args} if isinstance(value, BaseException) else {}
    return found | getattr(value, "__dict__", {})


# --- arrays -------------------------------------------------------------------------------------------------


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array_interface__") and hasattr(value, "dtype")


def _plain(value: Any) -> Any:
    """A single number of numpy as Python's own."""
    single = _is_array(value) and value.shape == () and type(value).__name__ != "ndarray"
    return value.item() if single and not hasattr(value, "mask") else value


def alike(one: Any, other: Any) -> tuple[Any, Any]:
    """Results of two functions in one kind: a list as an array if it meets one, arrays of numbers in a common type."""
    if _is_array(one) and isinstance(other, list):
        other = _as_array(other)
    elif _is_array(other) and isinstance(one, list):
        one = _as_array(one)
    if _is_array(one) and _is_array(other) and set(one.dtype.kind + other.dtype.kind) <= set(_NUMBERS):
        import numpy as np

        common = np.result_type(one.dtype, other.dtype)
        if common.kind == "f" and one.dtype.kind in "iu" and other.dtype.kind in "iu":
            common = np.dtype(object)  # no float holds all of both
        return one.astype(common), other.astype(common)
    return one, other


def _as_array(given: list[Any]) -> Any:
    """Of numbers; what is no such list stays."""
    import numpy as np

    try:
        made = np.asarray(given)
    except (ValueError, TypeError):
        return given
    return made if made.dtype.kind in _NUMBERS else given


def _of_arrays(one: Any, other: Any, where: str) -> str | None:
    if one.shape != other.shape or one.dtype != other.dtype:
        shown = [f"an array of {array.dtype}, shape {array.shape}" for array in (one, other)]
        return f"{f'at {where}: ' if where else ''}{shown[0]} and {shown[1]}"
    if one.dtype.names:
        return _of_mappings({n: one[n] for n in one.dtype.names}, {n: other[n] for n in one.dtype.names}, where)
    if one.dtype.kind not in "biufcSUmM":  # objects: one by one
        return _differs(one.tolist(), other.tolist(), where)
    import numpy as np

    masked, masked_too = np.ma.getmaskarray(one), np.ma.getmaskarray(other)
    values_differ = _values_differ(np.ma.getdata(one), np.ma.getdata(other))
    apart = (masked != masked_too) | (values_differ & ~masked)  # what is masked in both has no value
    if not np.any(apart):
        return None
    at = tuple(int(index) for index in np.argwhere(np.atleast_1d(apart))[0])
    place = f"{where}[{', '.join(map(str, at))}]"
    told = _told(_element(one, at), _element(other, at), place if one.ndim else where)
    return f"{told} ({int(np.sum(apart))} of {one.size} differ)"


def _values_differ(one: Any, other: Any) -> Any:
    import numpy as np

    if one.dtype.kind in "fc":
        return ~np.isclose(one, other, rtol=CLOSE, atol=CLOSE**2, equal_nan=True)
    if one.dtype.kind in "mM":
        return (one != other) & ~(np.isnat(one) & np.isnat(other))
    return one != other


def _element(array: Any, at: tuple[int, ...]) -> Any:
    import numpy as np

    element = np.atleast_1d(array)[at]
    return element if element is np.ma.masked else element.item()


def _of_numbers_in_arrays(one: Any, other: Any) -> float | None:
    import numpy as np

    if one.shape != other.shape:
        return None
    if one.dtype.kind == other.dtype.kind == "O":
        return _furthest(one.tolist(), other.tolist())
    if not (one.dtype.kind in _NUMBERS and other.dtype.kind in _NUMBERS):
        return 0.0 if difference(one, other) is None else None
    masked = np.ma.getmaskarray(one)
    if np.any(masked != np.ma.getmaskarray(other)):
        return None
    one, other = np.ma.getdata(one)[~masked], np.ma.getdata(other)[~masked]
    apart = (one != other) & ((one == one) | (other == other))  # noqa: PLR0124 - not a number is not itself
    return _distance(one[apart], other[apart]) if apart.any() else 0.0


def _distance(left: Any, right: Any) -> float:
    import numpy as np

    if left.dtype.kind in "iu" and right.dtype.kind in "iu":
        return float(np.abs(left.astype(object) - right.astype(object)).max())  # never wraps round
    with np.errstate(all="ignore"):
        distance = np.abs(left - right)
    return float(np.where(np.isnan(distance), np.inf, distance).max())


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


# What is compared in its own way, the first that fits; all else by its fields, or by what it says itself.
_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Any, str], str | None]], ...] = (
    (_is_array, _of_arrays),
    (_is(bytes, bytearray), _of_bytes),
    (_is(*_PLAIN), _of_plain),
    (_is(numbers.Number), _of_numbers),
    (_is(Mapping), _of_mappings),
    (_is(list, tuple), _of_sequences),
)
