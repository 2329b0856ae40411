"""What the dispatcher and a backend say to each other.

A backend has workers and moves chunks; it decides nothing. It answers every start with Ready or NotStarted,
and every worker that was Ready ends with one Gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from manyhands._core.messages import Chunk, Policy
from manyhands._engine.board import Stamp
from manyhands._engine.payload import Packed
from manyhands._engine.protocol import Style
from manyhands._engine.results import Batch, Piece
from manyhands._engine.tally import Stats, Tally
from manyhands.errors import ManyhandsError


class Source(Protocol):
    """The inputs of a job."""

    def items(self, start: int, stop: int) -> Sequence[Any]:
        """Those of tasks ``[start, stop)``."""

    def discard(self, start: int, stop: int) -> None:
        """They will not be asked for again."""


class Sink(Protocol):
    """Where a job's results go. Called on the dispatcher's thread, so it must not block or run user code."""

    def started(self) -> bool:
        """A first chunk is about to be sent; False if nobody wants the job any more.

        Of a single call that goes the short way, called on the thread that submits it.
        """

    def put(self, piece: Piece) -> None:
        """Take in some results."""

    def finish(self, error: BaseException | None) -> None:
        """All is there; or with an error, nothing more will come."""

    def abandon(self, error: BaseException) -> None:
        """The executor was terminated, or told to cancel what has not begun."""


class Shipment(Protocol):
    """A function on its way to workers."""

    key: bytes
    func: Callable[..., Any]

    @property
    def keep(self) -> object:
        """What must live as long as a worker knows the function."""

    @property
    def classes(self) -> frozenset[str]:
        """Those that it brings with it by value, as far as it is packed."""

    def packed(self) -> Packed:
        """As bytes, packed at most once."""

    def repack(self) -> None:
        """Pack again, now or when asked for it: a worker could not find something that goes by value from now on."""


class Job:
    """One call's work: a function, its inputs, and where results go.

    ``single``: one call of its own; ``awaited``: somebody waits for it, otherwise it is finished before the
    interpreter ends.
    """

    def __init__(
        self,
        shipment: Shipment,
        style: Style,
        source: Source,
        sink: Sink,
        policy: Policy,
        *,
        seed: int | None = None,
        retry_on: tuple[type[BaseException], ...] = (),
        single: bool = False,
        tally: Tally | None = None,
        awaited: bool = True,
    ) -> None:
        self.shipment, self.style = shipment, style
        self.source, self.sink = source, sink
        self.policy, self.seed, self.retry_on = policy, seed, retry_on
        self.single, self.awaited = single, awaited
        self.tally = tally
        self.around: Any = None
        self.ready: Any = None  # its parcel, if its only item is packed already
        self.begun = False  # some of it was sent
        self.start, self.seconds = 0, 0.0  # tasks before this one were run elsewhere, in this time
        self.crowd = 0  # so many workers may be of use, if there may be so many; 0: that will show
        self.number = -1  # the dispatcher's
        self.refused: ManyhandsError | None = None  # it came too late


class Ready(NamedTuple):
    """A worker can take chunks."""

    worker: int


class Loaded(NamedTuple):
    """A worker has unpacked a function, and imported what that needs, in so many seconds."""

    worker: int
    key: bytes
    seconds: float


class NotStarted(NamedTuple):
    """A worker will never be ready; ``fatal``: nor will any other."""

    worker: int
    error: ManyhandsError
    fatal: bool = False


class Gone(NamedTuple):
    """A worker has ended; ``stamp`` shows what it was doing."""

    worker: int
    pid: int | None
    exitcode: int | None
    stamp: Stamp
    too_large: int | None = None  # bytes that it was ended for


class Full(NamedTuple):
    """A worker has too much memory, and is in no task."""

    worker: int


class ChunkResults:
    """Those of a chunk, from offset ``first`` on; with ``stats`` the worker is through with the chunk.

    ``failed`` lists (offset, may be retried). ``task``, the number of the first one, the dispatcher fills in.
    """

    __slots__ = ("batch", "failed", "first", "serial", "stats", "task", "worker")

    def __init__(  # noqa: PLR0917 - a record
        self,
        worker: int,
        serial: int,
        first: int,
        batch: Batch,
        failed: tuple[tuple[int, bool], ...],
        stats: Stats | None,
    ) -> None:
        self.worker, self.serial, self.first = worker, serial, first
        self.batch, self.failed, self.stats = batch, failed, stats
        self.task = first


class Refused(NamedTuple):
    """A worker could not unpack a chunk, or (``key``) its function, maybe for a name it could not find."""

    worker: int
    serial: int
    key: bytes | None
    where: tuple[str, str] | None


class Said(NamedTuple):
    """Words from a worker: a stream number and text, or "record"/"warning" and its packed form."""

    kind: int | str
    words: Any


class Weighed(NamedTuple):
    """So many tasks of a chunk have inputs, or results, of so many bytes. Told if they are many."""

    worker: int
    serial: int
    tasks: int
    size: int


Notice = Ready | Loaded | NotStarted | Gone | Full | ChunkResults | Refused | Said | Weighed


class Backend(Protocol):
    """Where workers come from. ``pack`` may run user code; ``send`` and the others are quick and never block.

    Called on the dispatcher's thread, but for ``ship``, ``prepare``, ``wake`` and ``pids``, which are called on any,
    and ``pack`` and ``send``: whoever holds a worker's reservation sends to that one, and meanwhile nobody else does.
    """

    threaded: bool  # the dispatcher runs it on a thread of its own; False: in whoever waits for results
    let_through: BaseException | None  # without threads: what has stopped a task, and no step of ours

    def ship(self, func: Callable[..., Any]) -> Shipment:
        """Make a function ready to travel; raises NotSendable."""

    def start(self, worker: int) -> None:
        """Begin to start a worker."""

    def pack(self, job: Job, chunk: Chunk) -> Any:
        """Make a chunk ready for ``send``."""

    def prepare(self, job: Job) -> None:
        """Note what the job must find as it is now, and pack a single call. In the thread that asks for it."""

    def load(self, worker: int, job: Job) -> None:
        """Have the worker get ready for this job, which may follow; where there is anything to load."""

    def send(self, worker: int, job: Job, chunk: Chunk, parcel: Any) -> None:
        """Give a chunk to a worker; nothing happens if the worker has gone."""

    def revoke(self, worker: int) -> None:
        """The worker is to begin nothing further..."""

    def lift(self, worker: int) -> None:
        """...until this."""

    def take_over(self, worker: int) -> None:
        """Who was sending to it is held up: send without waiting for that. All has arrived, or the worker is ended."""

    def inspect(self, worker: int) -> Stamp | None:
        """What the worker is doing now."""

    def retire(self, worker: int) -> None:
        """Ask the worker to leave."""

    def kill(self, worker: int, *, at_once: bool = False) -> None:
        """End the worker: SIGTERM and after a grace period SIGKILL, or that at once."""

    def forget(self, key: bytes, worker: int) -> None:
        """The worker does not have this function after all."""

    def pids(self) -> list[int]:
        """Process ids of the workers, as far as they have any of their own."""

    def wait(self, timeout: float | None) -> list[Notice]:
        """Wait until something happens, ``wake`` is called, or the time (seconds) is over."""

    def wake(self) -> None:
        """Make ``wait`` return. From any thread, never blocks."""

    def close(self) -> None:
        """End what still lives and give everything back."""
