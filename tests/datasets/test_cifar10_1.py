"""CIFAR-10.1's .npy files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sections import Contents

from neural_kernels.datasets import cifar10_1
from neural_kernels.datasets.options import TestSet
from neural_kernels.errors import UserError


def write(
    folder: Path, version: str = "v6", count: int = 5, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    y = np.arange(count, dtype=np.int32) % 10 if labels is None else labels
    np.save(folder / f"cifar10.1_{version}_data.npy", x)
    np.save(folder / f"cifar10.1_{version}_labels.npy", y)
    return x, y


@pytest.mark.parametrize(
    ("options", "version"), [({}, "v6"), ({"version": None}, "v6"), ({"version": "v4"}, "v4")]
)
def test_versions(
    tmp_path: Path,
    options: dict[str, Any],
    version: str,
    contents_of: Contents,
) -> None:
    write(tmp_path, "v6" if version == "v4" else "v4", count=3)
    expected = write(tmp_path, version)
    found = contents_of(cifar10_1.open_test(TestSet(path=str(tmp_path), **options)))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_real_labels(tmp_path: Path, shared_data: Callable[[str], Path], contents_of: Contents) -> None:
    write(tmp_path, count=2000)
    shutil.copyfile(shared_data("cifar10.1_v6_labels.npy"), tmp_path / "cifar10.1_v6_labels.npy")
    _, y = contents_of(cifar10_1.open_test(TestSet(path=str(tmp_path))))
    # Version 6 is balanced: 200 images of each class.
    assert np.bincount(y).tolist() == [200] * 10


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cifar10\.1_v6_data\.npy: no such file, .*CIFAR-10\.1"):
        cifar10_1.open_test(TestSet(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 2, 3, 10]), "label of example 4 is 10, expected an integer from 0 to 9"),
        (np.array([0, -1, 2, 3, 4]), "label of example 1 is -1"),
        (np.array([0.0, 1, 2, 3, 4]), "expected .n,. integers"),
        (np.zeros((5, 1), int), "expected .n,. integers"),
        (np.zeros(4, int), "found 4 labels, expected one for each of the 5"),
        (np.array(3), "found an array of shape"),
        (np.array([{}] * 5), "damaged or not an"),
    ],
)
def test_wrong_labels(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    write(tmp_path, labels=labels)
    with pytest.raises(UserError, match=rf"cifar10\.1_v6_labels\.npy: .*{message}"):
        cifar10_1.open_test(TestSet(path=str(tmp_path)))


def test_truncated_images(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "cifar10.1_v6_data.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"data\.npy: damaged"):
        cifar10_1.open_test(TestSet(path=str(tmp_path)))
