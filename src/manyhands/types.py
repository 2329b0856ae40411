"""Records that users are given, and what they may give in return. All but `Failure` are named tuples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from manyhands.showing import error_repr, short_repr

OnError = Literal["raise", "collect", "skip"]
StartMethod = Literal["zygote", "spawn", "fork"]


class Failure:
    """In the place of a result, with ``on_error="collect"``: the task that failed, and why.

    >>> import manyhands as mh
    >>> bad = mh.map(int, ["1", "two"], on_error="collect", backend="serial")[1]
    >>> bad.index, type(bad.error).__name__, bad.argument
    (1, 'ValueError', 'two')
    >>> bad
    Failure(index=1, error=ValueError("invalid literal for int() with base 10: 'two'"), argument='two')

    ``argument`` is the task's input itself (a tuple where there are several), so that failed inputs can be run
    again; None if it is not known any more. ``traceback`` is that of the worker, as text. A Failure is false, so
    ``[r for r in results if r]`` drops failures (and whatever else is false).
    """

    __slots__ = ("argument", "attempts", "error", "index", "traceback")
    __match_args__ = ("index", "error", "argument", "attempts", "traceback")

    def __init__(
        self, index: int, error: BaseException, argument: Any = None, attempts: int = 1, traceback: str = ""
    ) -> None:
        self.index, self.error, self.argument = index, error, argument
        self.attempts, self.traceback = attempts, traceback

    def __repr__(self) -> str:
        what = short_repr(self.argument)
        return f"Failure(index={self.index}, error={error_repr(self.error)}, argument={what})"

    def __bool__(self) -> bool:
        return False


class Progress(NamedTuple):
    """How far a call is: tasks ``done`` of ``total`` (None: not known), ``failed`` of them; times in seconds.

    ``rate`` is tasks a second since the start, ``remaining`` the estimated rest (None: not known).
    """

    desc: str
    done: int
    total: int | None
    failed: int
    elapsed: float
    rate: float
    remaining: float | None


class SlowTask(NamedTuple):
    """One of the slowest tasks of a call."""

    index: int  # type: ignore[assignment]  # a tuple has a method of that name
    seconds: float
    argument: str


class Strategy(NamedTuple):
    """Who ran a call's tasks, why, and what would have been faster.

    ``tasks_here`` of them ran in the caller itself. ``processor`` is the share of the time in the function that was
    spent on a processor, the rest was waiting; over 1 if a task used several cores. ``megabytes_per_task``, input
    and result together, is None where it did not matter.
    """

    backend: str
    workers: int
    tasks_here: int
    seconds_per_task: float
    processor: float
    megabytes_per_task: float | None
    reason: str
    advice: str

    def __str__(self) -> str:
        return "\n".join(filter(None, (self.reason, self.advice)))


class Report(NamedTuple):
    """What a finished call tells: what ran, what failed, and where the time went (seconds).

    >>> import manyhands as mh
    >>> _ = mh.map(abs, [-1, -2], backend="serial")
    >>> mh.last_report().tasks
    2

    ``strategy`` says who ran the tasks and why. ``busy`` is the time in the function, per worker (-1: the caller);
    ``startup`` the time until the first worker was at work; ``transfer`` the time that workers spent packing and
    unpacking; ``waiting`` what is left of wall time times workers. ``failures`` counts tasks that failed for good,
    ``retries`` the further attempts.
    """

    backend: str
    workers: int
    tasks: int
    failures: int
    retries: int
    chunks: int
    wall: float
    startup: float
    busy: dict[int, float]
    transfer: float
    slowest: tuple[SlowTask, ...]
    strategy: Strategy

    @property
    def waiting(self) -> float:
        """Worker time that went into neither tasks, transfer nor start-up."""
        spent = sum(self.busy.values()) + self.transfer + self.startup * self.workers
        return max(0.0, self.wall * self.workers - spent)

    def __str__(self) -> str:
        share = 100 / max(self.wall * self.workers, 1e-9)
        count = f"{self.tasks} tasks on {self.workers} workers ({self.backend}) in {self.wall:.3g} s"
        parts = {
            "in the function": sum(self.busy.values()),
            "transfer": self.transfer,
            "start-up": min(self.wall, self.startup) * self.workers,
            "waiting": self.waiting,
        }
        lines = [
            f"{count}: {self.failures} failed, {self.retries} retries, {self.chunks} chunks",
            "workers' time: " + ", ".join(f"{seconds * share:.0f}% {name}" for name, seconds in parts.items()),
        ]
        lines += str(self.strategy).splitlines()
        lines += [f"slowest: task {s.index}, {s.seconds:.3g} s, {s.argument}" for s in self.slowest]
        return "\n".join(lines)


ProgressOption = bool | Callable[[Progress], Any] | None
