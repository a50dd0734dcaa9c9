"""Test losses that a kernel matrix predicts, beside those that were measured.

A table of predictions is what ``stages.learning_curve`` writes, of all kernels: a row for each kernel and n.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics.evaluation import LOSS
from neural_kernels.reports import style
from neural_kernels.reports.scaling_summary import curve, kernel_labels, task_of
from neural_kernels.reports.table_pages import Table
from neural_kernels.study.study import Study

COLUMNS = ("kernel", "n", "predicted", "kernel_examples", "reason")


def predicted_table(metrics: pd.DataFrame, study: Study, predicted: pd.DataFrame) -> pd.DataFrame:
    """A row for each kernel, test set and n of ``predicted``, whose solves are in ``metrics``.

    Columns: kernel, label, test_set, n, metric, draws, measured (the mean over draws that converged), predicted,
    deviation_percent (of the prediction from what was measured), kernel_examples, reason (why nothing is predicted,
    else empty). Numbers that there are not are NaN.
    """
    metric = LOSS[task_of(metrics)]
    labels = kernel_labels(metrics, study)
    records = []
    for kernel, label in labels.items():
        own = predicted.loc[predicted["kernel"] == kernel]
        for test_set in metrics_table.test_sets(metrics):
            points = curve(metrics, kernel, test_set, metric)
            for row in own.to_dict("records"):
                values = points.value[(points.n == row["n"]) & points.converged]
                measured = float(values.mean()) if len(values) else np.nan
                deviation = 100 * (row["predicted"] / measured - 1) if measured > 0 else np.nan
                records.append(
                    {
                        "kernel": kernel,
                        "label": label,
                        "test_set": test_set,
                        "n": int(row["n"]),
                        "metric": metric,
                        "draws": len(values),
                        "measured": measured,
                        "predicted": float(row["predicted"]),
                        "deviation_percent": deviation,
                        "kernel_examples": int(row["kernel_examples"]),
                        "reason": row["reason"],
                    }
                )
    columns = ["kernel", "label", "test_set", "n", "metric", "draws", "measured", "predicted"]
    columns += ["deviation_percent", "kernel_examples", "reason"]
    return pd.DataFrame(records, columns=columns)


def predictions(metrics: pd.DataFrame, study: Study, predicted: pd.DataFrame) -> list[Table]:
    """The predicted loss at every n and its deviation on each test set: a table, none where nothing was tried."""
    table = predicted_table(metrics, study, predicted)
    if table.empty:
        return []
    test_sets = list(dict.fromkeys(table["test_set"]))
    rows: list[list[str]] = []
    starts, reasons = [], []
    for label in map(str, table["label"].unique()):
        own = table.loc[table["label"] == label]
        starts.append(len(rows))
        for reason in filter(None, own["reason"].unique()):
            sizes = own.loc[own["reason"] == reason, "n"].unique().tolist()
            reasons.append(f"{label}, n = {', '.join(f'{n:,}' for n in sizes)}: not predicted, {reason}.")
        for n in sorted(own["n"].unique()):
            part = own.loc[own["n"] == n]
            deviations = part.set_index("test_set")["deviation_percent"]
            cells = [deviations.get(test_set, np.nan) for test_set in test_sets]
            there = not part["reason"].iloc[0]
            rows.append(
                [
                    label,
                    f"{part['kernel_examples'].iloc[0]:,}" if there else "",
                    f"{n:,}",
                    _loss(part["predicted"].iloc[0]) if there else "none",
                    *("" if np.isnan(cell) else f"{round(cell, 1) + 0.0:+.1f}" for cell in cells),
                ]
            )
    notes = [
        "Expected loss on examples like those of the training set, with the ridge that n was solved with: errors of "
        "leaving one out on the kernel matrix, with a larger ridge that makes all its examples learn as n of them do. "
        "Deviation: of the prediction from the mean over draws, in percent."
    ]
    return [
        Table(
            f"{style.metric_name(LOSS[task_of(metrics)])} predicted from one kernel matrix",
            [
                "Kernel",
                "Its examples",
                "n",
                "Predicted",
                *(f"{style.test_set_name(name)}: deviation (%)" for name in test_sets),
            ],
            rows,
            numbers=frozenset(range(1, 4 + len(test_sets))),
            rules=frozenset(start for start in starts if start),
            notes=notes + reasons,
        )
    ]


def _loss(value: float) -> str:
    return f"{value:.{4 if value >= 0.01 else 6}f}"
