"""The report of a study of approximations: the paper's Fig. 1, with what each solve cost, and the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics.evaluation import LOSS, SCORE
from neural_kernels.metrics.table import TRAIN
from neural_kernels.reports import style
from neural_kernels.reports.approximation_tables import COMMITTEE, NAMES, approximations_table
from neural_kernels.reports.scaling_summary import checked, footer, kernel_labels, task_of
from neural_kernels.reports.style import PERCENT
from neural_kernels.reports.table_pages import table_pages
from neural_kernels.study.approximation_settings import TRUNCATED
from neural_kernels.study.study import Study

# Where the panels stand, inches: left edges and widths of the two columns, then from the bottom up.
LEFTS, WIDTHS = (1.17, 7.55), (5.85, 3.55)
BOTTOM, TOP, BETWEEN = 1.72, 1.12, 0.22
EXACT: dict[str, Any] = {"color": "black", "linewidth": 1.2, "linestyle": (0, (5, 2))}


@dataclass(frozen=True)
class Row:
    """One row of panels: a number of the table against size, and how its axis looks."""

    split: str
    metric: str
    label: str
    scale: float
    logarithmic: bool


def write_approximations_report(metrics: pd.DataFrame, study: Study, out: str | Path) -> None:
    """The report as a PDF of A4 pages: a figure for each kernel and test set, then the table.

    Args:
        metrics: a metrics table of one study: approximations and, with size 0, the full solution of each kernel.
        study: what its file says, of which title, kernels, ridge, solver and approximations are read.
        out: path of the PDF; it appears whole or not at all, and equal tables give equal bytes.

    Raises:
        ValueError: not a metrics table, or one that lacks approximations or the full solution of a kernel.
    """
    metrics = _checked(metrics)
    with style.context():
        style.write_pdf(report_figures(metrics, study), Path(out), study.title)


def write_approximations_figure(metrics: pd.DataFrame, study: Study, out: str | Path) -> None:
    """The figure of the first kernel and test set alone, as .png or .svg by the name of ``out``.

    Raises:
        ValueError: as ``write_approximations_report``, or another ending.
    """
    metrics = _checked(metrics)
    with style.context():
        kernel, test_set = next(iter(kernel_labels(metrics, study))), metrics_table.test_sets(metrics)[0]
        style.write_image(approximations_figure(metrics, study, kernel, test_set), Path(out))


def report_figures(metrics: pd.DataFrame, study: Study) -> list[Figure]:
    """The pages of the report, to be called within ``style.context()``."""
    test_sets = metrics_table.test_sets(metrics)
    pages = [
        approximations_figure(metrics, study, kernel, test_set)
        for kernel in kernel_labels(metrics, study)
        for test_set in test_sets
    ]
    tables = [approximations_table(metrics, study, test_set) for test_set in test_sets]
    return pages + table_pages(tables, footer(metrics, study), len(pages) + 1)


def approximations_figure(metrics: pd.DataFrame, study: Study, kernel: str, test_set: str) -> Figure:
    """Score, loss and seconds of one kernel on one test set: by size on the left, by iterations on the right.

    To be called within ``style.context()``.
    """
    own = metrics.loc[metrics["kernel"] == kernel]
    task = task_of(metrics)
    score, loss = SCORE[task], LOSS[task]
    rows = [
        Row(test_set, score, style.metric_name(score), 100.0 if score in PERCENT else 1.0, False),
        Row(test_set, loss, style.metric_name(loss), 1.0, True),
        Row(TRAIN, "seconds", "Seconds of the solve", 1.0, True),
    ]
    methods = [method for method in NAMES if method in set(own["solver"])]
    sized = [method for method in methods if method != TRUNCATED]
    columns = [sized, [TRUNCATED]] if TRUNCATED in methods else [sized]
    columns = [column for column in columns if column]
    figure = style.new_figure()
    width, height = figure.get_size_inches()
    n = int(own["n"].iloc[0])
    heading = f"{kernel_labels(metrics, study)[kernel]}, n = {n:,}, tested on {style.test_set_name(test_set)}"
    style.draw_title(figure, study.title, heading)
    high = (height - BOTTOM - TOP - BETWEEN * (len(rows) - 1)) / len(rows)
    for column, shown in enumerate(columns):
        left, wide = _place(column, len(columns))
        first: Axes | None = None
        for place, row in enumerate(rows):
            low = height - TOP - (place + 1) * high - place * BETWEEN
            ax = figure.add_axes((left / width, low / height, wide / width, high / height), sharex=first)
            first = first or ax
            ax.set_gid(f"{row.metric} {column}")
            for method in shown:
                _draw(ax, own, row, method, methods.index(method))
            ax.axhline(_exact(own, row), **EXACT, gid="exact", zorder=1)
            _finish(ax, own, row, shown, last=row is rows[-1], labelled=column == 0)
    _legend(figure, methods)
    style.draw_notes(figure, _notes(own))
    return figure


def _place(column: int, columns: int) -> tuple[float, float]:
    if columns == 1:
        return LEFTS[0], LEFTS[1] + WIDTHS[1] - LEFTS[0]
    return LEFTS[column], WIDTHS[column]


def _values(metrics: pd.DataFrame, row: Row) -> pd.DataFrame:
    """Rows of the number of one row of panels, with its value as it is drawn."""
    chosen = metrics.loc[(metrics["split"] == row.split) & (metrics["metric"] == row.metric)]
    return chosen.assign(value=chosen["value"] * row.scale)


def _exact(metrics: pd.DataFrame, row: Row) -> float:
    return float(_values(metrics.loc[metrics["size"] == 0], row)["value"].mean())


def _draw(ax: Axes, metrics: pd.DataFrame, row: Row, method: str, place: int) -> None:
    """A marker for the mean over draws at each size, and a dot for each of several draws."""
    colour, marker = style.COLOURS[place], style.MARKERS[place]
    points = _values(metrics.loc[metrics["solver"] == method], row)
    sizes = points.groupby("size")["value"]
    means = sizes.mean()
    several = points.loc[sizes.transform("size") > 1]
    ax.plot(several["size"], several["value"], ".", color=colour, markersize=3.5, alpha=0.45, gid="draws")
    ax.plot(
        means.index, means, marker=marker, color=colour, markersize=4.8, linewidth=1.3, gid=method, zorder=3
    )


def _finish(
    ax: Axes, metrics: pd.DataFrame, row: Row, methods: Sequence[str], last: bool, labelled: bool
) -> None:
    """Limits that a row of panels has in common, and those of the sizes of one column."""
    # The exact solution and every method: the panels of a row are read across.
    values = _values(metrics, row)["value"]
    sizes = metrics.loc[metrics["solver"].isin(methods), "size"]
    ax.set_xscale("log")
    ax.set_xlim(sizes.min() / 1.25, sizes.max() * 1.25)
    style.log_axis(ax, "x", base=2, most=8)
    if row.logarithmic and values.min() > 0:
        room = (values.max() / values.min()) ** 0.07
        ax.set_yscale("log")
        ax.set_ylim(values.min() / max(room, 1.02), values.max() * max(room, 1.02))
        style.log_axis(ax, "y", most=6)
    else:
        room = 0.07 * (values.max() - values.min() or 1.0)
        ax.set_ylim(values.min() - room, values.max() + room)
    ax.grid(True, which="major")
    if labelled:
        ax.set_ylabel(row.label)
    else:
        ax.tick_params(labelleft=False)
    if last:
        truncated = list(methods) == [TRUNCATED]
        ax.set_xlabel("Iterations of conjugate gradients" if truncated else "Rank or examples of a part")
    else:
        ax.tick_params(labelbottom=False)


def _legend(figure: Figure, methods: Sequence[str]) -> None:
    handles = [*style.series_handles(len(methods)), Line2D([], [], **EXACT)]
    labels = [*(NAMES[method] for method in methods), "Exact solution"]
    # One row, or two of equal length: entries go down the columns, so that a row of one would look lost.
    columns = len(labels) if len(labels) <= 6 else -(-len(labels) // 2)
    style.draw_legend(figure, handles, labels, 0.82, columns)


def _notes(metrics: pd.DataFrame) -> str:
    text = (
        "Ridge and jitter of every point are chosen on the validation set; the subsets are uniformly random. "
        "Seconds are those of one solve with the chosen values, the kernel in memory; of a committee, of predicting "
        "the validation set."
    )
    if (metrics["solver"] == COMMITTEE).any():
        text += (
            " The Bayesian committee machine predicts together at most as many test examples as a part has."
        )
    if (metrics["draw"] > 0).any():
        text += " Markers: means over draws of the subsets; dots: single draws."
    return text


def _checked(metrics: pd.DataFrame) -> pd.DataFrame:
    metrics = checked(metrics)
    unknown = set(metrics.loc[metrics["size"] > 0, "solver"]) - set(NAMES)
    if unknown:
        raise ValueError(
            f"the metrics table has approximations {sorted(unknown)}, expected {', '.join(NAMES)}"
        )
    for kernel, part in metrics.groupby("kernel"):
        for what, rows in (("full solution", part["size"] == 0), ("approximation", part["size"] > 0)):
            if not rows.any():
                raise ValueError(f"the metrics table has no {what} of kernel {kernel}")
        if part["n"].nunique() != 1:
            raise ValueError(f"kernel {kernel} has several training sizes in the metrics table, expected one")
    return metrics
