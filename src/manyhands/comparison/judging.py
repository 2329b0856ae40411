"""Which way to take: the simplest of those that nothing is clearly quicker than. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from manyhands.comparison import intervals

if TYPE_CHECKING:
    from manyhands.comparison.comparison import WayMeasured
    from manyhands.comparison.ways import Way

SIMPLEST = ("loop", "auto", "threads", "processes")
ALIKE = 1.03  # times that are closer make no difference that is worth a change, however sure


def best(rows: Sequence[WayMeasured]) -> Way:
    """The simplest of those that are as quick as the quickest, as far as can be told, in a program's first call.

    Another one than the loop must surely be quicker than that.
    """
    quickest = min(rows, key=lambda row: median(row.cold))
    alike = [row for row in rows if _is_as_quick(row, quickest)]
    sure = [row for row in alike if row.strategy == "loop" or is_quicker(row)]
    return min(sure or rows[:1], key=lambda row: (SIMPLEST.index(row.strategy), row.workers or 0)).way


def _is_as_quick(row: WayMeasured, quickest: WayMeasured) -> bool:
    if row is quickest or median(row.cold) <= ALIKE * median(quickest.cold):
        return True
    return intervals.ratio_interval(row.cold, quickest.cold)[0] <= 1.0


def is_quicker(row: WayMeasured) -> bool:
    """Than the loop, and not by chance, and by more than next to nothing."""
    return row.ratio[1] < 1.0 / ALIKE and row.ratio[2] < 1.0


def is_slower(row: WayMeasured) -> bool:
    """Than the loop, as above."""
    return row.ratio[1] > ALIKE and row.ratio[0] > 1.0
