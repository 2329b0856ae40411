"""A call of map or the like, and its results as they are asked for: collected, or handed out one by one."""

from __future__ import annotations

import builtins
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from operator import length_hint
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar, cast

from manyhands import calls
from manyhands import report as reports
from manyhands._engine import courier
from manyhands._engine.head_start import HeadStart
from manyhands._engine.modules import importing
from manyhands._engine.protocol import Style
from manyhands._engine.results import Failed, Piece
from manyhands._engine.signals import deaf
from manyhands._engine.sources import Columns
from manyhands._engine.stream import IteratorFeed, SequenceFeed, Stream
from manyhands._engine.tally import Tally
from manyhands.crew import Crew
from manyhands.errors import ManyhandsError, OptionError, RemoteTraceback, TaskTimeout, WorkerDied
from manyhands.interrupts import is_of_a_signal
from manyhands.options import Options, gather
from manyhands.progress import Meter
from manyhands.showing import MISSING, add_note, call_hint, short_repr
from manyhands.types import Failure

R = TypeVar("R")

_SLICED = {list, tuple, range}  # see _is_sliced
CANCEL_GRACE_SECONDS = 1.0  # after a failure, so long may tasks that run go on before they are stopped


class Results(Iterator[R]):
    """Results as they are asked for. Closed by ``close``, at the end of a ``with``, or when dropped.

    Closing cancels what has not run, and ends what runs.
    """

    def __init__(self, call: Call[R]) -> None:
        self._call = call
        self._batches = call.batches()
        self._due: list[R] = []  # the next one last
        self._is_closed = False

    def __iter__(self) -> Results[R]:
        return self

    def __next__(self) -> R:
        due = self._due
        if not due:
            return self._next_of_more()
        value = due[-1]  # not by `pop`: at the end of that call a signal's handler could raise, and this be lost
        del due[-1]
        return value

    def _next_of_more(self) -> R:
        try:
            return self._next_of_batch()
        except StopIteration:
            raise
        except BaseException as error:
            if is_of_a_signal(error):  # it may have cost us a batch: nothing is to come behind that gap
                self.close()
            raise

    def _next_of_batch(self) -> R:
        due: list[R] = []
        while not due:
            try:
                batch = next(self._batches)
            except ValueError:
                if self._is_closed:  # another thread is in the midst of that
                    raise StopIteration from None
                raise
            if isinstance(batch, Raise):
                self.close()
                raise batch.error
            due = batch
        due.reverse()
        self._due = due
        if self._is_closed:  # meanwhile, by another thread
            self._due = []
            raise StopIteration
        return due.pop()

    def __enter__(self) -> Results[R]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_batches"):
            self._call.drop()

    def close(self) -> None:
        """Stop: what has not run never will. From any thread; who waits for a result finds that there is none."""
        self._is_closed = True
        self._due = []
        try:
            self._batches.close()
        except ValueError:  # it is at work, in another thread or in the input of this very call: it ends by itself
            self._call.stop()
        else:
            self._call.end(grace=0.0)


class Call(Generic[R]):
    """One call of map or the like, from its options to its report."""

    def __init__(
        self,
        func: Callable[..., R],
        items: Iterable[Any],
        style: Style,
        options: Options,
        *,
        ordered: bool,
        window: bool,
    ) -> None:
        if options.place()[0] == "processes" and (module := importing()) is not None:
            options = _without_processes(options, module)
        self._options = options
        self._func = func
        self._style = style
        self._failures = self._tasks = 0
        self._tally = Tally()
        self._meter = Meter(options.progress, options.desc, _length(items) if options.total is None else options.total)
        self._stream = Stream(_feed(items), ordered=ordered, window=window)
        self._crew = Crew(func, style, options, self._stream, self._tally, waits=hasattr(items, "fileno"))
        self._head: HeadStart | None = None
        self._open = True
        try:
            if self._crew.asked_for:
                self._crew.begin()
            else:
                self._head = self._crew.head_start(lazy=window)
        except BaseException:
            self._open = False
            self._crew.give_up()
            raise

    def batches(self) -> Generator[list[R] | Raise, None, None]:
        """The results, some at a time, each failure treated as asked for."""
        for start, values, failed in self._opened():
            if not failed:
                yield values
                continue
            treated: list[Any] = []
            for value in self._treat(start, values):
                if type(value) is Raise:
                    yield treated
                    yield value
                    return
                treated.append(value)
            yield treated

    def collect(self) -> list[R] | Raise:
        """All results; or, as soon as one is known wherever it stands, the failure that is to be raised."""
        results: list[R] = []
        early: dict[int, tuple[list[Any], int]] = {}  # before their turn
        turn = 0
        for start, values, failed in self._opened():
            if failed and self._options.on_error == "raise":
                return next(value for value in self._treat(start, values) if type(value) is Raise)
            early[start] = values, failed
            while turn in early:
                due, failures = early.pop(turn)
                results.extend(self._treat(turn, due) if failures else due)
                turn += len(due)
        return results

    def _opened(self) -> Iterator[tuple[int, list[Any], int]]:
        """Pieces opened and counted: first task, results, how many of them failed; ends the call however it is left."""
        grace: float | None = 0.0  # Ctrl-C, or the reader has had enough
        try:
            for piece in self._pieces():
                if piece is None:
                    self._meter.add(0)
                    continue
                values = _values_of(piece)
                failed = sum(type(value) is Failed for value in values) if piece.batch.failures else 0
                self._tasks += len(values)
                self._failures += failed
                self._meter.add(len(values), failed)
                yield piece.start, values, failed
            grace = None
        except Exception:
            grace = CANCEL_GRACE_SECONDS
            raise
        except KeyboardInterrupt:
            with deaf():
                self._crew.put_aside()
                self.end(grace=grace)
            raise
        finally:
            self.end(grace=grace)

    def _pieces(self) -> Iterator[Piece | None]:
        """First those that the caller runs itself, if it does, then those of the workers."""
        if self._head is not None:
            for piece in self._head.pieces():
                if self._crew.at_work and piece.start >= self._crew.first:
                    yield from self._stream.own(piece)
                else:
                    yield piece
        if self._crew.at_work:
            yield from self._stream.pieces(self._meter.interval)
        elif (error := self._stream.input_error) is not None:
            raise error

    def _treat(self, start: int, values: list[Any]) -> Iterator[Any]:
        """Results among which some failed, with these as asked for."""
        for index, value in enumerate(values, start):
            if type(value) is not Failed:
                yield value
            elif self._options.on_error == "raise":
                yield self._noted(index, value.error)
            elif self._options.on_error == "collect":
                yield self._failure(index, value.error)

    def _noted(self, index: int, error: BaseException) -> Raise:
        """The error as it is to be raised; by then the rest is cancelled."""
        argument = self._stream.arguments.get(index, MISSING)
        hint = ""
        if isinstance(error, TypeError) and argument is not MISSING:
            hint = call_hint(self._func, argument, apart=self._style is Style.STAR)
        elif isinstance(error, TaskTimeout | WorkerDied):
            hint = "; on_error='collect' goes on without it and keeps the others' results"
        add_note(error, index, short_repr(argument) + hint)
        self.end(grace=CANCEL_GRACE_SECONDS)
        return Raise(error)

    def _failure(self, index: int, error: BaseException) -> Failure:
        cause = error.__cause__
        text = cause.text if isinstance(cause, RemoteTraceback) else _traceback_of(error)
        attempts = 1 + self._tally.retried.get(index, 0)
        argument = self._stream.arguments.get(index)
        return Failure(index, error, None if argument is MISSING else argument, attempts, text)

    def drop(self) -> None:
        """The reader is gone. May run in the garbage collector, anywhere: the rest is left to the dispatcher."""
        if self._open:
            self._open = False
            if self._head is not None:
                self._head.stop()
            self._crew.give_up()

    def stop(self) -> None:
        """Have the reader find the end of its results."""
        if self._head is not None:
            self._head.stop()
        self._stream.cancel(grace=0.0)
        self._stream.finish(None)

    def end(self, *, grace: float | None) -> None:
        """Give everything back, once. ``grace``: see Dispatcher.cancel; None when all has run."""
        if not self._open:
            return
        self._open = False
        if self._head is not None:
            self._head.stop()
        if grace is not None:
            self._stream.cancel(grace=grace)
        try:
            courier.deliveries.flush()  # what workers said comes before what the caller says next
            self._meter.close()
            strategy = self._crew.strategy(self._head, self._tasks)
            made = reports.make(self._tally, strategy, tasks=self._tasks, failures=self._failures)
        finally:
            self._crew.release()
        if self._options.report is not None:
            self._options.report(made)


class Raise(NamedTuple):
    """An error on its way to the public function, which raises it: the reader sees no frames of ours but that."""

    error: BaseException


def _values_of(piece: Piece) -> list[Any]:
    """As many as there should be: a list that is too short would be worse than an error."""
    values = piece.values()
    if len(values) != piece.stop - piece.start:
        raise ManyhandsError(
            f"of the results from {piece.start} to {piece.stop - 1} only {len(values)} arrived: this is a fault of "
            "manyhands, and not of your function. Please report it."
        )
    return values


def _check_call(func: object, iterables: tuple[Any, ...]) -> None:
    calls.check_function(func)
    if not iterables:
        raise OptionError("nothing to run over: give an iterable after the function")
    for position, iterable in enumerate(iterables, 2):
        if not (hasattr(iterable, "__iter__") or hasattr(iterable, "__getitem__")):
            called = getattr(getattr(iterable, "__code__", None), "co_flags", 0) & calls.CO_GENERATOR
            advice = "Call it: it makes a generator." if called else "Options are given by keyword, as in workers=4."
            raise OptionError(
                f"argument {position} is what to run over, and cannot be iterated: {short_repr(iterable)}. {advice}"
            )


def _feed(items: Iterable[Any]) -> SequenceFeed | IteratorFeed:
    if _is_sliced(items) or isinstance(items, Columns):
        copied: Sequence[Any] = items[:]  # type: ignore[index]  # the caller may go on changing a list
        return SequenceFeed(copied)
    return IteratorFeed(items)


def _is_sliced(items: Iterable[Any]) -> bool:
    """A part of it can be had at any time, and they can be counted: not those of range(10**20)."""
    return type(items) in _SLICED and _length(items) is not None


def _without_processes(options: Options, module: str) -> Options:
    """Workers would wait for the import to end, and the import for the workers."""
    limit = "" if options.memory_limit is None else ", where memory_limit does not hold"
    warnings.warn(
        f"manyhands was called while {module!r} is being imported, so it runs in this process only{limit}; call it "
        "from a function that is called after the import",
        RuntimeWarning,
        stacklevel=6,
    )
    backend = "serial" if options.timeout is None else "threads"
    return options.changed(backend=backend, start_method=None, memory_limit=None)


def _length(items: Iterable[Any]) -> int | None:
    """How many there are, where that can be told without reading them."""
    if type(items) in {enumerate, zip, builtins.map}:
        parts: Any = items.__reduce__()[1]  # what it was made from
        inner = parts[:1] if type(items) is enumerate else parts[1:] if type(items) is builtins.map else parts
        lengths = [_length(part) for part in inner]
        return None if None in lengths else min(cast("list[int]", lengths), default=0)
    try:
        hint = length_hint(items, -1)
    except OverflowError:  # more than fits into an index
        return None
    return None if hint < 0 else hint


def _traceback_of(error: BaseException) -> str:
    import traceback

    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - an exception whose own methods fail
        return f"{type(error).__name__} (its traceback cannot be shown)\n"


def begin(
    func: Callable[..., R],
    iterables: tuple[Iterable[Any], ...],
    given: dict[str, Any],
    *,
    ordered: bool,
    window: bool,
    star: bool,
) -> Call[R]:
    """Begin a call. Raises OptionError.

    ``ordered``: results come in the order of the inputs; ``window``: run ahead of the reader only so far; ``star``:
    each input is a tuple of arguments.
    """
    options = gather(given)
    _check_call(func, iterables)
    items, style = iterables[0], Style.STAR if star else Style.ITEM
    if len(iterables) > 1:
        style = Style.STAR
        are_sliced = all(map(_is_sliced, iterables))
        items = Columns(iterables) if are_sliced else zip(*iterables, strict=False)  # type: ignore[arg-type]  # sequences
    return Call(func, items, style, options, ordered=ordered, window=window)
