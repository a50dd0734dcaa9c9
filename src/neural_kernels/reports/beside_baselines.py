"""Simple methods beside the kernels: lines in the panels of scaling, and a table of their scores."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from neural_kernels.baselines.methods import TREES
from neural_kernels.metrics import table as metrics_table
from neural_kernels.reports import style
from neural_kernels.reports.scaling_summary import final_table, shown_metrics
from neural_kernels.reports.table_pages import Table
from neural_kernels.study.study import Study

COLUMNS = ("method", "settings", "examples", "split", "metric", "value")


def heights(baselines: pd.DataFrame, test_set: str, metric: str) -> dict[str, float]:
    """Each method's score on a test set, in the order in which methods are drawn, where there is one.

    Args:
        baselines: columns ``COLUMNS`` (``stages.baselines``).
    """
    own = baselines[(baselines["split"] == test_set) & (baselines["metric"] == metric)]
    factor = 100.0 if metric in style.PERCENT else 1.0
    return {str(row["method"]): factor * float(row["value"]) for row in own.to_dict("records")}


def dashes(baselines: pd.DataFrame) -> dict[str, object]:
    """The dash pattern of each method."""
    names = list(dict.fromkeys(baselines["method"]))
    return {str(name): style.DASHES[place % len(style.DASHES)] for place, name in enumerate(names)}


def trained_on(baselines: pd.DataFrame) -> int:
    return int(baselines["examples"].iloc[0])


def baseline_table(metrics: pd.DataFrame, study: Study, baselines: pd.DataFrame) -> Table:
    """A row for each kernel at its largest n and each method, of each test set, by the metrics that kernels have."""
    final = final_table(metrics, study)
    loss, *scores = shown_metrics(metrics)
    found = list(dict.fromkeys(final["metric"]))
    shown = [metric for metric in dict.fromkeys((*scores, loss, *found)) if metric in found]
    rows: list[list[str]] = []
    rules: set[int] = set()
    quoted: set[int] = set()
    for test_set in metrics_table.test_sets(metrics):
        rules.add(len(rows))
        own = final[final["test_set"] == test_set]
        for (label, n), part in own.groupby(["label", "n"], sort=False):
            values = dict(zip(part["metric"], part["mean"], strict=True))
            rows.append([style.test_set_name(test_set), str(label), f"{n:,}", *_cells(values, shown), ""])
        there = baselines[baselines["split"] == test_set]
        for (method, settings, count), part in there.groupby(["method", "settings", "examples"], sort=False):
            values = dict(zip(part["metric"], part["value"], strict=True))
            quoted.add(len(rows))
            cells = [style.test_set_name(test_set), str(method), f"{count:,}", *_cells(values, shown)]
            rows.append([*cells, str(settings)])
    count = trained_on(baselines)
    return Table(
        "Beside simple methods",
        ["Test set", "Method", "n", *map(style.metric_name, shown), "Chosen by leave-one-out"],
        rows,
        numbers=frozenset(range(2, 3 + len(shown))),
        quoted=frozenset(quoted),
        rules=frozenset(rules - {0}),
        notes=[
            f"Grey: simple methods, fitted to the first {count:,} training examples (baselines.examples); the forest "
            f"has {TREES} trees. Where kernels have more examples, compare them at the same n."
        ],
    )


def _cells(values: Mapping[str, float], shown: list[str]) -> list[str]:
    cells = []
    for metric in shown:
        value = values.get(metric, np.nan)
        factor, digits = (100, 2) if metric in style.PERCENT else (1, 4)
        cells.append("" if np.isnan(value) else f"{factor * value:.{digits}f}")
    return cells
