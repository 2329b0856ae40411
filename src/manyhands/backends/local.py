"""What the backends in the caller's own process share: nothing is packed, errors come as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from manyhands._core.messages import Chunk
from manyhands._engine import faults, runner
from manyhands._engine.functions import ByReference
from manyhands._engine.interface import ChunkResults, Job
from manyhands._engine.protocol import caller
from manyhands._engine.results import Batch
from manyhands._engine.tally import Stats

_keys = count(1)


def ship(func: Callable[..., Any]) -> ByReference:
    """The function itself."""
    return ByReference(func, next(_keys).to_bytes(8, "little"))


def pack(job: Job, chunk: Chunk) -> runner.Work:
    """The chunk's inputs, as they are."""
    items: Sequence[Any] = job.source.items(chunk.start, chunk.stop)
    call = caller(job.shipment.func, job.style)
    return runner.Work(chunk.serial, chunk.start, items, call, job.seed, job.retry_on, job.policy.timeout is not None)


def results(worker: int, serial: int, outcome: runner.Outcome, first: int, seconds: float | None) -> ChunkResults:
    """What the runner has done since ``first``; all of it, with the time the chunk took, when it has ended."""
    upto = len(outcome.values)
    errors = [(offset, error, retry) for offset, error, retry in outcome.errors if first <= offset < upto]
    values = [None if value is runner.HOLE else value for value in outcome.values[first:upto]]
    batch = Batch(upto - first, values=values, errors=[(offset - first, error) for offset, error, _ in errors])
    stats = None
    if seconds is not None:
        stats = Stats(outcome.busy, outcome.cpu, seconds, outcome.slowest, outcome.slowest_offset)
    return ChunkResults(worker, serial, first, batch, tuple((o - first, r) for o, _, r in errors), stats)


describe = faults.wrap_stop_iteration
