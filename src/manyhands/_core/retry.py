"""When a failed task runs again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from numbers import Integral

from manyhands._core.messages import no_backoff
from manyhands._core.times import seconds
from manyhands.errors import OptionError

LONGEST_DELAY = 86_400.0  # seconds
_log = logging.getLogger("manyhands")


class Retry:
    """Run a task again when it fails.

    >>> import manyhands as mh
    >>> mh.map(len, ["a", "bb"], retry=mh.Retry(attempts=3, backoff=0.5, on=(OSError,)), backend="serial")
    [1, 2]

    Args:
        attempts: how often a task may run, the first time included.
        backoff: seconds before the second attempt, doubled before each further one; or a function from the
            number of attempts made to seconds.
        on: exception classes that are worth another attempt. A ``timeout`` counts as TimeoutError.
        on_worker_death: also when the task's worker died. False makes every task run at most once in that
            case: a task whose worker died is never sent again, even if it may not have begun.
    """

    def __init__(
        self,
        attempts: int = 3,
        backoff: float | Callable[[int], float] = 0.0,
        on: type[BaseException] | tuple[type[BaseException], ...] = (Exception,),
        on_worker_death: bool = True,  # noqa: FBT001, FBT002 - a record
    ) -> None:
        if not _is_whole(attempts) or attempts < 1:
            raise OptionError(f"Retry(attempts={attempts!r}): attempts is a whole number from 1")
        classes = on if isinstance(on, tuple) else (on,)
        if not all(isinstance(cls, type) and issubclass(cls, BaseException) for cls in classes):
            raise OptionError(f"Retry(on={on!r}): on is a tuple of exception classes")
        if not callable(backoff) and seconds(backoff) in (None, inf):
            raise OptionError(f"Retry(backoff={backoff!r}): backoff is seconds, not negative")
        if not isinstance(on_worker_death, bool):
            raise OptionError(f"Retry(on_worker_death={on_worker_death!r}): choose True or False")
        self.attempts, self.backoff = int(attempts), backoff
        self.on, self.on_worker_death = classes, on_worker_death

    def __repr__(self) -> str:
        given = f"attempts={self.attempts}, backoff={self.backoff!r}, on={self.on!r}"
        return f"Retry({given}, on_worker_death={self.on_worker_death})"

    def delay(self) -> Callable[[int], float]:
        """Seconds to wait after so many attempts, as a function."""
        backoff = self.backoff
        if callable(backoff):
            return lambda made: _safe_delay(backoff, made)
        first = seconds(backoff)
        if not first:
            return no_backoff
        return lambda made: min(LONGEST_DELAY, first * 2.0 ** min(made - 1, 64))


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _safe_delay(backoff: Callable[[int], float], made: int) -> float:
    """What the user's function says, if that is a time; a faulty one must not cost anybody a result."""
    try:
        delay = float(backoff(made))
    except Exception:  # noqa: BLE001 - user code
        _log.exception("Retry(backoff=...) raised; the task is tried again at once")
        return 0.0
    return min(delay, LONGEST_DELAY) if 0.0 <= delay < inf else 0.0
