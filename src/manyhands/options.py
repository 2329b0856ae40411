"""The options of every call: each with its default, checked before any work starts."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from numbers import Integral
from types import TracebackType
from typing import Any, Self, TypedDict

from manyhands import backends
from manyhands._core.messages import Policy, no_backoff
from manyhands._core.retry import Retry
from manyhands._core.times import seconds
from manyhands._engine import appetite, context
from manyhands._engine.cpus import cpu_count
from manyhands.errors import OptionError
from manyhands.types import OnError, ProgressOption, Report, StartMethod

MAX_WORKERS = 1000


class CommonOptions(TypedDict, total=False):
    """Options of every call but ``on_error``, which decides about the type of the result."""

    workers: int | None
    backend: str
    start_method: StartMethod | None
    progress: ProgressOption
    desc: str | None
    total: int | None
    chunksize: int | None
    timeout: float | None
    memory_limit: int | str | None
    retry: Retry | int | None
    seed: int | None
    report: Callable[[Report], Any] | None


class Options:
    """What a call was asked for.

    Args:
        workers: how many; None for one per core that this process may use.
        backend: ``"serial"``, ``"threads"``, ``"processes"``, or ``"auto"``: the caller runs the first tasks itself and
            hands over the rest if that is quicker.
        start_method: of processes: ``"zygote"`` (Linux), ``"spawn"`` or ``"fork"``; None for the system's best.
        progress: None shows a bar on a terminal or in a notebook for work over a second; True always, False
            never; a function is called with a Progress.
        desc: words before the bar.
        total: number of tasks, for the bar, when the input does not tell.
        chunksize: tasks sent together; several chunks at once if tasks take next to nothing and all inputs are known.
            None adapts to how long they take.
        timeout: seconds that one task may take.
        memory_limit: bytes, or text like ``"2GB"``, that a worker process may have of its own (Linux). One that has
            nearly so much after a task is replaced; one that has more in the midst of one is ended: that task fails.
        retry: a Retry, or a number of attempts.
        on_error: ``"raise"`` the first failure that becomes known, ``"collect"`` a Failure in its place, or
            ``"skip"`` it.
        seed: for ``task_rng``: whole number, same seed, same numbers, whatever the workers.
        report: called with the Report when the call is over.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        backend: str = "auto",
        start_method: StartMethod | None = None,
        progress: ProgressOption = None,
        desc: str | None = None,
        total: int | None = None,
        chunksize: int | None = None,
        timeout: float | None = None,
        memory_limit: int | str | None = None,
        retry: Retry | int | None = None,
        on_error: OnError = "raise",
        seed: int | None = None,
        report: Callable[[Report], Any] | None = None,
    ) -> None:
        self.workers, self.backend, self.start_method = workers, backend, start_method
        self.progress, self.desc, self.total = progress, desc, total
        self.chunksize, self.timeout, self.seed = chunksize, timeout, seed
        self.on_error, self.report = on_error, report
        self._check()
        self.retry = _checked_retry(retry)
        self.memory_limit = checked_memory(memory_limit, backend)

    def _check(self) -> None:
        check_count("workers", self.workers, lowest=1, hint="; leave it out for one per core")
        check_count("chunksize", self.chunksize, lowest=1)
        for name in ("total", "seed"):
            check_count(name, getattr(self, name), lowest=0)
        if self.workers is not None and self.workers > MAX_WORKERS:
            raise OptionError(f"workers={self.workers}: more than {MAX_WORKERS} on one machine help nobody")
        if self.timeout is not None and not seconds(self.timeout):
            raise OptionError(f"timeout={self.timeout!r}: seconds, more than 0")
        _check_choice("on_error", self.on_error, ("raise", "collect", "skip"))
        _check_choice("start_method", self.start_method, (None, "zygote", "spawn", "fork"))
        if not (callable(self.progress) or _is_among((None, True, False), self.progress)):
            raise OptionError(f"progress={self.progress!r}: choose one of None, True and False, or give a function")
        if not (callable(self.report) or self.report is None):
            raise OptionError(f"report={self.report!r}: a function, which is given the Report when the call is over")
        if not isinstance(self.desc, str | None):
            raise OptionError(f"desc={self.desc!r}: the words before the bar, as a string")
        if not _is_among(("auto", *backends.BUILT_IN), self.backend):
            _check_choice("backend", self.backend, tuple(backends.names()))
        if self.backend == "serial" and self.timeout is not None:
            raise OptionError("backend='serial' cannot stop a task, so it has no timeout; use threads or processes")

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def changed(self, **given: Any) -> Options:
        """The same but for these. Raises OptionError."""
        return Options(**vars(self) | given)

    def policy(self) -> Policy:
        """What of this the scheduler wants to know."""
        retry = self.retry
        return Policy(
            chunksize=self.chunksize,
            timeout=None if self.timeout is None else seconds(self.timeout),
            attempts=retry.attempts if retry else 1,
            backoff=retry.delay() if retry else no_backoff,
            rerun_after_death=retry.on_worker_death if retry else True,
            retry_timeouts=retry is not None and any(issubclass(TimeoutError, cls) for cls in retry.on),
        )

    def retry_on(self) -> tuple[type[BaseException], ...]:
        """Exceptions worth another attempt."""
        return self.retry.on if self.retry else ()

    def place(self) -> tuple[str, int]:
        """The backend and the number of workers that this call gets."""
        backend = self.backend
        if backend == "auto":
            backend = "processes"
            if context.worker() is not None:  # a call inside a task keeps to its share
                backend = "serial" if self.timeout is None else "threads"
        return backend, 1 if backend == "serial" else self.workers or default_workers()


def default_workers() -> int:
    """One per core; inside a task, the task's share of them."""
    inside = context.worker()
    return cpu_count() if inside is None else max(1, inside.share)


def check_count(name: str, value: object, *, lowest: int, hint: str = "") -> None:
    """Raise OptionError unless it is None or a whole number from ``lowest``."""
    if value is not None and (not isinstance(value, Integral) or isinstance(value, bool) or int(value) < lowest):
        raise OptionError(f"{name}={value!r}: a whole number from {lowest}{hint}")


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if not _is_among(choices, value):
        raise OptionError(f"{name}={value!r}: choose one of {', '.join(map(repr, choices))}")


def _is_among(choices: tuple[object, ...], value: object) -> bool:
    try:
        return value in dict.fromkeys(choices)
    except TypeError:  # it has no hash: an array, say
        return False


def _checked_retry(value: object) -> Retry | None:
    if isinstance(value, Integral) and not isinstance(value, bool):
        return Retry(attempts=int(value))
    if value is None or isinstance(value, Retry):
        return value
    raise OptionError(f"retry={value!r}: a Retry(...) or a number of attempts")


def checked_memory(value: object, backend: str) -> int | None:
    """Bytes. Raises OptionError."""
    if value is None:
        return None
    match = _MEMORY.fullmatch(str(value).strip()) if type(value) in {int, float, str} else None
    size = int(min(float(match[1]) * _UNITS[match[2].lower()], sys.maxsize)) if match else 0
    if size < LEAST_MEMORY:
        raise OptionError(
            f"memory_limit={value!r}: bytes, or text such as '500MB' or '2GB'; at least '10MB', which a worker needs "
            "for itself"
        )
    if backend in ("serial", "threads"):
        raise OptionError(f"memory_limit needs worker processes, and backend={backend!r} has none")
    if not appetite.CAN_TELL:
        raise OptionError("memory_limit is only to be had on Linux")
    return size


_MEMORY = re.compile(r"(\d+(?:\.\d*)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
LEAST_MEMORY = 10 * 10**6
_defaults = Options()
_NAMES = tuple(vars(_defaults))
# What other libraries call it.
_MEANT = dict.fromkeys(("n_jobs", "processes", "max_workers", "num_workers", "jobs", "nproc"), "workers") | {
    "chunk_size": "chunksize",
    "batch_size": "chunksize",
    "retries": "retry",
    "task_timeout": "timeout",
    "progress_bar": "progress",
    "length": "total",
}


def _meant(name: str) -> str:
    from difflib import get_close_matches

    return _MEANT.get(name) or next(iter(get_close_matches(name, _NAMES, 1)), "")


def gather(given: dict[str, Any]) -> Options:
    """A call's options: what is given, and for the rest the defaults. Raises OptionError."""
    unknown = set(given).difference(_NAMES)
    if unknown:
        known = ", ".join(_NAMES)
        meant = ", ".join(filter(None, map(_meant, sorted(unknown))))
        hint = f"; did you mean {meant}?" if meant else ""
        raise OptionError(
            f"there is no option {', '.join(map(repr, sorted(unknown)))}{hint}; the options are {known}. An argument "
            f"of your own function is given by functools.partial(function, {min(unknown)}=...)"
        )
    return _defaults.changed(**given)


def configured() -> dict[str, Any]:
    """The defaults, by name."""
    return vars(_defaults)


class configure:  # noqa: N801 - used like a function
    """Set defaults for the options of all later calls; as a context manager, until its end.

    >>> import manyhands as mh
    >>> with mh.configure(backend="serial", on_error="collect"):
    ...     mh.map(int, ["1", "x"])[0]
    1

    Args:
        options: those of `manyhands.map`.

    Raises:
        OptionError: an option is wrong.
    """

    def __init__(self, **options: Any) -> None:
        global _defaults  # noqa: PLW0603 - one set of defaults a process
        self._before = _defaults
        _defaults = gather(options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        global _defaults  # noqa: PLW0603
        _defaults = self._before
