"""What is imported or made on first use: nothing comes in the midst of that.

In a child that another thread forks meanwhile, nobody would be there to finish an import. And a signal's handler runs
on top of whatever it interrupts: it would find half a module, or wait for workers that wait for what it interrupted.
"""

from __future__ import annotations

import sys
import threading

from manyhands._engine.forks import held_off
from manyhands._engine.threads import start_thread

TYPE_CHECKING = False  # typing's import would take longer than all of this one
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_IMPORT_SYSTEM = "<frozen importlib._bootstrap>"


def undisturbed(make: Callable[[], Any]) -> Any:
    """What this returns; raises what it raises.

    For the main thread another calls it, which no handler interrupts. They run while the main thread waits, and may use
    manyhands themselves; what one raises is raised when this is through.
    """
    if threading.current_thread() is not threading.main_thread() or _is_importing():
        with held_off():
            return make()
    ended: list[tuple[Any, BaseException | None]] = []
    struck: BaseException | None = None
    ending = threading.Lock()

    def run() -> None:
        try:
            with held_off():
                ended.append((make(), None))
        except BaseException as error:  # noqa: BLE001 - it is raised below
            ended.append((None, error))
        finally:
            ending.release()

    ending.acquire()
    thread = threading.Thread(target=run, name="manyhands-first-use")
    try:
        start_thread(thread)
    except RuntimeError:
        if thread.ident is not None:  # a handler has raised it
            raise
        run()  # there is no room for a thread, or the program is about to end
    while not ended:
        try:
            ending.acquire()
        except BaseException as error:  # noqa: BLE001 - Ctrl-C: the program's end is not to come in the midst of it either
            struck = error
    if thread.ident is not None:
        thread.join()
    made, raised = ended.pop()
    if (wrong := struck or raised) is not None:
        raise wrong
    return made


def _is_importing() -> bool:
    """This thread is in an import, for whose end another might have to wait."""
    frame = sys._getframe(1)  # noqa: SLF001 - the one way to see one's callers
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT_SYSTEM:
            return True
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return False
