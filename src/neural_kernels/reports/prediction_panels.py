"""Panels of how predictions compare with what was measured, which the reports of models and of studies share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural_kernels.metrics import calibration
from neural_kernels.metrics.fold_scores import spearman
from neural_kernels.reports import style

MOST_CLASSES = 30
"""Of a confusion matrix that can be read."""


def draw_values(
    page: Figure,
    truth: np.ndarray,
    found: np.ndarray,
    spread: np.ndarray | None,
    target: str,
    how: str = "",
    others: Mapping[str, float] | None = None,
) -> None:
    """Values against predictions and residuals; with a spread, its coverage and the errors against it.

    Args:
        others: root mean square errors of other methods, which are lines among the errors.
    """
    axes = page.subplots(1 if spread is None else 2, 2, squeeze=False)
    page.subplots_adjust(left=0.07, right=0.97, top=0.84, bottom=0.175, hspace=0.46, wspace=0.24)
    errors = truth - found
    measured_against_predicted(axes[0, 0], truth, found, spread, target, how)
    residuals(axes[0, 1], errors, target)
    if spread is not None:
        coverage(axes[1, 0], errors / spread)
        error_against_spread(axes[1, 1], errors, spread, target, others or {})


def calibration_said(errors: np.ndarray, spread: np.ndarray) -> str:
    """Coverage of intervals, and the likelihood of the errors."""
    inside = calibration.coverage(errors / spread, np.array(calibration.LEVELS))
    held = ", ".join(
        f"{share:.1%} at {level:.0%}" for level, share in zip(calibration.LEVELS, inside, strict=True)
    )
    density = calibration.negative_log_density(errors, spread)
    return f"{held}; negative log predictive density {density:.4g} nats."


def measured_against_predicted(
    ax: Axes, truth: np.ndarray, found: np.ndarray, spread: np.ndarray | None, target: str, how: str = ""
) -> None:
    few = len(truth) <= 400
    if few and spread is not None:
        ax.errorbar(found, truth, xerr=spread, fmt="none", ecolor=style.RULE, elinewidth=0.6, zorder=1)
    ax.plot(found, truth, ".", color=style.COLOURS[0], markersize=4 if few else 2, alpha=0.7, zorder=2)
    low, high = min(truth.min(), found.min()), max(truth.max(), found.max())
    ax.plot([low, high], [low, high], color=style.MUTED, linewidth=0.8)
    ax.set_xlabel(f"predicted{how}" + (", one standard deviation" if few and spread is not None else ""))
    ax.set_ylabel(f"measured {target}")
    ax.set_title("Measured against predicted")


def residuals(ax: Axes, errors: np.ndarray, target: str) -> None:
    ax.hist(errors, bins=min(60, max(10, len(errors) // 15)), color=style.COLOURS[4])
    ax.axvline(0, color=style.MUTED, linewidth=0.8)
    ax.set_xlabel(f"measured less predicted {target}")
    ax.set_ylabel("examples")
    ax.set_title("Residuals")


def coverage(ax: Axes, scores: np.ndarray) -> None:
    levels = np.linspace(0.02, 0.98, 49)
    ax.plot([0, 1], [0, 1], color=style.MUTED, linewidth=0.8)
    ax.plot(levels, calibration.coverage(scores, levels), color=style.COLOURS[0], linewidth=1.4)
    marked = np.array(calibration.LEVELS)
    ax.plot(
        marked, calibration.coverage(scores, marked), style.MARKERS[0], color=style.COLOURS[1], markersize=5
    )
    ax.set_xlabel("probability of the interval")
    ax.set_ylabel("share of examples inside")
    ax.set_title("Calibration (dots: 50, 80 and 95 %)")


def error_against_spread(
    ax: Axes,
    errors: np.ndarray,
    spread: np.ndarray,
    target: str = "",
    others: Mapping[str, float] | None = None,
) -> None:
    order = np.argsort(spread)
    groups = np.array_split(order, max(2, min(12, len(order) // 10)))
    expected = [float(np.sqrt((spread[group] ** 2).mean())) for group in groups]
    found = [float(np.sqrt((errors[group] ** 2).mean())) for group in groups]
    others = others or {}
    top = 1.08 * max(*expected, *found)
    # Lines of others have room, unless one of them is far off.
    high = max(top, min(1.08 * max(others.values(), default=0.0), 2 * top))
    ax.plot([0, top], [0, top], color=style.MUTED, linewidth=0.8)
    ax.plot(expected, found, style.MARKERS[0], color=style.COLOURS[0], markersize=5)
    for (name, error), dashes in zip(others.items(), style.DASHES, strict=False):
        ax.axhline(error, color=style.MUTED, linewidth=0.9, linestyle=dashes, label=name)
    ax.set_xlim(0, top)
    ax.set_ylim(0, high)
    ax.set_xlabel(f"predicted spread {target}, groups of equally many".replace("  ", " "))
    ax.set_ylabel("root mean square error")
    ax.set_title("Error against predicted spread")


def reliability(ax: Axes, probabilities: np.ndarray, right: np.ndarray) -> None:
    """Shares that are right against the probability of the predicted class."""
    said, share, _ = calibration.reliability(probabilities, right)
    low = max(0.0, min(said.min(), share.min()) - 0.05)
    ax.plot([low, 1], [low, 1], color=style.MUTED, linewidth=0.8)
    ax.plot(said, share, style.MARKERS[0] + "-", color=style.COLOURS[0], markersize=5, linewidth=1.2)
    ax.set_xlabel("probability of the predicted class, tenths of the examples")
    ax.set_ylabel("share that is right")
    ax.set_title("Reliability")


def confusion(ax: Axes, truth: np.ndarray, found: np.ndarray, classes: np.ndarray) -> None:
    count = len(classes)
    matrix = np.zeros((count, count), int)
    np.add.at(matrix, (truth, found), 1)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if count <= MOST_CLASSES:
        ax.set_xticks(
            range(count), [short(str(name), 14) for name in classes], rotation=90 if count > 4 else 0
        )
        ax.set_yticks(range(count), [short(str(name), 14) for name in classes])
    if count <= 12:
        for i, j in np.ndindex(count, count):
            colour = "white" if shares[i, j] > 0.5 else "black"
            ax.text(j, i, f"{matrix[i, j]:,}", ha="center", va="center", size=style.SMALL, color=colour)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    ax.set_title("Confusion matrix, shares of each true class")


def scores(truth: np.ndarray, found: np.ndarray) -> tuple[float, float, float, float]:
    errors = truth - found
    explained = 1 - float((errors**2).mean()) / max(float(truth.var()), 1e-300)
    return float(np.sqrt((errors**2).mean())), float(np.abs(errors).mean()), explained, spearman(truth, found)


def short(text: str, most: int = 44) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
