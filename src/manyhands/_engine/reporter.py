"""In a worker: results on their way to the caller, at the end of a chunk or before."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

from manyhands._engine import payload, runner
from manyhands._engine.payload import Packed
from manyhands._engine.protocol import Kind, flatten

_RESULTS = int(Kind.RESULTS)  # a plain number is smaller


class Reporter:
    """Sends results: at the end of a chunk, or earlier when the chunk takes its time."""

    def __init__(self, send: Callable[..., None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._busy = threading.Event()  # a chunk of several tasks is running
        self._thread: threading.Thread | None = None
        self._serial = 0
        self._sent = 0
        self._errors_sent = 0
        self._outcome: runner.Outcome | None = None
        self._owed = 0.0  # seconds that sending took and that no report has told yet: the next one does

    def begin(self, serial: int, tasks: int) -> runner.Outcome:
        """The outcome to fill in; while the chunk runs, it is sent in parts now and then."""
        outcome = runner.Outcome()
        with self._lock:
            self._serial, self._sent, self._errors_sent, self._outcome = serial, 0, 0, outcome
        if tasks > 1:
            self._watch()
        return outcome

    def end(self, outcome: runner.Outcome, began: float) -> None:
        """The chunk has run: send what is left of its results."""
        with self._lock:
            self._outcome = None
            ran = time.monotonic()
            stats = (outcome.busy, outcome.cpu, ran - began + self._owed, outcome.slowest, outcome.slowest_offset)
            self._flush(outcome, len(outcome.values), stats)
            self._owed = time.monotonic() - ran

    def _watch(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._flush_now_and_then, name="manyhands-flush", daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads: then results come at the end of the chunk
                self._thread.start()
        if not self._busy.is_set():
            self._busy.set()

    def _flush_now_and_then(self) -> None:
        idle = 0
        while True:
            self._busy.wait()
            time.sleep(runner.FLUSH_SECONDS)
            with self._lock:
                idle = idle + 1 if self._outcome is None else 0
                if self._outcome is not None and len(self._outcome.values) > self._sent:
                    with contextlib.suppress(MemoryError):  # a task may have taken all: then they come at the end
                        self._flush(self._outcome, len(self._outcome.values), None)
                if idle > 1 / runner.FLUSH_SECONDS:
                    self._busy.clear()
                    idle = 0

    def _flush(self, outcome: runner.Outcome, upto: int, stats: tuple[float, ...] | None) -> None:
        first = self._sent
        values = outcome.values[first:upto]
        errors: list[Any] = []
        if outcome.errors:
            errors = [(o, tuple(f), r) for o, f, r in outcome.errors[self._errors_sent :] if o < upto]
            values = [None if value is runner.HOLE else value for value in values]
        sizes, buffers = _pack_results(values, sealed=outcome.sealed)
        self._send((_RESULTS, self._serial, first, len(values), errors, sizes, stats), buffers)
        self._sent = upto  # from here on: there may have been no memory for that
        self._errors_sent += len(errors)


def _pack_results(values: list[Any], *, sealed: bool) -> tuple[list[Any] | None, tuple[Any, ...]]:
    """Simple values share one pickle; as soon as one was ``sealed``, each has its own."""
    if not sealed or Packed not in set(map(type, values)):
        packed = payload.pack_simple(values)
        return None, (packed.data, *packed.buffers)
    return flatten(value if type(value) is Packed else payload.pack(value, reply=True) for value in values)
