"""The table of predictions: names and units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from neural_kernels.datasets.pools import Task
from neural_kernels.prediction.table import Uncertainty, beside, build, outputs_of

MEAN = np.array([[0.4, -0.1], [-0.3, 0.2], [0.0, 0.5]])
SEQUENCES = pd.DataFrame({"sequence": ["AC", "DE", "FG"]}, index=[4, 7, 9])


def described(task: Task, outputs: int, names: Sequence[str] = (), scaling: Any = None) -> dict[str, Any]:
    return {"task": task, "outputs": outputs, "class_names": list(names), "target_scaling": scaling}


def test_named_tasks_are_turned_back_to_their_units() -> None:
    scaling = {"mean": [10.0, -1.0], "scale": [2.0, 0.5]}
    outputs = outputs_of(described("regression", 2, ["logP", "pKa"], scaling))
    uncertainty = Uncertainty(np.full((3, 2), 4.0), np.array([1.0, 9.0]), np.array([0.0, 1e-7, 0.0]))
    table = build(SEQUENCES, outputs, MEAN, uncertainty, MEAN[:, :, None] + [0, 1])
    assert table.columns[0] == "sequence"
    assert list(table["sequence"]) == ["AC", "DE", "FG"]
    np.testing.assert_allclose(table["prediction_logP"], 10 + 2 * MEAN[:, 0])
    np.testing.assert_allclose(table["prediction_pKa"], -1 + 0.5 * MEAN[:, 1])
    np.testing.assert_allclose(table["variance_logP"], 16)
    np.testing.assert_allclose(table["std_function_pKa"], 1)
    np.testing.assert_allclose(table["std_pKa"], np.sqrt(1 + 2.25))
    np.testing.assert_allclose(table["noise_variance_pKa"], 2.25)
    np.testing.assert_allclose(table["sample_1_logP"], 12 + 2 * MEAN[:, 0])
    np.testing.assert_allclose(table["variance_residual"], [0, 1e-7, 0])


def test_classes_have_scores_of_one_and_zero() -> None:
    table = build(SEQUENCES, outputs_of(described("classification", 2, ["cat", "dog"])), MEAN)
    assert list(table.columns) == ["sequence", "class", "score_cat", "score_dog"]
    assert list(table["class"]) == ["cat", "dog", "dog"]
    np.testing.assert_allclose(table["score_cat"], MEAN[:, 0] + 0.5)


def test_a_single_task_needs_no_name() -> None:
    table = build(SEQUENCES, outputs_of(described("regression", 1)), MEAN[:, :1])
    assert list(table.columns) == ["sequence", "prediction"]


def test_a_large_value_is_looked_for_over_the_best_one_in_its_units() -> None:
    scaling = {"mean": [10.0, -1.0], "scale": [2.0, 0.5]}
    outputs = outputs_of(described("regression", 2, ["logP", "pKa"], scaling))
    uncertainty = Uncertainty(np.full((3, 2), 4.0), np.array([1.0, 9.0]), None)
    nearest = {"nearest_training_line": np.array([4, 2, 2]), "nearest_similarity": np.array([1.0, 0.5, 0.25])}
    table = build(
        SEQUENCES, outputs, MEAN, uncertainty, MEAN[:, :, None], None, np.array([0.4, np.nan]), nearest
    )
    # 10.8 is predicted with 4 beside it, and 10.8 is the best: E max(f - best, 0) = 4 / sqrt(2 pi).
    assert table["expected_improvement_logP"][0] == pytest.approx(4 / np.sqrt(2 * np.pi))
    np.testing.assert_allclose(table["upper_confidence_bound_logP"], table["prediction_logP"] + 8)
    assert list(table["rank_logP"]) == [1, 3, 2]
    assert list(table["rank_pKa"]) == [3, 2, 1]
    # Nothing was measured of it.
    assert table["expected_improvement_pKa"].isna().all()
    assert list(table.columns[-2:]) == list(nearest)
    assert list(table.columns).index("sample_0_logP") > list(table.columns).index("rank_pKa")


def test_a_column_of_the_users_with_the_name_of_another_is_kept_under_a_further_name() -> None:
    own = pd.DataFrame({"std": ["a"], "prediction": ["b"], "prediction_given": ["c"]}, index=[5])
    table = beside(own, {"prediction": np.array([1.0]), "rank": np.array([1])})
    assert table.to_dict("list") == {
        "std": ["a"], "prediction_given_given": ["b"], "prediction_given": ["c"], "prediction": [1.0], "rank": [1]
    }  # fmt: skip
