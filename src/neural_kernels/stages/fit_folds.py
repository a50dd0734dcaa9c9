"""Cross-validation of a table by a column that says each row's fold, as ProteinGym's: ``fit --folds``.

Everything is learned anew from the other folds: preprocessing, ridge and weights of kernels, by leave-one-out within
them. The held-out fold is predicted, and chooses nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from neural_kernels.datasets import flip
from neural_kernels.datasets.user_tables import UserTable, is_number
from neural_kernels.errors import UserError
from neural_kernels.metrics import fold_scores
from neural_kernels.metrics.fold_scores import FoldScore
from neural_kernels.storage.files import write_atomically

log = logging.getLogger(__name__)

MOST_FOLDS = 50
"""Each is a fit: a column with more values than that is no column of folds."""
FEWEST_IN_FOLD = 5
"""Values that are to be ranked."""


def fold_labels(table: UserTable, column: str, targets: Sequence[str]) -> np.ndarray:
    """(n,) the fold of each row of a table without gaps in ``column``, as text.

    Raises:
        UserError: folds that give no scores.
    """
    labels = np.array(table.texts(column))
    names = in_order(labels)
    if not 2 <= len(names) <= MOST_FOLDS:
        raise UserError(
            f"{table.path}: column {column} has {len(names)} different values, expected 2 to {MOST_FOLDS} folds"
        )
    known = ~np.isnan(table.numbers(targets))
    for name in names:
        for target, count in zip(targets, known[labels == name].sum(axis=0), strict=True):
            if count < FEWEST_IN_FOLD:
                raise UserError(
                    f"{table.path}: fold {name} of column {column} has {count} values of {target}, expected at least "
                    f"{FEWEST_IN_FOLD}"
                )
    return labels


def refuse_letters_of_one_fold(texts: Sequence[str], labels: np.ndarray, column: str) -> None:
    """Raise UserError where a fold's sequences have a letter that those which it is predicted from lack."""
    for name in in_order(labels):
        own, others = (
            set(
                "".join(
                    text for text, label in zip(texts, labels, strict=True) if (label == name) is held
                ).upper()
            )
            for held in (True, False)
        )
        strange = sorted(own - others - set(flip.ALPHABET))
        if strange:
            raise UserError(
                f"fold {name} of column {column} has the letter {strange[0]!r}, which no other fold has"
            )


def in_order(labels: np.ndarray) -> list[str]:
    """The folds, numbers by their size."""
    names = sorted(set(labels.tolist()))
    return sorted(names, key=float) if all(map(is_number, names)) else names


def cross_validate(
    model: Any, x: Any, y: np.ndarray, labels: np.ndarray, targets: Sequence[str]
) -> dict[str, list[FoldScore]]:
    """The scores of each target in each fold, predicted by ``model`` fitted to the other folds.

    Args:
        model: an estimator that is not fitted; it is cloned.
        x: (n, features), or n strings.
        y: (n,) or (n, targets) float64, NaN where a value is missing.
    """
    found: dict[str, list[FoldScore]] = {target: [] for target in targets}
    rows = x if isinstance(x, np.ndarray) else np.array(x, object)
    names = in_order(labels)
    for number, name in enumerate(names, 1):
        held = labels == name
        log.info("fold %s, %d of %d", name, number, len(names))
        inputs = [part if isinstance(x, np.ndarray) else part.tolist() for part in (rows[~held], rows[held])]
        fitted = clone(model).fit(inputs[0], y[~held])
        predicted = fitted.predict(inputs[1]).reshape(held.sum(), -1)
        measured, trained = y[held].reshape(held.sum(), -1), y[~held].reshape((~held).sum(), -1)
        for k, target in enumerate(targets):
            known = ~np.isnan(measured[:, k])
            count = int((~np.isnan(trained[:, k])).sum())
            found[target].append(
                fold_scores.score(name, count, fitted.ridge_, measured[known, k], predicted[known, k])
            )
    return found


def write_scores(path: Path, scores: Mapping[str, Sequence[FoldScore]]) -> None:
    """A row for each target and fold."""
    rows = [{"target": target, **vars(score)} for target, of_target in scores.items() for score in of_target]
    text = pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")
    write_atomically(path, lambda file: file.write(text.encode()))
