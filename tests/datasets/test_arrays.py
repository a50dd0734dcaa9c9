"""A user's own .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sections import Contents

from neural_kernels.datasets import arrays
from neural_kernels.datasets.pools import Dataset
from neural_kernels.errors import UserError

X, Y = np.arange(24, dtype=np.uint8).reshape(6, 4), np.array([0, 1, 2, 0, 1, 2])
GOOD = {"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2]}


def open_arrays(folder: Path, **changes: Any) -> Dataset:
    content = {key: value for key, value in (GOOD | changes).items() if value is not None}
    np.savez(folder / "mine.npz", **content)
    return arrays.open_dataset(arrays.Options(path=str(folder / "mine.npz")))


@pytest.mark.parametrize("shape", [(4,), (2, 2), (2, 1, 2)])
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f8"])
def test_classification(tmp_path: Path, shape: tuple[int, ...], dtype: str, contents_of: Contents) -> None:
    x = X.reshape(6, *shape).astype(dtype)
    dataset = open_arrays(tmp_path, x_train=x, x_test=x[:2], x_other=x[2:], y_other=Y[2:])
    assert (dataset.task, dataset.outputs, set(dataset.tests)) == ("classification", 3, {"test", "other"})
    assert dataset.train.dtype.isnative
    found_x, found_y = contents_of(dataset.tests["other"]())
    np.testing.assert_array_equal(found_x, x[2:])
    np.testing.assert_array_equal(found_y, Y[2:])


@pytest.mark.parametrize(("targets", "outputs"), [(np.linspace(0, 1, 6), 1), (np.ones((6, 3), "f4"), 3)])
def test_regression(tmp_path: Path, targets: np.ndarray, outputs: int, contents_of: Contents) -> None:
    dataset = open_arrays(tmp_path, y_train=targets, y_test=targets[:2])
    assert (dataset.task, dataset.outputs, dataset.class_names) == ("regression", outputs, ())
    _, y = contents_of(dataset.train)
    np.testing.assert_array_equal(y, targets.reshape(6, outputs))


def test_class_names_give_the_number_of_classes(tmp_path: Path) -> None:
    dataset = open_arrays(tmp_path, class_names=np.array(["a", "b", "c", "d"]))
    assert (dataset.outputs, dataset.class_names) == (4, ("a", "b", "c", "d"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, "expected x_train"),
        ({"y_train": None}, "expected y_train"),
        (
            {"x_test": None, "y_test": None},
            "found no test set, expected x_<name> and y_<name> beside x_train$",
        ),
        ({"x_train": None, "X_train": X}, "expected x_train: X_train is spelled otherwise"),
        ({"x_test": None, "X_test": X}, "beside x_train: X_test is spelled otherwise"),
        ({"y_train": Y[:5]}, r"key y_train: found 5 labels, expected one for each of the 6 examples"),
        ({"y_train": Y - 1}, r"y_train: the label of example 0 is -1"),
        (
            {"y_train": Y + 10**9},
            r"label of example 0 is 1000000000, expected an integer from 0 to 5",
        ),
        ({"y_train": 0 * Y}, r"every label of y_train is 0, expected at least two classes"),
        ({"y_train": Y.reshape(6, 1)}, r"y_train: found labels of shape \(6, 1\)"),
        ({"y_train": Y.astype(str)}, r"y_train: found labels .* dtype <U"),
        ({"y_train": np.array([0, 1, np.nan, 0, 1, 2])}, r"the target of example 2 is nan"),
        ({"y_train": np.ones((6, 2, 2))}, r"y_train: found \(6, 2, 2\) of float64"),
        ({"y_train": np.ones((6, 0))}, r"y_train: found \(6, 0\) of float64"),
        (
            {"x_train": X.astype(int)},
            r"x_train: found an array \(6, 4\) of int64, .* uint8, float32 or",
        ),
        ({"x_train": X[:, 0]}, r"x_train: found an array \(6,\)"),
        ({"class_names": np.array(["a", "b"])}, r"label of example 2 is 2, expected an integer from 0 to 1"),
        ({"class_names": np.arange(3)}, r"class_names: found an array \(3,\) of int64"),
    ],
)
def test_wrong_training_set(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"mine\.npz.*{message}"):
        open_arrays(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "expected y_test"),
        ({"y_test": Y[:1]}, "key y_test: found 1 labels"),
        (
            {"y_test": np.array([0, 3])},
            "y_test: the label of example 1 is 3, .* from 0 to 2",
        ),
        ({"y_test": np.array([0.0, 1.0])}, "y_test: found labels of shape .* float64"),
    ],
)
def test_wrong_test_set(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    dataset = open_arrays(tmp_path, **changes)
    with pytest.raises(UserError, match=rf"mine\.npz.*{message}"):
        dataset.tests["test"]()


def test_test_targets_of_another_number_of_tasks(tmp_path: Path) -> None:
    dataset = open_arrays(tmp_path, y_train=np.ones((6, 2)), y_test=np.ones(2))
    with pytest.raises(UserError, match=r"y_test: found \(2,\) of float64, expected \(n, 2\) floats"):
        dataset.tests["test"]()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.npz: no such file, expected .*x_train"):
        arrays.open_dataset(arrays.Options(path=str(tmp_path / "mine.npz")))


def test_a_value_of_several_may_be_missing(tmp_path: Path) -> None:
    y = np.array([[1.5, np.nan], [2.0, 0.5], [np.nan, 0.25], [3.0, 1.0]])
    others: dict[str, Any] = {"x_train": np.eye(4), "x_test": np.eye(4), "y_test": y}
    np.savez(tmp_path / "gaps.npz", y_train=y, **others)
    dataset = arrays.open_dataset(arrays.Options(path=str(tmp_path / "gaps.npz")))
    (chunk,) = dataset.train.chunks()
    np.testing.assert_array_equal(chunk.y, y)
    assert (dataset.task, dataset.outputs) == ("regression", 2)
    np.savez(tmp_path / "empty.npz", y_train=y * [1, np.nan], **others)
    with pytest.raises(UserError, match="target 1 has no value at all"):
        arrays.open_dataset(arrays.Options(path=str(tmp_path / "empty.npz")))
    np.savez(tmp_path / "one.npz", y_train=y[:, 0], **others | {"y_test": y[:, 1]})
    with pytest.raises(UserError, match="the target of example 2 is nan"):
        arrays.open_dataset(arrays.Options(path=str(tmp_path / "one.npz")))
