"""What a comparison has found: the figures, in tables, charts and pages, and the verdict."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

from manyhands.comparison import words
from manyhands.comparison.ways import Way


@dataclass(frozen=True, slots=True)
class WayMeasured:
    """One strategy: times in seconds, sizes in bytes; None where there is nothing to tell, or no way to.

    ``cold``: rounds that began without workers; ``warm``: with those of the run before. ``ratio``: the median of the
    cold ones over the loop's, between the two ends of its interval. ``efficiency``: the loop's time, over this one's,
    over the number of workers that can be of use. ``overhead``: a task's, beyond the loop's time shared among those.
    ``crossover``: how long a task must be before a cold call is as quick as the loop; None: it never is.
    """

    strategy: str
    workers: int | None
    cold: tuple[float, ...]
    warm: tuple[float, ...]
    ratio: tuple[float, float, float]
    warm_ratio: tuple[float, float, float]
    efficiency: float | None
    cpu: float | None
    memory: int | None
    sent: int | None
    overhead: float | None
    crossover: float | None

    @property
    def way(self) -> Way:
        """Strategy and number of workers."""
        return Way(self.strategy, self.workers)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` has found. Printed, it is a table and the verdict.

    >>> import manyhands as mh
    >>> found = mh.compare(abs, range(100), strategies=["auto"], rounds=3)
    >>> found.rows[0].strategy, found.tasks
    ('loop', 100)
    >>> print(found.verdict)
    The loop...
    """

    function: str
    tasks: int
    rounds: int
    cores: int
    seconds_per_task: float
    waiting: bool
    rows: tuple[WayMeasured, ...]
    best: Way
    warnings: tuple[str, ...] = ()
    machine: str = ""
    language: str = "en"

    @property
    def verdict(self) -> str:
        """Which one to take, in a sentence, and what to write."""
        return words.verdict(self)

    def table(self) -> str:
        """The figures, as text in columns."""
        return words.columns(self)

    def to_markdown(self) -> str:
        """The figures, the verdict and the warnings, as Markdown."""
        return words.markdown(self)

    def to_json(self) -> str:
        """All that was measured, every round of it, as JSON."""
        found: dict[str, Any] = asdict(self)
        found["best"] = {"strategy": self.best.strategy, "workers": self.best.workers, "code": self.best.code}
        return json.dumps(found | {"verdict": self.verdict}, ensure_ascii=False, indent=1)

    def plot(self, path: str | PathLike[str]) -> None:
        """Draw the times as bars, into a file whose suffix tells its format, as ``chart.png``.

        Raises:
            ModuleNotFoundError: matplotlib is not there: ``pip install 'manyhands[plot]'``.
            OptionError: the chart is to be in Chinese, and no font has Chinese characters.
            OSError: the file cannot be written.
        """
        from manyhands.comparison import charts

        charts.draw(words.chart(self), path)

    def html(self, path: str | PathLike[str]) -> None:
        """Write one page with the verdict, the chart, the table and the raw data, which needs nothing else.

        Raises:
            OSError: the file cannot be written.
        """
        from manyhands.comparison import pages

        pages.write(words.page(self), path)

    def __str__(self) -> str:
        return "\n".join([self.table(), "", self.verdict, *words.warned_of(self)])
