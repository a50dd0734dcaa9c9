"""How good the predictions of each task are, a row a task, beside the metrics that are means over tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from neural_kernels.datasets.pools import Task
from neural_kernels.metrics.evaluation import RANKINGS, label_rankings
from neural_kernels.storage import sealed_parquet
from neural_kernels.storage.files import damaged

KEY = ("kernel", "n", "draw", "split", "task")
SCORES: dict[Task, tuple[str, ...]] = {
    "multilabel": RANKINGS,
    "regression": ("rmse", "spearman"),
}
COLUMNS = (*KEY, "labelled", "positives", *(score for scores in SCORES.values() for score in scores))


def rows(
    facts: Mapping[str, object],
    names: Sequence[str],
    predictions: np.ndarray,
    labels: np.ndarray,
    task: Task,
    scaling: Mapping[str, Sequence[float]],
) -> pd.DataFrame:
    """A row for each task: examples that are labelled, how many of them with the label 1, and its scores.

    Args:
        facts: kernel, n, draw and split.
        names: of the tasks, their numbers where it is empty.
        predictions: (n, tasks) float64, of standardised targets.
        labels: (n, tasks) float64, labels or values as they came, NaN where one is missing.
        task: multilabel or regression.
        scaling: mean and scale of each task, which undo the standardisation.

    Returns:
        Columns ``COLUMNS``. Scores that the kind of task does not have, or that do not exist, are NaN: rankings of a
        task that lacks one of both labels, the correlation with a constant. ``rmse`` is in the units of the values.
    """
    tasks, known = labels.shape[1], ~np.isnan(labels)
    columns: dict[str, object] = {**dict.fromkeys(COLUMNS, np.full(tasks, np.nan)), **facts}
    columns["task"] = list(names) or [str(number) for number in range(tasks)]
    columns["labelled"] = known.sum(axis=0)
    if task == "multilabel":
        columns["positives"] = np.nansum(labels, axis=0)
        columns |= label_rankings(predictions, labels)
    else:
        values = np.asarray(scaling["mean"]) + np.asarray(scaling["scale"]) * predictions
        columns |= _errors(values, labels, known)
    return pd.DataFrame(columns)


def _errors(values: np.ndarray, labels: np.ndarray, known: np.ndarray) -> dict[str, np.ndarray]:
    scores = {name: np.full(labels.shape[1], np.nan) for name in SCORES["regression"]}
    for column in map(int, np.flatnonzero(known.any(axis=0))):
        ours, theirs = values[known[:, column], column], labels[known[:, column], column]
        scores["rmse"][column] = np.sqrt(np.mean((ours - theirs) ** 2))
        if len(ours) > 1 and np.ptp(ours) > 0 and np.ptp(theirs) > 0:
            scores["spearman"][column] = stats.spearmanr(ours, theirs).statistic
    return scores


def write(tables: Iterable[pd.DataFrame], path: Path, problem: str = "") -> None:
    """All rows as Parquet with a checksum; the file appears whole or not at all."""
    sealed_parquet.write(path, pd.concat(tables, ignore_index=True), problem)


def read(paths: Iterable[Path]) -> pd.DataFrame:
    """The rows of all ``paths``.

    Raises:
        UserError: a file is missing.
        DamagedFile: a file is not what was written, or of another form; it has been set aside.
    """
    tables = []
    for path in paths:
        table = sealed_parquet.read(path)
        if tuple(table.columns) != COLUMNS:
            raise damaged(path, f"has the columns {', '.join(table.columns)}, expected {', '.join(COLUMNS)}")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
