"""The page of ridges: what each candidate was worth, which was chosen, and what made the solve shorter."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest

from neural_kernels.reports import style
from neural_kernels.reports.ridge_sweep import COLUMNS, acceleration_notes, as_table, ridge_figures, rows

CANDIDATES = [
    {"ridge": 1.0, "loss": 0.3, "error": 0.02, "converged": True},
    {"ridge": 0.1, "loss": 0.2, "error": 0.01, "converged": True},
    {"ridge": 0.01, "loss": 0.25, "error": 0.03, "converged": False},
    {"ridge": 1e-9, "loss": None, "error": None, "converged": False},
]


def solved(by: str = "loo", chosen: float = 0.1, **details: Any) -> dict[str, Any]:
    choice = {"by": by, "candidates": CANDIDATES}
    return {"ridge": chosen, "converged": True, "details": {"ridge_choice": choice, **details}}


def table(*sizes: int, draws: int = 1, **changes: Any) -> Any:
    return as_table(
        row
        for kernel in ("FC3", "CV8")
        for n in sizes
        for draw in range(draws)
        for row in rows(kernel, n, draw, solved(acceleration=f"{n} columns", **changes))
    )


LABELS = {"FC3": "FC3 NTK", "CV8": "CV8 NTK"}


def test_a_row_for_every_candidate_and_one_for_a_ridge_that_was_given() -> None:
    found = table(100, 200, draws=2)
    assert list(found.columns) == list(COLUMNS)
    assert len(found) == 2 * 2 * 2 * len(CANDIDATES)
    assert found.groupby(["kernel", "n", "draw"])["chosen"].sum().eq(1).all()
    assert found["loss"].isna().sum() == 8
    (given,) = rows("FC3", 10, 0, {"ridge": 1e-3, "converged": True, "details": {}})
    assert given["ridge"] == 1e-3
    assert as_table([given])["loss"].isna().all()


@pytest.mark.parametrize("by", ["validation", "loo", "gcv", "likelihood"])
def test_the_largest_size_is_drawn_with_its_choice(by: str) -> None:
    with style.context():
        (figure,) = ridge_figures(table(100, 200, by=by), LABELS)
    assert [axes.get_title() for axes in figure.axes] == ["FC3 NTK, n = 200", "CV8 NTK, n = 200"]
    for axes in figure.axes:
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0.01, 0.25], [0.1, 0.2], [1.0, 0.3]])
        ring = next(line for line in axes.lines if line.get_markerfacecolor() == "none")
        np.testing.assert_array_equal(ring.get_xydata(), [[0.1, 0.2]])
    text = " ".join(text.get_text() for text in figure.texts)
    assert "99 % confidence" in text
    assert "before they were solved" in text
    plt.close("all")


def test_there_is_no_page_where_nothing_was_chosen() -> None:
    given = as_table(rows("FC3", 10, 0, {"ridge": 1e-3, "converged": True, "details": {}}))
    with style.context():
        assert ridge_figures(given, LABELS) == []
        assert ridge_figures(as_table([]), LABELS) == []


def test_what_made_the_largest_solve_shorter_is_said() -> None:
    notes = acceleration_notes(table(100, 200), LABELS)
    assert notes == ["FC3 NTK, n = 200: 200 columns.", "CV8 NTK, n = 200: 200 columns."]
    assert acceleration_notes(as_table(rows("FC3", 10, 0, solved())), LABELS) == []
    given = solved(
        acceleration="200 columns", panels={"precision": "float32", "reason": "float32 panels: why"}
    )
    notes = acceleration_notes(as_table(rows("FC3", 10, 0, given)), LABELS)
    assert notes == ["FC3 NTK, n = 10: 200 columns; float32 panels: why."]
