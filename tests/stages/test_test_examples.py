"""Test examples one by one: what is written beside the metrics agrees with them, and with ``predict --variance``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny_studies import DIGITS, study_with_blocks

from neural_kernels import blocks
from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics.calibration import conformal_quantile
from neural_kernels.prediction import example_table
from neural_kernels.reports import example_pages, style
from neural_kernels.solvers import solved_size
from neural_kernels.stages import job_memory, test_examples
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.predict import predict_inputs
from neural_kernels.stages.report import collect_metrics, report_scaling
from neural_kernels.stages.solve import solve
from neural_kernels.storage import sealed_parquet
from neural_kernels.study.folders import metrics_file, solution_folder, store_folder
from neural_kernels.study.study import Study

SIZES = 30, 50
RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(105, 4))
Y = 5 + np.stack([np.sin(X).sum(axis=1), X[:, 0] * X[:, 1]], axis=1) + 0.1 * RANDOM.normal(size=(105, 2))
Y[::7, 1] = np.nan


def run(folder: Path, changes: dict[str, Any]) -> tuple[Study, Path]:
    study, results = study_with_blocks(
        folder, DIGITS | {"training_sizes": {"sizes": list(SIZES)}, "draws": 1} | changes
    )
    for n in SIZES:
        solve(study, results, "FC", n, threads=1)
        evaluate_predictions(study, results, "FC", n)
    collect_metrics(study, results)
    return study, results


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    folder = tmp_path_factory.mktemp("regression")
    np.savez(folder / "a.npz", x_train=X[:70], y_train=Y[:70], x_test=X[70:], y_test=Y[70:])
    data = {"name": "arrays", "path": str(folder / "a.npz"), "train_examples": 50, "validation_examples": 15}
    kernel = DIGITS["kernels"]["FC"] | {"test_examples": None}
    return run(folder, {"data": data, "kernels": {"FC": kernel}})


def test_values_and_spreads_are_those_of_predict(regression: tuple[Study, Path], tmp_path: Path) -> None:
    study, results = regression
    path = test_examples.path_of(study, results, "FC", 50)
    assert path is not None
    assert test_examples.path_of(study, results, "FC", 30) is None
    table = sealed_parquet.read(path)
    np.save(tmp_path / "new.npy", X[70:])
    predict_inputs(
        study, results, "FC", tmp_path / "new.npy", tmp_path / "out.parquet", variance=True, threads=1
    )
    predicted = pd.read_parquet(tmp_path / "out.parquet")
    left_out = table[table["split"] == example_table.LEFT_OUT]
    table = table[table["split"] == "test"]
    for output, task in enumerate(table["output"].unique()):
        rows = table[table["output"] == task].sort_values("example")
        np.testing.assert_array_equal(rows["measured"], Y[70:, output])
        np.testing.assert_allclose(rows["predicted"], predicted[f"prediction_{task}"], rtol=1e-8)
        np.testing.assert_allclose(rows["spread"], predicted[f"std_{task}"], rtol=1e-7)
        own = left_out[left_out["output"] == task].dropna(subset="measured")
        scores = (own["measured"] - own["predicted"]).abs() / own["spread"]
        reach = conformal_quantile(scores.to_numpy(), 0.95)
        high = predicted[f"prediction_{task}"] + reach * predicted[f"std_{task}"]
        np.testing.assert_allclose(predicted[f"high_95_{task}"], high)
    metrics = metrics_table.read(metrics_file(study, results, "FC", 50))
    found = metrics[(metrics["split"] == "test") & (metrics["metric"] == "mse")]["value"].item()
    scaled = pd.concat(
        [
            (rows["predicted"] - rows["measured"]) / np.nanstd(_train_targets(study, results)[:, output])
            for output, (_, rows) in enumerate(table.groupby("output", sort=False))
        ]
    )
    np.testing.assert_allclose(np.nanmean(scaled**2), found, rtol=0.2)


def test_what_is_left_out_is_what_a_solve_without_it_predicts(regression: tuple[Study, Path]) -> None:
    study, results = regression
    path = test_examples.path_of(study, results, "FC", 50)
    assert path is not None
    table = sealed_parquet.read(path)
    rows = table[(table["split"] == example_table.LEFT_OUT) & (table["output"] == "0")].sort_values("example")
    store = blocks.open_store(store_folder(study, results, "FC", "train"))
    kernel = blocks.read_submatrix(store, (0, 50), (0, 50), np.float64)
    shift = solved_size.load(solution_folder(study, results, "FC", 50), 1)[0].record.shift
    y = _train_targets(study, results)[:50, 0]
    mean = rows["measured"].mean()
    for left in (0, 17):
        others = np.delete(np.arange(50), left)
        a = kernel[np.ix_(others, others)] + shift * np.eye(49)
        targets = (y[others] - mean) / y.std()
        own = kernel[left, others] @ np.linalg.solve(a, targets)
        assert rows["predicted"].iloc[left] == pytest.approx(mean + y.std() * own, rel=1e-6)
        assert rows["measured"].iloc[left] == y[left]


def test_the_nearest_training_example_has_the_largest_correlation(regression: tuple[Study, Path]) -> None:
    study, results = regression
    path = test_examples.path_of(study, results, "FC", 50)
    assert path is not None
    table = sealed_parquet.read(path)
    rows = table[(table["split"] == "test") & (table["output"] == "0")].sort_values("example")
    features = (
        np.load(results / "tiny/features/plain/train.npy")[:50],
        np.load(results / "tiny/features/plain/test.npy"),
    )
    train, test = (
        x.reshape(len(x), -1) / np.linalg.norm(x.reshape(len(x), -1), axis=1)[:, None] for x in features
    )
    # The kernel of a fully connected network rises with the angle's cosine; biases make it depend on norms as well.
    alike = (test @ train.T)[np.arange(len(test)), rows["nearest"].astype(int)]
    assert (alike >= (test @ train.T).max(axis=1) - 0.2).all()
    assert (rows["likeness"] <= 1).all()


def _train_targets(study: Study, results: Path) -> np.ndarray:
    return np.load(results / "tiny/data/train_y.npy")


def test_larger_kernels_are_not_factorised_again(
    regression: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = regression
    monkeypatch.setattr(test_examples, "SPREAD_UP_TO", 49)
    for path in (metrics_file(study, results, "FC", 50), test_examples.path_of(study, results, "FC", 50)):
        assert path is not None
        path.unlink()
    evaluate_predictions(study, results, "FC", 50)
    path = test_examples.path_of(study, results, "FC", 50)
    assert path is not None
    assert sealed_parquet.read(path)["spread"].isna().all()
    report_scaling(study, results)
    assert (results / "tiny_scaling.pdf").stat().st_size > 10_000
    assert job_memory.evaluate_predictions(study, "FC", 4096) > 256 + job_memory.PROGRAM
    assert job_memory.evaluate_predictions(study, "FC", 4097) < 64 + job_memory.PROGRAM


def test_a_matrix_of_classes_has_what_the_metrics_count(tmp_path: Path) -> None:
    study, results = run(tmp_path, {})
    path = test_examples.path_of(study, results, "FC", 50)
    assert path is not None
    table = sealed_parquet.read(path)
    metrics = metrics_table.read(metrics_file(study, results, "FC", 50))
    accuracy = metrics[(metrics["split"] == "digits") & (metrics["metric"] == "accuracy")]["value"].item()
    table = table[table["split"] == "digits"]
    assert len(table) == 33
    assert np.mean(table["predicted"] == table["measured"]) == pytest.approx(accuracy)
    report_scaling(study, results)


@pytest.mark.parametrize("outputs", [1, 20])
def test_pages_are_as_many_as_can_be_read(outputs: int) -> None:
    count = 40
    rows = pd.DataFrame(
        {
            "split": "test",
            "example": np.tile(np.arange(count), outputs),
            "output": np.repeat([f"t{k}" for k in range(outputs)], count),
            "predicted": RANDOM.normal(size=count * outputs),
            "measured": RANDOM.normal(size=count * outputs),
            "spread": 1.0,
        }
    )
    with style.context():
        shown = example_pages.Shown({"FC": rows}, {"FC": "FC NTK"}, {"FC": 50}, None, "FC")
        pages = example_pages.example_pages(shown, "title", "foot")
    assert len(pages) == min(outputs, example_pages.MOST_PAGES)
