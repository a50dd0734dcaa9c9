"""Scores of cross-validation by folds: a table for the report of a fitted model, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from neural_kernels.metrics.fold_scores import BEST_SHARE, FoldScore, mean_and_error
from neural_kernels.reports.table_pages import Table

SCORES = {"spearman": "Spearman", "rmse": "RMSE", "ndcg": "NDCG"}


def fold_tables(column: str, scores: Mapping[str, Sequence[FoldScore]]) -> list[Table]:
    """A table for each target: a row a fold, and the mean over folds with its standard error."""
    tables = []
    for target, folds in scores.items():
        rows = [
            (
                fold.fold,
                f"{fold.trained:,}",
                f"{fold.tested:,}",
                f"{fold.ridge:.3g}",
                *(f"{getattr(fold, name):.4g}" for name in SCORES),
            )
            for fold in folds
        ]
        rows.append(("Mean ± s.e.", "", "", "", *(_mean(folds, name, ".4g") for name in SCORES)))
        tables.append(
            Table(
                f"{target}: folds of {column}",
                ("Fold", "Trained on", "Tested on", "Ridge", *SCORES.values()),
                rows,
                numbers=frozenset(range(1, 7)),
                rules=frozenset({len(rows) - 1}),
                notes=(
                    "Each fold is predicted from the others alone: preprocessing, ridge and weights are chosen by "
                    "leave-one-out within them.",
                    f"NDCG: of the {BEST_SHARE} % that are predicted highest; gains are the measured values, scaled to "
                    "0 to 1 within the fold.",
                ),
            )
        )
    return tables


def sentence(column: str, scores: Mapping[str, Sequence[FoldScore]]) -> str:
    """The means of each target, for the terminal."""
    return "; ".join(
        f"{target} by {len(folds)} folds of {column}: "
        + ", ".join(f"{label} {_mean(folds, name, '.3f')}" for name, label in SCORES.items())
        for target, folds in scores.items()
    )


def _mean(folds: Sequence[FoldScore], name: str, form: str) -> str:
    mean, error = mean_and_error([getattr(fold, name) for fold in folds])
    return f"{mean:{form}} ± {error:{'.2g' if form == '.4g' else form}}"
