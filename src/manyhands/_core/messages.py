"""What the scheduler is told (events) and what it asks for (commands).

Times are seconds on one monotonic clock, given in from outside. Workers, jobs and chunks are numbers; tasks
are numbers within their job, counted from 0, and ranges of them are half-open: ``[start, stop)``.

Here and in the engine, records are named tuples or plain classes: a first call waits for the import, and to import
the standard library's dataclasses, and make a dozen of them, would take half as long again.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple


def no_backoff(_attempt: int) -> float:
    """Retry at once."""
    return 0.0


class Policy(NamedTuple):
    """What a job asks of the scheduler. ``attempts`` counts the first run; times are in seconds."""

    chunksize: int | None = None
    timeout: float | None = None
    attempts: int = 1
    backoff: Callable[[int], float] = no_backoff
    rerun_after_death: bool = True
    retry_timeouts: bool = False


# --- events ---------------------------------------------------------------------------------------------------


class Reserved(NamedTuple):
    """A worker set aside, and the numbers that the chunks sent to it have: ``[chunk, last)``, one after the other."""

    worker: int
    chunk: int
    last: int


class JobAdded(NamedTuple):
    """A job exists, with tasks up to ``stop``; with ``closed`` there will be no more.

    ``sent``: it has one task, which whoever adds it has sent already, with this reservation. Tasks before ``start``
    were run elsewhere, in so many ``seconds``. ``crowd``: so many workers may be of use, if that is known.
    """

    job: int
    policy: Policy
    stop: int = 0
    closed: bool = False
    sent: Reserved | None = None
    start: int = 0
    seconds: float = 0.0
    crowd: int = 0
    key: bytes = b""  # of its function


class WorkersWanted(NamedTuple):
    """Work for so many workers may soon come: those that do not exist yet are to be started."""

    workers: int


class TasksAdded(NamedTuple):
    """Further tasks exist, up to ``stop`` now; with ``closed`` there will be no more."""

    job: int
    stop: int
    closed: bool = False


class TasksSkipped(NamedTuple):
    """The tasks from those known so far up to this one were run elsewhere, so many of them in so many seconds."""

    job: int
    upto: int
    seconds: float


class TasksWeighed(NamedTuple):
    """The inputs, or the results, of so many tasks of this job have so many bytes: told if they are many."""

    job: int
    tasks: int
    size: int


class JobCancelled(NamedTuple):
    """Nobody wants this job any more. Running tasks are stopped after ``grace`` (None: left to finish)."""

    job: int
    grace: float | None = None


class WorkerStarted(NamedTuple):
    """A worker is ready for chunks."""

    worker: int


class StartFailed(NamedTuple):
    """A worker could not be made ready; ``fatal`` when trying again is useless (the initializer raised)."""

    worker: int
    fatal: bool = False


class WorkerDied(NamedTuple):
    """A worker is gone. ``chunk`` and ``offset`` say what it was running, as its last stamp shows.

    ``chunk`` None: nothing; ``offset`` None: it was unpacking that chunk, no task of it had begun; or, if ``ran``,
    sending the results, and all of them had.
    """

    worker: int
    chunk: int | None = None
    offset: int | None = None
    ran: bool = False


class ResultsArrived(NamedTuple):
    """A worker reports the tasks of a chunk up to ``upto`` (a task number) as run.

    ``failed`` lists those that raised as (task, may be retried). ``ended``: the worker is through with the
    chunk, having run nothing from ``upto`` on. ``seconds`` is the time the chunk took altogether, once ended;
    ``busy``, of that, in the function, and ``cpu``, of that, on a processor.
    """

    worker: int
    chunk: int
    upto: int
    failed: tuple[tuple[int, bool], ...] = ()
    ended: bool = False
    seconds: float = 0.0
    busy: float = 0.0
    cpu: float = 0.0


class FunctionLoaded(NamedTuple):
    """A worker has imported what a function needs, in so many seconds."""

    worker: int
    key: bytes
    seconds: float


class WorkerFull(NamedTuple):
    """A worker has more memory than it may have: it is to be replaced before it begins anything further."""

    worker: int


class WorkerUnwanted(NamedTuple):
    """A worker is being ended, whatever it does meanwhile: nothing more is sent to it, and no task is to blame."""

    worker: int


class ChunkRefused(NamedTuple):
    """A worker could not unpack a chunk, and ran nothing of it: it must be sent item by item."""

    worker: int
    chunk: int


class Inspected(NamedTuple):
    """What a worker is doing at this moment, as WorkerDied has it, and since when."""

    worker: int
    chunk: int | None
    offset: int | None
    since: float


class Released(NamedTuple):
    """The reservation is over: nobody holds it, and all that was sent with it has been told.

    Told once: when it is asked for, or used up; while somebody is using it, when that has come back.
    """

    worker: int


class Tick(NamedTuple):
    """Time has passed; nothing else happened, but that (``used``) the reservation was in use meanwhile."""

    used: bool = False


class ShutdownAsked:
    """Finish what there is, then let every worker go."""


Event = (
    JobAdded
    | TasksAdded
    | TasksSkipped
    | TasksWeighed
    | WorkersWanted
    | JobCancelled
    | WorkerStarted
    | StartFailed
    | WorkerDied
    | ResultsArrived
    | FunctionLoaded
    | WorkerFull
    | WorkerUnwanted
    | ChunkRefused
    | Inspected
    | Released
    | Tick
    | ShutdownAsked
)


# --- commands -------------------------------------------------------------------------------------------------


class Chunk:
    """Tasks ``[start, stop)`` of one job, sent together. ``done`` counts up as results arrive.

    It is the scheduler's: ``stop`` shrinks when tasks are taken back, so others read it only to send it.

    ``isolated`` chunks carry each item packed by itself, so that one bad item cannot spoil the others.
    ``strikes`` counts the workers that died around it without a task to charge. ``slice``: so many tasks are begun
    together.
    """

    __slots__ = ("done", "isolated", "job", "serial", "slice", "start", "stop", "strikes")

    def __init__(  # noqa: PLR0917 - a record
        self,
        serial: int,
        job: int,
        start: int,
        stop: int,
        done: int,
        isolated: bool = False,  # noqa: FBT001, FBT002
        strikes: int = 0,
        slice: int = 1,  # noqa: A002
    ) -> None:
        self.serial, self.job = serial, job
        self.start, self.stop, self.done = start, stop, done
        self.isolated, self.strikes, self.slice = isolated, strikes, slice


class Cause(Enum):
    """Why a task ended without a result of its own."""

    DIED = "its worker died"
    TIMEOUT = "it ran too long"


class StartWorker(NamedTuple):
    """Begin to start this worker."""

    worker: int


class SendChunk(NamedTuple):
    """Send this chunk to this worker."""

    worker: int
    chunk: Chunk


class Deliver(NamedTuple):
    """The results of ``[start, stop)`` that just arrived are final, but for the tasks in ``retried``."""

    job: int
    start: int
    stop: int
    retried: frozenset[int]


class FailTask(NamedTuple):
    """This task ends here, for this cause, after so many attempts."""

    job: int
    task: int
    cause: Cause
    attempts: int


class RetryTask(NamedTuple):
    """Told, not asked: this task will run again."""

    job: int
    task: int


class FinishJob(NamedTuple):
    """Every task of the job has ended."""

    job: int


class BreakJob(NamedTuple):
    """The job cannot go on, because no worker can be had."""

    job: int


class RevokeRest(NamedTuple):
    """Forbid the worker to begin any further task until LiftRevoke."""

    worker: int


class LiftRevoke(NamedTuple):
    """Let the worker begin tasks again."""

    worker: int


class InspectWorker(NamedTuple):
    """Look what the worker is running, and tell (Inspected)."""

    worker: int


class ReserveWorker(NamedTuple):
    """Who comes with a single task may send it to this worker without asking, whenever the one before has ended."""

    reserved: Reserved


class ReleaseWorker(NamedTuple):
    """Let nobody do that any more, and say when it is so (Released)."""

    worker: int


class RetireWorker(NamedTuple):
    """Ask the worker to end by itself."""

    worker: int


class KillWorker(NamedTuple):
    """End the worker now, whatever it is doing."""

    worker: int


Command = (
    StartWorker
    | SendChunk
    | Deliver
    | FailTask
    | RetryTask
    | FinishJob
    | BreakJob
    | RevokeRest
    | LiftRevoke
    | InspectWorker
    | ReserveWorker
    | ReleaseWorker
    | RetireWorker
    | KillWorker
)
