"""A job's results as the caller reads them, and its input as far as it was read for that.

The input is read in the caller's thread: generators may hold database cursors and the like. Only what may keep its
reader waiting, or whose results nobody may ask for, is read on a thread of its own: an input with a descriptor (a
file, a pipe, standard input), and the iterators given to a Pool.
At any time at most a window of tasks is at hand: read, but their results not yet taken.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from manyhands._core.ordering import Reorder
from manyhands._engine.dispatcher import Dispatcher
from manyhands._engine.interface import Job
from manyhands._engine.latch import Latch
from manyhands._engine.results import Piece
from manyhands._engine.sources import GrowingSource, SequenceSource
from manyhands._engine.threads import start_thread
from manyhands.errors import FORKED, ExecutorClosed
from manyhands.interrupts import is_of_a_signal
from manyhands.showing import MISSING

PAUSE_SECONDS = 0.02  # between looks at results that are wanted all together
PULL_SECONDS = 0.002  # reading input stops after this, when results are waiting to be taken
SLOW_SECONDS = 20e-6  # for one input: slower ones are passed on one by one
IN_ADVANCE = 4  # tasks a worker, before it is known how long they take; as many as the scheduler would have at hand
MAX_STEP = 1024  # inputs read before it is looked how long that takes
STEP_SECONDS = 0.001  # of reading quick ones before the workers are told


class SequenceFeed:
    """All inputs are there; they are made known as they are wanted."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.source = SequenceSource(items)
        self._items = items
        self.count = 0
        self.total = len(items)
        self.ended = self.total == 0

    def pull(self, most: int) -> None:
        """A larger part of the sequence counts."""
        self.count = min(self.total, self.count + most)
        self.ended = self.count == self.total

    def draw(self, start: int, most: int) -> Sequence[Any]:
        """Tasks from this one on, at most so many, for the caller itself."""
        items = self._items[start : start + most]
        self.pull(start + len(items) - self.count)
        return items

    def put_back(self, start: int, items: Sequence[Any]) -> None:
        """The caller has not begun with them after all."""


class IteratorFeed:
    """Inputs are read from an iterator. What that raises ends the input, and is kept in ``error``."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.source = GrowingSource()
        self.ended = False
        self.error: BaseException | None = None
        self._iterator = iter(items)

    @property
    def count(self) -> int:
        """Inputs read so far."""
        return self.source.count

    def end(self, error: BaseException) -> None:
        """There is no more, for this reason."""
        self.error, self.ended = error, True

    def pull(self, most: int) -> None:
        """Read on."""
        self.source.extend(self._read(most))

    def _read(self, most: int) -> list[Any]:
        batch: list[Any] = []
        if self.ended:  # it may be one that would go on after an error
            return batch
        try:
            batch.extend(islice(self._iterator, most))  # what was read before an error counts, and is there
        except BaseException as error:
            if is_of_a_signal(error):
                raise
            self.end(error)  # the user's own; it is raised where results end
        if len(batch) < most:
            self.ended = True
        return batch

    def draw(self, start: int, most: int) -> Sequence[Any]:
        """Tasks from this one on, as many as come quickly, for the caller itself: they are not kept."""
        if start < self.count:
            stop = min(self.count, start + most)
            items = self.source.items(start, stop)
            self.source.discard(start, stop)
            return items
        until, batch, step = time.monotonic() + PULL_SECONDS, self._read(1), 1
        while len(batch) < most and not self.ended and time.monotonic() < until:
            step = min(2 * step, most - len(batch))
            batch += self._read(step)
        self.source.skip(len(batch))
        return batch

    def put_back(self, start: int, items: Sequence[Any]) -> None:
        """The caller has not begun with them after all: they are kept again."""
        self.source.keep(start, items)


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Stream:
    """The sink of a job, and the loop that reads input and takes results.

    Three threads meet here. The dispatcher's writes ``_arrived``, ``arguments`` and the inbox; the reader's all that
    is about taking results; and the input belongs to the reader, or to the thread that ``read_in_background`` starts.
    """

    def __init__(self, feed: SequenceFeed | IteratorFeed, *, ordered: bool, window: bool) -> None:
        self.arguments: dict[int, Any] = {}  # of failed tasks
        self.feed = feed
        self._dispatcher: Dispatcher
        self._reorder: Reorder[Piece] | None = Reorder() if ordered else None
        self._window = window
        self._inbox: queue.SimpleQueue[Piece | _End] = queue.SimpleQueue()
        self._number = -1
        self._taken = 0  # tasks whose results were taken
        self._given_upto = 0  # the dispatcher knows of the tasks before this one
        self._own = 0  # of which the caller has run so many, since it shares
        self._crowd = 0  # workers that may be of use
        self._shared = False  # between the dispatcher and the caller, who reads on by itself
        self._step = 1
        self._in_turn: deque[Piece] = deque()
        self._background: queue.SimpleQueue[None] | None = None  # something was taken or has arrived
        self._arrived = 0  # tasks whose results are here
        self._over = Latch()  # nothing more will come
        self._pid = os.getpid()
        self.ended = False  # everything was taken

    # --- as a sink, on the dispatcher's thread ------------------------------------------------------------------

    def started(self) -> bool:
        """It is always wanted; when not, the job is cancelled."""
        return True

    def put(self, piece: Piece) -> None:
        """Keep a piece until it is asked for."""
        if piece.batch.failures:
            for offset in piece.batch.failed_offsets():
                task = piece.start - piece.shift + offset
                if piece.start <= task < piece.stop:
                    found = self.feed.source.items(task, task + 1)
                    self.arguments[task] = found[0] if found else MISSING
        self._inbox.put(piece)
        self._arrived += piece.stop - piece.start
        self._tell_reader()

    def finish(self, error: BaseException | None) -> None:
        """The last word."""
        self._inbox.put(_End(error))
        self._over.set()
        self._tell_reader()

    def _tell_reader(self) -> None:
        if self._background is not None and self._background.empty():
            self._background.put(None)

    def abandon(self, error: BaseException) -> None:
        """The last word, too."""
        self.finish(error)

    # --- as the caller sees it ----------------------------------------------------------------------------------

    def open(self, dispatcher: Dispatcher, job: Job, most: int | None = None) -> int:
        """Begin, with the job's first task; or, for now, with so many tasks. How many those are."""
        self._dispatcher, self._crowd = dispatcher, job.crowd
        self._taken = self._arrived = job.start
        if self._reorder is not None:
            self._reorder = Reorder(job.start)
        self._shared = most is not None
        stop, closed = self._known(job.start, most)
        self._number = dispatcher.number(job)
        dispatcher.add(job, stop=stop, closed=closed)
        return stop - job.start

    def go_on(self, start: int, seconds: float, most: int | None = None) -> int:
        """As `open`, with what follows; the caller has run those between, in so many seconds."""
        self._own += start - self._given_upto
        self._dispatcher.skip(self._number, start, seconds)
        stop, closed = self._known(start, most)
        self._dispatcher.supply(self._number, stop, closed=closed)
        self._shared = most is not None  # last: the reader reads on from here
        return stop - start

    def _known(self, start: int, most: int | None) -> tuple[int, bool]:
        """The dispatcher is to know of the tasks from this one up to which, and whether these are all."""
        feed = self.feed
        if isinstance(feed, SequenceFeed):  # the reader may be in a long task of its own for now
            ahead = IN_ADVANCE * self._crowd if self._window else feed.total
            feed.pull(ahead if most is None else max(0, start + most - feed.count))
        self._given_upto = feed.count if most is None else min(feed.count, start + most)
        return self._given_upto, feed.ended and most is None

    @property
    def idle(self) -> bool:
        """Nobody has any of what was given out so far."""
        return self._arrived + self._own == self._given_upto

    @property
    def taken(self) -> int:
        """The reader has the results of so many tasks."""
        return self._taken

    def own(self, piece: Piece) -> Iterator[Piece]:
        """What the caller has run after it began to share; and all pieces that are due now."""
        self._line_up(piece)
        while (due := self.next_piece(0.0)) is not None:
            yield due

    @property
    def input_error(self) -> BaseException | None:
        """What the input raised, if it did."""
        return getattr(self.feed, "error", None)

    def pieces(self, interval: float | None = None) -> Iterator[Piece | None]:
        """All pieces, in order or as they come; None after ``interval`` seconds without one.

        Raises what ended the job, and after all results what the input raised.
        """
        while not self.ended:
            piece = self.next_piece(interval)
            if piece is not None or not self.ended:
                yield piece

    def next_piece(self, timeout: float | None = None) -> Piece | None:
        """The next piece; None when there is none within ``timeout`` seconds, or when all are taken (``ended``)."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._in_turn and not self.ended:
            self._read_on()
            got = self._take(until)
            if got is None:
                return None
            if isinstance(got, _End):
                self.ended = True
                error = got.error or self.input_error
                if error is not None:
                    raise error
            else:
                self._line_up(got)
        if not self._in_turn:
            return None
        piece = self._in_turn.popleft()
        self._taken += piece.stop - piece.start
        self._tell_reader()
        return piece

    def _line_up(self, piece: Piece) -> None:
        if self._reorder is None:
            self._in_turn.append(piece)
        else:
            self._in_turn.extend(self._reorder.put(piece.start, piece.stop, piece))

    def _take(self, until: float | None) -> Piece | _End | None:
        if self._dispatcher.backend.threaded:
            if os.getpid() != self._pid:
                raise ExecutorClosed(FORKED)
            if not self._window and self.feed.ended and self._inbox.empty() and not self._shared:
                # Nobody waits for single pieces: to be woken for each would cost the workers' cores more than it gains.
                self._over.wait(PAUSE_SECONDS if until is None else min(PAUSE_SECONDS, until - time.monotonic()))
            try:
                return self._inbox.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
        while self._inbox.empty():
            self._dispatcher.pump()
        return self._inbox.get()

    def read_in_background(self) -> None:
        """Read all of the input on a thread of its own: it may wait for the outside world, and results must not."""
        self._background = queue.SimpleQueue()
        start_thread(threading.Thread(target=self._read_all, name="manyhands-input", daemon=True))

    def _read_all(self) -> None:
        assert self._background is not None  # noqa: S101 - set just before
        while not self.feed.ended and not self._over.is_set():
            while not self._has_room():
                self._background.get()
            try:
                self._pull(self._step)
            except BaseException as error:  # noqa: BLE001 - no memory, say: nobody else would tell the reader
                if isinstance(self.feed, IteratorFeed):
                    self.feed.end(error)
                self._dispatcher.supply(self._number, self.feed.count, closed=True)

    def _has_room(self) -> bool:
        # Without a window, results may pile up for a reader who comes late, but the workers' queue may not.
        ahead = self.feed.count - (self._taken if self._window else self._arrived)
        return self._over.is_set() or ahead < self._window_size()

    def _window_size(self) -> int:
        return self._dispatcher.lookahead(self._number)

    def _read_on(self) -> None:
        """Fill the window; when results wait already, only for a moment."""
        feed = self.feed
        if feed.ended or self._background is not None or self._shared:
            return
        window = self._window_size()
        if feed.count - self._taken > window - max(1, window // 4):
            return
        until = time.monotonic() + PULL_SECONDS
        while not feed.ended and (room := window - (feed.count - self._taken)) > 0:
            self._pull(room)
            if time.monotonic() > until and not self._inbox.empty():
                return

    def _pull(self, most: int) -> None:
        """Read some input and tell the workers; the slower the input, the fewer at a time."""
        feed, began, before = self.feed, time.monotonic(), self.feed.count
        while not feed.ended and feed.count - before < most and time.monotonic() - began < STEP_SECONDS:
            feed.pull(min(most - (feed.count - before), self._step))
            took = time.monotonic() - began
            if took > SLOW_SECONDS * (feed.count - before):
                self._step = 1
                break
            self._step = min(2 * self._step, MAX_STEP)
        self._dispatcher.supply(self._number, feed.count, closed=feed.ended)

    def cancel(self, *, grace: float | None) -> None:
        """Nobody wants the rest."""
        self._over.set()
        self._tell_reader()
        if self._number >= 0:  # also if an interrupt has struck since the dispatcher was told of it
            self._dispatcher.cancel(self._number, grace=grace)
