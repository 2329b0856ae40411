"""What ``backend="auto"`` chose and why, in plain words with the figures; and what would have been faster."""

from __future__ import annotations

import math
from typing import NamedTuple

from manyhands import report
from manyhands._core.strategy import MOST_WAITING, WAITING_SHARE, Measured, forecast, gain, weightless
from manyhands._engine.cpus import cpu_count
from manyhands.types import Strategy

LONG_SECONDS = 0.1  # of a call; for shorter ones no advice is worth the reading
MANY_CORES = 1.3  # processor time over time, from which a task uses several cores by itself
SLOWER = 1.2  # times: less is not worth a word


class Ran(NamedTuple):
    """What a call has come to."""

    tasks: int
    busy: float  # seconds in the function
    cpu: float  # of that, on a processor or in the queue for one
    wall: float
    lost: float = 0.0  # of the busy ones, in tasks that were ended: what they did then is not known
    isolated: bool = False  # workers were asked for by something that threads cannot give
    slowest: float = 0.0  # seconds of the longest task

    @property
    def known(self) -> float:
        """Seconds of the busy ones of which it is known what the function did."""
        return self.busy - self.lost

    @property
    def processor(self) -> float:
        """The share of these that it was not waiting."""
        return self.cpu / self.known if self.known > 0 else 1.0


def explain() -> str:
    """What ran the last call's tasks and why, in plain words with the figures; and what would have been faster.

    >>> import manyhands as mh
    >>> _ = mh.map(abs, range(1000))
    >>> print(mh.explain())
    All 1000 tasks ran in this program, as in a loop: ... a task...

    Returns:
        One or two sentences; that there was no call yet, if so. The same as
        ``mh.last_report().strategy``, as text.
    """
    last = report.last_report()
    return "There was no call of map, starmap, imap or imap_unordered yet." if last is None else str(last.strategy)


def of_workers(place: tuple[str, int], asked: str, ran: Ran) -> Strategy:
    """Of a call whose tasks all ran in workers, since something ``asked`` for them."""
    backend, workers = place
    reason = f"All {ran.tasks} tasks ran {_where(backend, workers)}, since {asked}."
    return _made(place, 0, None, ran, reason)


def of_caller(seen: Measured, ran: Ran, *, refused: BaseException | None = None) -> Strategy:
    """Of a call whose tasks all ran in the caller; ``refused``: why no others could be had."""
    tasks = ran.tasks
    each = _seconds(ran.busy / max(tasks, 1))
    if tasks == 0:
        reason = "There was nothing to do."
    elif tasks == 1 or (seen.workers or seen.cores) == 1:
        what = "One task ran, in this program" if tasks == 1 else f"All {tasks} tasks ran in this program"
        reason = f"{what}: there was nobody to share {'it' if tasks == 1 else 'them'} with."
    else:
        instead = str(refused).rstrip(".") if refused is not None else _processes_instead(seen, ran)
        here = f"All {tasks} tasks ran in this program, as in a loop"
        reason = f"{here}: {each} a task, {_seconds(ran.busy)} together; {instead}."
    return _made(("serial", 1), ran.tasks, seen.megabytes, ran, reason)


def _processes_instead(seen: Measured, ran: Ran) -> str:
    """What they would have cost."""
    workers = min(ran.tasks, seen.workers or seen.cores)
    whole = seen._replace(left=ran.tasks, tasks=ran.tasks, wall=ran.busy, cpu=ran.cpu)
    away = max(ran.slowest, forecast(whole, "processes", workers))
    if math.isinf(away):
        what = "what the function captures" if math.isinf(seen.luggage) else "a task's input and result"
        return f"to pack {what} for worker processes was tried, and took too long to be worth it"
    light = forecast(weightless(whole), "processes", workers)
    moved = f", most of it to pack and move {_what_weighs(seen)}" if light < away / 2 else ""
    less = ""
    if away < ran.busy:
        clearly = away <= gain(seen, "processes") * ran.busy
        less = ", less than the first tasks let expect" if clearly else ", not clearly less"
    return f"{workers} worker processes would have needed about {_seconds(away)}{moved}{less}"


def of_both(place: tuple[str, int], seen: Measured, here: int, ran: Ran) -> Strategy:
    """Of a call that the caller began and workers ended."""
    backend, workers = place
    rest = ran.tasks - here
    first = seen.first or 0.0
    crowd = workers > seen.cores and seen.workers is None
    reason = (
        f"This program began with {here} of {ran.tasks} tasks; the other {rest} ran "
        f"{_where(backend, min(workers, rest))}, since all of them take {_seconds(ran.busy)}, "
        f"{_seconds(ran.busy / ran.tasks)} each{', and mostly wait' if crowd else ''}."
        + (f" The first one took {_seconds(first)} more than those after it." if first > LONG_SECONDS else "")
    )
    return _made(place, here, seen.megabytes, ran, reason)


def _made(place: tuple[str, int], here: int, megabytes: float | None, ran: Ran, reason: str) -> Strategy:
    backend, workers = place
    return Strategy(
        backend=backend,
        workers=workers,
        tasks_here=here,
        seconds_per_task=ran.busy / max(ran.tasks, 1),
        processor=ran.processor,
        megabytes_per_task=None if megabytes is None or math.isinf(megabytes) else megabytes,
        reason=reason,
        advice=_advice(place, here, ran) if ran.wall > LONG_SECONDS else "",
    )


def _take_turns(ran: Ran) -> bool:
    """Together they were on a processor for as long as the call took, and mostly waited for each other."""
    return WAITING_SHARE * ran.wall < ran.cpu < MANY_CORES * ran.wall < ran.busy


def _advice(place: tuple[str, int], here: int, ran: Ran) -> str:
    backend, workers = place
    crowd = min(ran.tasks, MOST_WAITING)
    waits = ran.processor < WAITING_SHARE and ran.known > LONG_SECONDS
    if backend == "threads":  # one of them may only wait until the others let go of the interpreter
        waits = waits and ran.cpu < WAITING_SHARE * ran.wall
    if waits and workers * SLOWER < crowd:
        part = f"1/{crowd / workers:.0f}" if crowd >= 2 * workers else f"{workers / crowd:.0%}"
        how = f"workers={crowd}" if ran.isolated else f"backend='threads', workers={crowd}"
        wait = f"{1 - ran.processor:.0%} of the time in the function was waiting"
        return f"{wait}: {how} would take about {part} of the call's time."
    if backend == "threads" and workers > 1 and _take_turns(ran):
        return (
            "The threads took turns, since the function does not let go of Python's interpreter: backend='processes' "
            "uses all cores."
        )
    if backend == "serial" and here < ran.tasks > 1 and ran.busy > LONG_SECONDS and cpu_count() > 1:
        return f"One core was at work: backend='auto' may use {min(ran.tasks, cpu_count())}."
    if backend != "serial" and ran.tasks > 1 and ran.wall > SLOWER * ran.busy:
        return (
            f"The tasks took {_seconds(ran.busy)} by themselves and the call {_seconds(ran.wall)}: a plain loop may be "
            "quicker."
        )
    if ran.processor > MANY_CORES:
        return f"Each task used {ran.processor:.1f} cores by itself."
    return ""


def _what_weighs(seen: Measured) -> str:
    heavy = seen.luggage > (seen.megabytes or 0.0) * seen.left
    return f"the {seen.luggage:.3g} MB of the function" if heavy else f"{seen.megabytes or 0.0:.3g} MB a task"


def _where(backend: str, workers: int) -> str:
    if backend == "serial":
        return "in this program"
    kind = {"processes": "worker process", "threads": "thread"}.get(backend, f"worker of {backend}")
    plural = "" if workers == 1 else "es" if kind.endswith("s") else "s"
    return f"on {workers} {kind}{plural}"


def _seconds(value: float) -> str:
    for unit, size in ("s", 1.0), ("ms", 1e-3), ("us", 1e-6):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.2g} us"
