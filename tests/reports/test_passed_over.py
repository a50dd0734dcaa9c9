"""Candidates that were passed over, and direct solves that missed the tolerance, are seen in the reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import studies

from neural_kernels.metrics.table import TRAIN
from neural_kernels.reports.chosen import passed_over_note
from neural_kernels.reports.scaling_tables import results, solves


def with_passed_over(metrics: pd.DataFrame, kernel: str, n: int, count: int) -> pd.DataFrame:
    row = metrics[(metrics["kernel"] == kernel) & (metrics["n"] == n) & (metrics["split"] == TRAIN)].iloc[[0]]
    return pd.concat(
        [metrics, row.assign(metric="ridges_passed_over", value=float(count))], ignore_index=True
    )


def test_the_table_of_solves_says_where_and_how_many() -> None:
    metrics = studies.metrics(["FC3", "CV8"], ["cifar10"], [500, 1000])
    metrics = with_passed_over(metrics, "FC3", 500, 3)
    metrics = with_passed_over(metrics, "CV8", 500, 0)
    (note,) = [note for note in solves(metrics, studies.a_study()).notes if "passed over" in note]
    assert note.endswith("singular to rounding there: FC3 NTK, n = 500: 3.")


def test_nothing_is_said_where_none_was_passed_over() -> None:
    assert passed_over_note([("a", 0), ("b", 0)]) == []
    assert not [
        note
        for note in solves(studies.metrics(["FC3"], ["cifar10"], [500]), studies.a_study()).notes
        if "passed" in note
    ]


@pytest.mark.parametrize("table", [solves, results])
def test_a_direct_solve_above_the_tolerance_is_in_bold_red(table: Callable[[Any, Any], Any]) -> None:
    metrics = studies.metrics(["FC3"], ["cifar10"], [250, 500], unconverged=(("FC3", 500),))
    assert set(metrics["stopped_by"]) == {"direct"}
    shown = table(metrics, studies.a_study())
    assert shown.alerts == {len(shown.rows) - 1}
    assert any(note.startswith("Bold red") for note in shown.notes)
