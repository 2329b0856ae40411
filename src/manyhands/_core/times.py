"""Times as users give them."""

from __future__ import annotations

from math import inf
from numbers import Real


def seconds(value: object) -> float | None:
    """As many as this number says, from 0 to infinitely many; None if it is no such number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:
        found = inf
    return found if found >= 0 else None
