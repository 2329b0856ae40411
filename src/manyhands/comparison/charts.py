"""Bar charts, drawn by matplotlib."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from os import PathLike
from typing import Any

from manyhands.comparison.drawing import Chart, colour, shortened, wrapped
from manyhands.comparison.files import MARK, written_whole
from manyhands.errors import OptionError

FONTS = (  # that have Chinese characters, by what usually comes with a system
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei", "Noto Sans CJK JP",
    "Droid Sans Fallback", "Arial Unicode MS",
)  # fmt: skip
FILES = (
    "cjk",
    "wqy",
    "sourcehan",
    "pingfang",
    "hiragino",
    "msyh",
    "simhei",
    "notosanssc",
    "fallback",
)  # parts of names
FORMATS = ".png, .svg, .pdf, .jpg or .webp"
DPI = 150
INCHES = 0.3  # of a bar, and of a line of the title
TITLE, SUBTITLE, LABEL = 70, 84, 40  # letters in a line of them


def draw(chart: Chart, path: str | PathLike[str]) -> None:
    """Write the chart into a file, whole or not at all; its suffix tells the format."""
    if importlib.util.find_spec("matplotlib") is None:
        raise ModuleNotFoundError("a chart needs matplotlib: install the extra plot, or matplotlib", name="matplotlib")
    check_font(chart.language)
    suffix = os.path.splitext(os.fspath(path))[1].lstrip(".").lower() or "png"  # noqa: PTH122
    with fonts(), written_whole(path) as unfinished:
        made = figure(chart)
        if suffix not in made.canvas.get_supported_filetypes():
            raise OptionError(f"no chart can be written as .{suffix}: name a file that ends in {FORMATS}")
        made.savefig(unfinished, format=suffix, **_marked(suffix))


def _marked(suffix: str) -> dict[str, Any]:
    """What makes a file tell that a comparison has written it, in the way of its format."""
    if suffix in {"jpg", "webp"}:
        from PIL import ExifTags, Image

        exif = Image.Exif()
        exif[ExifTags.Base.Software] = MARK
        return {"pil_kwargs": {"exif": exif}}
    field = {"png": "Software", "svg": "Creator", "pdf": "Creator"}.get(suffix)
    return {"metadata": {field: MARK}} if field else {}


@contextlib.contextmanager
def fonts() -> Iterator[None]:
    """Text is drawn with fonts that have Chinese characters, if there are any."""
    from matplotlib import rc_context

    log = logging.getLogger("matplotlib.font_manager")  # it tells of every weight that such a font lacks
    before = log.level
    families = [*chinese_fonts(), "DejaVu Sans"]
    log.setLevel(logging.ERROR)
    try:
        with rc_context(
            {
                "font.sans-serif": families,
                "font.family": "sans-serif",
                "axes.unicode_minus": False,
                "text.parse_math": False,
            }
        ):
            yield
    finally:
        log.setLevel(before)


def check_font(language: str) -> None:
    """Raise OptionError if a chart in this language could only be drawn with boxes for letters."""
    if language == "zh" and not chinese_fonts():
        raise OptionError(
            "no font with Chinese characters is installed, which a chart in Chinese needs: install one, such as "
            "fonts-noto-cjk, or make a page (html), which takes the browser's"
        )


def chinese_fonts() -> list[str]:
    """Those that are installed."""
    from matplotlib import font_manager

    found = _known_fonts()
    if not found:  # matplotlib keeps a list that does not change when a font is installed
        for file in font_manager.findSystemFonts():
            if any(part in file.lower() for part in FILES):
                with contextlib.suppress(RuntimeError, OSError):  # it cannot be read
                    font_manager.fontManager.addfont(file)
        found = _known_fonts()
    return found


def _known_fonts() -> list[str]:
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in FONTS if name in there]


def figure(chart: Chart) -> Any:
    """The chart, ready to be saved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    title, subtitle = wrapped(chart.title, TITLE), wrapped(chart.subtitle, SUBTITLE)
    height = 1.3 + INCHES * (len(chart.bars) + len(title)) + 0.12 * len(chart.labels()) + 0.2 * len(subtitle)
    made = Figure(figsize=(8.5, height), layout="constrained", dpi=DPI)
    FigureCanvasAgg(made)
    axes = made.add_subplot()
    _bars(axes, chart)
    axes.invert_yaxis()
    axes.set_xlabel(chart.axis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("\n".join(subtitle), fontsize=9, color="#555555", loc="left")
    made.suptitle("\n".join(title), fontsize=13, x=0.02, ha="left")
    _legend(axes, chart)
    return made


def _bars(axes: Any, chart: Chart) -> None:
    lighter = chart.series()[1:]
    at, ticks = 0.0, []
    most = max(bar.high for bar in chart.bars) / chart.scale
    for label in chart.labels():
        group = [bar for bar in chart.bars if bar.label == label]
        ticks.append((at + (len(group) - 1) / 2, label))
        for bar in group:
            middle, low, high = (seconds / chart.scale for seconds in (bar.seconds, bar.low, bar.high))
            axes.barh(at, middle, height=0.86, color=colour(bar.kind, light=bar.series in lighter))
            axes.plot([low, high], [at, at], color="#333333", linewidth=1.2)
            axes.text(high + 0.012 * most, at, bar.shown, va="center", fontsize=10)
            at += 1.0
        at += 0.4
    axes.set_yticks([place for place, _ in ticks], [shortened(label, LABEL) for _, label in ticks])
    axes.set_xlim(0, 1.16 * most)


def _legend(axes: Any, chart: Chart) -> None:
    from matplotlib.patches import Patch

    if len(chart.series()) > 1:
        shades = [colour("loop", light=at > 0) for at in range(len(chart.series()))]
        handles = [Patch(color=shade, label=name) for shade, name in zip(shades, chart.series(), strict=True)]
        axes.figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
