"""manyhands: parallel Python that never hangs: one call runs a function over many inputs on all cores.

>>> import manyhands as mh
>>> mh.map(lambda x: x * x, range(5))
[0, 1, 4, 9, 16]

The names below are all there is. They load on first use, so that the import itself costs little.
"""

from __future__ import annotations

from importlib import import_module as _import_module

from manyhands._engine.first_use import undisturbed as _undisturbed

TYPE_CHECKING = False  # as typing's, whose import would take longer than all of this one
if TYPE_CHECKING:
    from typing import Any

    from manyhands._core.retry import Retry as Retry
    from manyhands._engine.cpus import cpu_count as cpu_count
    from manyhands.arrays import SharedArray as SharedArray
    from manyhands.arrays import empty_shared as empty_shared
    from manyhands.arrays import share as share
    from manyhands.comparison.comparing import compare as compare
    from manyhands.comparison.comparison import Comparison as Comparison
    from manyhands.comparison.function_comparison import FunctionComparison as FunctionComparison
    from manyhands.comparison.functions import compare_functions as compare_functions
    from manyhands.errors import ExecutorClosed as ExecutorClosed
    from manyhands.errors import InitializerError as InitializerError
    from manyhands.errors import ManyhandsError as ManyhandsError
    from manyhands.errors import MemoryLimitExceeded as MemoryLimitExceeded
    from manyhands.errors import NotSendable as NotSendable
    from manyhands.errors import OptionError as OptionError
    from manyhands.errors import RemoteError as RemoteError
    from manyhands.errors import RemoteTraceback as RemoteTraceback
    from manyhands.errors import ResultsDiffer as ResultsDiffer
    from manyhands.errors import TaskError as TaskError
    from manyhands.errors import TaskTimeout as TaskTimeout
    from manyhands.errors import WorkerDied as WorkerDied
    from manyhands.errors import WorkerStartError as WorkerStartError
    from manyhands.errors import WorkersUnavailable as WorkersUnavailable
    from manyhands.executor import Executor as Executor
    from manyhands.mapping import imap as imap
    from manyhands.mapping import imap_unordered as imap_unordered
    from manyhands.mapping import map as map
    from manyhands.mapping import starmap as starmap
    from manyhands.mapping import submit as submit
    from manyhands.options import Options as Options
    from manyhands.options import configure as configure
    from manyhands.pool import Pool as Pool
    from manyhands.pool import ThreadPool as ThreadPool
    from manyhands.report import last_report as last_report
    from manyhands.strategy import explain as explain
    from manyhands.tasks import lock as lock
    from manyhands.tasks import per_worker as per_worker
    from manyhands.tasks import task_rng as task_rng
    from manyhands.tasks import thread_safe as thread_safe
    from manyhands.types import Failure as Failure
    from manyhands.types import Progress as Progress
    from manyhands.types import Report as Report
    from manyhands.types import Strategy as Strategy

__version__ = "0.1.0"

_HOMES = {
    "_core.retry": ("Retry",),
    "_engine.cpus": ("cpu_count",),
    "arrays": ("SharedArray", "empty_shared", "share"),
    "comparison.comparing": ("compare",),
    "comparison.comparison": ("Comparison",),
    "comparison.function_comparison": ("FunctionComparison",),
    "comparison.functions": ("compare_functions",),
    "errors": (
        "ExecutorClosed",
        "InitializerError",
        "ManyhandsError",
        "MemoryLimitExceeded",
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
    ),
    "executor": ("Executor",),
    "mapping": ("imap", "imap_unordered", "map", "starmap", "submit"),
    "options": ("Options", "configure"),
    "pool": ("Pool", "ThreadPool"),
    "report": ("last_report",),
    "strategy": ("explain",),
    "tasks": ("lock", "per_worker", "task_rng", "thread_safe"),
    "types": ("Failure", "Progress", "Report", "Strategy"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - the table is the one place where names are listed


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'manyhands' has no attribute {name!r}")
    value = getattr(_undisturbed(lambda: _import_module(f"manyhands.{home}")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
