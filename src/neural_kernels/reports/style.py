"""How every figure looks: fonts, colours, names for people and the ticks of logarithmic axes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from neural_kernels.storage.files import write_atomically

PAGE = (11.69, 8.27)  # A4 landscape, inches
MARGIN = 0.55
SMALL, NORMAL, TITLE = 8.5, 9.5, 14.0  # points
NOTE_WIDTH = 165  # characters of a line of notes, from margin to margin
NOTE_LINE = 0.17  # inches from one line of notes to the next

# Okabe and Ito (2008), told apart with every common colour blindness; grey stands for their yellow,
# which is too light for lines on white. Markers differ too, for print without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C8C8C")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES: tuple[Any, ...] = (":", (0, (5, 2)), (0, (5, 2, 1, 2)), "-", (0, (2, 1)))
"""Of lines of other methods, which are grey."""
DASH_NAMES = ("dotted", "dashed", "dash-dotted", "solid", "short dashes")
ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
PERCENT = ("accuracy", "top5_accuracy")
"""Metrics that people read in percent."""
ALERT = "#C00000"
MUTED = "#555555"
RULE = "#BBBBBB"

FONT = "DejaVu Sans"  # comes with matplotlib, so that every machine draws the same
RC: dict[str, Any] = {
    "font.family": FONT,
    "font.size": NORMAL,
    "axes.titlesize": NORMAL + 1.5,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "neural-kernels",
}

TEST_SET_NAMES = {
    "cifar5m": "CIFAR-5m",
    "cifar10": "CIFAR-10",
    "cifar10_1": "CIFAR-10.1",
    "cifar10.1": "CIFAR-10.1",
    "cifar10_1_v4": "CIFAR-10.1 v4",
    "cifar10_1_v6": "CIFAR-10.1 v6",
    "tiny_imagenet": "Tiny ImageNet",
    "digits": "Digits",
}
METRIC_NAMES = {
    "loss": "Test loss",
    "mse": "Mean squared error",
    "accuracy": "Accuracy (%)",
    "top5_accuracy": "Top-5 accuracy (%)",
    "spearman": "Spearman correlation",
    "pearson": "Pearson correlation",
    "average_precision": "Mean average precision",
    "roc_auc": "Mean ROC-AUC",
    "rmse": "RMSE, units of the data",
}


@contextmanager
def context() -> Iterator[None]:
    """Settings under which figures are made and written; the caller's own are back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        cast(Any, matplotlib.rcParams).update(RC)
        yield


def new_figure(size: tuple[float, float] = PAGE) -> Figure:
    """An empty figure of ``size`` in inches, which no window ever shows."""
    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    return figure


def draw_title(figure: Figure, text: str, below: str = "") -> None:
    """The title of a page of panels, and a line of its own below it."""
    width, height = figure.get_size_inches()
    left = MARGIN / width
    figure.text(left, 1 - 0.42 / height, text, size=TITLE, fontweight="bold", va="top")
    if below:
        figure.text(left, 1 - 0.74 / height, below, size=NORMAL + 1.5, va="top")


def draw_notes(figure: Figure, notes: str, alert: str = "") -> None:
    """``notes`` at the foot of a page of panels, wrapped, and a line below them that is not to be missed."""
    lines = note_lines(notes, alert)
    width, height = figure.get_size_inches()
    for above, (text, colour) in zip(range(len(lines) - 1, -1, -1), lines, strict=True):
        figure.text(MARGIN / width, (0.3 + NOTE_LINE * above) / height, text, size=SMALL, color=colour)


def above_notes(figure: Figure, notes: str) -> float:
    """Where panels with an axis label may begin above ``notes``, as a share of the figure's height."""
    _, height = figure.get_size_inches()
    return float((0.3 + NOTE_LINE * len(note_lines(notes)) + 0.6) / height)


def note_lines(notes: str, alert: str = "") -> list[tuple[str, str]]:
    """The lines that ``draw_notes`` draws, and the colour of each."""
    lines = [(line, MUTED) for line in textwrap.wrap(notes, NOTE_WIDTH)]
    return [*lines, (alert, ALERT)] if alert else lines


def write_pdf(figures: list[Figure], path: Path, title: str) -> None:
    """The figures as pages of one vector PDF, the same bytes for the same figures; atomic."""
    # A time in the file would make the same results look different to whoever compares files.
    metadata = {"Title": title, "Creator": "neural-kernels", "CreationDate": None, "ModDate": None}
    buffer = io.BytesIO()
    with PdfPages(buffer, metadata=metadata) as pages:
        for figure in figures:
            pages.savefig(figure)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


def write_image(figure: Figure, path: Path, dpi: int = 160) -> None:
    """The figure as .png or .svg, by the name of ``path``; atomic."""
    kind = path.suffix.lstrip(".").lower()
    if kind not in ("png", "svg"):
        raise ValueError(f"a figure is written as .png or .svg, not as {path.name}")
    buffer = io.BytesIO()
    metadata: dict[str, str | None] = {"png": {}, "svg": {"Creator": "neural-kernels", "Date": None}}[kind]
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata)
    write_atomically(path, lambda file: file.write(buffer.getvalue()))


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width in inches of one line of text, as drawn."""
    font = FontProperties(family=FONT, size=size, weight="bold" if bold else "normal")
    return _measure().get_text_width_height_descent(text, font, False)[0] / 72


@lru_cache(maxsize=1)
def _measure() -> RendererAgg:
    return FigureCanvasAgg(Figure(figsize=(1, 1), dpi=72)).get_renderer()


def test_set_name(name: str) -> str:
    return TEST_SET_NAMES.get(name, name)


def metric_name(metric: str) -> str:
    return METRIC_NAMES.get(metric, metric.replace("_", " ").capitalize())


def log_ticks(low: float, high: float, base: int, most: int = 6) -> list[float]:
    """From two to ``most`` round numbers in [low, high] for a logarithmic axis, increasing.

    Decades where there are three of them; else, with ``base`` 2, powers of two, thinned evenly; else
    the densest of 1-2-5, 1-3-5-7-9 and 1 to 9 that does not exceed ``most``, and where that leaves
    fewer than three, evenly spaced round numbers.
    """
    decades = _decades(low, high)
    inside = [tick for tick in decades if low <= tick <= high]
    if len(inside) >= 3:
        return inside[:: -(-len(inside) // most)]
    if base == 2:
        first, last = int(np.ceil(np.log2(low) - 1e-9)), int(np.floor(np.log2(high) + 1e-9))
        powers = [2.0**k for k in range(first, last + 1)]
        # From the largest down: the largest training set is the one that people look for.
        if len(powers) >= 2:
            return powers[::-1][:: -(-len(powers) // most)][::-1]
    for digits in (range(1, 10), (1, 3, 5, 7, 9), (1, 2, 5)):
        ticks = [digit * decade for decade in decades for digit in digits if low <= digit * decade <= high]
        # 0.09 beside 0.1 leaves no room for their labels where the axis spans much more than that.
        closest = np.diff(np.log(ticks)).min() if len(ticks) > 1 else np.inf
        if 3 <= len(ticks) <= most and closest >= np.log(high / low) / (2 * most):
            return ticks
    even = MaxNLocator(nbins=most, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in even if low <= tick <= high]


def _decades(low: float, high: float) -> list[float]:
    return [10.0**k for k in range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)]


def log_axis(ax: Axes, which: str, base: int = 10, most: int = 6) -> None:
    """A few plain numbers as labels of the logarithmic x or y axis of ``ax``.

    Call it after the limits are set: the ticks are chosen for them.
    """
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    axis = ax.xaxis if which == "x" else ax.yaxis
    minor = [digit * decade for decade in _decades(low, high) for digit in range(2, 10)]
    axis.set_major_locator(FixedLocator(log_ticks(low, high, base, most)))
    axis.set_minor_locator(FixedLocator([] if base == 2 else [tick for tick in minor if low <= tick <= high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick_label(value)))
    axis.set_minor_formatter(NullFormatter())


def tick_label(value: float) -> str:
    """1,024 for a whole number below a million, else 0.05 or 10^6 as mathematics."""
    if value >= 1e6 or value < 1e-4:
        exponent = np.log10(value)
        if abs(exponent - round(exponent)) < 1e-9:
            return f"$10^{{{round(exponent)}}}$"
        return f"{value:.1e}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.6g}"


def series_handles(count: int) -> list[Line2D]:
    """What a legend shows for the first ``count`` kernels or methods: their colours and markers."""
    return [
        Line2D(
            [],
            [],
            color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place % len(MARKERS)],
            markersize=4.8,
            linewidth=1.3,
        )
        for place in range(count)
    ]


def dashes_said(names: Iterable[str]) -> str:
    """Which of ``DASHES`` each method has, for a note: points would lie below a legend."""
    return ", ".join(
        f"{name[0].lower()}{name[1:]} ({DASH_NAMES[place % len(DASH_NAMES)]})"
        for place, name in enumerate(names)
    )


def draw_legend(
    figure: Figure, handles: Sequence[Line2D], labels: Sequence[str], bottom: float, columns: int
) -> None:
    """A row of ``columns`` at the left, ``bottom`` inches above the edge of the page."""
    width, height = figure.get_size_inches()
    figure.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(MARGIN / width, bottom / height),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        ncols=columns,
        columnspacing=1.6,
        handlelength=2.2,
        handletextpad=0.5,
    ).set_gid("legend")
