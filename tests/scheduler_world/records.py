"""What there is in the world: jobs, runs of tasks, workers."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum, auto

from manyhands._core import messages as m
from manyhands._core.scheduler import Limits


class Nature(Enum):
    """What a task does whenever it runs."""

    GOOD = auto()
    FAILS = auto()
    FAILS_ONCE = auto()
    FAILS_FOR_GOOD = auto()  # not worth a retry
    CRASHES = auto()
    CRASHES_ONCE = auto()
    POISON = auto()  # kills whoever unpacks it together with others, or runs it
    ODD = auto()  # cannot be unpacked together with others
    STUCK = auto()  # never ends by itself
    STUCK_ONCE = auto()


STUCK = {Nature.STUCK, Nature.STUCK_ONCE}


class Fate(Enum):
    """What became of one run of a task."""

    RUNNING = auto()
    DONE = auto()  # its result is in the worker, or on its way
    ENDED = auto()  # its result was accepted
    RETRIED = auto()
    LOST = auto()  # its worker died before the result was out


@dataclass
class Run:
    """One run of a task."""

    worker: int
    fate: Fate = Fate.RUNNING
    sent: bool = False


@dataclass
class Job:
    """A job, and all that happened to its tasks."""

    policy: m.Policy
    natures: list[Nature] = field(default_factory=list)
    closed: bool = False
    runs: dict[int, list[Run]] = field(default_factory=dict)
    ended: Counter[int] = field(default_factory=Counter)
    over: str = ""  # how the job ended
    stop_at: float | None = None  # cancelled: what runs is to be stopped then
    sent_as: tuple[int, int] | None = None  # (worker, chunk): past the scheduler
    settled: bool = False  # and whoever waited for the result has it

    def retries(self, task: int) -> int:
        """Attempts that were followed by a retry."""
        return sum(run.fate is Fate.RETRIED for run in self.runs.get(task, []))


class Stage(Enum):
    """What a worker is at."""

    IDLE = auto()
    UNPACKING = auto()
    SHOWING = auto()  # shows the task, has not begun it
    RUNNING = auto()
    DONE = auto()  # still shows the task it has run
    ENDING = auto()  # shows nothing; has not reported the end of the chunk yet


@dataclass
class Given:
    """A chunk as it was when it was sent."""

    serial: int
    job: int
    start: int
    stop: int
    isolated: bool


@dataclass
class Worker:
    """A worker, and what is on the way to it and from it."""

    inbox: deque[Given | None] = field(default_factory=deque)  # None: leave
    outbox: deque[m.Event] = field(default_factory=deque)
    assigned: list[tuple[int, int]] = field(default_factory=list)  # every (job, task) ever meant for it
    ready: bool = False
    alive: bool = True
    revoked: bool = False
    told_to_go: bool = False  # retired or killed, as the scheduler knows
    kill_due: bool = False
    killed: bool = False  # its end was asked for while it lived
    overdue: set[tuple[int, int]] = field(default_factory=set)  # (job, task) over their time at that moment
    unpacks_late: int | None = None  # the chunk that was being unpacked for too long at that moment
    stage: Stage = Stage.IDLE
    chunk: Given | None = None
    task: int = 0  # of the chunk, running or to run next
    since: float = 0.0
    failed: list[tuple[int, bool]] = field(default_factory=list)  # not reported yet

    def stamp(self) -> tuple[int | None, int | None]:
        """What its slot on the board shows."""
        if self.chunk is None or self.stage in {Stage.IDLE, Stage.ENDING}:
            return None, None
        return self.chunk.serial, None if self.stage is Stage.UNPACKING else self.task - self.chunk.start

    def finished(self) -> int:
        """Tasks of the chunk that have run, as a task number."""
        return self.task + (self.stage is Stage.DONE)


@dataclass
class State:
    """All there is."""

    limits: Limits
    now: float = 0.0
    jobs: dict[int, Job] = field(default_factory=dict)
    workers: dict[int, Worker] = field(default_factory=dict)  # those whose end the scheduler has not been told
    gone: dict[int, Worker] = field(default_factory=dict)
    commands: deque[m.Command] = field(default_factory=deque)  # not carried out yet
    failed_starts: int = 0  # in a row
    hopeless: bool = False  # no worker can be had, ever
    diary: list[str] = field(default_factory=list)
