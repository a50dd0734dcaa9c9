"""The panels of the scaling report: loss and scores against n, fitted lines, exponents (paper, Figs. 2 and 3)."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from neural_kernels.baselines.methods import MEAN
from neural_kernels.metrics.scaling_laws import NO_POWER_LAW, NoFit, PowerLaw, interval
from neural_kernels.reports import style
from neural_kernels.reports.beside_baselines import dashes, heights, trained_on
from neural_kernels.reports.scaling_summary import (
    Curve,
    curve,
    fit_curve,
    kernel_labels,
    shown_metrics,
)
from neural_kernels.study.study import Study

LEGEND_HANDLE = 0.3  # inches before the text of a legend entry
LOWEST_PANEL = 2.0  # inches


def scaling_figure(
    metrics: pd.DataFrame,
    study: Study,
    test_sets: list[str],
    predicted: pd.DataFrame | None = None,
    baselines: pd.DataFrame | None = None,
    warned: int = 0,
) -> Figure:
    """A row for the loss and each score, a column for each of ``test_sets``; of a single one, side by side.

    The losses in ``predicted``, see ``reports.predicted_curves``, are thin lines; scores in ``baselines``, see
    ``reports.beside_baselines``, level ones in grey. ``warned`` is how many warnings the tables have.

    To be called within ``style.context()``.
    """
    loss_metric, *score_metrics = shown = shown_metrics(metrics)
    labels = kernel_labels(metrics, study)
    kernels = list(labels)
    laws = {
        (kernel, test_set): fit_curve(curve(metrics, kernel, test_set, loss_metric), study)
        for kernel in kernels
        for test_set in test_sets
    }
    curves = [curve(metrics, kernel, test_set, loss_metric) for kernel, test_set in laws]
    notes = _notes(curves, study, labels, list(laws.values()))
    forecasts = _forecasts(predicted, kernels)
    if forecasts:
        notes += " Dotted: predicted from one kernel matrix."
    if baselines is not None:
        notes += f" {_baseline_note(baselines)}"
    alert = " ".join(filter(None, (_alert(curves), _warned(warned))))
    layout = _Layout(len(test_sets), len(shown), len(style.note_lines(notes, alert)))
    legends = [
        _legend_texts(
            list(labels.values()),
            [laws[kernel, test_set] for kernel in kernels],
            layout.legend_width - LEGEND_HANDLE,
        )
        for test_set in test_sets
    ]
    layout.place(max(sum(0.05 + 0.145 * (text.count("\n") + 1) for text in texts) for texts in legends))
    figure = style.new_figure(layout.size)
    style.draw_title(figure, study.title)
    panels: list[list[Axes]] = []
    for column, test_set in enumerate(test_sets):
        first = panels[0] if panels else [None] * len(shown)
        panels.append(
            [
                figure.add_axes(layout.panel(row, column), sharex=first[0], sharey=first[row])
                for row in range(len(shown))
            ]
        )
        loss, *scores = panels[-1]
        for place, kernel in enumerate(kernels):
            _draw_loss(loss, curve(metrics, kernel, test_set, loss_metric), laws[kernel, test_set], place)
            if kernel in forecasts:
                colour = style.COLOURS[place % len(style.COLOURS)]
                loss.plot(*forecasts[kernel], ":", color=colour, linewidth=1.1, gid="predicted")
            for score, metric in zip(scores, score_metrics, strict=True):
                _draw_score(score, curve(metrics, kernel, test_set, metric), place)
        if baselines is not None:
            for ax, metric in zip(panels[-1], shown, strict=True):
                _draw_baselines(ax, baselines, test_set, metric)
        for ax in panels[-1] if layout.side_by_side else [loss]:
            ax.set_title(style.test_set_name(test_set), fontweight="bold", pad=8)
        _legend(figure, layout.legend(column), legends[column])
    _finish_axes(panels, metrics, test_sets, shown, layout, baselines)
    style.draw_notes(figure, notes, alert)
    return figure


def _forecasts(
    predicted: pd.DataFrame | None, kernels: list[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Sizes and predicted losses of the kernels that have some."""
    if predicted is None:
        return {}
    there = predicted.dropna(subset="predicted")
    parts = {kernel: there.loc[there["kernel"] == kernel] for kernel in kernels}
    return {
        kernel: (part["n"].to_numpy(), part["predicted"].to_numpy(dtype=np.float64))
        for kernel, part in parts.items()
        if len(part)
    }


def _notes(curves: list[Curve], study: Study, labels: dict[str, str], laws: list[PowerLaw | NoFit]) -> str:
    """What stands below the panels."""
    percent = 100 * study.fit.confidence
    sentences = []
    fitted = [law for law in laws if isinstance(law, PowerLaw)]
    if fitted:
        sentences.append(
            "Lines: least squares of log loss on log n, solid over the fitted range and dashed beyond. "
            f"Brackets: {percent:g} % interval of {style.ALPHA}, which allows for a floor under the curve."
        )
    if any(law.floor > 0 for law in fitted):
        sentences.append("Floor: no pure power law, the loss falls to that value.")
    if any(isinstance(law, NoFit) and law.short == NO_POWER_LAW for law in laws):
        sentences.append("No power law: the tables say why; thin lines join the points.")
    if any(len(np.unique(points.n)) < len(points.n) for points in curves):
        sentences.append(
            "Markers: means over draws of the training set (geometric for the loss); dots: single draws."
        )
    sentences.append(evaluated_on(study, labels))
    return " ".join(sentence for sentence in sentences if sentence)


def _alert(curves: list[Curve]) -> str:
    """How many solves did not converge, nothing where all did."""
    unconverged = {
        (points.kernel, int(n), int(draw))
        for points in curves
        for n, draw, converged in zip(points.n, points.draw, points.converged, strict=True)
        if not converged
    }
    if not unconverged:
        return ""
    solves = "1 solve" if len(unconverged) == 1 else f"{len(unconverged)} solves"
    return f"Open markers: {solves} that did not converge, left out of the fits."


def _warned(count: int) -> str:
    if not count:
        return ""
    return f"{count} warning{'s' if count > 1 else ''}: see the table Warnings."


def _baseline_note(baselines: pd.DataFrame) -> str:
    return (
        f"Grey levels, fitted to {trained_on(baselines):,} examples: {style.dashes_said(dashes(baselines))}."
    )


def _draw_baselines(ax: Axes, baselines: pd.DataFrame, test_set: str, metric: str) -> None:
    patterns = dashes(baselines)
    for name, height in heights(baselines, test_set, metric).items():
        ax.axhline(
            height, color=style.MUTED, linewidth=0.9, linestyle=patterns[name], zorder=1, gid="baseline"
        )


class _Layout:
    """Where the panels and legends stand: worked out in inches, given in fractions of the figure."""

    def __init__(self, columns: int, rows: int, notes: int) -> None:
        self.side_by_side = columns == 1
        self.rows = 1 if self.side_by_side else rows
        self.size = (max(style.PAGE[0], 2.85 * columns + 0.25), style.PAGE[1])
        left, right, gap = style.MARGIN + 0.62, style.MARGIN, 0.95 if self.side_by_side else 0.32
        across = rows if self.side_by_side else columns
        self.width = (self.size[0] - left - right - gap * (across - 1)) / across
        self.legend_width = self.size[0] - left - right if self.side_by_side else self.width
        self.lefts = [left + place * (self.width + gap) for place in range(across)]
        self.legend_bottom = 0.42 + style.NOTE_LINE * notes

    def place(self, legend_height: float) -> None:
        """Gives the panels the height that a legend of ``legend_height`` inches leaves."""
        top, axis_label, self.between = 1.18, 0.62, 0.42
        self.legend_top = self.legend_bottom + legend_height
        self.low = self.legend_top + axis_label
        room = self.size[1] - top - self.low
        self.height = (room - self.between * (self.rows - 1)) / self.rows
        if self.height < LOWEST_PANEL:
            # A long legend makes the page taller rather than the panels unreadable.
            self.size = (self.size[0], self.size[1] + self.rows * (LOWEST_PANEL - self.height))
            self.height = LOWEST_PANEL

    def panel(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of the panel of one metric and test set."""
        if self.side_by_side:
            return self._box(self.lefts[row], self.low)
        return self._box(self.lefts[column], self.low + (self.rows - 1 - row) * (self.height + self.between))

    def legend(self, column: int) -> tuple[float, float]:
        """The upper left corner."""
        return self.lefts[column] / self.size[0], self.legend_top / self.size[1]

    def _box(self, x: float, y: float) -> tuple[float, float, float, float]:
        width, height = self.size
        return x / width, y / height, self.width / width, self.height / height


def _draw_loss(ax: Axes, points: Curve, law: PowerLaw | NoFit, place: int) -> None:
    colour = style.COLOURS[place % len(style.COLOURS)]
    sizes, centres = draw_points(ax, points, place, logarithmic=True)
    if isinstance(law, NoFit):
        ax.plot(sizes, centres, color=colour, linewidth=0.8, alpha=0.5)
        return
    inside = _line_between(law.n_min, law.n_max, law)
    ax.plot(inside, law.loss(inside), color=colour, linewidth=1.5, gid="fit")
    for first, last in ((points.n.min(), law.n_min), (law.n_max, points.n.max())):
        if first < last:
            ends = _line_between(first, last, law)
            ax.plot(ends, law.loss(ends), color=colour, linewidth=1.0, linestyle=(0, (4, 3)), gid="beyond")


def _line_between(first: int, last: int, law: PowerLaw) -> np.ndarray:
    """Where the law is drawn: a pure one is straight."""
    return np.geomspace(first, last, 64) if law.floor > 0 else np.array([first, last])


def _draw_score(ax: Axes, points: Curve, place: int) -> None:
    sizes, centres = draw_points(ax, points, place, logarithmic=False)
    ax.plot(sizes, centres, color=style.COLOURS[place % len(style.COLOURS)], linewidth=1.0, alpha=0.8)


def draw_points(ax: Axes, points: Curve, place: int, logarithmic: bool) -> tuple[np.ndarray, np.ndarray]:
    """A marker for each n, open where a solve did not converge, and a dot for each of several draws.

    Returns:
        The sizes and the height of each marker, both (sizes,): the mean, geometric if ``logarithmic``.
    """
    colour = style.COLOURS[place % len(style.COLOURS)]
    marker = style.MARKERS[place % len(style.MARKERS)]
    values = points.value * (100.0 if points.metric in style.PERCENT else 1.0)
    sizes, which, counts = np.unique(points.n, return_inverse=True, return_counts=True)
    with np.errstate(divide="ignore"):  # a loss of zero has no place on a logarithmic axis
        heights = np.log(values) if logarithmic else values
    means = np.bincount(which, heights, len(sizes)) / counts
    centres = np.exp(means) if logarithmic else means
    opened = np.bincount(which, ~points.converged, len(sizes)) > 0
    several = counts[which] > 1
    ax.plot(points.n[several], values[several], ".", color=colour, markersize=3.5, alpha=0.45, gid="draws")
    for chosen, face in ((~opened, colour), (opened, "white")):
        ax.plot(
            sizes[chosen],
            centres[chosen],
            marker,
            color=colour,
            markerfacecolor=face,
            markersize=4.8,
            gid="mean",
            zorder=3,
        )
    return sizes, centres


def _finish_axes(
    panels: list[list[Axes]],
    metrics: pd.DataFrame,
    test_sets: list[str],
    shown: list[str],
    layout: _Layout,
    baselines: pd.DataFrame | None = None,
) -> None:
    """Limits, ticks and labels; ``panels`` has a list for each test set, the loss before the scores."""
    tested = metrics.loc[metrics["split"].isin(test_sets)]
    n = tested["n"].to_numpy()
    most = 6 if layout.width > 3.4 else 4
    for column, axes in enumerate(panels):
        for ax, metric in zip(axes, shown, strict=True):
            values = tested.loc[tested["metric"] == metric, "value"].to_numpy()
            if baselines is not None:
                own = baselines[baselines["split"].isin(test_sets) & (baselines["metric"] == metric)]
                # A share that is guessed is far below all others, which would have no room.
                own = own if ax is axes[0] else own[own["method"] != MEAN]
                values = np.concatenate([values, own["value"].to_numpy(np.float64)])
            ax.set_xscale("log")
            ax.set_xlim(*_stretched(n.min(), n.max(), 0.04))
            style.log_axis(ax, "x", base=2, most=most)
            ax.grid(True, which="major")
            if ax is axes[0]:
                values = values[values > 0]
                ax.set_ylim(*_stretched(values.min(initial=np.inf), values.max(initial=0), 0.07))
                ax.set_yscale("log")
                style.log_axis(ax, "y", most=6)
            else:
                values = values * (100.0 if metric in style.PERCENT else 1.0)
                low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
                room = 0.07 * (high - low or 1.0)
                ax.set_ylim(low - room, high + room)
            if column == 0:
                ax.set_ylabel(style.metric_name(metric))
            else:
                ax.tick_params(labelleft=False)
            if layout.side_by_side or ax is axes[-1]:
                ax.set_xlabel("Training examples $n$")
            else:
                ax.tick_params(labelbottom=False)


def _stretched(low: float, high: float, share: float) -> tuple[float, float]:
    """Limits of a logarithmic axis with some room on both sides; of one value, a factor of two."""
    if not 0 < low <= high < np.inf:
        return 0.1, 1.0
    room = (high / low) ** share if high > low else 2.0
    return low / room, high * room


def _legend_texts(labels: list[str], laws: list[PowerLaw | NoFit], room: float) -> list[str]:
    """Kernel and exponent on one line, or where a line is wider than ``room`` inches, on several."""
    texts = []
    for label, law in zip(labels, laws, strict=True):
        text = f"{label}  {exponent(law)}"
        if style.text_width(text, style.SMALL) > room:
            text = f"{_broken(label, room)}\n{exponent(law)}"
        texts.append(text)
    return texts


def _broken(label: str, room: float) -> str:
    for characters in range(len(label), 0, -1):
        lines = textwrap.wrap(label, characters)
        if max(style.text_width(line, style.SMALL) for line in lines) <= room:
            return "\n".join(lines)
    return label


def _legend(figure: Figure, corner: tuple[float, float], texts: list[str]) -> None:
    lines = [
        Line2D(
            [],
            [],
            color=style.COLOURS[place % len(style.COLOURS)],
            marker=style.MARKERS[place % len(style.MARKERS)],
            markersize=4.8,
            linewidth=1.5,
        )
        for place in range(len(texts))
    ]
    legend = figure.legend(
        lines,
        texts,
        loc="upper left",
        bbox_to_anchor=corner,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        labelspacing=0.4,
        handlelength=1.6,
        handletextpad=0.5,
    )
    legend.set_gid("legend")


def exponent(law: PowerLaw | NoFit) -> str:
    """The exponent, its interval and the floor, as "alpha = 0.212 [0.193, 0.231]" with the Greek letter."""
    if isinstance(law, NoFit):
        return law.short
    text = f"{style.ALPHA} = {law.alpha:.3f}"
    if np.isnan(law.alpha_low):
        return f"{text}, no interval"
    text += f" {interval(law.alpha_low, law.alpha_high)}"
    return f"{text}, floor {law.floor:.3g}" if law.floor > 0 else text


def evaluated_on(study: Study, labels: dict[str, str]) -> str:
    """Which kernels saw only part of the test sets, a sentence, or nothing."""
    kernels = study.kernels
    fewer = {label: kernels[kernel].test_examples for kernel, label in labels.items() if kernel in kernels}
    parts = [f"{label} on the first {count:,}" for label, count in fewer.items() if count]
    return f"Test examples of each set: {', '.join(parts)}." if parts else ""
