"""Which strategy to take: the simplest of those that nothing is clearly quicker than. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from manyhands.comparison import statistics
from manyhands.comparison.cells import Cell
from manyhands.comparison.comparison import Measured

SIMPLEST = ("loop", "auto", "threads", "processes")
ALIKE = 1.03  # times that are closer are as good as the same, whatever the rounds say


def best(rows: Sequence[Measured]) -> Cell:
    """The simplest of those that are as quick as the quickest, as far as can be told, in a program's first call."""
    quickest = min(rows, key=lambda row: median(row.cold))
    alike = [row for row in rows if _is_as_quick(row, quickest)]
    return min(alike, key=lambda row: (SIMPLEST.index(row.strategy), row.workers or 0)).cell


def _is_as_quick(row: Measured, quickest: Measured) -> bool:
    if row is quickest or median(row.cold) <= ALIKE * median(quickest.cold):
        return True
    return statistics.ratio_interval(row.cold, quickest.cold)[0] <= 1.0


def is_sure(row: Measured) -> bool:
    """It is quicker or slower than the loop, and not by chance."""
    low, _, high = row.ratio
    return high < 1.0 / ALIKE or low > ALIKE
