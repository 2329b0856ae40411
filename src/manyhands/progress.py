"""Telling how far a call is: a bar on a terminal or in a notebook, lines elsewhere, or a function of the user's."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from manyhands._engine import courier
from manyhands.types import Progress, ProgressOption

SHOW_AFTER_SECONDS = 1.0  # progress=None: shorter work shows nothing
REDRAW_SECONDS = 0.1
LINE_SECONDS = 10.0  # between two lines where there is no terminal


class Observer(Protocol):
    """Something that is told of progress."""

    def update(self, progress: Progress) -> None:
        """Things have moved on, or time has."""

    def close(self, progress: Progress) -> None:
        """The call is over."""


class Meter:
    """Counts a call's tasks and tells an observer, not too often."""

    def __init__(self, option: ProgressOption, desc: str | None, total: int | None) -> None:
        self._desc, self._total = desc or "", total
        self._done = self._failed = 0
        self._began = time.monotonic()
        self._told = 0.0
        self._observer = _observer(option)
        self._last: float | None = None

    @property
    def interval(self) -> float | None:
        """Seconds after which ``add`` should be called again even if nothing happens; None if nobody looks."""
        return REDRAW_SECONDS * 2.5 if self._observer is not None else None

    def add(self, done: int, failed: int = 0) -> None:
        """So many tasks more have ended, so many of them failed."""
        self._done += done
        self._failed += failed
        if self._observer is None:
            return
        now = time.monotonic()
        if now - self._told >= REDRAW_SECONDS:
            self._told = now
            self._observer.update(self.record(now))

    def record(self, now: float) -> Progress:
        """The state of things."""
        elapsed = now - self._began
        rate = self._done / elapsed if elapsed > 0 else 0.0
        remaining = None
        if self._total is not None and rate > 0:
            remaining = max(0, self._total - self._done) / rate
        return Progress(self._desc, self._done, self._total, self._failed, elapsed, rate, remaining)

    def close(self) -> None:
        """The last word, once."""
        if self._observer is not None:
            observer, self._observer = self._observer, None
            courier.deliveries.flush()
            observer.close(self.record(time.monotonic()))


def _observer(option: ProgressOption) -> Observer | None:
    if option is False:
        return None
    if callable(option):
        return _Function(option)
    if _is_terminal() or _is_notebook():
        return _Bar(0.0 if option else SHOW_AFTER_SECONDS)
    return _Lines() if option else None


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (ValueError, AttributeError):  # closed, or replaced by something odd
        return False


def _is_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


class _Function:
    def __init__(self, function: Callable[[Progress], Any]) -> None:
        self._function = function

    def update(self, progress: Progress) -> None:
        self._function(progress)

    def close(self, progress: Progress) -> None:
        self._function(progress)


class _Lines:
    """For logs and pipes: a line now and then, and one at the end."""

    def __init__(self) -> None:
        self._next = LINE_SECONDS

    def update(self, progress: Progress) -> None:
        if progress.elapsed >= self._next:
            self._next = progress.elapsed + LINE_SECONDS
            _write_line(progress)

    def close(self, progress: Progress) -> None:
        _write_line(progress)


def _write_line(progress: Progress) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(describe(progress) + "\n")
            sys.stderr.flush()


def describe(progress: Progress) -> str:
    """One line in words.

    >>> describe(Progress("resize", 50, 200, 1, 10.0, 5.0, 30.0))
    'resize: 50/200, 5.0 tasks/s, 10 s elapsed, 30 s remaining, 1 failed'
    """
    parts = [f"{progress.done}/{progress.total}" if progress.total is not None else f"{progress.done}"]
    parts.append(f"{progress.rate:.1f} tasks/s")
    parts.append(f"{progress.elapsed:.0f} s elapsed")
    if progress.remaining:
        parts.append(f"{progress.remaining:.0f} s remaining")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    return (f"{progress.desc}: " if progress.desc else "") + ", ".join(parts)


class _Bar:
    """A tqdm bar, drawn only once the work has gone on for a while. One that cannot be drawn costs nobody a result."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._bar: Any = None
        self._works = True

    def update(self, progress: Progress) -> None:
        if self._bar is not None or (progress.elapsed >= self._delay and progress.done != progress.total):
            self._draw(progress)

    def close(self, progress: Progress) -> None:
        if self._bar is not None or self._delay == 0.0:
            self._draw(progress)
        if self._bar is not None:
            self._bar.close()

    def _draw(self, progress: Progress) -> None:
        if not self._works:
            return
        try:
            if self._bar is None:  # a bar without a total has no truth value
                self._bar = _open_bar(progress)
            bar = self._bar
            bar.total = progress.total
            if progress.failed:
                bar.set_postfix({"failed": progress.failed}, refresh=False)
            bar.n = progress.done
            bar.refresh()
        except Exception as error:  # noqa: BLE001 - tqdm and the notebook have many ways to fail
            self._works, self._bar = False, None
            warnings.warn(f"the progress bar could not be drawn: {error}", RuntimeWarning, stacklevel=2)


def _open_bar(progress: Progress) -> Any:
    tqdm: Any = import_module("tqdm").tqdm
    if _is_notebook() and find_spec("ipywidgets") is not None:
        tqdm = import_module("tqdm.notebook").tqdm
    tqdm.monitor_interval = 0  # we redraw ourselves, and need no thread for it
    courier.around_output = _above_bars
    unit = " tasks" if progress.total is None else "task"  # tqdm writes it behind the count, or only behind the rate
    bar = tqdm(total=progress.total, desc=progress.desc or None, mininterval=0, miniters=1, unit=unit)
    bar.start_t -= progress.elapsed  # it began when the work did
    return bar


@contextlib.contextmanager
def _above_bars(stream: Any) -> Iterator[None]:
    from tqdm import tqdm

    with tqdm.external_write_mode(file=stream):
        yield
