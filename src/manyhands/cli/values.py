"""The small notations of the command line: a time such as 30s, a range such as 0:10:2."""

from __future__ import annotations

import re

from manyhands.cli.problems import CommandError

UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|h|)", re.ASCII)
COUNT = re.compile(r"(\d+(?:\.\d*)?)\s*([kmg]?)", re.ASCII | re.IGNORECASE)
# Of at most 100 digits: from 4301 on `int` refuses them, with an error that names none of our options.
RANGE = re.compile(r"([+-]?\d{1,100}):([+-]?\d{1,100})(?::([+-]?\d{1,100}))?", re.ASCII)
WORKERS = re.compile(r"0*([1-9]\d{0,99})", re.ASCII)


def parse_duration(text: str) -> float:
    """Read a time and return it in seconds.

    >>> parse_duration("500ms"), parse_duration("30"), parse_duration("5m"), parse_duration("2h")
    (0.5, 30.0, 300.0, 7200.0)
    """
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise CommandError(f"{text!r} is not a time: write 500ms, 30s, 5m, 2h or plain seconds")
    seconds = float(match[1]) * UNITS[match[2]]
    if seconds <= 0:
        raise CommandError(f"a time of {text!r} leaves no time at all: give more than zero, such as 30s")
    return seconds


def parse_count(text: str, option: str) -> int:
    """Read a number that may end in K, M or G.

    >>> parse_count("89M", "--max-pixels")
    89000000
    """
    match = COUNT.fullmatch(text.strip())
    number = float(match[1]) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[match[2].upper()] if match else 0.0
    if not 1 <= number <= 10**18:
        raise CommandError(f"{option} {text!r} is not a number from 1 to 10^18: write 5000000, 5M or 1.5G")
    return int(number)


def parse_workers(text: str) -> int | None:
    """Read how many; None for ``auto``.

    >>> parse_workers("3"), parse_workers("auto")
    (3, None)
    """
    if text.strip().lower() == "auto":
        return None
    match = WORKERS.fullmatch(text.strip())
    if match is None:
        raise CommandError(f"'-j' / '--workers' {text!r} is no number of workers: write 1 or more, or auto")
    return int(match[1])


def parse_several_workers(text: str) -> list[int]:
    """Read one number or several.

    >>> parse_several_workers("1, 2,4")
    [1, 2, 4]
    """
    matches = [WORKERS.fullmatch(part) for part in parse_names(text)]
    if None in matches:
        raise CommandError(f"--workers takes numbers of 1 and more, as 2 or 1,2,4; got {text!r}")
    return [int(match[1]) for match in matches if match is not None]


def parse_names(text: str) -> list[str]:
    """Read what stands between commas.

    >>> parse_names("loop, threads")
    ['loop', 'threads']
    """
    return [part.strip() for part in text.split(",")]


def parse_range(text: str) -> range:
    """Read whole numbers from a up to, not including, b.

    >>> list(parse_range("0:10:4")), list(parse_range("3:0:-1"))
    ([0, 4, 8], [3, 2, 1])
    """
    match = RANGE.fullmatch(text.strip())
    if match is None:
        raise CommandError(f"{text!r} is not a range: write a:b or a:b:step in whole numbers, such as 0:100")
    start, stop, step = int(match[1]), int(match[2]), int(match[3] or 1)
    if step == 0:
        raise CommandError(f"the range {text!r} has a step of 0 and would never end: give another step")
    numbers = range(start, stop, step)
    if not numbers and start != stop:
        mended = f"{start}:{stop}:{-step}"
        raise CommandError(f"the range {text!r} is empty, its step leads away from {stop}: write {mended}")
    return numbers


def range_length(numbers: range) -> int:
    """Count the numbers of a range; `len` cannot, from 2**63 on."""
    return max(0, -((numbers.start - numbers.stop) // numbers.step))


def show_duration(seconds: float) -> str:
    """Write a time for people.

    >>> show_duration(3.14), show_duration(125), show_duration(7260)
    ('3.1 s', '2 min 5 s', '2 h 1 min')
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def show_count(number: int, noun: str) -> str:
    """Write a number with its noun.

    >>> show_count(1, "task"), show_count(2, "task")
    ('1 task', '2 tasks')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
