"""Threads of ours."""

from __future__ import annotations

import threading


def start_thread(thread: threading.Thread) -> None:
    """Start it. What a signal's handler raises in the midst of that arrives as itself, not as threading's KeyError."""
    try:
        thread.start()
    except KeyError as torn:
        raise torn.__context__ or torn from None
