"""The short way of single calls: one after the other straight to the reserved worker, past the loop.

A call that is submitted and waited for, again and again, would spend most of its time on waking the dispatcher's
loop and on the scheduler. So the scheduler, when nothing else is open, reserves an idle worker (``lend``)::

    who submits:  takes the reservation ─► notes what the loop is to be told ─► sends to the worker
    the loop:     hears the result ─► strikes out that note ─► gives the result to the future
                                                            ─► lays the reservation back

The loop is woken once, by the worker. What holds:

- There is at most one reservation, and only who has popped it sends. The loop lays it back, with the next chunk
  number, when what was sent has come back: so at most one call is on the short way. All else is the loop's alone.
- The scheduler learns of a call before anything else is decided: ``tell`` comes first in every round of requests,
  and before whatever else the worker says. It never learns of one whose good result came before that, since by
  then all is as if it had not been.
- A reservation that is wanted back is given back once: now, if it lies there; when what was sent has come back,
  if somebody uses it; never, if it was lost, and then the scheduler ends its worker. Who uses it either notes the
  call before the loop looks, or sees that it is wanted back and has it told.
- A signal handler may raise between any two steps. Before the note there is only a reservation to lose. From the
  note on the loop watches over the task; if the sending is torn, it gives up the task, and the worker with it.
- What a signal handler itself submits in the midst of a thread's sending goes through the loop. Since it may wait
  for that, or for the end of all, the worker whose task it holds up is ended (``let_go``); another gets the task.
- No user code runs while the reservation is held: it might wait for the worker. All is packed before.

Results are heard by the loop alone. A caller that read its worker's socket itself would save a tenth of a call,
and was tried: it raced with the loop for what the selector watches, and a signal handler that waited in the midst
of it was waited for in turn.

Every operation on shared state is one that a thread cannot be seen in the midst of (append, pop, assignment): a
lock would be one more thing for an exception to tear.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from manyhands._core import messages as m
from manyhands._engine.interface import Backend, ChunkResults, Job, Sink
from manyhands._engine.results import Piece
from manyhands.errors import NotSendable

_here = threading.local()  # .sending: the way, the loop and the reservation, while this thread is in the midst of that


def let_go() -> None:
    """The calling thread is about to ask for something, and may wait for it.

    If it is in the midst of sending, this is a signal handler, and the sending goes on only after it: it may wait
    for ever for that very worker, or for the loop, which waits to write to it.
    """
    sending: tuple[ShortWay, Loop, m.Reserved] | None = getattr(_here, "sending", None)
    if sending is not None:
        way, loop, reserved = sending
        loop.request(partial(way.suspend, reserved, loop))


class Loop(Protocol):
    """What the short way needs of the dispatcher. Only ``request`` is called outside the loop."""

    def request(self, request: Callable[[], object]) -> None:
        """Have this done by the loop, soon and in order."""

    def admit(self, job: Job, stop: int, *, closed: bool, sent: m.Reserved | None = None) -> None:
        """The job exists; its one task was sent with this reservation."""

    def fail_to_send(self, command: m.SendChunk, error: Exception) -> None:
        """Nothing was sent, and never can be."""

    def abort(self, command: m.SendChunk) -> None:
        """An exception struck while it was being sent: who knows how far that came."""

    def suspend(self, reserved: m.Reserved, *, came_back: bool) -> None:
        """Whoever sends with this reservation is held up, though what was sent may have come back."""

    def settled(self, sink: Sink, piece: Piece) -> None:
        """The result of a single call is here."""

    def released(self, worker: int) -> None:
        """The reservation of this worker is over."""


class ShortWay:
    """The reservation there is, and what was sent with it; see the module's text for what it keeps.

    The loop is given in with each call and not kept: a cycle would keep alive what backend and jobs refer to.
    """

    def __init__(self, backend: Backend) -> None:
        self.used = False  # since the loop last asked
        self._backend = backend
        self._lent: m.Reserved | None = None  # the reservation there is, as it was made
        self._wanted_back = False  # and it is not to be used again
        self._free: deque[m.Reserved] = deque()  # at most one: whoever pops it may send
        self._sent: tuple[m.Reserved, Job, Callable[[], object]] | None = None  # what was sent so; its admission
        self._untold: deque[Callable[[], object]] = deque()  # that admission: to be told first, should that matter

    # --- for callers, from any thread ---------------------------------------------------------------------------

    def send(self, job: Job, loop: Loop) -> bool:
        """Send a single task to the reserved worker; False if there is none.

        The loop need not be woken: the worker's answer does that, or its end.
        """
        if getattr(_here, "sending", None) is not None:
            return False  # this is a signal handler in the midst of that
        try:
            _here.sending = self, loop, self._free[-1]
            reserved = self._free.pop()
        except IndexError:
            return False
        else:
            self._send(reserved, job, loop)
            return True
        finally:
            _here.sending = None

    def _send(self, reserved: m.Reserved, job: Job, loop: Loop) -> None:
        command = m.SendChunk(reserved.worker, m.Chunk(reserved.chunk, job.number, 0, 1, 0))
        try:
            job.begun = job.sink.started()  # takes locks of the future: not once the loop may want them
            self._sent = reserved, job, partial(loop.admit, job, 1, closed=True, sent=reserved)
            self._untold.append(self._sent[2])
            parcel = job.ready if job.ready is not None else self._backend.pack(job, command.chunk)
            self._backend.send(reserved.worker, job, command.chunk, parcel)
            lent = self._lent
            if self._wanted_back or lent is None or lent.worker != reserved.worker:
                loop.request(self.tell)
        except NotSendable as error:  # the function cannot be sent in any form; nothing was
            loop.request(partial(loop.fail_to_send, command, error))
        except BaseException:
            loop.request(partial(loop.abort, command))
            raise

    # --- for the loop -------------------------------------------------------------------------------------------

    def lend(self, reserved: m.Reserved) -> None:
        """There is a reservation: who comes with a single task may use it."""
        self._lent, self._wanted_back = reserved, False
        self._free.append(reserved)

    def take_back(self, worker: int, loop: Loop) -> None:
        """Nobody may use it any more; if somebody does, its end is told when that has come back."""
        self._wanted_back = True
        try:
            self._free.pop()
        except IndexError:  # somebody uses it
            self.tell()
            return
        self._lent = None
        self.tell()
        loop.released(worker)

    def tell(self) -> None:
        """Have the scheduler know what was sent past it."""
        while True:
            try:
                admission = self._untold.popleft()
            except IndexError:
                return
            admission()

    def suspend(self, reserved: m.Reserved, loop: Loop) -> None:
        """Who sends with this reservation does not go on for now."""
        lent = self._lent
        loop.suspend(reserved, came_back=lent is None or lent.worker != reserved.worker or bool(self._free))

    def settle(self, notice: ChunkResults, loop: Loop) -> bool:
        """The result of what was sent past the loop goes to whoever waits for it; False if the loop must see it.

        If the scheduler was not told of that task yet, it need not know: all is as it was before.
        """
        sent = self._sent
        if sent is None or sent[0].chunk != notice.serial or notice.failed or not notice.batch.count:
            return False
        if notice.stats is None or not self._goes_on(notice.serial):
            return False
        try:
            self._untold.remove(sent[2])
        except ValueError:
            return False  # it was told: then so must be this
        loop.settled(sent[1].sink, Piece(0, 1, notice.batch, 0))
        self.used = True
        self.came_back(notice.serial, loop)
        return True

    def came_back(self, serial: int, loop: Loop) -> None:
        """If it was sent with the reservation: the next may go, or it is over, and all that was sent is told."""
        lent = self._lent
        if lent is None or not lent.chunk <= serial < lent.last:
            return
        self._sent = None
        if self._goes_on(serial):
            self._free.append(lent._replace(chunk=serial + 1))
        else:
            self._lent = None
            loop.released(lent.worker)

    def _goes_on(self, serial: int) -> bool:
        """When what was sent with the reservation as this chunk has come back, the next may go."""
        lent = self._lent
        return lent is not None and lent.chunk <= serial < lent.last - 1 and not self._wanted_back
