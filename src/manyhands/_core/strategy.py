"""Who runs a call's tasks: a pure decision, from what the first tasks have cost.

The caller runs the first tasks itself and measures them. As long as what remains would take longer to hand out than
to run, it goes on; the first time that the workers would be done clearly sooner, they get the rest, and keep it.

>>> decide(Measured(tasks=10_000, wall=0.001, cpu=0.001, spent=0.001, left=90_000, cores=8)).goes
False
>>> decide(Measured(tasks=1, wall=0.5, cpu=0.5, spent=0.5, left=99, cores=8))
Choice(backend='processes', workers=8, why='computes')
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

COLD_SECONDS = 0.08  # until the first of new worker processes is at work: 0.05 alone, 0.11 on a busy machine
WORKER_SECONDS = 0.004  # more for each of them
WARM_SECONDS = 0.002  # until one that is there is, or a thread
TASK_SECONDS = 1e-6  # to hand a tiny task over and take its result
MEGABYTE_SECONDS = 0.0005  # to bring a megabyte to another process or back
LUGGAGE_SECONDS = 0.0003  # to bring a megabyte that the function captures to all workers, or to see that they have it
PACKINGS = 3.0  # times what it took to weigh something: it is packed, and unpacked by somebody who hinders others
WEIGHING_SHARE = 0.08  # of the time that the rest would take in the caller: so long it is weighed, when it is
LOOK_SECONDS = 0.0005  # of work to see before anything is decided: the first call of a function is not like the others
SURE_SECONDS = 0.05  # of work that are enough in any case
QUEUE_SECONDS = 0.1  # longer than a thread is in the queue for a processor at a time
BIG_MEGABYTES = 0.5  # of a task
GAIN = 0.9  # of the time in the caller: what is not clearly quicker is not worth a change
COLD_GAIN = 0.75  # the same where workers must be started, which may take longer, and takes from the caller meanwhile
WAITING_SHARE = 0.3  # of a task's time on a processor; below it, the task mostly waits
MOST_WAITING = 32  # workers for tasks that wait
BOUND_GAP = 0.003  # seconds that another thread waits for the interpreter, if the tasks do not let go of it


class Measured(NamedTuple):
    """What is known when it is decided: of the last tasks, most of all, since those to come will be like them."""

    tasks: float  # that the caller has run, or has been running for so long; older ones count less
    wall: float  # seconds
    cpu: float  # on a processor or in the queue for one; of the whole process, since a task may use several cores
    spent: float  # seconds in all of them, so far
    left: int  # a guess where the input does not tell
    cores: int
    workers: int | None = None  # asked for
    busy: bool = False  # the caller is in the midst of a task, which is not among those left
    warm: bool = False  # worker processes are there
    megabytes: float | None = None  # of a task's input and result, as they would travel; None: not looked at
    luggage: float = 0.0  # megabytes that the function brings along
    packing: float = 0.0  # seconds that it took to weigh these; weights are infinite where it took too long
    item_packing: float = 0.0  # the same for a task's input and result
    threads: bool = False  # it may run in threads
    first: float | None = None  # seconds that the first task took more than those after it; None: there is no other
    gap: float | None = None  # how long another thread waited for the interpreter meanwhile


class Choice(NamedTuple):
    """Where the rest runs. ``why``: the one word that decided; `Strategy` makes a sentence of it."""

    backend: str
    workers: int
    why: str

    @property
    def goes(self) -> bool:
        """The rest leaves the caller."""
        return self.backend != "serial"


def decide(seen: Measured) -> Choice:
    """Where the rest should run, as far as can be told now."""
    if seen.wall < LOOK_SECONDS or _is_unsure(seen):
        return Choice("serial", 1, "short")
    does_wait = waits(seen.wall, seen.cpu)
    workers = seen.workers or (workers_for_waiting(seen.wall, seen.cpu, seen.cores) if does_wait else seen.cores)
    if workers == 1 or seen.left + seen.busy <= 1:
        return Choice("serial", 1, "alone")
    backend = "threads" if _threads_do(seen, does_wait=does_wait) else "processes"
    stay = (seen.left + seen.busy) * seen.wall / seen.tasks
    most = gain(seen, backend) * stay
    if forecast(seen, backend, workers) > most:
        return Choice("serial", 1, "bytes" if forecast(weightless(seen), backend, workers) <= most else "short")
    return Choice(backend, workers, "waits" if does_wait else "computes")


def weightless(seen: Measured) -> Measured:
    """As if there were nothing to pack and to move."""
    return seen._replace(megabytes=0.0, luggage=0.0, packing=0.0, item_packing=0.0)


def weighing_seconds(seen: Measured) -> float:
    """So long may be spent on weighing what would travel."""
    return WEIGHING_SHARE * seen.left * seen.wall / max(seen.tasks, 1)


def waits(wall: float, cpu: float) -> bool:
    """Tasks that took so long, of that so long on a processor, mostly wait."""
    return cpu < WAITING_SHARE * wall


def workers_for_waiting(wall: float, cpu: float, cores: int) -> int:
    """So many that together they keep the cores busy, within reason."""
    busy = max(cpu / max(wall, 1e-9), 1e-3)
    wanted = int(2 ** math.ceil(math.log2(cores / busy)))  # few different numbers: warm workers are kept for each
    return max(cores, min(MOST_WAITING, wanted))


def gain(seen: Measured, backend: str) -> float:
    """The part of the caller's time that workers may take at most."""
    return GAIN if seen.warm or backend == "threads" else COLD_GAIN


def pays(left: int, per_task: float, workers: int, loading: float) -> bool:
    """One worker more, which needs so many seconds before it can begin, is there long before the others are done."""
    return left * per_task / workers > loading


def hands_over(seen: Measured, choice: Choice, there: Sequence[float] = ()) -> bool:
    """The caller gives all that is left to the workers, which are ready, instead of being one of the hands.

    A first task that takes long may import something, or make a model, and each worker will have to do so, too: the
    caller, which has done it, is the quickest then. ``there``: seconds a task, in each round that workers have run.
    """
    # On a busy machine a thread in the queue for a processor seems to wait, for a moment: so it may have been chosen.
    if seen.spent >= QUEUE_SECONDS and waits(seen.wall, seen.cpu):
        return True
    known = [] if seen.first is None else [(seen.first, seen.wall / max(seen.tasks, 1))]
    if len(there) > 1:
        known.append((there[0] - there[-1], there[-1]))
    if not known:
        return seen.left <= choice.workers  # whatever they are like, each can have one
    first, per_task = min(known)
    return pays(seen.left, per_task, choice.workers, first)


def forecast(seen: Measured, backend: str, workers: int) -> float:
    """Seconds until the rest is done by workers; the caller goes on while they start.

    If it is in the midst of a task, that one will take as long again as it has taken: the best guess there is.
    """
    workers = max(1, min(workers, seen.left))
    left, per_task = seen.left, seen.wall / max(seen.tasks, 1)
    stay = left * per_task
    work = stay if waits(seen.wall, seen.cpu) else left * max(seen.cpu / max(seen.tasks, 1), per_task)
    send = left * TASK_SECONDS
    if backend == "processes":
        send += left * (MEGABYTE_SECONDS * (seen.megabytes or 0.0) + PACKINGS * seen.item_packing)
    start = WARM_SECONDS if seen.warm or backend == "threads" else COLD_SECONDS + workers * WORKER_SECONDS
    if backend == "processes":
        start += seen.first or 0.0  # if that was an import, or a model: each of them has to do the same
        start += LUGGAGE_SECONDS * seen.luggage + PACKINGS * seen.packing
    if seen.busy:
        return max(per_task, start + max((work + 2 * send) / workers, send))
    rest = work * (1.0 - min(1.0, start / stay)) if stay else 0.0
    return start + max((rest + 2 * send) / workers, send)


def _is_unsure(seen: Measured) -> bool:
    """Another short task will tell what matters: what moving its bytes is worth, or whether threads would do."""
    if seen.spent >= SURE_SECONDS:
        return False
    return (seen.tasks == 1 and (seen.megabytes or 0.0) > BIG_MEGABYTES) or (seen.threads and seen.gap is None)


def _threads_do(seen: Measured, *, does_wait: bool) -> bool:
    return seen.threads and (does_wait or (seen.gap is not None and seen.gap < BOUND_GAP))
