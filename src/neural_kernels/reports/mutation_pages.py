"""Scores of sequences by how many positions they differ in from a reference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural_kernels.metrics.fold_scores import ndcg, spearman, top_recall
from neural_kernels.reports import style
from neural_kernels.reports.table_pages import Table

FEWEST = 10
"""Sequences with so many mutations without which a score says nothing."""
FEWEST_RANKED = 50
"""Those without which the best tenth of them says nothing."""
MOST_GROUPS = 12
"""Numbers of mutations that are told apart: larger ones are taken together."""

LEGEND_COLUMNS = 3

Predictions = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Measured and predicted values (m,) of each method by its name."""


def groups(mutations: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Numbers of mutations as text, and the places of the sequences that have them, ascending; some have several."""
    numbers, counts = np.unique(mutations, return_counts=True)
    kept = [int(number) for number, count in zip(numbers, counts, strict=True) if count >= FEWEST]
    found = [(str(number), np.flatnonzero(mutations == number)) for number in kept[: MOST_GROUPS - 1]]
    if len(kept) >= MOST_GROUPS:
        first = kept[MOST_GROUPS - 1]
        found.append((f"{first} or more", np.flatnonzero(mutations >= first)))
    return found


def mutation_table(
    title: str, mutations: np.ndarray, predictions: Predictions, reference: str
) -> list[Table]:
    """A row for each number of mutations and method; no table where there is one number alone.

    Args:
        mutations: (m,) of the sequences.
        reference: what they differ from, in words.
    """
    parts = groups(mutations)
    if len(parts) < 2:
        return []
    rows: list[tuple[str, ...]] = []
    rules: list[int] = []
    for number, places in parts:
        rules.append(len(rows))
        for name, (truth, found) in predictions.items():
            own = truth[places], found[places]
            ranks = (ndcg(*own), top_recall(*own)) if len(places) >= FEWEST_RANKED else (np.nan, np.nan)
            values = (spearman(*own), _error(*own), *ranks)
            cells = ["" if np.isnan(value) else f"{value:.3f}" for value in values]
            rows.append((number, f"{len(places):,}", name, *cells))
    return [
        Table(
            title,
            ("Mutations", "Sequences", "Method", "Spearman", "RMSE", "NDCG", "Best 10 % found"),
            rows,
            numbers=frozenset({0, 1, 3, 4, 5, 6}),
            rules=frozenset(rules[1:]) if len(predictions) > 1 else frozenset(),
            notes=(
                f"Mutations: positions that differ from {reference}. Numbers of fewer than {FEWEST} are left out, and "
                f"the best tenth of fewer than {FEWEST_RANKED}.",
            ),
        )
    ]


def mutation_page(
    title: str,
    below: str,
    mutations: np.ndarray,
    predictions: Predictions,
    others: Predictions,
    reference: str,
    foot: str,
) -> list[Figure]:
    """Rank correlation and error against the number of mutations; no page where there is one number alone.

    Args:
        predictions: of the kernels, in colours.
        others: of simple methods, in grey.
    """
    parts = groups(mutations)
    if len(parts) < 2:
        return []
    page = style.new_figure()
    style.draw_title(page, title, below)
    panels = page.subplots(1, 2)
    rows = -(-(len(predictions) + len(others)) // LEGEND_COLUMNS)
    page.subplots_adjust(left=0.08, right=0.97, top=0.84, bottom=0.22 + 0.02 * rows, wspace=0.22)
    scores = (("Spearman correlation", spearman), ("root mean square error", _error))
    for ax, (what, score) in zip(panels, scores, strict=True):
        _draw(ax, parts, predictions, others, score)
        ax.set_ylabel(what)
        ax.set_xlabel("mutations (sequences)")
    handles, labels = panels[0].get_legend_handles_labels()
    style.draw_legend(page, handles, labels, 0.62, min(LEGEND_COLUMNS, len(labels)))
    style.draw_notes(page, f"Mutations: positions that differ from {reference}. {foot}")
    return [page]


def _error(truth: np.ndarray, found: np.ndarray) -> float:
    return float(np.sqrt(np.mean((truth - found) ** 2)))


def _draw(
    ax: Axes,
    parts: list[tuple[str, np.ndarray]],
    predictions: Predictions,
    others: Predictions,
    score: object,
) -> None:
    assert callable(score)
    x = np.arange(len(parts))

    def heights(truth: np.ndarray, found: np.ndarray) -> list[float]:
        return [score(truth[places], found[places]) for _, places in parts]

    for place, (name, pair) in enumerate(others.items()):
        dashes = style.DASHES[place % len(style.DASHES)]
        ax.plot(x, heights(*pair), color=style.MUTED, linewidth=1.0, linestyle=dashes, label=name)
    for place, (name, pair) in enumerate(predictions.items()):
        colour, marker = (series[place % len(series)] for series in (style.COLOURS, style.MARKERS))
        ax.plot(x, heights(*pair), marker=marker, color=colour, linewidth=1.4, markersize=5, label=name)
    ax.set_xticks(x, [f"{number}\n({len(places):,})" for number, places in parts])
    ax.set_xlim(-0.4, len(parts) - 0.6)
    ax.grid(axis="y")
