"""What a comparison of functions has found."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from os import PathLike

from manyhands.comparison import function_words, words


@dataclass(frozen=True, slots=True)
class FunctionMeasured:
    """One function, times in seconds: its ``first`` call, and of each round the mean of a call after that.

    ``ratio``: the median over that of the first function, between the ends of its interval. ``difference``: the largest
    between numbers in its results and in the first function's. ``break_even``: from how many calls on it has taken no
    longer than the first function; None: never.
    """

    name: str
    first: float
    steady: tuple[float, ...]
    ratio: tuple[float, float, float]
    difference: float
    break_even: int | None


@dataclass(frozen=True, slots=True)
class FunctionComparison:
    """What `compare_functions` has found. Printed, it is its title, if it was given one, a table and the verdict."""

    rows: tuple[FunctionMeasured, ...]
    items: int
    rounds: int
    cores: int
    machine: str
    language: str = "en"
    title: str = ""
    unit: str = "call"
    warnings: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """Which one to take, in a sentence or two."""
        return function_words.verdict(self)

    def table(self) -> str:
        """The figures, as text in columns."""
        return function_words.columns(self)

    def to_markdown(self) -> str:
        """The figures, the verdict and the warnings, as Markdown."""
        return function_words.markdown(self)

    def to_json(self) -> str:
        """All that was measured, as JSON."""
        found = asdict(self) | {"verdict": self.verdict}
        for row in found["rows"]:
            if not math.isfinite(row["difference"]):
                row["difference"] = None  # JSON has no word for it
        return json.dumps(found, ensure_ascii=False, indent=1)

    def plot(self, path: str | PathLike[str]) -> None:
        """Draw the times as bars, into a file whose suffix tells its format.

        Raises:
            ModuleNotFoundError: matplotlib is not there: ``pip install 'manyhands[plot]'``.
            OptionError: the chart is to be in Chinese, and no font has Chinese characters.
            OSError: the file cannot be written.
        """
        from manyhands.comparison import charts

        charts.draw(function_words.chart(self), path)

    def html(self, path: str | PathLike[str]) -> None:
        """Write one page with the verdict, the chart, the table and the raw data, which needs nothing else.

        Raises:
            OSError: the file cannot be written.
        """
        from manyhands.comparison import pages

        pages.write(function_words.page(self), path)

    def __str__(self) -> str:
        titled = [self.title, ""] if self.title else []
        return "\n".join([*titled, self.table(), "", self.verdict, *words.warned_of(self)])
