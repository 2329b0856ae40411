"""A bar for the steps of a comparison."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self


class Steps:
    """So many steps; shown on stderr if that is a terminal, or as asked."""

    def __init__(self, total: int, *, show: bool | None, desc: str = "compare") -> None:
        shown = sys.stderr is not None and sys.stderr.isatty() if show is None else show
        self._bar: Any = None
        if shown:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=desc, unit="run", leave=False, file=sys.stderr)

    def one(self) -> None:
        """One is done."""
        if self._bar is not None:
            self._bar.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
