"""The table of predictions: names and units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from neural_kernels.datasets.pools import Task
from neural_kernels.errors import UserError
from neural_kernels.prediction.table import Uncertainty, build, check_names, outputs_of

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


def test_a_column_of_the_inputs_with_the_name_of_another_is_refused() -> None:
    outputs = outputs_of(described("regression", 1))
    for name, variance, samples in (("prediction", False, 0), ("std", True, 0), ("sample_1", False, 2)):
        with pytest.raises(UserError, match=f"file: its column '{name}' has the name"):
            check_names("file", pd.DataFrame({name: [1]}), outputs, variance, samples)
    check_names("file", pd.DataFrame({"std": [1], "sample_2": [1]}), outputs, False, 2)
