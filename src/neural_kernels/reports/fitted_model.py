"""The report of one fitted model: what its left-out predictions say of it, beside simple baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from neural_kernels.metrics import calibration
from neural_kernels.reports import style
from neural_kernels.reports.table_pages import Table, table_pages

FOLDS = 5
FEWEST = 2 * FOLDS
"""Examples of a target, or of a class, without which baselines have nothing to learn from in a fold."""
MOST_FOR_BASELINES = 5000
"""Examples beyond which baselines are judged on so many of them."""
TREES = 100
"""Of a forest."""
WORST = 12
"""Examples that are listed."""
MOST_CLASSES = 30
"""Of a confusion matrix that can be read."""


def write_report(
    out: Path,
    title: str,
    targets: Sequence[str],
    model: Any,
    flat: np.ndarray,
    y: np.ndarray,
    names: Sequence[str],
    further: Sequence[Table] = (),
) -> str:
    """Write the PDF, and return what it found in a sentence.

    Args:
        model: a fitted ``NeuralKernelRegressor`` or ``NeuralKernelClassifier`` whose kernel was solved in memory.
        flat: (n, features) what baselines are fitted to.
        y: as it was fitted to.
        names: of the examples, (n,).
        further: tables that stand before those of left-out predictions.
    """
    with style.context():
        if hasattr(model, "classes_"):
            pages, tables, said = _classification(title, model, flat, y)
        else:
            pages, tables, said = _regression(title, targets, model, flat, y, names)
        foot = _how(model)
        pages += table_pages([*further, *tables], foot, len(pages) + 1)
        style.write_pdf(pages, out, title)
    return said


def _how(model: Any) -> str:
    choice = model.solve_.details.get("ridge_choice", {})
    warning = " The best ridge is at an end of those that were tried." if choice.get("ridge_at_edge") else ""
    unsolved = (
        ""
        if model.solve_.converged
        else f" The solve has not converged: residual {model.solve_.residual:.1e}."
    )
    return (
        f"{len(model.dual_coef_):,} examples; kernel {model.architecture_.name}; ridge {model.ridge_:.3g} of the mean "
        f"diagonal, by leave-one-out.{warning}{unsolved}"
    )


# ----------------------------------------------------------------------------- regression


def _regression(
    title: str,
    targets: Sequence[str],
    model: Any,
    flat: np.ndarray,
    y: np.ndarray,
    names: Sequence[str],
) -> tuple[list[Figure], list[Table], str]:
    pages, tables, said = [], [], []
    columns = [
        np.asarray(array).reshape(len(y), -1) for array in (y, model.loo_predictions_, model.loo_spread())
    ]
    for k, target in enumerate(targets):
        known = ~np.isnan(columns[0][:, k])
        truth, found, spread = (array[known, k] for array in columns)
        errors = truth - found
        page = style.new_figure()
        style.draw_title(page, title, f"{target}: each example predicted by all others")
        axes = page.subplots(2, 2)
        page.subplots_adjust(left=0.07, right=0.97, top=0.86, bottom=0.13, hspace=0.42, wspace=0.24)
        _measured_against_predicted(axes[0, 0], truth, found, spread, target)
        _residuals(axes[0, 1], errors, target)
        _coverage(axes[1, 0], errors / spread)
        _error_against_spread(axes[1, 1], errors, spread)
        style.draw_notes(page, _how(model))
        pages.append(page)
        judged = baselines(flat[known], truth) if len(truth) >= FEWEST else {}
        rows = [("Neural kernel, leave-one-out", *_scores(truth, found))]
        rows += [(f"{name}, {FOLDS} folds", *_scores(*pair)) for name, pair in judged.items()]
        inside = calibration.coverage(errors / spread, np.array(calibration.LEVELS))
        density = calibration.negative_log_density(errors, spread)
        held = ", ".join(
            f"{share:.1%} at {level:.0%}" for level, share in zip(calibration.LEVELS, inside, strict=True)
        )
        tables.append(
            Table(
                f"{target}: scores",
                ("Method", "RMSE", "MAE", "R\N{SUPERSCRIPT TWO}", "Spearman"),
                [(name, *(f"{value:.4g}" for value in values)) for name, *values in rows],
                numbers=frozenset(range(1, 5)),
                notes=(
                    f"Left-out intervals hold {held}; negative log predictive density {density:.4g} nats.",
                ),
            )
        )
        tables.append(_worst(model, target, np.flatnonzero(known), truth, found, spread, names))
        said.append(f"{target}: left-out RMSE {rows[0][1]:.4g}, R\N{SUPERSCRIPT TWO} {rows[0][3]:.3f}")
    return pages, tables, "; ".join(said)


def _scores(truth: np.ndarray, found: np.ndarray) -> tuple[float, float, float, float]:
    errors = truth - found
    varied = np.ptp(found) > 0 and np.ptp(truth) > 0
    rank = float(spearmanr(truth, found).statistic) if varied else float("nan")
    explained = 1 - float((errors**2).mean()) / max(float(truth.var()), 1e-300)
    return float(np.sqrt((errors**2).mean())), float(np.abs(errors).mean()), explained, rank


def _sampled(flat: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.random.default_rng(0).permutation(len(truth))[:MOST_FOR_BASELINES]
    return flat[chosen], truth[chosen]


def baselines(flat: np.ndarray, truth: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Values and predictions of simple methods by cross-validation, of at most ``MOST_FOR_BASELINES`` examples."""
    x, y = _sampled(flat, truth)
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    methods = {
        "Mean": DummyRegressor(),
        "Ridge regression": RidgeCV(np.logspace(-2, 5, 15)),
        "Five nearest neighbours": KNeighborsRegressor(),
        "Random forest": RandomForestRegressor(TREES, random_state=0, n_jobs=-1),
    }
    return {name: (y, cross_val_predict(method, x, y, cv=folds)) for name, method in methods.items()}


def _measured_against_predicted(
    ax: Axes, truth: np.ndarray, found: np.ndarray, spread: np.ndarray, target: str
) -> None:
    few = len(truth) <= 400
    if few:
        ax.errorbar(found, truth, xerr=spread, fmt="none", ecolor=style.RULE, elinewidth=0.6, zorder=1)
    ax.plot(found, truth, ".", color=style.COLOURS[0], markersize=4 if few else 2, alpha=0.7, zorder=2)
    low, high = min(truth.min(), found.min()), max(truth.max(), found.max())
    ax.plot([low, high], [low, high], color=style.MUTED, linewidth=0.8)
    ax.set_xlabel("predicted, left out" + (", one standard deviation" if few else ""))
    ax.set_ylabel(f"measured {target}")
    ax.set_title("Measured against predicted")


def _residuals(ax: Axes, errors: np.ndarray, target: str) -> None:
    ax.hist(errors, bins=min(60, max(10, len(errors) // 15)), color=style.COLOURS[4])
    ax.axvline(0, color=style.MUTED, linewidth=0.8)
    ax.set_xlabel(f"measured less predicted {target}")
    ax.set_ylabel("examples")
    ax.set_title("Residuals")


def _coverage(ax: Axes, scores: np.ndarray) -> None:
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


def _error_against_spread(ax: Axes, errors: np.ndarray, spread: np.ndarray) -> None:
    order = np.argsort(spread)
    groups = np.array_split(order, max(2, min(12, len(order) // 10)))
    expected = [float(np.sqrt((spread[group] ** 2).mean())) for group in groups]
    found = [float(np.sqrt((errors[group] ** 2).mean())) for group in groups]
    top = 1.08 * max(*expected, *found)
    ax.plot([0, top], [0, top], color=style.MUTED, linewidth=0.8)
    ax.plot(expected, found, style.MARKERS[0], color=style.COLOURS[0], markersize=5)
    ax.set_xlim(0, top)
    ax.set_ylim(0, top)
    ax.set_xlabel("predicted spread, groups of equally many")
    ax.set_ylabel("root mean square error")
    ax.set_title("Error against predicted spread")


def _worst(
    model: Any,
    target: str,
    places: np.ndarray,
    truth: np.ndarray,
    found: np.ndarray,
    spread: np.ndarray,
    names: Sequence[str],
) -> Table:
    worst = np.argsort(-np.abs(truth - found))[:WORST]
    alike = model.neighbours(places[worst])
    rows = [
        (
            _short(names[places[place]]),
            f"{truth[place]:.4g}",
            f"{found[place]:.4g}",
            f"{spread[place]:.2g}",
            _short(names[near]),
            f"{likeness:.3f}",
        )
        for place, near, likeness in zip(worst, *alike, strict=True)
    ]
    header = ("Example", "Measured", "Predicted", "Spread", "Nearest other example", "Likeness")
    return Table(f"{target}: the worst predictions", header, rows, numbers=frozenset({1, 2, 3, 5}))


def _short(text: str, most: int = 44) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


# ----------------------------------------------------------------------------- classification


def _classification(
    title: str, model: Any, flat: np.ndarray, y: np.ndarray
) -> tuple[list[Figure], list[Table], str]:
    classes, scores = model.classes_, model.loo_predictions_
    truth = np.searchsorted(classes, y)
    found = scores.argmax(axis=1)
    probabilities = model.loo_probabilities()
    page = style.new_figure()
    style.draw_title(page, title, "Each example predicted by all others")
    left, right = page.subplots(1, 2)
    page.subplots_adjust(left=0.1, right=0.97, top=0.84, bottom=0.2, wspace=0.25)
    _confusion(left, truth, found, classes)
    _reliability(right, probabilities.max(axis=1), found == truth)
    style.draw_notes(page, _how(model))
    accuracy = float((found == truth).mean())
    surprise = -float(np.log(np.maximum(probabilities[np.arange(len(y)), truth], 1e-300)).mean())
    rows = [("Neural kernel, leave-one-out", f"{accuracy:.2%}", f"{surprise:.4g}")]
    notes = []
    if np.bincount(truth).min() < FOLDS:
        notes.append(f"No baselines: a class has fewer than {FOLDS} examples.")
    else:
        rows += [(f"{name}, {FOLDS} folds", f"{share:.2%}", "") for name, share in _baselines(flat, truth)]
    table = Table(
        "Scores", ("Method", "Accuracy", "Log loss (nats)"), rows, numbers=frozenset({1, 2}), notes=notes
    )
    return [page], [table], f"left-out accuracy {accuracy:.1%}, log loss {surprise:.3f}"


def _baselines(flat: np.ndarray, truth: np.ndarray) -> Iterator[tuple[str, float]]:
    """Accuracies of simple methods by cross-validation, of at most ``MOST_FOR_BASELINES`` examples."""
    x, y = _sampled(flat, truth)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    methods = {
        "Most frequent class": DummyClassifier(),
        "Logistic regression": LogisticRegression(max_iter=1000),
        "Five nearest neighbours": KNeighborsClassifier(),
        "Random forest": RandomForestClassifier(TREES, random_state=0, n_jobs=-1),
    }
    for name, method in methods.items():
        yield name, float((cross_val_predict(method, x, y, cv=folds) == y).mean())


def _confusion(ax: Axes, truth: np.ndarray, found: np.ndarray, classes: np.ndarray) -> None:
    count = len(classes)
    matrix = np.zeros((count, count), int)
    np.add.at(matrix, (truth, found), 1)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if count <= MOST_CLASSES:
        ax.set_xticks(
            range(count), [_short(str(name), 14) for name in classes], rotation=90 if count > 4 else 0
        )
        ax.set_yticks(range(count), [_short(str(name), 14) for name in classes])
    if count <= 12:
        for i, j in np.ndindex(count, count):
            colour = "white" if shares[i, j] > 0.5 else "black"
            ax.text(j, i, f"{matrix[i, j]:,}", ha="center", va="center", size=style.SMALL, color=colour)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    ax.set_title("Confusion matrix, shares of each true class")


def _reliability(ax: Axes, probabilities: np.ndarray, right: np.ndarray) -> None:
    said, share, _ = calibration.reliability(probabilities, right)
    low = max(0.0, min(said.min(), share.min()) - 0.05)
    ax.plot([low, 1], [low, 1], color=style.MUTED, linewidth=0.8)
    ax.plot(said, share, style.MARKERS[0] + "-", color=style.COLOURS[0], markersize=5, linewidth=1.2)
    ax.set_xlabel("probability of the predicted class, tenths of the examples")
    ax.set_ylabel("share that is right")
    ax.set_title("Reliability")
