"""What workers say: printed text, log records and warnings, on their way to the caller."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from typing import Any

from manyhands._engine.protocol import Kind

Send = Callable[..., None]


# --- in the worker --------------------------------------------------------------------------------------------


def redirect(send: Send) -> None:
    """From now on this process's words go to the caller."""
    owner = os.getpid()
    sys.stdout = _text_stream(send, 1, owner)
    sys.stderr = _text_stream(send, 2, owner)
    for logger in list(logging.getLogger().manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
    logging.getLogger().handlers[:] = [_Handler(send, owner)]
    warnings.showwarning = _warning_sender(send, owner)


def _text_stream(send: Send, fd: int, owner: int) -> io.TextIOWrapper:
    raw = _Raw(send, fd, owner)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
        write_through=False,
    )


class _Raw(io.RawIOBase):
    """Sends what is written; in a process that a task forked, which must not touch the socket, writes it."""

    def __init__(self, send: Send, fd: int, owner: int) -> None:
        self._send, self._fd, self._owner = send, fd, owner

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: Any, /) -> int:
        text = bytes(data)
        if os.getpid() != self._owner:
            return os.write(self._fd, text)
        self._send((Kind.TEXT, self._fd, text))
        return len(text)


class _Handler(logging.Handler):
    def __init__(self, send: Send, owner: int) -> None:
        super().__init__()
        self._send, self._owner = send, owner

    def emit(self, record: logging.LogRecord) -> None:
        if os.getpid() != self._owner:
            sys.stderr.write(f"{record.levelname}: {record.getMessage()}\n")
            return
        try:
            self._send((Kind.RECORD,), (_packed_record(record),))
        except Exception:  # noqa: BLE001 - logging's own rule: a record that fails is reported, not raised
            self.handleError(record)


def _packed_record(record: logging.LogRecord) -> bytes:
    fields = dict(record.__dict__, msg=record.getMessage(), args=None, exc_info=None)
    fields["processName"] = f"worker-{os.getpid()}"
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = logging.Formatter().formatException(record.exc_info)
    try:
        return pickle.dumps(fields, 5)
    except Exception:  # noqa: BLE001 - an extra= that cannot travel goes as text
        plain = {k: v if isinstance(v, str | int | float | None) else repr(v) for k, v in fields.items()}
        return pickle.dumps(plain, 5)


def _warning_sender(send: Send, owner: int) -> Callable[..., None]:
    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        _file: Any = None,
        line: Any = None,
    ) -> None:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        if os.getpid() != owner:
            sys.stderr.write(text)
            return
        try:
            packed = pickle.dumps((str(message), category, filename, lineno), 5)
        except Exception:  # noqa: BLE001 - a category made at run time
            packed = pickle.dumps((text, UserWarning, filename, lineno), 5)
        send((Kind.WARNING,), (packed,))

    return show


# --- in the caller --------------------------------------------------------------------------------------------


class Lines:
    """Cuts one stream of bytes into whole lines."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def put(self, data: bytes) -> str:
        """The whole lines there are now, as one text."""
        head, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._rest.append(data)
            return ""
        whole = b"".join((*self._rest, head, newline))
        self._rest = [rest] if rest else []
        return whole.decode("utf-8", "replace")

    def rest(self) -> str:
        """What is left, as it is."""
        rest, self._rest = b"".join(self._rest), []
        return rest.decode("utf-8", "replace")

    def end(self) -> str:
        """What is left, made a line."""
        rest = self.rest()
        return rest + "\n" if rest else ""


def deliver_record(packed: Any) -> None:
    """Hand a worker's log record to the caller's logger of that name."""
    record = logging.makeLogRecord(pickle.loads(packed))
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


_registry: dict[Any, Any] = {}  # which warnings were shown, as each module has one


def deliver_warning(packed: Any) -> None:
    """Warn in the caller as the worker did; the caller's filters decide whether it is shown."""
    try:
        message, category, filename, lineno = pickle.loads(packed)
    except Exception:  # noqa: BLE001 - its category is not importable here
        return
    # A filter that turns warnings into errors has done so in the worker, where the task could catch it.
    with contextlib.suppress(Warning):
        warnings.warn_explicit(message, category, filename, lineno, registry=_registry)
