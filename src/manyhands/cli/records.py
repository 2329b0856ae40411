"""One result as a line of text: a JSON record, or with --plain the result alone."""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass
from typing import Any

import manyhands as mh
from manyhands.errors import RemoteError


@dataclass(frozen=True)
class Outcome:
    """What became of one input: a result, or a failure."""

    index: int
    item: Any
    result: Any

    @property
    def failure(self) -> mh.Failure | None:
        """The failure, if it is one."""
        return self.result if isinstance(self.result, mh.Failure) else None


def json_record(outcome: Outcome) -> str:
    """Write an outcome as one line of JSON; what JSON cannot hold is written as its `repr`."""
    record = {"index": outcome.index, "input": json_or_repr(outcome.item)}
    if outcome.failure is not None:
        return to_json(record | {"ok": False, "error": describe_failure(outcome.failure)})
    try:
        return to_json(record | {"ok": True, "result": outcome.result})
    except Exception:  # noqa: BLE001 - the user's own objects are asked to describe themselves
        return to_json(record | {"ok": True, "repr": safe_repr(outcome.result)})


def plain_result(result: Any) -> str:
    """Write a result alone: text as it is, anything else as JSON or as its `repr`."""
    if isinstance(result, str):
        return result
    try:
        return to_json(result)
    except Exception:  # noqa: BLE001 - the user's own objects are asked to describe themselves
        return safe_repr(result)


def describe_failure(failure: mh.Failure) -> dict[str, str]:
    """Give the type, message and traceback of what a task raised."""
    error = failure.error
    if isinstance(error, RemoteError):
        name, message = error.type_name, error.message
    else:
        name, message = _type_name(type(error)), safe_text(error)
    return {"type": name, "message": message, "traceback": failure.traceback}


def failure_line(outcome: Outcome, failure: mh.Failure) -> str:
    """Say in one line which item failed and why."""
    error = describe_failure(failure)
    message = " ".join(error["message"].split())
    return f"item {outcome.index} ({reprlib.repr(failure.argument)}) failed: {error['type']}: {message}"


def to_json(value: Any) -> str:
    """Write one line of strict JSON; numpy's numbers and arrays become plain ones."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    try:
        text.encode()
    except UnicodeEncodeError:  # the name of a file that is not UTF-8, for one
        return json.dumps(value, allow_nan=False, default=_plain)
    return text


def safe_repr(value: Any) -> str:
    """Return the `repr` even of an object whose own `repr` fails."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - see above
        return object.__repr__(value)


def safe_text(error: BaseException) -> str:
    """Return the message even of an exception whose own `str` fails."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - see above
        return "(its message cannot be shown)"


def json_or_repr(value: Any) -> Any:
    """Return an input itself, or its `repr` if JSON cannot hold it."""
    try:
        to_json(value)
    except (TypeError, ValueError):  # an input of NaN, which Python reads and JSON does not know
        return repr(value)
    return value


def _plain(value: Any) -> Any:
    """Turn an array or an array's number into lists and numbers, without importing numpy to ask."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError


def _type_name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
