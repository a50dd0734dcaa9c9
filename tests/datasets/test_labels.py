"""Labels of the rows of an imported kernel, whose order stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sections import check_data, prepare_data, read_inputs

from neural_kernels.errors import UserError


def section(path: Path, labels: np.ndarray, **changes: Any) -> dict[str, Any]:
    np.save(path / "labels.npy", labels)
    tests = {"one": {"examples": 2}, "two": {"examples": 3}}
    known = {"name": "labels", "path": str(path / "labels.npy"), "validation_examples": 4, "test_sets": tests}
    return known | changes


def test_parts_follow_each_other_in_the_order_of_the_rows(tmp_path: Path) -> None:
    data = section(tmp_path, np.arange(20) % 3)
    for seed in (0, 1):
        prepare_data(data, tmp_path / str(seed), seed)
        rows = {
            part: np.load(tmp_path / f"{seed}/{part}_x.npy") for part in ("train", "validation", "one", "two")
        }
        assert rows["train"].shape == (11, 1)
        np.testing.assert_array_equal(np.concatenate(list(rows.values()))[:, 0], np.arange(20))
        np.testing.assert_array_equal(np.load(tmp_path / f"{seed}/two_y.npy"), [2, 0, 1])


def test_a_smaller_training_set_is_a_leading_part_and_the_validation_set_stays(tmp_path: Path) -> None:
    prepare_data(section(tmp_path, np.arange(20) % 3, train_examples=6), tmp_path / "data", 0)
    np.testing.assert_array_equal(np.load(tmp_path / "data/train_x.npy")[:, 0], np.arange(6))
    np.testing.assert_array_equal(np.load(tmp_path / "data/validation_x.npy")[:, 0], np.arange(11, 15))


def test_floats_are_a_regression(tmp_path: Path) -> None:
    summary = check_data(section(tmp_path, np.linspace(0, 1, 40).reshape(20, 2)))
    assert (summary.task, summary.outputs, summary.input_shape) == ("regression", 2, (1,))


@pytest.mark.parametrize(
    ("labels", "changes", "sentence"),
    [
        (np.zeros(20, int), {}, "every label is 0, expected at least two classes"),
        (np.full(20, np.nan), {}, "the target of example 0 is nan, expected a finite number"),
        (np.arange(5), {}, "take 5 examples, expected at least one, and fewer than the 5 labels"),
        (np.arange(20) % 3, {"test_sets": {}}, "take 0 examples, expected at least one"),
        (np.arange(20) % 3, {"test_sets": {"one": {}}}, "test_sets.one.examples is null, expected how many"),
        (np.arange(20) % 3, {"path": "nowhere.npy"}, "nowhere.npy: no such file, expected data from you"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(
    tmp_path: Path, labels: np.ndarray, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        check_data(section(tmp_path, labels) | changes)


def test_new_examples_have_no_kernel(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="so that the kernel of new examples is not known here"):
        read_inputs(section(tmp_path, np.arange(20) % 3), tmp_path / "new.npy", (1,), "f")
