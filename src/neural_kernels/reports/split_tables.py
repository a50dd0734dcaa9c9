"""The tables of the report of a comparison of splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from neural_kernels.reports.chosen import passed_over_note
from neural_kernels.reports.table_pages import Table
from neural_kernels.study.split_comparison import Comparison

HERE = "Here"

CRITERIA = {"validation_mse": "Validation MSE", "left_out_mse": "Left-out MSE"}
"""What kernels may be chosen by, as columns of a summary and of the table."""


def beside_published(comparison: Comparison, summary: pd.DataFrame) -> Table:
    """Spearman of every split: what is published, and the kernel that was chosen (paper, Table 2)."""
    chosen = summary.loc[summary["chosen"]].to_dict("records")
    names = [column.name for column in comparison.published]
    rows = []
    for record in chosen:
        cells = [record["split"], *(_number(record[name], 2) for name in names)]
        if pd.isna(record["kernel"]):
            rows.append([*cells, "", "", "", ""])
            continue
        here = [
            _number(record["spearman"], 3),
            record["label"],
            f"{record['n']:,}",
            f"{record['test_examples']:,}",
        ]
        rows.append([*cells, *here])
    notes = [f"{column.name}: {column.source}." for column in comparison.published]
    notes.append(
        f"{HERE}: the kernel with the smallest {chosen_by(summary)} error, at its largest n; nothing is chosen on "
        "test examples."
    )
    if len(comparison.run) < len(comparison.studies):
        notes.append("Empty: not run here, or not published.")
    alerts = _unconverged(chosen)
    if alerts:
        notes.append("Bold red: a solve that did not converge.")
    notes.append(comparison.note)
    return Table(
        "Spearman correlation on the test set of each split",
        ["Split", *names, HERE, "Kernel", "n", "Test examples"],
        rows,
        numbers=frozenset({*range(1, 2 + len(names)), 3 + len(names), 4 + len(names)}),
        alerts=alerts,
        notes=[note for note in notes if note],
    )


def all_kernels(comparison: Comparison, summary: pd.DataFrame) -> Table:
    """Every kernel of every split that was run."""
    found = summary.loc[summary["kernel"].notna()]
    criteria = [column for column in CRITERIA if found[column].notna().any()]
    records = found.to_dict("records")
    rows = [
        [
            record["split"],
            record["label"] + (" *" if record["chosen"] else ""),
            f"{record['n']:,}",
            str(record["draws"]),
            f"{record['ridge']:.1e}",
            *(_number(record[column], 4) for column in criteria),
            _number(record["mse"], 4),
            _number(record["spearman"], 4),
            _number(record["pearson"], 4),
        ]
        for record in records
    ]
    splits = [record["split"] for record in records]
    starts = frozenset(row for row in range(1, len(rows)) if splits[row] != splits[row - 1])
    notes = [
        f"*: smallest {chosen_by(summary)} error of the split. Mean squared errors in units of the variance of the "
        f"training values. Ridge: relative to the mean diagonal of the kernel, chosen by the {chosen_by(summary)} "
        "error."
    ]
    notes += passed_over_note(
        (f"{record['split']} {record['label']}", record["passed_over"]) for record in records
    )
    alerts = _unconverged(records)
    if alerts:
        notes.append("Bold red: a solve that did not converge.")
    header = ["Split", "Kernel", "n", "Draws", "Ridge", *(CRITERIA[column] for column in criteria)]
    header += ["Test MSE", "Spearman", "Pearson"]
    return Table(
        "Every kernel at its largest n",
        header,
        rows,
        numbers=frozenset(range(2, len(header))),
        alerts=alerts,
        rules=starts if len(starts) < len(rows) - 1 else frozenset(),
        notes=notes,
    )


def simple_methods(comparison: Comparison, baselines: Mapping[str, pd.DataFrame | None]) -> list[Table]:
    """What simple methods make of each split that has some; no table where none has."""
    rows: list[list[str]] = []
    starts: set[int] = set()
    for split, scores in baselines.items():
        if scores is None:
            continue
        starts.add(len(rows))
        own = scores[scores["split"] == comparison.test_set]
        for (method, settings, count), part in own.groupby(["method", "settings", "examples"], sort=False):
            values = dict(zip(part["metric"], part["value"], strict=True))
            cells = [_number(values.get(metric, np.nan), 4) for metric in ("mse", "spearman", "pearson")]
            rows.append([split, str(method), f"{count:,}", str(settings), *cells])
    if not rows:
        return []
    return [
        Table(
            "Simple methods on each split",
            ["Split", "Method", "n", "Chosen by leave-one-out", "Test MSE", "Spearman", "Pearson"],
            rows,
            numbers=frozenset({2, 4, 5, 6}),
            rules=frozenset(starts - {0}),
            notes=[
                "Fitted to the first training examples of each split (baselines.examples); they see no others."
            ],
        )
    ]


def chosen_by(summary: pd.DataFrame) -> str:
    """What the kernels of a ``splits.summary`` and their ridges were chosen by, as an adjective."""
    run = summary[summary["kernel"].notna()]
    validated, left_out = run["validation_mse"].notna(), run["left_out_mse"].notna()
    if validated.all():
        return "validation"
    return (
        "leave-one-out"
        if left_out.all()
        else "validation or, where there is no validation set, leave-one-out"
    )


def _number(value: float, digits: int) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def _unconverged(records: list[dict[Any, Any]]) -> frozenset[int]:
    return frozenset(row for row, record in enumerate(records) if record["converged"] is False)
