"""Reservations: what the short way does with them, and callers with their ticket."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from manyhands._core import messages as m
from scheduler_world.records import Given, Job, Nature, State


@dataclass
class Errand:
    """A caller with a ticket in hand. First it puts its job in the books, then it sends the task."""

    ticket: m.Reserved
    task: Job
    number: int | None = None  # of the job, once it is in the books


class Lending:
    """The ticket, those who have taken it, and the books: what the scheduler is still to be told.

    A caller's thread may come at any moment, but what it does are three steps that nothing can tear: it takes the
    ticket, it notes in the books what it will send, it sends. It may stop after each of them.
    """

    def __init__(self, state: State, tell: Callable[[m.Event], object]) -> None:
        self._state = state
        self._tell = tell
        self._lent: m.Reserved | None = None
        self._wanted_back = False
        self._ticket: m.Reserved | None = None  # for the next that comes
        self.books: deque[m.Event] = deque()
        self.errands: list[Errand] = []

    # --- the short way ----------------------------------------------------------------------------------------

    def lend(self, reserved: m.Reserved, *, calls: int) -> None:
        """There is a new ticket, for so many calls."""
        self._lent = self._ticket = reserved._replace(last=min(reserved.last, reserved.chunk + calls))
        self._wanted_back = False

    def take_back(self, worker: int) -> None:
        """It is asked back: said at once if it is here, else when what was sent has come back, or never."""
        self._wanted_back = True
        if self._ticket is not None:
            self._ticket = self._lent = None
            self.keep_books()
            self._tell(m.Released(worker))

    def keep_books(self) -> None:
        """Tell what was put off, in order."""
        while self.books:
            self._tell(self.books.popleft())

    def settle_at_once(self, event: m.Event) -> bool:
        """A good result of what was sent past the scheduler is told later; the next may go at once."""
        if not isinstance(event, m.ResultsArrived) or not self._was_lent(event.chunk) or not self._go_on(event.chunk):
            return False
        chunk = (event.worker, event.chunk)
        good = event.ended and event.upto == 1 and not event.failed
        number = next((n for n, job in self._state.jobs.items() if job.sent_as == chunk and not job.settled), None)
        if not good or number is None:
            return False
        self._state.jobs[number].settled = True
        self.books.append(event)
        self.came_back(event.chunk)
        return True

    def came_back(self, serial: int) -> None:
        """What was sent with this number has: the next may go, or it is over."""
        if self._lent is None or not self._was_lent(serial):
            return
        if self._go_on(serial):
            self._ticket = self._lent._replace(chunk=serial + 1)
        else:
            over, self._lent = self._lent, None
            self._tell(m.Released(over.worker))

    def _was_lent(self, serial: int) -> bool:
        return self._lent is not None and self._lent.chunk <= serial < self._lent.last

    def _go_on(self, serial: int) -> bool:
        return self._lent is not None and not self._wanted_back and serial + 1 < self._lent.last

    # --- callers ----------------------------------------------------------------------------------------------

    def take(self, policy: m.Policy, nature: Nature) -> Errand | None:
        """A caller takes the ticket, if there is one, for this task."""
        if self._ticket is None:
            return None
        errand = Errand(self._ticket, Job(policy, [nature], closed=True))
        self._ticket = None
        self.errands.append(errand)
        return errand

    def lose(self, errand: Errand) -> None:
        """An exception struck between taking and using."""
        self.errands.remove(errand)

    def note(self, errand: Errand) -> None:
        """Into the books, before it is sent."""
        number = errand.number = len(self._state.jobs)
        self._state.jobs[number] = errand.task
        worker = self._state.workers.get(errand.ticket.worker)
        if worker is not None:
            errand.task.sent_as = errand.ticket.worker, errand.ticket.chunk
            worker.assigned.append((number, 0))
        self.books.append(m.JobAdded(number, errand.task.policy, 1, closed=True, sent=errand.ticket))

    def send(self, errand: Errand) -> None:
        """To the worker, if there still is one."""
        assert errand.number is not None
        worker = self._state.workers.get(errand.ticket.worker)
        if worker is not None and worker.alive:
            worker.inbox.append(Given(errand.ticket.chunk, errand.number, 0, 1, isolated=False))
        self.errands.remove(errand)

    def go_on(self, errand: Errand) -> None:
        """The next step of this caller."""
        if errand.number is None:
            self.note(errand)
        else:
            self.send(errand)
