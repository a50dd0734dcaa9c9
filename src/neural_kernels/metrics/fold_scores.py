"""How good predictions of held-out folds are: rank correlation, error, and what is found among the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

BEST_SHARE = 10
"""NDCG looks at a tenth of the examples, those predicted highest, as ProteinGym does."""


@dataclass(frozen=True)
class FoldScore:
    """What one fold, predicted by the others, came out as.

    Attributes:
        trained, tested: examples with a value.
        ridge: that was chosen within the other folds.
        spearman: NaN where one side does not vary.
        ndcg: NaN likewise, where the measured values do not vary.
    """

    fold: str
    trained: int
    tested: int
    ridge: float
    spearman: float
    rmse: float
    ndcg: float


def score(fold: str, trained: int, ridge: float, measured: np.ndarray, predicted: np.ndarray) -> FoldScore:
    """The scores of (m,) predictions of a fold."""
    rank = spearman(measured, predicted)
    rmse = float(np.sqrt(np.mean((measured - predicted) ** 2)))
    return FoldScore(fold, trained, len(measured), ridge, rank, rmse, ndcg(measured, predicted))


def spearman(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Rank correlation of (m,) predictions, NaN where one side does not vary."""
    varied = np.ptp(measured) > 0 and np.ptp(predicted) > 0
    return float(spearmanr(measured, predicted).statistic) if varied else math.nan


def ndcg(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Normalised discounted cumulative gain of the examples predicted highest, in 0..1.

    The gain of an example is its measured value, scaled to 0..1 among the (m,) values (Notin et al. 2023).
    """
    from sklearn.metrics import ndcg_score

    if not np.ptp(measured) > 0:
        return math.nan
    gains = (measured - measured.min()) / np.ptp(measured)
    looked_at = max(1, len(gains) * BEST_SHARE // 100)
    return float(ndcg_score(gains[None], predicted[None], k=looked_at))


def top_recall(measured: np.ndarray, predicted: np.ndarray) -> float:
    """Which share of the tenth of (m,) examples that measured highest is among the tenth that is predicted highest.

    NaN where one side does not vary. Of equal values, those that come first.
    """
    if not (np.ptp(measured) > 0 and np.ptp(predicted) > 0):
        return math.nan
    count = max(1, len(measured) * BEST_SHARE // 100)
    best, chosen = (set(np.argsort(-values, kind="stable")[:count]) for values in (measured, predicted))
    return len(best & chosen) / count


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean over folds that have the score, and its standard error, NaN of fewer than two."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not len(known):
        return math.nan, math.nan
    error = float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan
    return float(known.mean()), error
