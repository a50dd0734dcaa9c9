"""The panels of many tasks: mean scores against n beside published ones, and each task beside its positives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural_kernels.reports import style
from neural_kernels.reports.scaling_panels import draw_points
from neural_kernels.reports.scaling_summary import curve
from neural_kernels.study.sections import PublishedFigure

# Around the panels and between them, inches.
LEFT, RIGHT, TOP, BOTTOM, ACROSS, BETWEEN = 1.05, 0.55, 1.25, 1.6, 1.0, 0.22
NAMES_UP_TO = 40
"""Tasks whose names have room below a panel."""
APART = 0.055
"""Least distance of the names of two published figures, in heights of the panel."""


def means_figure(
    metrics: pd.DataFrame,
    names: Sequence[str],
    heading: tuple[str, str],
    labels: Mapping[str, str],
    test_set: str,
    published: Sequence[PublishedFigure],
    chosen: str,
) -> Figure:
    """The mean scores ``names`` against n, side by side, with a line for each published figure.

    To be called within ``style.context()``.

    Args:
        chosen: how the ridge was, for the note.
    """
    figure = style.new_figure()
    width, height = figure.get_size_inches()
    style.draw_title(figure, *heading)
    wide = (width - LEFT - RIGHT - ACROSS * (len(names) - 1)) / len(names)
    for column, metric in enumerate(names):
        left = LEFT + column * (wide + ACROSS)
        ax = figure.add_axes((left / width, BOTTOM / height, wide / width, (height - TOP - BOTTOM) / height))
        ax.set_gid(f"{metric} {test_set}")
        for place, kernel in enumerate(labels):
            sizes, centres = draw_points(
                ax, curve(metrics, kernel, test_set, metric), place, logarithmic=False
            )
            ax.plot(sizes, centres, color=style.COLOURS[place % len(style.COLOURS)], linewidth=1.3)
        entries = [entry for entry in published if entry.metric == metric]
        for entry in entries:
            ax.axhline(entry.value, color=style.MUTED, linewidth=0.9, linestyle=(0, (4, 3)), gid="published")
        n = metrics["n"].to_numpy()
        ax.set_xscale("log")
        ax.set_xlim(n.min() / 1.15, n.max() * 1.15)
        style.log_axis(ax, "x", base=2, most=5)
        ax.margins(y=0.08)
        ax.set_xlabel("Training examples $n$")
        ax.set_ylabel(style.metric_name(metric))
        ax.grid(True, which="major")
        _name_lines(ax, entries)
    style.draw_legend(figure, style.series_handles(len(labels)), list(labels.values()), 0.72, columns=5)
    notes = f"The ridge of each point is {chosen}."
    if published:
        notes += " Dashed: published figures of other methods, whose sources are in the table."
    open_markers = not metrics["converged"].all()
    style.draw_notes(figure, notes, "Open markers: solves that did not converge." if open_markers else "")
    return figure


def _name_lines(ax: Axes, entries: Sequence[PublishedFigure]) -> None:
    """The names of published figures at the left, each on its line or as near as another name lets it."""
    low, high = ax.get_ylim()
    floor = -np.inf
    for entry in sorted(entries, key=lambda entry: entry.value):
        place = max((entry.value - low) / (high - low), floor + APART)
        floor = place
        ax.text(
            0.012,
            place,
            f"{entry.name} {entry.value:g}",
            transform=ax.transAxes,
            size=style.SMALL,
            color=style.MUTED,
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )


def each_task_figure(
    scores: pd.DataFrame, score: str, heading: tuple[str, str], labels: Mapping[str, str], first: str
) -> Figure:
    """The ``score`` of each task, sorted by that of the kernel ``first``; of labels, above their positives.

    To be called within ``style.context()``.

    Args:
        scores: a row for each kernel and task (``neural_kernels.task_scores``).
        labels: kernel to what people read.
    """
    figure = style.new_figure()
    width, height = figure.get_size_inches()
    style.draw_title(figure, *heading)
    by_kernel = {kernel: own.set_index("task") for kernel, own in scores.groupby("kernel", sort=False)}
    order = by_kernel[first][score].dropna().sort_values(ascending=False, kind="stable").index
    there = by_kernel[first].loc[order]
    counted = bool(there["positives"].notna().all())
    named = len(order) <= NAMES_UP_TO
    longest = max((style.text_width(str(task), style.SMALL) for task in order), default=0.0) if named else 0.0
    bottom = BOTTOM - 0.35 + longest
    room = height - TOP - bottom - (BETWEEN if counted else 0)
    low_room = 0.3 * room if counted else 0.0
    box = (
        LEFT / width,
        (bottom + low_room + (BETWEEN if counted else 0)) / height,
        (width - LEFT - RIGHT) / width,
    )
    top = figure.add_axes((*box, (room - low_room) / height))
    place = np.arange(len(order))
    for number, (kernel, own) in enumerate((k, by_kernel[k]) for k in labels if k in by_kernel):
        colour, marker = (row[number % len(row)] for row in (style.COLOURS, style.MARKERS))
        top.plot(place, own[score].reindex(order), marker, color=colour, markersize=4.5, gid=str(kernel))
    if counted:
        top.plot(
            place, there["positives"] / there["labelled"], "_", color=style.MUTED, markersize=5, gid="chance"
        )
    top.set_ylabel(style.metric_name(score).removeprefix("Mean ").capitalize())
    axes = [top]
    if counted:
        below = figure.add_axes((box[0], bottom / height, box[2], low_room / height), sharex=top)
        below.bar(place, there["positives"], color=style.RULE, width=0.75)
        below.set_yscale("log")
        below.set_ylim(0.7, 1.5 * there["positives"].max())
        style.log_axis(below, "y", most=4)
        below.set_ylabel("Positives")
        top.tick_params(labelbottom=False)
        axes.append(below)
    for ax in axes:
        ax.grid(True, axis="y")
        ax.set_xlim(-0.8, len(order) - 0.2)
    if named:
        axes[-1].set_xticks(place, [str(task) for task in order], rotation=90)
    else:
        axes[-1].set_xlabel("Tasks, the best first")
    style.draw_legend(figure, style.series_handles(len(labels)), list(labels.values()), 0.62, columns=5)
    notes = "Grey: the share of positives, the average precision of a guess." if counted else ""
    left_out = len(by_kernel[first]) - len(order)
    if left_out:
        notes += (
            f" Left out: {left_out} of {len(by_kernel[first])} tasks, without both labels in the test set."
        )
    style.draw_notes(figure, notes.strip())
    return figure
