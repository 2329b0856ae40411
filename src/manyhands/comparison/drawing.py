"""What is drawn: records that charts and pages are made from."""

from __future__ import annotations

from typing import NamedTuple
from unicodedata import east_asian_width


class Bar(NamedTuple):
    """One bar: the median in seconds, with the least and the most; ``kind`` chooses the colour.

    Bars of one ``label`` stand together. A ``series`` is named in the legend; the second one is drawn lighter.
    """

    label: str
    kind: str
    seconds: float
    low: float
    high: float
    shown: str
    series: str = ""


class Chart(NamedTuple):
    """Bars, and what stands around them. The axis counts in units of so many seconds (``scale``)."""

    title: str
    subtitle: str
    axis: str
    bars: tuple[Bar, ...]
    language: str = "en"
    scale: float = 1.0

    def labels(self) -> list[str]:
        """Of the groups, from top to bottom."""
        return list(dict.fromkeys(bar.label for bar in self.bars))

    def series(self) -> list[str]:
        """Named in the legend."""
        return list(dict.fromkeys(bar.series for bar in self.bars if bar.series))


class Page(NamedTuple):
    """A chart with the figures."""

    chart: Chart
    verdict: str
    notes: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    data: str
    raw: str
    save: str


# Told apart also by those who do not see all colours (of the palette of Okabe and Ito); the label says the same.
COLOURS = {
    "loop": "#7f7f7f",
    "threads": "#e69f00",
    "processes": "#0072b2",
    "auto": "#009e73",
    "other": "#cc79a7",
}


def colour(kind: str, *, light: bool) -> str:
    """Of a bar; the lighter one is half way to white.

    >>> colour("loop", light=False), colour("loop", light=True)
    ('#7f7f7f', '#bfbfbf')
    """
    full = COLOURS.get(kind, COLOURS["other"])
    if not light:
        return full
    parts = [int(full[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{(part + 255) // 2:02x}" for part in parts)


def places(text: str) -> int:
    """How wide it is, in letters: Chinese characters are as wide as two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def shortened(text: str, most: int) -> str:
    """At most so many letters wide: what is over is left out in the middle.

    >>> shortened("plain_python_mean_of_squares", 15)
    'plain_p…squares'
    """
    if places(text) <= most:
        return text
    half = (most - 1) // 2
    start = next(at for at in range(len(text), -1, -1) if places(text[:at]) <= half)
    end = next(at for at in range(len(text) + 1) if places(text[at:]) <= half)
    return f"{text[:start]}…{text[end:]}"


def wrapped(text: str, most: int) -> list[str]:
    """In lines of at most so many letters: broken at spaces, or, if there are none, anywhere.

    >>> wrapped("one or two words", 8)
    ['one or', 'two', 'words']
    """
    lines, rest = [], text
    while places(rest) > most:
        fits = next(at for at in range(len(rest), 0, -1) if places(rest[:at]) <= most)
        at = rest.rfind(" ", 1, fits + 1)
        at = at if at > 0 else fits
        lines.append(rest[:at].rstrip())
        rest = rest[at:].lstrip()
    return [*lines, rest]
