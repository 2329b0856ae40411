"""A call's first tasks, run by the caller itself, until it is known who should run the rest.

::

    the caller:   claims a slice of tasks ─► runs it ─► measures ─► considers ─► claims the next ...
    the watcher:  if the caller is in one task for long ─► considers

    consider:     decide() says "go" ─► workers are started ─► one of them is ready ─► the rest is handed over

As long as it is not known whether the first task takes long because it imports something or makes a model, as it would
in each worker, the workers get a task each, but for one of them, in whose place the caller goes on. So it does for good
if what is left takes less time than a worker's first call.

Small work so costs what a loop costs: no process, no pickle, no message. Large work loses nothing: the caller works
while the workers start, and the watcher, a thread that mostly sleeps, sees to it that not even the first task holds
up the second.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from manyhands._core.strategy import Choice, Measured, decide, hands_over, weighing_seconds
from manyhands._engine import context, faults, haste, run_queue
from manyhands._engine.latch import Latch
from manyhands._engine.payload import Weight
from manyhands._engine.results import Batch, Piece
from manyhands._engine.scale import Scale
from manyhands._engine.slices import CallerContext, Slice
from manyhands._engine.stream import IteratorFeed, SequenceFeed
from manyhands._engine.tally import Stats, Tally
from manyhands._engine.threads import start_thread
from manyhands.errors import FORKED, ExecutorClosed, WorkerStartError
from manyhands.interrupts import stops_the_call
from manyhands.showing import MISSING

SLICE_SECONDS = 0.001  # of tiny tasks that are run between two looks around
TIMED = 64  # tasks; in a larger slice it is not seen how long each of them takes
LAZY_SLICE = 2048  # tasks, if results are taken one by one: so many inputs and results are held
HELD = 512  # results, at most, while one before them is awaited from a worker
AWAY_SECONDS = 0.1  # the reader is busy with something else, and will not be one of the hands
MEMORY = 0.7  # weight of what was seen before, after a slice
GROWTH = 8  # of a slice over the one before
GUESS = 10  # tasks, at least, that are left in an input of unknown length
READ_AHEAD = 4  # inputs, before the first task
READ_SECONDS = 0.002  # for these
PATIENCE = 0.005  # the watcher steps in when the caller was in one slice for so long
GIVE_WAY = 0.0001  # the caller pauses between two slices, while workers are being started by other threads
START_PATIENCE = 5.0  # then the rest is handed over though no worker is ready: whoever has it will say why
TICKS = 3  # at least
TICK = 0.0005  # it sleeps so long to see how long the interpreter is kept from it
CALLER = -1  # the caller's number among the workers of a report


class Elsewhere(Protocol):
    """Those who may run the rest."""

    @property
    def warm(self) -> bool:
        """Worker processes are there, idle."""

    @property
    def ready(self) -> bool:
        """What was prepared is there."""

    @property
    def would_wait(self) -> bool:
        """What is handed over now would begin no sooner there: it may take them as long as it likes to get ready."""

    def weight(self, item: Any, result: Any, within: float) -> Weight:
        """What these two weigh on their way, told within so many seconds; without a result (MISSING), a guess."""

    def luggage(self, within: float) -> Weight:
        """What the function brings along to other processes."""

    def prepare(self, choice: Choice, tasks: int) -> None:
        """Have the workers started, as many as so many tasks can use. Raises NotSendable."""

    @property
    def taken(self) -> int:
        """The reader has the results of so many tasks."""

    @property
    def idle(self) -> bool:
        """What was handed over so far has come back."""

    def take(self, start: int, seconds: float, most: int | None = None) -> int:
        """Run all tasks from this one on, or for now so many; those since the last time took the caller so long.

        How many these are.
        """

    def give_up(self) -> None:
        """The call is over."""


class HeadStart:
    """Runs tasks from the first one on, and gives their results as pieces, in order."""

    def __init__(  # noqa: PLR0917 - all of it is what one call consists of
        self,
        feed: SequenceFeed | IteratorFeed,
        call: Callable[[Any], Any],
        elsewhere: Elsewhere,
        limits: Measured,
        tally: Tally,
        arguments: dict[int, Any],
        seed: int | None,
        *,
        spread: Callable[..., Any] | None = None,
        lazy: bool,
    ) -> None:
        self.choice: Choice | None = None  # the last one there was
        self.seen = self.judged = limits  # until now; and when it was decided
        self.refused: WorkerStartError | None = None  # why no workers could be had
        self.tasks = 0  # that the caller has claimed; what it has not begun may be taken back
        self._at = 0  # the next task to claim, or to hand over
        self._away: float | None = None  # since when the reader has a result, and is busy with that or something else
        self._shares = False  # workers have some tasks, and the caller goes on
        self._rounds = _Rounds(tally)  # in which they get these
        self._told = 0.0  # seconds in tasks of which the workers' side knows
        self._first = 0.0  # in the caller's first task
        self._feed, self._call, self._elsewhere = feed, call, elsewhere
        self._tally, self._arguments = tally, arguments  # of failed tasks
        self._context = CallerContext(seed)
        self._lock = threading.RLock()  # of who hands over: the caller between slices, or the watcher in one
        self._deciding = threading.Lock()  # one of them: it may call what pickles things, which may wait for the other
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()  # wakes the watcher
        self._unwatched = False  # it sleeps, since nothing was being run
        self._size = 1
        self._slices = 0
        self._task_scale = Scale()
        self._next_scale = Scale()  # before any task has ended
        self._luggage_scale = Scale()
        self._gap: float | None = None
        self._last: tuple[Any, Any] | None = None  # an input and its result
        self._slice: Slice | None = None  # that is being run
        self._spread = spread  # what the call does with a tuple: a call of a call takes as long as a small task
        self._lazy = lazy
        self._prepared: float | None = None  # when
        self._over = Latch()
        self._stopped = False
        self._pid, self._forked = os.getpid(), False

    def pieces(self) -> Iterator[Piece]:
        """Results, until all is done or handed over."""
        before = context.worker()
        try:
            self._read_ahead()
            if not (self._feed.ended and self._feed.count <= 1) and not sys.is_finalizing():
                with contextlib.suppress(RuntimeError):  # no more threads, or the program is ending: then without it
                    start_thread(threading.Thread(target=self._watch, name="manyhands-watcher", daemon=True))
            while (items := self._claim()) is not None:
                piece = self._run(items)
                if piece is not None:
                    self._away = time.monotonic()
                    if self._shares and self._unwatched:
                        self._bell.put(None)
                    yield piece
                    self._welcome(piece)
        finally:
            self._wind_up()
            context.drop(self._context, before)  # an interrupt may have kept the slice from that
            self._context.close()
            self._last = None

    def _welcome(self, piece: Piece) -> None:
        """The reader is back."""
        if os.getpid() != self._pid:
            self._go_on_alone()
        with self._lock:
            self._away = None
            held = self._at - self._elsewhere.taken if self._shares and self._lazy else 0
            # Results that wait for one of a worker's take memory; and who waits for an error wants nothing behind it.
            if self._shares and not self._over.is_set() and (piece.batch.failures or held > HELD):
                self._give(self.seen.spent, None)

    def stop(self) -> None:
        """The call is over: what others have or are about to get is given up. From any thread or signal handler."""
        self._stopped = True
        self._wind_up()

    def _wind_up(self) -> None:
        """Begin no more tasks, and hand none over."""
        self._over.set()
        haste.end(self)
        if (running := self._slice) is not None:
            list(running.rest)
        self._bell.put(None)

    # --- in the caller's thread ---------------------------------------------------------------------------------

    def _read_ahead(self) -> None:
        """The first task may be long: others should have something to do meanwhile."""
        self._feed.pull(1)
        self._read(READ_AHEAD)

    def _read(self, upto: int) -> None:
        """No more than comes quickly."""
        feed, until = self._feed, time.monotonic() + READ_SECONDS
        while feed.count < upto and not feed.ended and time.monotonic() < until:
            feed.pull(1)

    def _claim(self) -> Sequence[Any] | None:
        """The inputs of the next slice; None if there is nothing left to do here."""
        if self._shares and self.choice is not None:
            self._read(self._at + self.choice.workers - 1)  # what others may be given
        if self._at and not self._over.is_set():
            self._consider(self.seen._replace(left=self._left(self._at)), None)
        with self._lock:
            if self._over.is_set() and self._forked:
                raise ExecutorClosed(FORKED)
            if self._over.is_set():
                return None
        if self._prepared is not None:
            time.sleep(GIVE_WAY)
        items = self._feed.draw(self._at, self._size)  # without the lock: that may take as long as it likes
        if self._over.is_set():  # the input may have closed the call
            return None
        if not items:
            self._leave_rest()
            return None
        self.tasks += len(items)
        self._at += len(items)
        return items

    def _leave_rest(self) -> None:
        """There is nothing to claim, but workers may have tasks: those are all."""
        with self._lock:
            if self._shares and not self._over.is_set():
                self._give(self.seen.spent, None)

    def _go_on_alone(self) -> None:
        """This is a fork, by a task that came back from it or by the reader: workers and watcher are its parent's."""
        self._pid, self._forked = os.getpid(), True
        if self._shares:
            self._over.set()  # some of the results come to the parent
        self._lock, self._deciding = threading.RLock(), threading.Lock()  # the parent's watcher may have held them
        self._prepared, self.seen = None, self.seen._replace(workers=1)

    def _run(self, items: Sequence[Any]) -> Piece | None:
        """Run a slice, or what the watcher leaves of it, or up to a failure; None if that is nothing."""
        running = self._slice = Slice(self._at - len(items), items)  # from here on the watcher looks
        start, values, place = running.start, running.values, self._context
        place.values, place.first_task = values, start
        errors = []
        if self._unwatched:
            self._bell.put(None)
        before, began, cpu = context.enter(place), time.monotonic(), time.process_time()
        queue = run_queue.mine()
        queue.mark()
        try:
            (self._run_each if len(items) <= TIMED else self._run_all)(running)
        except BaseException as error:
            if stops_the_call(error) or len(values) >= len(items):
                raise
            errors.append((len(values), faults.wrap_stop_iteration(error)))
            self._arguments[start + len(values)] = items[len(values)]
            values.append(None)
        finally:
            context.leave(before)
            self._slice = None
            if os.getpid() != self._pid:
                self._go_on_alone()
        if not values:
            return None
        wall, cpu = time.monotonic() - began, time.process_time() - cpu
        self._measure(running, items, wall, cpu + queue.since_mark(wall, cpu))
        if not errors:
            self._last = items[len(values) - 1], values[-1]
        return Piece(start, start + len(values), Batch(len(values), values=values, errors=errors), 0)

    def _run_all(self, running: Slice) -> None:
        call, append = self._call, running.values.append
        if self._spread is not None:
            spread = self._spread
            for item in running.rest:
                append(spread(*item))
        else:
            for item in running.rest:
                append(call(item))

    def _run_each(self, running: Slice) -> None:
        """Few enough to see how long each of them takes."""
        call, values, clock = self._call, running.values, time.monotonic
        began = clock()
        for item in running.rest:
            values.append(call(item))
            now = clock()
            if now - began > running.slowest:
                running.slowest, running.slowest_offset = now - began, len(values) - 1
            began = now

    def _measure(self, ran: Slice, items: Sequence[Any], seconds: float, cpu: float) -> None:
        count, seen, spent = len(ran.values), self.seen, self.seen.spent + seconds
        self._slices += 1
        if self._slices == 1:
            self._first = seconds
        else:
            seen = seen._replace(first=max(0.0, self._first - seconds / count))
        if self._slices <= 2:  # the first call is not like the others: it imports, allocates, fills caches
            self.seen = seen._replace(tasks=count, wall=seconds, cpu=cpu, spent=spent)
        else:
            old = MEMORY ** min(1.0, seconds / SLICE_SECONDS)
            self.seen = seen._replace(
                tasks=old * seen.tasks + count, wall=old * seen.wall + seconds, cpu=old * seen.cpu + cpu, spent=spent
            )
        most = LAZY_SLICE if self._lazy else sys.maxsize
        self._size = max(1, min(GROWTH * count, most, int(SLICE_SECONDS * count / max(seconds, 1e-9))))
        slowest, task = ran.slowest or seconds / count, ran.start + ran.slowest_offset
        tally = self._tally
        tally.first_chunk = tally.first_chunk or tally.began
        tally.add(CALLER, Stats(seconds, cpu, seconds, slowest, ran.slowest_offset))
        if tally.is_slow(task, slowest):
            tally.arguments[task] = items[ran.slowest_offset]

    # --- in either thread ---------------------------------------------------------------------------------------

    def _consider(self, seen: Measured, running: Slice | None) -> None:
        """Have workers started if that is worth it; when they are there, hand over what ``running`` does not have."""
        try:
            if self._is_undecided() and self._deciding.acquire(blocking=False):
                try:
                    if self._is_undecided():  # still
                        seen = seen._replace(warm=self._elsewhere.warm, gap=self._gap)
                        self._decide(seen._replace(megabytes=self._task_scale.known))
                finally:
                    self._deciding.release()
            if self._prepared is not None:
                self._hand_over(seen, running)
        finally:
            if self._stopped:  # meanwhile, by somebody who did not wait for us
                haste.end(self)
                self._elsewhere.give_up()

    def _is_undecided(self) -> bool:
        return self._prepared is None and self.refused is None

    def _hand_over(self, seen: Measured, running: Slice | None) -> None:
        with self._lock:
            if self._slice is not running or self._over.is_set() or self._prepared is None or self.choice is None:
                return
            if self._shares:
                self._share_on(seen, self.choice)
            elif self._elsewhere.ready:
                self._give(seen.spent, None if self._leaves(seen, self.choice) else self.choice.workers - 1)
            elif time.monotonic() - self._prepared > START_PATIENCE and not self._elsewhere.would_wait:
                self._give(seen.spent, None)

    def _share_on(self, seen: Measured, choice: Choice) -> None:
        """Give them all, or the next ones if they have none."""
        idle = self._elsewhere.idle
        if idle:
            self._rounds.end()
        if self._leaves(seen, choice):
            self._give(seen.spent, None)
        elif idle:
            self._give(seen.spent, choice.workers - 1)

    def _leaves(self, seen: Measured, choice: Choice) -> bool:
        """The caller leaves the rest to them. If it is not known how many these are, they are many."""
        if not self._feed.ended and isinstance(self._feed, IteratorFeed):
            seen = seen._replace(left=max(seen.left, choice.workers + 1))
        return hands_over(seen, choice, self._rounds.seconds)

    def _give(self, spent: float, most: int | None) -> None:
        """Hand over so many tasks, and go on; or all that is left, and stop."""
        given = self._elsewhere.take(self._at, spent - self._told, most)
        self._rounds.begin(given)
        self._at += given
        self._shares = most is not None
        self._told = spent
        if most is None:
            self._over.set()
            haste.end(self)

    def _decide(self, seen: Measured) -> None:
        choice = decide(seen)
        if not choice.goes:
            self.judged, self.choice = self._with_weights(seen), choice
            return
        haste.begin(self)  # from here on: the first call imports what it takes, while the caller computes
        try:
            if self._over.is_set():  # whoever has ended the call did not find us in haste
                return
            if choice.backend == "processes":
                self._weigh(weighing_seconds(seen))
            self.judged = self._with_weights(seen)
            self.choice = decide(self.judged) if choice.backend == "processes" else choice
            if self.choice.goes and not self._over.is_set():
                try:
                    self._elsewhere.prepare(self.choice, seen.left)
                except WorkerStartError as error:  # then there is nobody but the caller, who can do it
                    self.refused = error
                    return
                self._prepared = time.monotonic()
        finally:
            if self._prepared is None:
                haste.end(self)

    def _take_back(self, running: Slice) -> None:
        """What the caller has claimed and not begun: it took that for a matter of a moment, and may claim it again."""
        rest = list(running.rest)  # in one step: a thread takes the next item before that, or not at all
        self.tasks -= len(rest)
        if rest:
            self._at -= len(rest)
            self._feed.put_back(self._at, rest)

    def _weigh(self, within: float) -> None:
        """What would travel: with the function, and with a task that has ended; until one has, with the next."""
        if self._last is None and self._task_scale.megabytes is None:
            took = self._next_scale.read(self._weigh_next, within / 2)
        else:
            took = self._task_scale.read(self._weigh_task, within / 2)
        self._luggage_scale.read(self._elsewhere.luggage, max(within / 2, within - took))

    def _with_weights(self, seen: Measured) -> Measured:
        task, luggage = self._task_scale, self._luggage_scale
        if task.megabytes is None:
            task = self._next_scale
        return seen._replace(
            megabytes=task.megabytes, item_packing=task.seconds,
            luggage=luggage.megabytes or 0.0, packing=luggage.seconds,
        )  # fmt: skip

    def _weigh_task(self, within: float) -> Weight:
        last = self._last
        return Weight(0.0, 0.0) if last is None else self._elsewhere.weight(*last, within)

    def _weigh_next(self, within: float) -> Weight:
        following = self._feed.source.items(self._at, self._at + 1)  # not one that a task is at work on
        return self._elsewhere.weight(following[0], MISSING, within) if following else Weight(0.0, 0.0)

    def _left(self, done: int) -> int:
        feed = self._feed
        if isinstance(feed, SequenceFeed):
            return feed.total - done
        if feed.ended:
            return feed.count - done
        return max(done, GUESS)  # as many as there were

    # --- in the watcher's thread --------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Step in where the caller cannot, because it is in a long task."""
        if self.seen.threads:
            self._measure_gap()
        while not self._over.wait(PATIENCE):
            if self._lazy and self._slice is None:
                if not self._leave_to_others():
                    self._sleep()
                continue
            with self._lock:
                running = self._slice
                if self._over.is_set():
                    return
                if running is None:
                    continue
                if time.monotonic() - running.marked < PATIENCE:
                    continue  # the caller will look for itself
                ended, seconds, cpu = running.lately()
                self._take_back(running)
                left = self._left(self._at)
                spent = self.seen.spent + time.monotonic() - running.began
                measured = self.seen._replace(tasks=max(1, ended), wall=seconds, cpu=cpu, spent=spent)
                lately = measured._replace(left=left, busy=True)
            try:
                self._consider(lately, running)
            except BaseException:  # noqa: BLE001 - it cannot be sent, or there are no more threads
                return  # the caller will come to the same, and raise it
            if ended:
                running.mark()

    def _leave_to_others(self) -> bool:
        """Workers have begun, and the reader is away: if that is for long, they go on without him."""
        with self._lock:
            away = self._away
            if not self._shares or away is None or self._over.is_set():
                return self._over.is_set()
            if time.monotonic() - away > AWAY_SECONDS:
                self._give(self.seen.spent, None)
            return True

    def _sleep(self) -> None:
        """The reader is busy with something else, for hours maybe: until it asks for more, or the call is over."""
        self._unwatched = True
        if self._slice is None and not self._over.is_set() and not (self._shares and self._away is not None):
            self._bell.get()
        self._unwatched = False

    def _measure_gap(self) -> None:
        """How long the tasks keep the interpreter from this thread: those that let go of it can run in threads."""
        gaps: list[float] = []
        end = time.monotonic() + PATIENCE
        while (began := time.monotonic()) < end or len(gaps) < TICKS:
            time.sleep(TICK)
            gaps.append(time.monotonic() - began)
        self._gap = sorted(gaps)[len(gaps) // 2]


class _Rounds:
    """Tasks that workers are given while the caller goes on, some at a time."""

    def __init__(self, tally: Tally) -> None:
        self.seconds: list[float] = []  # a task, in each round that has ended
        self._tally = tally
        self._given, self._before = 0, 0.0  # tasks; seconds in those of the rounds before

    def begin(self, given: int) -> None:
        """They have got so many; the round before has ended."""
        self._given = given

    def end(self) -> None:
        """All of these are back."""
        if self._given:
            busy = self._tally.busy_but(CALLER)
            self.seconds.append((busy - self._before) / self._given)
            self._given, self._before = 0, busy
