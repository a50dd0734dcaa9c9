from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from studies import a_study, metrics

from neural_kernels.reports import style
from neural_kernels.reports.predicted_curves import predicted_table, predictions
from neural_kernels.reports.scaling import report_figures

SIZES = [64, 128, 256, 512]


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with style.context():
        yield


def predicted(kernel: str = "FC3", examples: int = 256) -> pd.DataFrame:
    """Losses of 0.1, none above ``examples``."""
    there = np.array(SIZES) <= examples
    return pd.DataFrame(
        {
            "kernel": kernel,
            "n": SIZES,
            "predicted": np.where(there, 0.1, np.nan),
            "kernel_examples": examples,
            "reason": np.where(there, "", f"the kernel matrix has {examples} examples"),
        }
    )


def test_a_deviation_is_from_the_mean_over_draws_that_converged() -> None:
    table = metrics(["FC3"], ["a"], SIZES, draws=2)
    loss = (table["metric"] == "loss") & (table["split"] == "a")
    table.loc[loss, "value"] = 0.08
    table.loc[loss & (table["n"] == 64) & (table["draw"] == 1), "value"] = 0.12
    table.loc[(table["n"] == 128) & (table["draw"] == 1), "converged"] = False
    found = predicted_table(table, a_study(), predicted()).set_index("n")
    assert found["measured"].to_dict() == pytest.approx({64: 0.1, 128: 0.08, 256: 0.08, 512: 0.08})
    assert found["draws"].tolist() == [2, 1, 2, 1]
    assert found["deviation_percent"].tolist() == pytest.approx([0, 25, 25, np.nan], nan_ok=True)
    assert found["reason"].tolist() == ["", "", "", "the kernel matrix has 256 examples"]


def test_the_report_draws_the_prediction_beside_the_points_and_says_what_is_missing() -> None:
    table = metrics(["FC3", "CV8"], ["cifar10", "cifar5m"], SIZES)
    panels, *pages = report_figures(table, a_study(), predicted())
    for ax in (ax for ax in panels.axes if ax.get_yscale() == "log"):
        (line,) = [line for line in ax.lines if line.get_gid() == "predicted"]
        np.testing.assert_array_equal(line.get_xdata(), SIZES[:3])
        np.testing.assert_array_equal(line.get_ydata(), 0.1)
    assert any("Dotted: predicted from one kernel matrix" in text.get_text() for text in panels.texts)
    words = " ".join(text.get_text() for page in pages for text in page.texts)
    assert "Test loss predicted from one kernel matrix" in words
    assert "not predicted, the kernel matrix has 256 examples" in words
    (made,) = predictions(table, a_study(), predicted())
    assert [row[2:4] for row in made.rows] == [
        ["64", "0.1000"],
        ["128", "0.1000"],
        ["256", "0.1000"],
        ["512", "none"],
    ]
    assert made.rows[-1][4:] == ["", ""]


def test_without_predictions_the_report_is_as_before() -> None:
    table = metrics(["FC3"], ["a"], SIZES)
    for none in (None, predicted("other")):
        panels, *pages = report_figures(table, a_study(), none)
        assert not [line for line in panels.axes[0].lines if line.get_gid() == "predicted"]
        assert not any("predicted from" in text.get_text() for page in pages for text in page.texts)
