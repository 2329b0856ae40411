"""How sure a ratio of two times is. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import median

RESAMPLES = 2000
CONFIDENCE = 0.95
_SEED = 20_259  # the same times give the same interval, always


def ratio_interval(times: Sequence[float], base: Sequence[float]) -> tuple[float, float]:
    """Between what the ratio of the medians lies, with 95% confidence: rounds are drawn again and again.

    Times of one round stand at one place of both: what slowed that round down slowed both.

    >>> ratio_interval([1.0, 1.1, 0.9], [2.0, 2.2, 1.8])
    (0.5, 0.5)
    """
    source, rounds = random.Random(_SEED), range(len(times))
    ratios = []
    for _ in range(RESAMPLES):
        drawn = [source.choice(rounds) for _ in rounds]
        ratios.append(_ratio([times[r] for r in drawn], [base[r] for r in drawn]))
    ratios.sort()
    outside = (1.0 - CONFIDENCE) / 2
    return ratios[int(outside * RESAMPLES)], ratios[math.ceil((1.0 - outside) * RESAMPLES) - 1]


def _ratio(times: Sequence[float], base: Sequence[float]) -> float:
    return median(times) / max(median(base), 1e-9)


def overhead(seconds: float, loop: float, tasks: int, share: int) -> float:
    """Seconds a task that a call takes longer than the loop's time, shared among so many.

    >>> overhead(6.0, loop=10.0, tasks=100, share=2)
    0.01
    """
    return max(0.0, seconds - loop / share) / max(tasks, 1)


def crossover(per_task: float, share: int) -> float | None:
    """Seconds that a task must take before such an overhead pays; None if there is nobody to share it with.

    >>> crossover(0.01, share=2)
    0.02
    """
    return None if share < 2 else per_task / (1.0 - 1.0 / share)
