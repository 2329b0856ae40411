"""Every error manyhands raises by itself. The user's own exceptions come back as themselves.

::

    ManyhandsError
    ├── OptionError          (ValueError)        a call's options are wrong: nothing was run
    ├── ExecutorClosed       (RuntimeError)      work was given to an executor that is shut down
    ├── ResultsDiffer        (ValueError)        `compare` found other results than the loop's
    ├── TaskError
    │   ├── WorkerDied       (BrokenExecutor)    the task's worker died while running it
    │   │   └── MemoryLimitExceeded (MemoryError)  its worker had more memory than ``memory_limit``
    │   ├── TaskTimeout      (TimeoutError)      the task ran longer than its ``timeout``
    │   ├── NotSendable      (PicklingError)     an argument, function or result cannot travel
    │   └── RemoteError      (RuntimeError)      stands in for an exception that cannot travel
    └── WorkersUnavailable   (BrokenExecutor)
        ├── InitializerError                     the initializer raised: no worker can be used
        └── WorkerStartError                     the system would not start a worker

Of a `Pool` come, besides, PoolClosed (an ExecutorClosed and ValueError) and PoolTimeout (a TimeoutError).

Each carries its facts as fields, survives pickling, and ends with what to do.
"""

from __future__ import annotations

import signal as _signal
from concurrent.futures import BrokenExecutor
from pickle import PicklingError
from typing import Any

__all__ = [
    "ExecutorClosed",
    "InitializerError",
    "ManyhandsError",
    "NotSendable",
    "OptionError",
    "RemoteError",
    "RemoteTraceback",
    "ResultsDiffer",
    "TaskError",
    "TaskTimeout",
    "WorkerDied",
    "WorkerStartError",
    "WorkersUnavailable",
]


class ManyhandsError(Exception):
    """Base of every error that manyhands itself raises."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilt from its fields, not through __init__, so that no subclass can fail to unpickle.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], fields: dict[str, Any]) -> BaseException:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class OptionError(ManyhandsError, ValueError):
    """An option is wrong or does not fit the others; nothing was run."""


class ExecutorClosed(ManyhandsError, RuntimeError):
    """Work was given to an executor or pool that no longer takes any, or has come along in a fork of its process."""


FORKED = "this call belongs to the process that this one was forked from, and so do its workers: make one here"


class ResultsDiffer(ManyhandsError, ValueError):
    """What `compare` compares does not give the same results, so that its times would mean nothing.

    Fields: ``name`` of what gives others, ``index`` of the item, ``difference`` in words.
    """

    def __init__(
        self, name: str, index: int, item: str, difference: str, than: str | None = None, *, advice: str = ""
    ) -> None:
        """``than``: another function; None: the loop. ``advice``: a sentence, of what may help functions."""
        self.name, self.index, self.difference = name, index, difference
        if than is None:
            name, than = "the loop" if name == "loop" else name, "the loop"
            advice = "Does the function keep state, share what is not safe in threads, or use chance without a seed?"
        before = "it gave before" if name == than else f"{than} does"
        told = f"{name} gives another result for item {index}, {item}, than {before}: {difference}."
        super().__init__(f"{told} {advice}".rstrip())


class TaskError(ManyhandsError):
    """Something befell one task; ``index`` says which one."""

    index: int | None = None


class WorkerDied(TaskError, BrokenExecutor):
    """The worker that ran this task ended before the task did.

    Fields: ``pid``, ``exitcode`` (as in `subprocess.Popen`: negative for a signal, None when the
    system did not say), ``signal`` (its name, or None), ``index`` of the task, ``attempts`` made.
    """

    def __init__(self, *, pid: int | None, exitcode: int | None, index: int | None = None, attempts: int = 1) -> None:
        self.pid = pid
        self.exitcode = exitcode
        self.index = index
        self.attempts = attempts
        self.signal = _signal_name(exitcode)
        super().__init__(self._text())

    def _text(self) -> str:
        how = f"by {self.signal}" if self.signal else f"with exit code {self.exitcode}"
        if self.exitcode is None:
            how = "without a trace of why"
        hint = ""
        if self.signal == "SIGKILL":
            hint = " SIGKILL is often the system's answer to too little memory: try fewer workers."
        elif self.signal in {"SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE"}:
            hint = " The crash is in compiled code that the task called."
        tries = f" (attempt {self.attempts})" if self.attempts > 1 else ""
        advice = "" if tries else " manyhands.Retry tries such a task again."
        return f"worker {self.pid} was ended {how} while running task {self.index}{tries}.{hint}{advice}"


class MemoryLimitExceeded(WorkerDied, MemoryError):
    """The task's worker was ended, since it had more memory than ``memory_limit`` allows.

    Fields: ``memory``, in bytes, and those of WorkerDied.
    """

    def __init__(self, *, memory: int, **end: Any) -> None:
        self.memory = memory
        super().__init__(**end)

    def _text(self) -> str:
        return (
            f"worker {self.pid} was ended while running task {self.index}, since it had {self.memory / 1e6:.0f} MB, "
            "more than its memory_limit: allow it more, or give the task less at a time."
        )


def _signal_name(exitcode: int | None) -> str | None:
    if exitcode is None or exitcode >= 0:
        return None
    try:
        return _signal.Signals(-exitcode).name
    except ValueError:
        return f"signal {-exitcode}"


class TaskTimeout(TaskError, TimeoutError):
    """The task ran longer than its ``timeout`` and was stopped. Fields: ``seconds``, ``index``."""

    def __init__(self, *, seconds: float, index: int | None = None) -> None:
        self.seconds = seconds
        self.index = index
        super().__init__(
            f"task {index} ran longer than its timeout of {seconds:g} s and was given up; allow it more time, or "
            "look for what keeps it."
        )


class NotSendable(TaskError, PicklingError, TypeError):
    """A function, argument or result cannot be sent between processes. Field: ``index``."""


class RemoteError(TaskError, RuntimeError):
    """Stands in for a task's exception that could not travel itself.

    Fields: ``type_name``, ``message`` and ``remote_traceback`` of the original.
    """

    def __init__(self, type_name: str, message: str, remote_traceback: str) -> None:
        self.type_name = type_name
        self.message = message
        self.remote_traceback = remote_traceback
        super().__init__(f"{type_name}: {message} (the exception itself could not be sent between processes)")


class RemoteTraceback(Exception):
    """The traceback of a task in its worker, shown as the cause of the task's exception."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class WorkersUnavailable(ManyhandsError, BrokenExecutor):
    """No worker could be made ready, so nothing can run."""


class InitializerError(WorkersUnavailable):
    """The initializer raised in a worker; its exception is the cause."""


class WorkerStartError(WorkersUnavailable):
    """A worker could not be started: the cause says what the system refused."""
