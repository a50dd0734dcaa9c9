"""What each kernel is worth by validation and by leaving one out, and which one these choose."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from neural_kernels.datasets.pools import Task
from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics.evaluation import LOSS, SCORE
from neural_kernels.metrics.table import TRAIN, VALIDATION
from neural_kernels.prediction.example_table import LEFT_OUT
from neural_kernels.reports import style
from neural_kernels.reports.scaling_summary import kernel_labels, task_of
from neural_kernels.reports.table_pages import Table
from neural_kernels.study.study import Study


def choices(
    metrics: pd.DataFrame,
    study: Study,
    examples: Mapping[str, pd.DataFrame],
    ridges: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """A row for each kernel at its largest n, its first draw.

    Columns: kernel, label, n, ridge, validation (loss), validation_score, left_out (leave-one-out loss),
    left_out_score; NaN where there is none. Losses are those that kernels are solved by, of values in units of their
    variance.
    """
    task = task_of(metrics)
    records = []
    for kernel, label in kernel_labels(metrics, study).items():
        own = metrics[(metrics["kernel"] == kernel) & (metrics["draw"] == 0)]
        own = own[own["n"] == own["n"].max()]
        validation = own[own["split"] == VALIDATION].set_index("metric")["value"]
        loss, score = _left_out(examples.get(kernel), task)
        if np.isnan(loss) and ridges is not None:
            loss = _by_ridges(ridges, kernel)
        records.append(
            {
                "kernel": kernel,
                "label": label,
                "n": int(own["n"].iloc[0]),
                "ridge": float(own.loc[own["split"] == TRAIN, "ridge"].iloc[0]),
                "validation": float(validation.get(LOSS[task], np.nan)),
                "validation_score": float(validation.get(SCORE[task], np.nan)),
                "left_out": loss,
                "left_out_score": score,
            }
        )
    return pd.DataFrame(records)


def chosen(table: pd.DataFrame, by: str) -> str | None:
    """The kernel with the least loss in the column ``by``; None where not every kernel has one."""
    if table[by].isna().any():
        return None
    return str(table["kernel"].iloc[int(np.argmin(table[by].to_numpy(float)))])


def preferred(table: pd.DataFrame) -> str:
    """The kernel that validation chooses, without it leaving one out, without both the first."""
    return chosen(table, "validation") or chosen(table, "left_out") or str(table["kernel"].iloc[0])


def choice_table(metrics: pd.DataFrame, study: Study, table: pd.DataFrame) -> Table:
    """The choices beside the score on each test set, which has no part in them."""
    task = task_of(metrics)
    test_sets = metrics_table.test_sets(metrics)
    picked = {by: chosen(table, by) for by in ("validation", "left_out")}
    rows = []
    for record in table.to_dict("records"):
        cells = [str(record["label"]), f"{record['n']:,}", f"{record['ridge']:.1e}"]
        for by in picked:
            mark = " *" if len(table) > 1 and picked[by] == record["kernel"] else ""
            cells += [
                _number(float(record[by]), LOSS[task]) + mark,
                _number(float(record[f"{by}_score"]), SCORE[task]),
            ]
        cells += [
            _number(_tested(metrics, str(record["kernel"]), name, SCORE[task]), SCORE[task])
            for name in test_sets
        ]
        rows.append(cells)
    score = style.metric_name(SCORE[task])
    header = ["Kernel", "n", "Ridge", "Validation loss", f"Validation: {score}", "Leave-one-out loss"]
    header += [f"Leave-one-out: {score}", *(f"{style.test_set_name(name)}: {score}" for name in test_sets)]
    empty = [column for column in range(3, len(header)) if not any(row[column] for row in rows)]
    kept = [column for column in range(len(header)) if column not in empty]
    loss = "mean squared error in units of the variance of the training values"
    loss = "mean squared error over classes" if task == "classification" else loss
    notes = [f"At the largest n, the first draw. Loss: {loss}."]
    if len(table) > 1:
        notes.append("*: the least loss, which chooses the kernel. Test sets have no part in it.")
    if empty:
        notes.append("Leave-one-out is computed of kernels that are factorised once more, up to n = 4,096.")
    return Table(
        "Which kernel is chosen",
        [header[column] for column in kept],
        [[row[column] for column in kept] for row in rows],
        numbers=frozenset(range(1, len(kept))),
        notes=notes,
    )


def _left_out(rows: pd.DataFrame | None, task: Task) -> tuple[float, float]:
    """Loss and score of what was left out, from the rows of examples."""
    own = None if rows is None else rows[(rows["split"] == LEFT_OUT) & rows["measured"].notna()]
    if own is None or not len(own):
        return np.nan, np.nan
    if task == "classification":
        return float(own["loss"].mean()), float((own["predicted"] == own["measured"]).mean())
    from scipy.stats import spearmanr

    losses, ranks = [], []
    for _, part in own.groupby("output", sort=False):
        truth, found = part["measured"].to_numpy(float), part["predicted"].to_numpy(float)
        if np.ptp(truth) > 0:
            losses.append(float(((truth - found) ** 2).mean() / truth.var()))
            ranks.append(float(spearmanr(truth, found).statistic) if np.ptp(found) > 0 else np.nan)
    return (float(np.mean(losses)), float(np.mean(ranks))) if losses else (np.nan, np.nan)


def _by_ridges(ridges: pd.DataFrame, kernel: str) -> float:
    """What the chosen ridge was worth where leaving one out chose it."""
    own = ridges[(ridges["kernel"] == kernel) & (ridges["draw"] == 0) & (ridges["criterion"] == "loo")]
    own = own[(own["n"] == own["n"].max()) & own["chosen"]]
    return float(own["loss"].iloc[0]) if len(own) else np.nan


def _tested(metrics: pd.DataFrame, kernel: str, test_set: str, metric: str) -> float:
    own = metrics[
        (metrics["kernel"] == kernel) & (metrics["split"] == test_set) & (metrics["metric"] == metric)
    ]
    own = own[(own["n"] == own["n"].max()) & (own["draw"] == 0)]
    return float(own["value"].iloc[0]) if len(own) else np.nan


def _number(value: float, metric: str) -> str:
    if np.isnan(value):
        return ""
    return f"{100 * value:.2f}" if metric in style.PERCENT else f"{value:.4f}"
