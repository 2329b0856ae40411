"""One page that shows a dataset: pictures with their boxes, what is in them, and how evenly."""

from __future__ import annotations

import base64
import html
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from manyhands.apps import files
from manyhands.apps.synth import dataset, drawing, inputs, pictures
from manyhands.apps.synth.config import from_mapping, splits_of
from manyhands.apps.synth.dataset import Dataset, Record
from manyhands.apps.synth.labels import Label
from manyhands.errors import OptionError

SHOWN = 24  # pictures on the contact sheet
MOST_BARS = 30
BINS = 12
BLUE = "#0072b2"
STYLE = """
body { font: 16px/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem; color: #222; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
img { max-width: 100%; border: 1px solid #ccc; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; } figcaption { font-weight: 600; margin-bottom: .3rem; }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: #444; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
"""


def report(out: str | os.PathLike[str], to: str | os.PathLike[str] | None = None) -> Path:
    """Write one HTML page about a finished dataset, with everything in it.

    >>> import pathlib, tempfile
    >>> from manyhands.apps import synth
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> summary = synth.generate(synth.example(folder), folder / "ds", progress=False)
    >>> synth.report(folder / "ds").name
    'report.html'

    Args:
        out: the dataset's folder.
        to: the page; None: ``report.html`` in the dataset's folder.

    Returns:
        Where it is.

    Raises:
        OptionError: there is no finished dataset, or it has no pictures, or ``to`` is no page, or lies among
            the inputs or in a dataset.
        OSError: the page cannot be written, or a picture cannot be read.
    """
    folder = Path(out)
    about, records = dataset.read_finished(folder)
    written = [record for record in records if record.written]
    if not written:
        raise OptionError(f"the dataset in {folder} has no pictures")
    path = folder / "report.html" if to is None else Path(to)
    if path.suffix.lower() not in {".html", ".htm"}:
        raise OptionError(f"the report is a page: name a file that ends in .html; got {str(path)!r}")
    if path.resolve().parent != folder.resolve():
        inputs.check_target(path, from_mapping(about["config"]))
        dataset.check_target(path)
    with files.whole(path) as unfinished:
        unfinished.write_text(_page(folder, about, records, written), encoding="utf-8", errors="replace")
    return path


def _page(folder: Path, about: dict[str, Any], records: Sequence[Record], written: Sequence[Record]) -> str:
    labels = [(record, label) for record in written for label in record.labels]
    classes = about["classes"]
    boxes = [(label.box[2] - label.box[0], label.box[3] - label.box[1]) for _, label in labels]
    charts = [
        _bars("Objects of each class", Counter(dict.fromkeys(classes, 0) | Counter(one.name for _, one in labels))),
        _histogram("Size of boxes: square root of width times height, pixels", [math.sqrt(w * h) for w, h in boxes]),
        _histogram("Shape of boxes: width through height", [w / h for w, h in boxes], ratio=True),
        _places("Where the middles of boxes are", [_middle(record, label.box) for record, label in labels]),
        _histogram("Share of an object that is seen", [label.visible for _, label in labels], low=0.0, high=1.0),
        _bars("Objects in a picture", Counter(str(len(record.labels)) for record in written), by_name=True),
        _whole_histogram(
            "How often each object picture is used", _uses(about, "objects/", (o.source for _, o in labels))
        ),
        _whole_histogram(
            "How often each background is used", _uses(about, "backgrounds/", (r.background for r in written))
        ),
    ]
    name = html.escape(folder.absolute().name)
    sheet = f'<img alt="pictures with their boxes" src="{_sheet(folder, about, written)}">'
    sections = [
        ("", _table(_counts(records, written, len(labels)))),
        (f"{min(SHOWN, len(written))} of the pictures", sheet),
        ("What is in them", f'<div class="charts">{"".join(charts)}</div>'),
        ("Objects of each class in each split", _per_split(about, labels)),
        ("Objects that found no place", _table(_given_up(records))),
        ("How it was made", _table(_runs(folder)) + _table(_settings(about))),
    ]
    body = "\n".join(f"<h2>{title}</h2>{part}" if title else part for title, part in sections)
    head = f'<meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{name}</h1>{body}</body></html>\n'


# --- tables -----------------------------------------------------------------------------------------------------


def _counts(records: Sequence[Record], written: Sequence[Record], objects: int) -> dict[str, Any]:
    splits = Counter(record.split for record in written)
    rejected = len(records) - len(written)
    counts = {"samples planned": len(records), "pictures written": len(written), "rejected": rejected}
    return counts | {"objects labelled": objects} | {f"pictures in {split}": n for split, n in splits.items()}


def _per_split(about: dict[str, Any], labels: Iterable[tuple[Record, Label]]) -> str:
    """How many are labelled; also none, where some were wanted."""
    counts = Counter((label.name, record.split) for record, label in labels)
    splits = splits_of(about["config"]["split"])
    head = "".join(f'<th class="number">{split}</th>' for split in splits)
    lines = [f"<tr><th>class</th>{head}</tr>"]
    for name in about["classes"]:
        cells = "".join(f'<td class="number">{counts[name, split]:,}</td>' for split in splits)
        lines.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _given_up(records: Iterable[Record]) -> dict[str, Any]:
    return dict(sorted(dataset.count_given_up(records).items())) or {"none": 0}


def _runs(folder: Path) -> dict[str, Any]:
    try:
        runs = [json.loads(line) for line in (folder / dataset.RUNS).read_text().splitlines()]
        return {f"run {number}": _run(**run) for number, run in enumerate(runs, 1)}
    except (OSError, ValueError, TypeError):  # it is not there, or was changed: nothing else depends on it
        return {}


def _run(made: int, seconds: float, workers: int) -> str:
    return f"{made:,} samples in {seconds:.1f} s with {workers} workers: {made / max(seconds, 1e-9):.1f} a second"


def _settings(about: dict[str, Any]) -> dict[str, Any]:
    told = {name: json.dumps(value, ensure_ascii=False) for name, value in about["config"].items()}
    return told | {f"set aside: {key}": reason for key, reason in about["aside"].items()}


def _table(rows: Mapping[str, Any]) -> str:
    lines = []
    for name, value in rows.items():
        shown = f"{value:,}" if isinstance(value, int) else html.escape(str(value))
        kind = ' class="number"' if isinstance(value, int) else ""
        lines.append(f"<tr><td>{html.escape(name)}</td><td{kind}>{shown}</td></tr>")
    return f"<table>{''.join(lines)}</table>"


# --- pictures ---------------------------------------------------------------------------------------------------


def _sheet(folder: Path, about: dict[str, Any], written: Sequence[Record]) -> str:
    import cv2
    import numpy as np

    place = Dataset(folder, about["config"]["image_format"])
    shown = []
    for record in written[:SHOWN]:
        path = place.picture(record.split, record.id)
        files.check_regular(path)
        data = np.fromfile(path, np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        if pixels is None:
            raise OptionError(f"{path} is damaged: verify tells what else is")
        shown.append(drawing.thumbnail(np.asarray(pixels, np.uint8), record.labels, about["classes"]))
    sheet = pictures.encoded(drawing.contact_sheet(shown), "jpg", 80)
    return f"data:image/jpeg;base64,{base64.b64encode(sheet).decode()}"


# --- charts -----------------------------------------------------------------------------------------------------


def _middle(record: Record, box: tuple[int, int, int, int]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2 / record.size[0], (box[1] + box[3]) / 2 / record.size[1]


def _uses(about: dict[str, Any], kind: str, used: Iterable[str]) -> list[int]:
    counts = Counter(used)
    return [counts[key] for key in about["inputs"] if key.startswith(kind)]


def _bars(title: str, counts: Mapping[str, int], *, by_name: bool = False) -> str:
    """One lying bar for each name, or for the first ones, which is told."""
    rows = sorted(counts.items(), key=lambda item: (item[0].zfill(9) if by_name else -item[1], item[0]))[:MOST_BARS]
    title += f" (the first {MOST_BARS} of {len(counts):,})" * (len(counts) > MOST_BARS)
    most = max([count for _, count in rows], default=1) or 1
    parts = []
    for at, (name, count) in enumerate(rows):
        y, length = 4 + 20 * at, 200 * count / most
        parts.append(
            f'<text x="116" y="{y + 11}" text-anchor="end">{html.escape(name[:18])}</text>'
            f'<rect x="120" y="{y}" width="{length:.1f}" height="15" fill="{BLUE}"/>'
            f'<text x="{124 + length:.1f}" y="{y + 11}">{count:,}</text>'
        )
    return _figure(title, parts, 20 * len(rows) + 8)


def _histogram(
    title: str, values: Sequence[float], *, ratio: bool = False, low: float | None = None, high: float | None = None
) -> str:
    """Standing bars; of ratios, each as much wider as the one before."""
    scale, back = (math.log, math.exp) if ratio else (float, float)
    placed = [scale(value) for value in values]
    first = scale(low) if low is not None else min(placed, default=0.0)
    last = scale(high) if high is not None else max(placed, default=1.0)
    last = last if last > first else first + 1
    counts = [0] * BINS
    for value in placed:
        counts[min(BINS - 1, int((value - first) / (last - first) * BINS))] += 1
    parts = _standing(counts)
    for at in (0, BINS // 2, BINS):
        anchor = "start" if at == 0 else "end" if at == BINS else "middle"
        edge = back(first + (last - first) * at / BINS)
        parts.append(f'<text x="{10 + 28 * at}" y="146" text-anchor="{anchor}">{edge:.3g}</text>')
    middle = f" (median {median(values):.3g})" if values else ""
    return _figure(title + middle, parts, 152)


def _whole_histogram(title: str, values: Sequence[int]) -> str:
    """Of whole numbers, as are those below: each bar is one of them, or goes from one to before another."""
    first, last = min(values, default=0), max(values, default=0)
    width = (last - first) // BINS + 1
    counts = [0] * ((last - first) // width + 1)
    for value in values:
        counts[(value - first) // width] += 1
    parts = _standing(counts)
    if width == 1:
        every = 1 if last < 1000 else 3  # so the numbers have room
        ticks = [(at, 23, "middle") for at in range(0, len(counts), every)]
    else:
        ticks = [(0, 10, "start"), (len(counts) // 2, 10, "middle"), (len(counts), 10, "end")]
    for at, left, anchor in ticks:
        parts.append(f'<text x="{left + 28 * at}" y="146" text-anchor="{anchor}">{first + at * width:,}</text>')
    middle = f" (median {f'{median(values):,.1f}'.removesuffix('.0')})" if values else ""
    return _figure(title + middle, parts, 152)


def _standing(counts: Sequence[int]) -> list[str]:
    """Bars, with how many each is."""
    most = max(counts) or 1
    parts = []
    for at, count in enumerate(counts):
        height = 110 * count / most
        parts.append(
            f'<rect x="{10 + 28 * at}" y="{130 - height:.1f}" width="26" height="{height:.1f}" fill="{BLUE}"/>'
        )
        if count:
            parts.append(f'<text x="{23 + 28 * at}" y="{126 - height:.1f}" text-anchor="middle">{count:,}</text>')
    return parts


def _places(title: str, middles: Sequence[tuple[float, float]]) -> str:
    """Darker where more are."""
    across, down = 16, 9
    counts = Counter((min(across - 1, int(x * across)), min(down - 1, int(y * down))) for x, y in middles)
    most = max(counts.values(), default=1)
    parts = [
        f'<rect x="{10 + 20 * x}" y="{4 + 16 * y}" width="19" height="15" fill="{BLUE}" '
        f'fill-opacity="{0.04 + 0.96 * counts[x, y] / most:.2f}"/>'
        for x in range(across)
        for y in range(down)
    ]
    return _figure(title, parts, 152)


def _figure(title: str, parts: Sequence[str], height: int) -> str:
    shown = html.escape(title)
    drawn = f'<svg viewBox="0 0 360 {height}" role="img" aria-label="{shown}">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{shown}</figcaption>{drawn}</figure>"
