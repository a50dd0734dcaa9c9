"""From a prepared data set to features, targets and their description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sections import prepare_data
from resealing import rewrite

import neural_kernels.preprocessing.features as preprocessing
from neural_kernels.errors import UserError
from neural_kernels.preprocessing import zca
from neural_kernels.preprocessing.features import preprocess
from neural_kernels.preprocessing.options import AsItIs, Standardize, Zca

ZCA = Zca(fit_examples=None)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    options = {"name": "digits", "train_examples": 300, "validation_examples": 50}
    prepare_data(options, folder, seed=0)
    return folder


@pytest.fixture
def regression(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 5)), rng.normal(10, 3, (30, 2))
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:6], y_test=y[:6])
    options = {
        "name": "arrays",
        "path": str(tmp_path / "a.npz"),
        "train_examples": 20,
        "validation_examples": 5,
    }
    prepare_data(options, tmp_path / "data", seed=0)
    return tmp_path / "data"


def description(folder: Path) -> Any:
    return json.loads((folder / "features.json").read_text())


def test_zca_is_fitted_on_the_training_set_and_applied_to_all(
    tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocessing, "_BATCH_BYTES", 64 * 8 * 37)
    preprocess(ZCA, digits, tmp_path)
    train = np.load(digits / "train_x.npy")
    transform = zca.fit(lambda: [train], 0.1, True)
    for part, count in {"train": 300, "validation": 50, "digits": 397}.items():
        features = np.load(tmp_path / f"{part}.npy")
        assert (features.shape, features.dtype) == ((count, 8, 8, 1), np.float64)
        expected = zca.apply(transform, np.load(digits / f"{part}_x.npy"))
        np.testing.assert_allclose(features, expected, rtol=1e-9, atol=1e-11)
        labels = np.load(tmp_path / f"{part}_labels.npy")
        np.testing.assert_array_equal(labels, np.load(digits / f"{part}_y.npy"))
        np.testing.assert_array_equal(np.load(tmp_path / f"{part}_targets.npy"), np.eye(10)[labels] - 0.1)


def test_description(tmp_path: Path, digits: Path) -> None:
    preprocess(ZCA, digits, tmp_path)
    found = description(tmp_path)
    assert found["parts"] == {"train": 300, "validation": 50, "digits": 397}
    assert (found["input_shape"], found["classes"], found["task"]) == ([8, 8, 1], 10, "classification")
    assert found["preprocessing"] == ZCA.plain()
    assert found["target_scaling"] is None
    assert set(found["feature_hashes"]) == set(found["parts"])


def test_hash_follows_the_features(tmp_path: Path, digits: Path) -> None:
    preprocess(AsItIs(), digits, tmp_path / "a")
    preprocess(Standardize(), digits, tmp_path / "b")
    a, b = (description(tmp_path / name)["feature_hashes"] for name in "ab")
    assert len({*a.values(), *b.values()}) == 6


def test_hash_changes_with_one_value(tmp_path: Path, digits: Path) -> None:
    preprocess(AsItIs(), digits, tmp_path / "a")
    changed = tmp_path / "data"
    changed.mkdir()
    for file in digits.iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    x = np.load(changed / "validation_x.npy")
    x[7, 3, 3, 0] += 1
    rewrite(changed / "validation_x.npy", x)
    preprocess(AsItIs(), changed, tmp_path / "b")
    a, b = (description(tmp_path / name)["feature_hashes"] for name in "ab")
    assert {part for part in a if a[part] != b[part]} == {"validation"}


def test_standardize_and_none(tmp_path: Path, digits: Path) -> None:
    preprocess(Standardize(), digits, tmp_path / "standardized")
    preprocess(AsItIs(), digits, tmp_path / "raw")
    raw, x = np.load(digits / "train_x.npy"), np.load(tmp_path / "standardized" / "train.npy")
    np.testing.assert_allclose(x, (raw - raw.mean()) / raw.std(), rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(np.load(tmp_path / "raw" / "train.npy"), raw)
    assert description(tmp_path / "raw")["preprocessing"] == {"method": "none"}


def test_fit_examples(tmp_path: Path, digits: Path) -> None:
    preprocess(Standardize(fit_examples=40), digits, tmp_path)
    raw = np.load(digits / "train_x.npy")
    expected = (raw - raw[:40].mean()) / raw[:40].std()
    np.testing.assert_allclose(np.load(tmp_path / "train.npy"), expected, rtol=1e-12, atol=1e-13)


def test_regression_targets_can_be_undone(tmp_path: Path, regression: Path) -> None:
    preprocess(Standardize(), regression, tmp_path / "out")
    scaling = description(tmp_path / "out")["target_scaling"]
    targets = {part: np.load(tmp_path / "out" / f"{part}_targets.npy") for part in ("train", "test")}
    np.testing.assert_allclose(targets["train"].mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(targets["train"].std(axis=0), 1, rtol=1e-12)
    undone = np.array(scaling["mean"]) + np.array(scaling["scale"]) * targets["test"]
    np.testing.assert_allclose(undone, np.load(tmp_path / "out" / "test_labels.npy"), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Zca(fit_examples=301), "fit_examples is 301, expected 1 to 300 training examples"),
        (Zca(regularization=0.0), "regularization is 0.0 and the covariance .* singular"),
    ],
)
def test_refused(tmp_path: Path, digits: Path, options: Zca, message: str) -> None:
    with pytest.raises(UserError, match=message):
        preprocess(options, digits, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_incomplete_data(tmp_path: Path, digits: Path) -> None:
    with pytest.raises(UserError, match=r"data\.json is missing"):
        preprocess(ZCA, tmp_path, tmp_path / "out")
    for file in digits.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "digits_x.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        UserError, match=r"digits_x\.npy is 25535 bytes, expected 25536; run prepare-data, or the same"
    ):
        preprocess(ZCA, tmp_path, tmp_path / "out")
    assert sorted(file.name for file in tmp_path.glob("*.rejected")) == [
        "data.json.rejected",
        "digits_x.npy.rejected",
    ]
    assert not list((tmp_path / "out").glob("*.json"))


@pytest.mark.parametrize(
    ("options", "flipped"),
    [
        (Zca(fit_examples=80), 40),
        (Zca(fit_examples=40), 0),
        (Zca(fit_examples=None), 0),
        (Standardize(), 40),
        (AsItIs(), 40),
    ],
)
def test_flips_stay_flips_where_the_fit_is_on_images_and_flips_alone(
    tmp_path: Path, options: Any, flipped: int
) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(60) % 2, x_test=x[:2], y_test=[0, 1])
    augmentation = {"factor": 4, "operations": ["Equalize", "Identity"], "magnitude": 4, "padding": 1}
    data = {"name": "arrays", "path": str(tmp_path / "a.npz"), "augmentation": augmentation}
    prepare_data(data | {"train_examples": 40, "validation_examples": 20}, tmp_path / "data", seed=0)
    preprocess(options, tmp_path / "data", tmp_path / "out")
    assert description(tmp_path / "out")["flipped_images"] == flipped
    features = np.load(tmp_path / "out/train.npy")
    assert len(features) == 160
    same = np.allclose(features[40:80], features[:40, :, ::-1], rtol=1e-9, atol=1e-9)
    assert same == (flipped == 40)


def test_without_augmentation_nothing_is_flipped(tmp_path: Path, digits: Path) -> None:
    preprocess(ZCA, digits, tmp_path)
    assert description(tmp_path)["flipped_images"] == 0


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        (ZCA, False),
        (ZCA, True),
        (Zca(fit_examples=100), True),
        (Standardize(), False),
        (AsItIs(), False),
    ],
)
def test_leading_parts_are_what_is_written(tmp_path: Path, digits: Path, options: Any, shared: bool) -> None:
    preprocess(options, digits, tmp_path)
    spectrum = preprocessing.spectrum_of(options, digits) if shared else None
    sizes = {"train": 40, "validation": 50, "digits": 7}
    parts = preprocessing.leading_parts(options, digits, sizes, spectrum)
    assert set(parts) == set(sizes)
    for name, size in sizes.items():
        expected = np.load(tmp_path / f"{name}.npy")[:size]
        features = parts[name].features
        assert isinstance(features, np.ndarray)
        np.testing.assert_allclose(features, expected, rtol=1e-7, atol=1e-9)
        assert features.dtype == np.float64
        np.testing.assert_array_equal(parts[name].targets, np.load(tmp_path / f"{name}_targets.npy")[:size])
        np.testing.assert_array_equal(parts[name].labels, np.load(tmp_path / f"{name}_labels.npy")[:size])


def test_leading_parts_of_a_regression_are_scaled_by_the_whole_training_set(
    tmp_path: Path, regression: Path
) -> None:
    preprocess(AsItIs(), regression, tmp_path / "features")
    part = preprocessing.leading_parts(AsItIs(), regression, {"train": 3})["train"]
    np.testing.assert_array_equal(part.targets, np.load(tmp_path / "features" / "train_targets.npy")[:3])


def test_more_examples_than_there_are_are_refused(digits: Path) -> None:
    with pytest.raises(UserError, match="has 50 examples of validation, expected 51"):
        preprocessing.leading_parts(AsItIs(), digits, {"validation": 51})
