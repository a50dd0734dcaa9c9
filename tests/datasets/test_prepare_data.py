"""From files to shuffled parts: sizes, order, and what is refused before anything is written."""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import cifar10_files
import numpy as np
import pytest
from data_sections import check_data, data_section, prepare_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neural_kernels import datasets
from neural_kernels.datasets import pools
from neural_kernels.datasets.options import DataOptions
from neural_kernels.datasets.pools import Dataset, Pool
from neural_kernels.errors import UserError

POOL = 40


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Arrays whose example k holds k and has the label k mod 3."""
    path = tmp_path_factory.mktemp("numbered") / "numbered.npz"
    x = np.arange(POOL, dtype=np.float64)[:, None]
    test = 1000.0 + np.arange(9)[:, None]
    np.savez(path, x_train=x, y_train=np.arange(POOL) % 3, x_test=test, y_test=np.arange(9) % 3)
    return path


def options(
    path: Path, train: int | None = 20, validation: int | None = 5, **test_sets: Any
) -> dict[str, Any]:
    return {
        "name": "arrays",
        "path": str(path),
        "train_examples": train,
        "validation_examples": validation,
        "test_sets": test_sets,
    }


def load(directory: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    return np.load(directory / f"{part}_x.npy")[:, 0], np.load(directory / f"{part}_y.npy")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    train=st.integers(1, POOL - 8),
    validation=st.integers(1, 8),
    seed=st.integers(0, 5),
    rows=st.integers(1, 50),
)
def test_parts_are_slices_of_one_permutation(
    tmp_path: Path, numbered: Path, train: int, validation: int, seed: int, rows: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "CHUNK_ROWS", rows)
        prepare_data(options(numbered, train, validation), tmp_path, seed)
    order = np.random.default_rng(seed).permutation(POOL)
    x, y = load(tmp_path, "validation")
    np.testing.assert_array_equal(x, order[:validation])
    np.testing.assert_array_equal(y, order[:validation] % 3)
    x, y = load(tmp_path, "train")
    np.testing.assert_array_equal(x, order[validation : validation + train])
    np.testing.assert_array_equal(y, x % 3)
    x, _ = load(tmp_path, "test")
    np.testing.assert_array_equal(x, 1000 + np.arange(9))


@pytest.mark.parametrize("count", [1, 7, 100])
def test_leading_examples_are_those_of_the_training_set(tmp_path: Path, numbered: Path, count: int) -> None:
    given = options(numbered)
    prepare_data(given, tmp_path, seed=3)
    found = datasets.leading_examples(data_section(given), 3, count)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found[:, 0], load(tmp_path, "train")[0][:count])


def test_a_larger_training_set_keeps_the_smaller_one(tmp_path: Path, numbered: Path) -> None:
    prepare_data(options(numbered, train=10), tmp_path / "small", 3)
    prepare_data(options(numbered, train=None), tmp_path / "large", 3)
    small, large = load(tmp_path / "small", "train")[0], load(tmp_path / "large", "train")[0]
    assert len(large) == POOL - 5
    np.testing.assert_array_equal(large[:10], small)


def test_summary_describes_the_files(tmp_path: Path, numbered: Path) -> None:
    chosen = options(numbered, test={"examples": 4})
    prepare_data(chosen, tmp_path, seed=7)
    written = json.loads((tmp_path / "data.json").read_text())
    summary = check_data(chosen)
    assert written["parts"] == summary.parts == {"train": 20, "validation": 5, "test": 4}
    assert written["test_sets"] == ["test"]
    assert (written["task"], written["classes"], written["input_shape"]) == ("classification", 3, [1])
    assert (written["source"], written["seed"]) == (chosen, 7)
    for part, count in written["parts"].items():
        assert len(load(tmp_path, part)[0]) == count
    assert load(tmp_path, "train")[1].dtype == np.int64
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["data.json", "rows.csv", *(f"{part}_{what}.npy" for part in written["parts"] for what in "xy")]
    )


def test_regression_targets_have_a_column_for_each_task(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    x = np.zeros((8, 3), np.float32)
    np.savez(path, x_train=x, y_train=np.linspace(0, 1, 8, dtype=np.float32), x_test=x, y_test=np.ones(8))
    chosen = options(path, 5, 2)
    prepare_data(chosen, tmp_path / "out", seed=0)
    y = np.load(tmp_path / "out" / "train_y.npy")
    assert (y.shape, y.dtype) == ((5, 1), np.float64)
    assert np.load(tmp_path / "out" / "train_x.npy").dtype == np.float32
    assert (check_data(chosen).task, check_data(chosen).outputs, check_data(chosen).classes) == (
        "regression",
        1,
        None,
    )


def test_digits(tmp_path: Path) -> None:
    chosen = {"name": "digits", "train_examples": 1200, "validation_examples": 200}
    prepare_data(chosen, tmp_path, seed=1)
    assert check_data(chosen).parts == {"train": 1200, "validation": 200, "digits": 397}
    assert np.load(tmp_path / "train_x.npy").shape == (1200, 8, 8, 1)
    assert np.load(tmp_path / "train_x.npy").dtype == np.uint8


@pytest.mark.usefixtures("small_batches")
def test_further_test_sets_of_images(tmp_path: Path) -> None:
    """The three test sets of the paper's Fig. 2 in one study of CIFAR-5m."""
    for part in range(6):
        x = np.full((10, 32, 32, 3), part, np.uint8)
        np.savez(tmp_path / f"part{part}.npz", X=x, Y=np.arange(10))
    cifar10_files.write_folder(tmp_path, "py")
    np.save(tmp_path / "cifar10.1_v6_data.npy", np.full((7, 32, 32, 3), 99, np.uint8))
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.zeros(7, np.int32))
    place = {"path": str(tmp_path)}
    chosen = {
        "name": "cifar5m",
        **place,
        "train_examples": 30,
        "validation_examples": 10,
        "test_sets": {"cifar5m": {"examples": 8}, "cifar10": place, "cifar10_1": {**place, "examples": 5}},
    }
    prepare_data(chosen, tmp_path / "out", seed=0)
    assert check_data(chosen).parts == {
        "train": 30, "validation": 10, "cifar5m": 8, "cifar10": cifar10_files.ROWS, "cifar10_1": 5
    }  # fmt: skip
    assert (np.load(tmp_path / "out" / "cifar5m_x.npy") == 5).all()
    assert (np.load(tmp_path / "out" / "cifar10_1_x.npy") == 99).all()
    np.testing.assert_array_equal(
        np.load(tmp_path / "out" / "cifar10_x.npy"), cifar10_files.images()[0][-cifar10_files.ROWS :]
    )


def test_memory_does_not_grow_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CHUNK_ROWS", 64)
    x = np.zeros((4000, 32, 32, 3), np.uint8)
    np.savez_compressed(
        tmp_path / "mine.npz", x_train=x, y_train=np.arange(4000) % 2, x_test=x[:1], y_test=[1]
    )
    tracemalloc.start()
    try:
        prepare_data(options(tmp_path / "mine.npz", 3000, 500), tmp_path / "out", seed=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "mnist"}, r"data\.name is 'mnist', expected one of arrays, cifar10"),
        ({"path": None}, r"data\.path is None, expected string"),
        ({"train_parts": [0]}, r"unknown key 'train_parts' in data \(similar: .*\), expected one of name"),
        (
            {"train_examples": 36},
            r"train_examples is 36 and data\.validation_examples 5, .* the 40 training",
        ),
        (
            {"train_examples": None, "validation_examples": 40},
            r"validation_examples 40, .* the 40 training",
        ),
        ({"test_sets": {"test": {"examples": 10}}}, r"data\.test_sets\.test\.examples is 10, .* the 9 of"),
        (
            {"test_sets": {"other": {}}},
            r"data\.test_sets\.other: .* expected one of cifar10, cifar10_1, test",
        ),
        ({"test_sets": {"test": {"path": "here"}}}, r"data\.test_sets\.test\.path is given"),
        ({"test_sets": {"cifar10_1": {"path": "here"}}}, r"cifar10_1: its classes are CIFAR-10's"),
        ({"test_sets": {"validation": {}}}, r"data\.test_sets: 'validation' cannot be a name"),
    ],
)
def test_refused_before_anything_is_written(
    tmp_path: Path, numbered: Path, changes: dict[str, Any], message: str
) -> None:
    wrong = options(numbered) | changes
    for act in (lambda: check_data(wrong), lambda: prepare_data(wrong, tmp_path / "out", 0)):
        with pytest.raises(UserError, match=message):
            act()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["x_../../escaped", "x_train_targets", "x_a_labels", "x_validation"])
def test_array_key_that_cannot_be_a_file_name(tmp_path: Path, key: str) -> None:
    x, y = np.zeros((4, 1)), np.arange(4) % 2
    arrays: dict[str, Any] = {"x_train": x, "y_train": y, key: x, f"y{key[1:]}": y}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match="cannot name a test set"):
        prepare_data(options(tmp_path / "a.npz", 2, 1), tmp_path / "out", 0)


def test_further_test_set_of_another_shape(tmp_path: Path) -> None:
    x, y = np.zeros((20, 8, 8, 3), np.uint8), np.arange(20) % 10
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    np.save(tmp_path / "cifar10.1_v6_data.npy", np.zeros((7, 32, 32, 3), np.uint8))
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.zeros(7, np.int32))
    with pytest.raises(UserError, match=r"cifar10_1 are \(32, 32, 3\) of uint8, expected \(8, 8, 3\) of"):
        check_data(options(tmp_path / "a.npz", 2, 1, cifar10_1={"path": str(tmp_path)}))
    with pytest.raises(UserError, match=r"data\.test_sets\.cifar10\.path is not given"):
        check_data(options(tmp_path / "a.npz", 2, 1, cifar10={}))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    monkeypatch.setattr(pools, "CHUNK_ROWS", 4)
    x = np.zeros((10, 4, 4, 1), np.float32)
    x[6, 1, 2] = value
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(10) % 2, x_test=x[:2], y_test=[0, 1])
    with pytest.raises(
        UserError, match=rf"x_train: a feature of example 6 is {value}, expected a finite number"
    ):
        prepare_data(options(tmp_path / "a.npz", None, 2), tmp_path / "out", 0)
    assert not (tmp_path / "out" / "data.json").exists()
    assert not list((tmp_path / "out").glob("*.npy"))


@pytest.mark.parametrize("part", [0, 5])
def test_labels_out_of_range_are_found_while_reading(tmp_path: Path, part: int) -> None:
    for number in (0, 5):
        y = np.arange(10)
        y[7] = 10 if number == part else 0
        np.savez(tmp_path / f"part{number}.npz", X=np.zeros((10, 32, 32, 3), np.uint8), Y=y)
    chosen = {"name": "cifar5m", "path": str(tmp_path), "train_parts": [0], "validation_examples": 2}
    with pytest.raises(UserError, match=rf"part{part}\.npz: the label of example 7 is 10, .* 0 to 9"):
        prepare_data(chosen, tmp_path / "out", 0)
    assert not (tmp_path / "out" / "data.json").exists()


def test_an_old_summary_does_not_survive_a_failure(tmp_path: Path, numbered: Path) -> None:
    prepare_data(options(numbered), tmp_path / "out", 0)
    x = np.full((10, 1), np.nan)
    np.savez(tmp_path / "bad.npz", x_train=x, y_train=np.arange(10) % 2, x_test=x, y_test=np.zeros(10, int))
    with pytest.raises(UserError, match="is nan"):
        prepare_data(options(tmp_path / "bad.npz", 5, 2), tmp_path / "out", 0)
    assert not (tmp_path / "out" / "data.json").exists()


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> DataOptions:
    """A data set with a validation split of its own: examples 0 to 9 to train on, 100 to 103 to validate."""

    def pool(first: int, count: int) -> Pool:
        x = first + np.arange(count, dtype=np.float64)[:, None]
        return pools.in_memory("split.csv", x, x)

    module: Any = ModuleType("split")

    def open_dataset(options: Any) -> Dataset:
        return pools.Dataset(pool(0, 10), {"test": lambda: pool(200, 3)}, "regression", 1, (), pool(100, 4))

    module.open_dataset = open_dataset
    monkeypatch.setitem(sys.modules, "split", module)
    monkeypatch.setitem(datasets.DATASETS, "split", datasets.Source("split"))
    return DataOptions(name="split", validation_examples=None)


@pytest.mark.parametrize(("validation", "sizes"), [(None, (10, 4)), (3, (10, 3)), (0, (14, 0))])
def test_a_validation_split_of_its_own(
    tmp_path: Path, split: DataOptions, validation: int | None, sizes: tuple[int, int]
) -> None:
    asked = split.model_copy(update={"validation_examples": validation})
    parts = datasets.check_data(asked).parts
    assert (parts["train"], parts["validation"]) == sizes
    datasets.prepare_data(asked, tmp_path, 0)
    train, held_out = load(tmp_path, "train")[0], load(tmp_path, "validation")[0]
    own = {100.0, 101.0, 102.0, 103.0}
    assert set(train) == set(range(10)) | (own if validation == 0 else set())
    assert set(held_out) <= own
    assert (len(train), len(held_out)) == sizes


def test_mistakes_with_a_validation_split(split: DataOptions, numbered: Path) -> None:
    with pytest.raises(UserError, match=r"validation_examples is 5, expected at most the 4 of .* split\.csv"):
        datasets.check_data(split.model_copy(update={"validation_examples": 5}))
    with pytest.raises(UserError, match="train_examples is 11, expected at most the 10 training examples"):
        datasets.check_data(split.model_copy(update={"validation_examples": 2, "train_examples": 11}))
    with pytest.raises(UserError, match="arrays has no validation split of its own"):
        check_data(options(numbered, validation=None))
