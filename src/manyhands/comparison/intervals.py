"""How sure a ratio of two times is. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import median

RESAMPLES = 2000
GAINS = 0.9  # of the loop's time; more is not counted as a gain
DRAWN = 0.95  # of seven rounds, about nine in ten such intervals hold the true ratio; of more, more
_SEED = 20_259  # the same times give the same interval, always


def ratio_interval(times: Sequence[float], base: Sequence[float]) -> tuple[float, float]:
    """Between what the ratio of the medians lies in 95% of the times that the rounds are drawn again (bootstrap).

    Times of one round stand at one place of both: what slowed that round down slowed both.

    >>> ratio_interval([1.0, 1.1, 0.9], [2.0, 2.2, 1.8])
    (0.5, 0.5)
    """
    source, rounds = random.Random(_SEED), range(len(times))
    ratios = []
    for _ in range(RESAMPLES):
        drawn = [source.choice(rounds) for _ in rounds]
        ratios.append(ratio([times[r] for r in drawn], [base[r] for r in drawn]))
    ratios.sort()
    outside = (1.0 - DRAWN) / 2
    return ratios[int(outside * RESAMPLES)], ratios[math.ceil((1.0 - outside) * RESAMPLES) - 1]


def ratio(times: Sequence[float], base: Sequence[float]) -> float:
    """Of the medians."""
    return median(times) / max(median(base), 1e-9)


def overhead(seconds: float, loop: float, tasks: int, share: int) -> float:
    """Seconds a task that a call takes longer than the loop's time, shared among so many.

    >>> overhead(6.0, loop=10.0, tasks=100, share=2)
    0.01
    """
    return max(0.0, seconds - loop / share) / max(tasks, 1)


def crossover(cold: float, warm: float, loop: float, tasks: int, share: int, *, serial: bool) -> float | None:
    """Seconds that a task must take before a cold call is as quick as the loop; None if it never is.

    What starting costs stays as it is when tasks are longer. If the warm calls gain nothing, that is due to what each
    task costs besides, which stays as well, too; unless the tasks run one after the other (``serial``) anyway.

    >>> crossover(6.0, 5.0, loop=10.0, tasks=100, share=2, serial=False)
    0.02
    >>> round(crossover(1.1, 1.0, loop=0.1, tasks=100, share=2, serial=False), 4)
    0.021
    """
    if share < 2 or tasks < 1:
        return None
    if warm < GAINS * loop:
        return max(0.0, cold - warm) / tasks / (1.0 - warm / loop)
    return None if serial else overhead(cold, loop, tasks, share) / (1.0 - 1.0 / share)
