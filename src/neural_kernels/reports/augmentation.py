"""The report of data augmentation: accuracy and loss against the factor (paper, Fig. 4), images, numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics.evaluation import LOSS, SCORE
from neural_kernels.metrics.table import TRAIN, VALIDATION
from neural_kernels.reports import style
from neural_kernels.reports.chosen import AT_END, AT_END_NOTE, candidate_ends, chosen
from neural_kernels.reports.contact_sheet import ContactSheet, contact_sheet_figure
from neural_kernels.reports.scaling_panels import draw_points
from neural_kernels.reports.scaling_summary import curve, kernel_labels, task_of
from neural_kernels.reports.scaling_tables import solves
from neural_kernels.reports.solve_pages import solve_pages
from neural_kernels.reports.table_pages import Table, table_pages
from neural_kernels.study.study import Study

MOST_TICKS = 6
COLUMNS_A_PAGE = 4
# Around the panels and between them, inches.
LEFT, RIGHT, TOP, BOTTOM, ACROSS, BETWEEN = 1.17, 0.55, 1.35, 1.72, 0.35, 0.28


@dataclass(frozen=True)
class Augmented:
    """What a report of augmentation needs to know of the data.

    Attributes:
        images: training images, so that n of the metrics table is the factor times it.
        tested: kernel to test set to the number of examples that it was tested on.
        sheet: images and copies to look at, None where they are no pictures.
    """

    images: int
    tested: Mapping[str, Mapping[str, int]]
    sheet: ContactSheet | None


def write_augmentation_report(
    metrics: pd.DataFrame,
    study: Study,
    augmented: Augmented,
    out: str | Path,
    histories: pd.DataFrame | None = None,
    ridges: pd.DataFrame | None = None,
) -> None:
    """The report as a PDF of A4 pages: figure, contact sheet, tables, how solves converged, what ridges were worth.

    Args:
        metrics: a metrics table of one study.
        study: what its file says, of which title, kernels, data, ridge and solver are read.
        histories: residuals of the iterative solves (``reports.convergence``), for a page of their own.
        ridges: what each candidate of the ridge was worth (``reports.ridge_sweep``), for a page of its own.
        out: path of the PDF; it appears whole or not at all, and equal input gives equal bytes.

    Raises:
        ValueError: not a metrics table, one of several studies, or an n that is no multiple of the images.
    """
    metrics = _checked(metrics, augmented.images)
    with style.context():
        pages = report_figures(metrics, study, augmented)
        pages += solve_pages(histories, ridges, kernel_labels(metrics, study), study.solver.tolerance)
        style.write_pdf(pages, Path(out), study.title)


def write_augmentation_figure(
    metrics: pd.DataFrame, study: Study, augmented: Augmented, out: str | Path
) -> None:
    """The panels of all test sets alone, as .png or .svg by the name of ``out``.

    Raises:
        ValueError: as ``write_augmentation_report``, or another ending.
    """
    metrics = _checked(metrics, augmented.images)
    with style.context():
        test_sets = metrics_table.test_sets(metrics)
        style.write_image(augmentation_figure(metrics, study, augmented, test_sets), Path(out))


def report_figures(metrics: pd.DataFrame, study: Study, augmented: Augmented) -> list[Figure]:
    """The pages of the report, to be called within ``style.context()``."""
    test_sets = metrics_table.test_sets(metrics)
    pages = [
        augmentation_figure(metrics, study, augmented, test_sets[first : first + COLUMNS_A_PAGE])
        for first in range(0, len(test_sets), COLUMNS_A_PAGE)
    ]
    if augmented.sheet is not None:
        pages.append(contact_sheet_figure(augmented.sheet, _recipe(study)))
    footer = f"{study.title}  ·  study {metrics['study'].iloc[0]}"
    tables = [factors_table(metrics, study, augmented.images, test_set) for test_set in test_sets]
    pages += table_pages(tables, footer, len(pages) + 1)
    return pages + table_pages([solves(metrics, study)], footer, len(pages) + 1)


def _recipe(study: Study) -> str:
    options = study.data.augmentation
    if options is None or options.factor <= 2:
        return "Every image and its horizontal flip."
    return (
        f"One operation of magnitude {options.magnitude:g}, a crop after padding by {options.padding} pixels "
        "and a flip, drawn at random for each copy."
    )


# ------------------------------------------------------------------------------------------ figure


def augmentation_figure(
    metrics: pd.DataFrame, study: Study, augmented: Augmented, test_sets: list[str]
) -> Figure:
    """Scores above losses, a column for each of ``test_sets``; of a single one, side by side.

    To be called within ``style.context()``.
    """
    task = task_of(metrics)
    labels = kernel_labels(metrics, study)
    figure = style.new_figure()
    width, height = figure.get_size_inches()
    figure.text(
        style.MARGIN / width,
        1 - 0.42 / height,
        study.title,
        size=style.TITLE,
        fontweight="bold",
        va="top",
    )
    heading = f"{augmented.images:,} training images and their augmented copies"
    figure.text(style.MARGIN / width, 1 - 0.74 / height, heading, size=style.NORMAL + 1.5, va="top")
    panels = _panels(figure, len(test_sets))
    for column, test_set in enumerate(test_sets):
        for ax, metric in zip(panels[column], (SCORE[task], LOSS[task]), strict=True):
            ax.set_gid(f"{metric} {test_set}")
            for place, kernel in enumerate(labels):
                points = curve(metrics, kernel, test_set, metric)
                points = replace(points, n=points.n // augmented.images)
                factors, centres = draw_points(ax, points, place, logarithmic=False)
                ax.plot(factors, centres, color=style.COLOURS[place % len(style.COLOURS)], linewidth=1.3)
            first = column == 0 or len(test_sets) == 1
            _finish(ax, metrics, test_sets, metric, augmented.images, labelled=first)
        panels[column][0].set_title(style.test_set_name(test_set), fontweight="bold", pad=8)
        if len(test_sets) == 1:
            panels[column][1].set_title(style.test_set_name(test_set), fontweight="bold", pad=8)
        else:
            panels[column][0].set_xlabel("")
            panels[column][0].tick_params(labelbottom=False)
    style.draw_legend(figure, style.series_handles(len(labels)), list(labels.values()), 0.86, columns=6)
    notes = _notes(metrics, augmented, labels, test_sets)
    for line, (note, colour) in enumerate(reversed(notes)):
        figure.text(style.MARGIN / width, (0.3 + 0.17 * line) / height, note, size=style.SMALL, color=colour)
    return figure


def _panels(figure: Figure, test_sets: int) -> list[tuple[Axes, Axes]]:
    """For each test set the panel of its score and that of its loss."""
    width, height = figure.get_size_inches()
    rows, columns, across = (1, 2, 0.95) if test_sets == 1 else (2, test_sets, ACROSS)
    wide = (width - LEFT - RIGHT - across * (columns - 1)) / columns
    high = (height - TOP - BOTTOM - BETWEEN * (rows - 1)) / rows

    def add(row: int, column: int) -> Axes:
        low = BOTTOM + (rows - 1 - row) * (high + BETWEEN)
        left = LEFT + column * (wide + across)
        return figure.add_axes((left / width, low / height, wide / width, high / height))

    if test_sets == 1:
        return [(add(0, 0), add(0, 1))]
    return [(add(0, column), add(1, column)) for column in range(columns)]


def _finish(
    ax: Axes, metrics: pd.DataFrame, test_sets: list[str], metric: str, images: int, labelled: bool
) -> None:
    """Limits that the panels of one metric have in common, so that test sets are read across."""
    shown = metrics.loc[metrics["split"].isin(test_sets) & (metrics["metric"] == metric)]
    values = shown["value"].to_numpy() * (100.0 if metric in style.PERCENT else 1.0)
    factors = np.unique(metrics["n"].to_numpy() // images)
    room = 0.07 * (np.ptp(values) or 1.0)
    ax.set_ylim(values.min() - room, values.max() + room)
    ax.set_xscale("log")
    ax.set_xlim(factors.min() / 1.15, factors.max() * 1.15)
    if len(factors) <= MOST_TICKS:
        ax.set_xticks(factors, [str(factor) for factor in factors])
        ax.set_xticks([], minor=True)
    else:
        style.log_axis(ax, "x", base=2, most=MOST_TICKS)
    ax.set_xlabel("Augmentation factor")
    ax.grid(True, which="major")
    if labelled:
        ax.set_ylabel(style.metric_name(metric))
    else:
        ax.tick_params(labelleft=False)


def _notes(
    metrics: pd.DataFrame, augmented: Augmented, labels: dict[str, str], test_sets: list[str]
) -> list[tuple[str, str]]:
    """Lines below the panels and the colour of each."""
    text = (
        "Factor 1: the images alone; 2: with their horizontal flips; beyond: with randomly changed copies as well. "
        "The ridge of each point is chosen on validation images, which were held out before any copy was made. "
    )
    counts = {
        (style.test_set_name(test_set), augmented.tested[kernel][test_set])
        for kernel in labels
        for test_set in test_sets
    }
    score = SCORE[task_of(metrics)]
    few = min(count for _, count in counts)
    if score in style.PERCENT:
        share = metrics.loc[(metrics["metric"] == score) & metrics["split"].isin(test_sets), "value"]
        error = 100 * np.sqrt((share * (1 - share)).max() / few)
        text += f"Standard error of an accuracy on {few:,} test examples: at most {error:.1f} points."
    notes = [(line, style.MUTED) for line in textwrap.wrap(text, style.NOTE_WIDTH)]
    if not metrics["converged"].all():
        notes.append(("Open markers: solves that did not converge.", style.ALERT))
    return notes


# ------------------------------------------------------------------------------------------- table


def factors_table(metrics: pd.DataFrame, study: Study, images: int, test_set: str) -> Table:
    """A row for each kernel and factor: the ridge, the losses, the score, and its change from the first factor."""
    task = task_of(metrics)
    score, scale = SCORE[task], 100 if SCORE[task] in style.PERCENT else 1
    rows: list[list[str]] = []
    alerts: set[int] = set()
    starts: set[int] = set()
    for kernel, label in kernel_labels(metrics, study).items():
        own = metrics.loc[metrics["kernel"] == kernel]
        first: float | None = None
        starts.add(len(rows))
        for n in sorted(map(int, own["n"].unique())):
            part = own.loc[own["n"] == n]
            value = scale * _value(part, test_set, score)
            first = value if first is None else first
            if not part["converged"].all():
                alerts.add(len(rows))
            ridges = part.loc[part["split"] == TRAIN].groupby("draw")["ridge"].first().to_numpy()
            rows.append(
                [
                    label,
                    f"{n // images:,}",
                    f"{n:,}",
                    chosen(ridges, candidate_ends(study.ridge_candidates())),
                    f"{_value(part, VALIDATION, LOSS[task]):.4f}",
                    f"{_value(part, test_set, LOSS[task]):.4f}",
                    f"{value:.2f}",
                    f"{value - first:+.2f}" if n > int(own["n"].min()) else "",
                ]
            )
    notes = [
        "Ridge: relative to the mean diagonal of the kernel, chosen by the validation loss; the test sets have no "
        f"part in it. Change: from the smallest factor{', in points' if score in style.PERCENT else ''}."
    ]
    if any(AT_END in row[3] for row in rows):
        notes.append(AT_END_NOTE)
    if alerts:
        notes.append("Bold red: a solve that did not converge.")
    header = ["Kernel", "Factor", "n", "Ridge", "Validation loss", style.metric_name(LOSS[task])]
    header += [style.metric_name(score), "Change"]
    return Table(
        f"Augmentation on {style.test_set_name(test_set)}",
        header,
        rows,
        numbers=frozenset(range(1, len(header))),
        alerts=frozenset(alerts),
        rules=frozenset(starts - {0}),
        notes=notes,
    )


def _value(part: pd.DataFrame, split: str, metric: str) -> float:
    """The mean over draws."""
    return float(part.loc[(part["split"] == split) & (part["metric"] == metric), "value"].mean())


def _checked(metrics: pd.DataFrame, images: int) -> pd.DataFrame:
    metrics = metrics_table.check(metrics)
    studies = metrics["study"].unique()
    if len(studies) != 1:
        raise ValueError(f"the metrics table is of the studies {', '.join(studies)}, expected one")
    task_of(metrics)
    wrong = metrics.loc[metrics["n"] % images != 0, "n"]
    if len(wrong):
        raise ValueError(f"the metrics table has n = {wrong.iloc[0]}, expected multiples of {images} images")
    return metrics
