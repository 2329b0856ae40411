"""Progress on a terminal: a bar for each class and one for all, with pictures a second and the time that is left."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

MOST = 12  # classes that have a bar


class Bars:
    """So many samples of each class; shown on stderr if that is a terminal, or as asked."""

    def __init__(self, totals: Mapping[str, int], *, show: bool | None) -> None:
        shown = _is_terminal() if show is None else show
        self._bars: dict[str, Any] = {}
        if not shown:
            return
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread that outlives the bars
        names = sorted(totals) if len(totals) <= MOST else []
        wide = max((len(name) for name in [*names, "all"]), default=3)
        plain = "{desc}: {n_fmt}/{total_fmt} |{bar}|"
        for place, name in enumerate(names):
            self._bars[name] = tqdm(
                total=totals[name], desc=name.rjust(wide), position=place, bar_format=plain, file=sys.stderr
            )
        total = sum(totals.values())
        self._bars[""] = tqdm(
            total=total, desc="all".rjust(wide), unit=" pictures", position=len(names), file=sys.stderr
        )

    def one(self, label: str) -> None:
        """One more of this class."""
        for name in (label, ""):
            if name in self._bars:
                with self._harmless():
                    self._bars[name].update()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._harmless():
            for bar in self._bars.values():
                bar.close()

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """A bar that cannot be drawn, as on a terminal that is gone, costs nobody a picture: it is the last one."""
        try:
            yield
        except (OSError, ValueError):
            self._bars = {}


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (ValueError, AttributeError):  # closed, or replaced by something odd
        return False
