"""The processes backend: worker processes on this machine."""

from __future__ import annotations

import sys

from manyhands._engine.interface import Backend
from manyhands.backends import Plan
from manyhands.errors import WorkerStartError


def make(plan: Plan) -> Backend:
    """A supervisor with the start method asked for, or the system's best."""
    if sys.platform == "win32":
        raise WorkerStartError(
            "worker processes are not available on Windows yet; use backend='threads', or Linux (WSL is Linux)."
        )
    from manyhands._engine.payload import can_pack
    from manyhands._engine.start_methods import default_start_method
    from manyhands._engine.supervisor import Settings, Supervisor

    method = plan.start_method or default_start_method()
    if plan.start_method is None and plan.initializer is not None and not can_pack((plan.initializer, plan.initargs)):
        method = "fork"  # as the standard library does: locks and queues of multiprocessing can only be inherited
    return Supervisor(Settings(method, plan.threads, plan.initializer, plan.initargs, plan.memory_limit))
