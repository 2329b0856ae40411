"""A page with the verdict, the chart, the table and the raw data, which needs nothing but a browser."""

from __future__ import annotations

import base64
import html
from os import PathLike

from manyhands.comparison.drawing import Chart, Page, colour, places, shortened
from manyhands.comparison.files import MARK, written_whole

WIDTH, ROW, GAP, TOP = 860, 24, 12, 8  # of the chart, in its own units
BARS = 480  # the longest
LABEL = 40  # letters
_STYLE = """
body { font: 16px/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem; color: #1d1d1f; background: #fff; }
h1 { font-size: 1.5rem; margin-bottom: 0; overflow-wrap: anywhere; }
.sub, .note { color: #555; font-size: .9rem; }
.verdict { font-size: 1.1rem; border-left: .3rem solid #0072b2; padding: .4rem 1rem; background: #f2f7fb; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }
td { white-space: nowrap; }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; }
pre { background: #f6f6f6; padding: 1rem; overflow: auto; max-height: 24rem; font-size: .8rem; }
"""


def write(page: Page, path: str | PathLike[str]) -> None:
    """Write the page, whole or not at all."""
    with written_whole(path) as unfinished:
        unfinished.write_text(text(page), encoding="utf-8")


def text(page: Page) -> str:
    """The page itself."""
    show, chart = html.escape, page.chart
    heads, *rows = page.table
    language = "zh-CN" if chart.language == "zh" else chart.language
    data = base64.b64encode(page.data.encode()).decode()
    notes = "\n".join(f'<p class="note">{show(note)}</p>' for note in page.notes)
    head = "".join(f"<th>{show(cell)}</th>" for cell in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{show(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"""<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="generator" content="{MARK}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{show(chart.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{show(chart.title)}</h1>
<p class="sub">{show(chart.subtitle)}</p>
<p class="verdict">{show(page.verdict)}</p>
{_bars(chart)}
<div class="wide"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>
{notes}
<details>
<summary>{show(page.raw)}</summary>
<p><a download="comparison.json" href="data:application/json;base64,{data}">{show(page.save)}</a></p>
<pre>{show(page.data)}</pre>
</details>
</body>
</html>
"""


def _bars(chart: Chart) -> str:
    """The chart as SVG, with the browser's own fonts."""
    show, lighter = html.escape, chart.series()[1:]
    most = max(*(bar.high for bar in chart.bars), 1e-9)
    short = {label: shortened(label, LABEL) for label in chart.labels()}
    left = 16 + 9 * max(map(places, short.values()))
    scale = min(BARS, WIDTH - left - 100) / most
    parts, at = [], TOP
    for label in chart.labels():
        group = [bar for bar in chart.bars if bar.label == label]
        middle = at + ROW * len(group) / 2
        parts.append(f'<text x="{left - 10}" y="{middle + 5:.0f}" text-anchor="end">{show(short[label])}</text>')
        for bar in group:
            fill, y = colour(bar.kind, light=bar.series in lighter), at + 2
            title = f"<title>{show(f'{label} {bar.series} {bar.shown}')}</title>"
            width, low, high = (seconds * scale for seconds in (bar.seconds, bar.low, bar.high))
            parts += [
                f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{ROW - 4}" fill="{fill}">{title}</rect>',
                f'<path d="M{left + low:.1f},{at + ROW / 2} H{left + high:.1f}" stroke="#333"/>',
                f'<text x="{left + high + 8:.1f}" y="{at + ROW / 2 + 5}">{show(bar.shown)}</text>',
            ]
            at += ROW
        at += GAP
    for place, name in enumerate(chart.series() if len(chart.series()) > 1 else []):
        shade = colour("loop", light=place > 0)
        parts += [
            f'<rect x="{left}" y="{at + 4}" width="14" height="14" fill="{shade}"/>',
            f'<text x="{left + 22}" y="{at + 16}" font-size="13">{show(name)}</text>',
        ]
        at += ROW
    inside = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {WIDTH} {at + TOP}" role="img" aria-label="{show(chart.title)}" font-size="15" '
        f'font-family="inherit">\n{inside}\n</svg>'
    )
