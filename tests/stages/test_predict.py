"""Predictions for new inputs by a tiny study, against the textbook's Gaussian process in dense NumPy."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from bit_flips import BIT, POSITION, flip_one
from file_faults import Killed, killed_after
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from resealing import rewrite
from scipy.stats import norm

from neural_kernels import sealed_arrays
from neural_kernels.cli import main
from neural_kernels.datasets import rows as known_rows
from neural_kernels.datasets.inputs import Inputs
from neural_kernels.datasets.pools import Dataset
from neural_kernels.engines import kernel_matrix
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.graphs import made_up
from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics.evaluation import evaluate
from neural_kernels.prediction import job as prediction_job
from neural_kernels.prediction import posterior
from neural_kernels.prediction.model import load_model
from neural_kernels.preprocessing.features import preprocess_inputs
from neural_kernels.stages import (
    predict as predict_stages,
)
from neural_kernels.stages.data import prepare_data, preprocess_data
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.kernels import compute_block, declare_kernel
from neural_kernels.stages.predict import Wanted, predict_inputs
from neural_kernels.stages.solve import solve
from neural_kernels.storage import checksums
from neural_kernels.storage.files import read_json, write_json
from neural_kernels.study.study import Study, load_study

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(2, 3, (90, 4))
Y = np.stack([np.sin(X).sum(axis=1), 100 + 7 * X[:, 0] * X[:, 1]], axis=1) + 0.1 * RANDOM.normal(size=(90, 2))
NEW = RANDOM.normal(2, 3, (23, 4))

CONFIG: dict[str, Any] = {
    "title": "t",
    "data": {"name": "arrays", "train_examples": 50, "validation_examples": 15},
    "preprocessing": {"scaled": {"method": "standardize"}},
    "kernels": {
        "FC": {
            "architecture": {"name": "FC", "depth": 1, "b_std": 0.2},
            "kind": "nngp",
            "preprocessing": "scaled",
        }
    },
    "blocks": {"edge": 17, "tile": 8},
    "training_sizes": {"sizes": [30, 50]},
    "ridge": {"candidates": [1e-4, 1e-2]},
    "solver": {"direct_up_to": 50, "tolerance": 1e-12, "preconditioner": {"rank": 10}},
}
FC = ("tiny", "FC")


def make(folder: Path, config: dict[str, Any], y: np.ndarray = Y) -> tuple[Study, Path]:
    """The study with its kernel blocks, and its results, in ``folder``."""
    np.savez(folder / "a.npz", x_train=X[:70], y_train=y[:70], x_test=X[70:], y_test=y[70:])
    if config["data"]["name"] == "arrays" and "path" not in config["data"]:
        config = config | {"data": config["data"] | {"path": str(folder / "a.npz")}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    study, results = load_study(folder / "tiny.yaml"), folder / "results"
    prepare_data(study, results)
    (kernel,) = study.kernels.values()
    preprocess_data(study, results, kernel.preprocessing)
    for part in study.part_sizes:
        store = declare_kernel(study, results, kernel.name, part)
        for block in store.grid.blocks():
            compute_block(study, results, kernel.name, part, block, threads=1)
    return study, results


def solve_all(study: Study, results: Path) -> None:
    for kernel in study.kernels:
        for n in study.training_sizes(kernel):
            solve(study, results, kernel, n, threads=1)
            evaluate_predictions(study, results, kernel, n)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    study, results = make(tmp_path_factory.mktemp("study"), CONFIG)
    solve_all(study, results)
    return study, results


def predicted(
    run: tuple[Study, Path], output: Path, x: Any = NEW, kernel: str = "FC", **options: Any
) -> pd.DataFrame:
    study, results = run
    path = output.parent / "new.npy"
    np.save(path, x)
    asked = asdict(options.pop("wanted", Wanted()))
    predict_inputs(study, results, kernel, path, output, threads=1, **options, **asked)
    return pd.read_parquet(output) if output.suffix == ".parquet" else pd.read_csv(output)


def textbook(
    run: tuple[Study, Path], n: int, task: int, new: np.ndarray = NEW
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, joint covariance and noise of one task at ``new`` (Rasmussen and Williams 2006, algorithm 2.1)."""
    study, results = run
    order = np.random.default_rng(study.seed).permutation(70)
    train = order[15:65]
    x_mean, x_std = X[train].mean(axis=0), X[train].std(axis=0)
    y_mean, y_std = Y[train, task].mean(), Y[train, task].std()
    x, new = (X[train[:n]] - x_mean) / x_std, (new - x_mean) / x_std
    y = (Y[train[:n], task] - y_mean) / y_std
    network = study.kernels["FC"].architecture
    K = kernel_matrix(network, x, kind="nngp")
    method = study.method(n)
    solved = read_json(results / "tiny/solutions/FC" / method / f"n{n}" / "solved.json")
    noise = solved["draws"][0]["ridge"] * np.trace(K) / n
    inverse = np.linalg.inv(K + noise * np.eye(n))
    amplitude = y @ inverse @ y / n
    cross = kernel_matrix(network, new, x, kind="nngp")
    covariance = kernel_matrix(network, new, kind="nngp") - cross @ inverse @ cross.T
    scale = amplitude * y_std**2
    return y_mean + y_std * cross @ inverse @ y, scale * covariance, scale * noise


@pytest.mark.parametrize("n", [30, 50])
def test_mean_variance_and_noise_are_those_of_the_textbook(
    run: tuple[Study, Path], tmp_path: Path, n: int
) -> None:
    table = predicted(run, tmp_path / "out.parquet", size=n, wanted=Wanted(variance=True))
    # What was left out is kept of the largest size.
    interval = ["low_95_{}", "high_95_{}"] if n == 50 else []
    each = ["variance_{}", "std_{}", "std_function_{}", "noise_variance_{}", *interval]
    each += ["expected_improvement_{}", "upper_confidence_bound_{}", "rank_{}"]
    assert list(table.columns) == [
        "row", "prediction_0", "prediction_1", *(name.format(task) for task in (0, 1) for name in each),
        "nearest_training_example", "nearest_training_row", "nearest_similarity",
    ]  # fmt: skip
    np.testing.assert_array_equal(table["row"], np.arange(23))
    for task in (0, 1):
        mean, covariance, noise = textbook(run, n, task)
        np.testing.assert_allclose(table[f"prediction_{task}"], mean, rtol=1e-8)
        np.testing.assert_allclose(table[f"variance_{task}"], np.diag(covariance), rtol=1e-7)
        np.testing.assert_allclose(table[f"std_function_{task}"] ** 2, table[f"variance_{task}"])
        np.testing.assert_allclose(table[f"std_{task}"] ** 2, table[f"variance_{task}"] + noise)
        np.testing.assert_allclose(table[f"noise_variance_{task}"], noise, rtol=1e-8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.npy", "out.parquet"]


def similarities(run: tuple[Study, Path], n: int, new: np.ndarray) -> np.ndarray:
    """Correlations (m, n) of the kernel between new inputs and training examples."""
    study, _ = run
    train = np.random.default_rng(study.seed).permutation(70)[15:65]
    mean, std = X[train].mean(axis=0), X[train].std(axis=0)
    both = (np.concatenate([new, X[train[:n]]]) - mean) / std
    K = kernel_matrix(study.kernels["FC"].architecture, both, kind="nngp")
    root = np.sqrt(np.diag(K))
    return (K / np.outer(root, root))[: len(new), len(new) :]


@pytest.mark.parametrize("n", [30, 50])
def test_what_to_measure_next_follows_from_mean_and_covariance(
    run: tuple[Study, Path], tmp_path: Path, n: int
) -> None:
    table = predicted(run, tmp_path / "out.parquet", size=n, wanted=Wanted(variance=True))
    train = np.random.default_rng(0).permutation(70)[15:65][:n]
    for task in (0, 1):
        mean, covariance, _ = textbook(run, n, task)
        std, best = np.sqrt(np.diag(covariance)), Y[train, task].max()
        z = (mean - best) / std
        expected = (mean - best) * norm.cdf(z) + std * norm.pdf(z)
        np.testing.assert_allclose(table[f"expected_improvement_{task}"], expected, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(table[f"upper_confidence_bound_{task}"], mean + 2 * std, rtol=1e-7)
        assert table[f"rank_{task}"].tolist() == [1 + int((mean > own).sum()) for own in mean]
    alike = similarities(run, n, NEW)
    np.testing.assert_array_equal(table["nearest_training_example"], alike.argmax(axis=1))
    np.testing.assert_array_equal(table["nearest_training_row"], train[alike.argmax(axis=1)])
    np.testing.assert_allclose(table["nearest_similarity"], alike.max(axis=1), rtol=1e-10)
    alone = predicted(run, tmp_path / "alone.parquet", size=n)
    near = [column for column in table if str(column).startswith("nearest")]
    assert list(alone.columns) == ["row", "prediction_0", "prediction_1", *near]
    pd.testing.assert_frame_equal(alone[near], table[near])


def test_a_training_example_is_nearest_to_itself(run: tuple[Study, Path], tmp_path: Path) -> None:
    rows = np.random.default_rng(0).permutation(70)[15:65][[40, 3]]
    table = predicted(run, tmp_path / "own.csv", X[rows])
    assert table["nearest_training_example"].tolist() == [40, 3]
    assert table["nearest_training_row"].tolist() == rows.tolist()
    np.testing.assert_allclose(table["nearest_similarity"], 1.0, rtol=1e-12)
    assert (table["nearest_similarity"] <= 1).all()


@pytest.mark.parametrize("rows", [1, 4, 23])
def test_the_nearest_does_not_depend_on_chunks_or_strips(
    run: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    whole = predicted(run, tmp_path / "a.csv")
    monkeypatch.setattr(predict_stages, "CHUNK_ROWS", rows)
    monkeypatch.setattr(prediction_job, "STRIP_BYTES", 8 * 50 * 2)
    table = predicted(run, tmp_path / "b.csv")
    np.testing.assert_array_equal(table["nearest_training_row"], whole["nearest_training_row"])
    np.testing.assert_allclose(table["nearest_similarity"], whole["nearest_similarity"], rtol=1e-12)


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_the_nearest_needs_no_block(
    run: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    study, results = run
    computed, variances = [], prediction_job._variances

    def recorded(kernel: Any, x: Any) -> np.ndarray:
        computed.append(len(x))
        return variances(kernel, x)

    monkeypatch.setattr(prediction_job, "_variances", recorded)
    whole = predicted(run, tmp_path / "a.csv")
    assert computed == [23]
    shutil.copytree(results, tmp_path / "results")
    block = tmp_path / "results/tiny/kernels/FC/train/blocks/1-1.npy"
    content = bytearray(block.read_bytes())
    content[-5] ^= 1
    block.unlink()
    if how == "damaged":
        block.write_bytes(content)
    table = predicted((study, tmp_path / "results"), tmp_path / "b.csv")
    assert computed == [23, 50, 23]
    pd.testing.assert_frame_equal(table, whole, rtol=1e-12)


def test_data_of_a_version_that_wrote_no_rows_names_examples_alone(
    run: tuple[Study, Path], tmp_path: Path
) -> None:
    study, results = run
    shutil.copytree(results, tmp_path / "results")
    path = tmp_path / "results/tiny/data/data.json"
    described = read_json(path)
    (path.parent / known_rows.FILE).unlink()
    del described[sealed_arrays.KEY][known_rows.FILE]
    write_json(path, described)
    table = predicted((study, tmp_path / "results"), tmp_path / "a.csv")
    assert list(table.columns[-2:]) == ["nearest_training_example", "nearest_similarity"]
    # Made anew by this version, they are those of the features.
    described[sealed_arrays.KEY][known_rows.FILE] = sealed_arrays.record_of_file(
        results / "tiny/data" / known_rows.FILE
    )
    shutil.copy(results / "tiny/data" / known_rows.FILE, path.parent)
    write_json(path, described)
    features = tmp_path / "results/tiny/features/scaled/features.json"
    arrays = {
        name: record for name, record in described[sealed_arrays.KEY].items() if name != known_rows.FILE
    }
    without = checksums.of_bytes(json.dumps(arrays, sort_keys=True).encode())
    write_json(features, read_json(features) | {"data_checksums": without})
    table = predicted((study, tmp_path / "results"), tmp_path / "b.csv")
    assert "nearest_training_row" in table


def test_rows_of_other_data_name_nothing(
    run: tuple[Study, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study, results = run
    shutil.copytree(results, tmp_path / "results")
    table = tmp_path / "results/tiny/data/train_y.npy"
    rewrite(table, np.load(table)[::-1])
    found = predicted((study, tmp_path / "results"), tmp_path / "a.csv")
    assert "nearest_training_row" not in found
    assert "is of other data than the features" in caplog.text


def test_a_file_of_inputs_is_not_replaced_by_a_list_of_rows(run: tuple[Study, Path], tmp_path: Path) -> None:
    study, results = run
    path = tmp_path / "a_left_out.csv"
    path.write_text("x\n1\n")
    with pytest.raises(
        UserError, match=r"a_left_out\.csv is where rows would be listed that .*a\.csv leaves out"
    ):
        predict_inputs(study, results, "FC", path, tmp_path / "a.csv")
    assert path.exists()


def test_the_amplitude_has_the_largest_marginal_likelihood(run: tuple[Study, Path]) -> None:
    study, results = run
    model = load_model(study, results, "FC", 50)
    amplitude = posterior.amplitudes(model.targets, model.solution.coefficients)
    x = np.load(results / "tiny/features/scaled/train.npy")
    K = kernel_matrix(model.kernel.architecture, x, kind="nngp") + model.solution.record.shift * np.eye(50)

    def log_likelihood(scale: float, y: np.ndarray) -> float:
        return -0.5 * y @ np.linalg.solve(scale * K, y) - 0.5 * np.linalg.slogdet(scale * K)[1]

    for task in (0, 1):
        best = log_likelihood(amplitude[task], model.targets[:, task])
        for factor in (0.98, 1.02):
            assert log_likelihood(factor * amplitude[task], model.targets[:, task]) < best


def test_csv_has_every_digit(run: tuple[Study, Path], tmp_path: Path) -> None:
    a = predicted(run, tmp_path / "a.csv", wanted=Wanted(True))
    b = predicted(run, tmp_path / "b.parquet", wanted=Wanted(True))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_chunks_do_not_change_predictions(
    run: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predicted(run, tmp_path / "a.parquet", wanted=Wanted(True, samples=2))
    monkeypatch.setattr(predict_stages, "CHUNK_ROWS", 5)
    pd.testing.assert_frame_equal(
        predicted(run, tmp_path / "b.parquet", wanted=Wanted(True, samples=2)), whole, rtol=1e-6
    )


def test_conjugate_gradients_give_what_cholesky_gives(
    run: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    iterative = make(folder, CONFIG | {"solver": CONFIG["solver"] | {"direct_up_to": 30}})
    solve_all(*iterative)
    monkeypatch.setattr(predict_stages, "RIGHT_HAND_SIDES", 3)
    monkeypatch.setattr(predict_stages, "ITERATIVE_CHUNK_ROWS", 7)
    table = predicted(iterative, tmp_path / "a.parquet", wanted=Wanted(True, samples=1))
    assert (table.pop("variance_residual") < 1e-12).all()
    for task in (0, 1):
        mean, covariance, noise = textbook(iterative, 50, task)
        np.testing.assert_allclose(table[f"prediction_{task}"], mean, rtol=1e-8)
        np.testing.assert_allclose(table[f"variance_{task}"], np.diag(covariance), rtol=1e-8)
        np.testing.assert_allclose(table[f"noise_variance_{task}"], noise, rtol=1e-8)


def test_samples_have_the_mean_and_covariance_of_the_posterior(
    run: tuple[Study, Path], tmp_path: Path
) -> None:
    count = 4000
    few = NEW[:6]
    table = predicted(run, tmp_path / "a.parquet", few, size=30, wanted=Wanted(samples=count, seed=3))
    assert "variance_0" not in table
    for task in (0, 1):
        mean, covariance, _ = textbook(run, 30, task, few)
        drawn = table[[f"sample_{s}_{task}" for s in range(count)]].to_numpy()
        std = np.sqrt(np.diag(covariance))
        # Six standard errors.
        assert (np.abs(drawn.mean(axis=1) - mean) < 6 * std / np.sqrt(count)).all()
        found = np.cov(drawn, bias=True) / np.outer(std, std)
        np.testing.assert_allclose(found, covariance / np.outer(std, std), atol=6 * np.sqrt(2 / count))
    one = table[[f"sample_{s}_0" for s in range(count)]].to_numpy()[0]
    two = table[[f"sample_{s}_1" for s in range(count)]].to_numpy()[0]
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1


def test_samples_follow_from_the_seed_and_allow_the_same_input_twice(
    run: tuple[Study, Path], tmp_path: Path
) -> None:
    twice = np.concatenate([NEW[:4], NEW[:4]])
    a, b, c = (
        predicted(run, tmp_path / f"{k}.parquet", twice, wanted=Wanted(samples=2, seed=seed))
        for k, seed in enumerate((1, 1, 2))
    )
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    assert (a["sample_0_0"] != c["sample_0_0"]).all()
    np.testing.assert_allclose(a["sample_1_1"][:4], a["sample_1_1"][4:], atol=1e-3)


def test_labels_that_are_missing_give_each_task_its_own_posterior(tmp_path: Path) -> None:
    run = study, results = make(tmp_path, CONFIG | {"training_sizes": {"sizes": [50]}})
    path = results / "tiny/features/scaled/train_targets.npy"
    targets = np.load(path)
    targets[5:20, 1] = np.nan
    rewrite(path, targets)
    solve_all(study, results)
    table = predicted(run, tmp_path / "a.parquet", wanted=Wanted(True, samples=1))
    features = results / "tiny/features/scaled"
    scaling = read_json(features / "features.json")["target_scaling"]
    x = np.load(features / "train.npy")
    network = study.kernels["FC"].architecture
    solved = read_json(results / "tiny/solutions/FC/direct/n50/solved.json")["draws"][0]
    train = np.random.default_rng(0).permutation(70)[15:65]
    new = (NEW - X[train].mean(axis=0)) / X[train].std(axis=0)
    for task in (0, 1):
        known = ~np.isnan(targets[:, task])
        K = kernel_matrix(network, x[known], kind="nngp") + solved["shift"] * np.eye(known.sum())
        cross = kernel_matrix(network, new, x[known], kind="nngp")
        y = targets[known, task]
        amplitude = y @ np.linalg.solve(K, y) / known.sum()
        prior = np.diag(kernel_matrix(network, new, kind="nngp"))
        variance = amplitude * (prior - np.sum(cross * np.linalg.solve(K, cross.T).T, axis=1))
        variance *= scaling["scale"][task] ** 2
        np.testing.assert_allclose(table[f"variance_{task}"], variance, rtol=1e-7)
        mean = scaling["mean"][task] + scaling["scale"][task] * cross @ np.linalg.solve(K, y)
        np.testing.assert_allclose(table[f"prediction_{task}"], mean, rtol=1e-8)

    config = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    config["solver"]["direct_up_to"] = 20
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    study = load_study(tmp_path / "tiny.yaml")
    solve_all(study, results)
    with pytest.raises(UserError, match=r"labels are missing and n = 50 is above solver\.direct_up_to, 20"):
        predicted((study, results), tmp_path / "b.parquet", wanted=Wanted(True))
    predicted((study, results), tmp_path / "b.parquet")


def test_a_task_without_any_label_has_no_uncertainty_and_leaves_the_others_theirs(tmp_path: Path) -> None:
    unlabelled = study, results = make(tmp_path, CONFIG | {"training_sizes": {"sizes": [50]}})
    path = results / "tiny/features/scaled/train_targets.npy"
    targets = np.load(path)
    targets[:, 1] = np.nan
    rewrite(path, targets)
    solve(study, results, "FC", 50, threads=1)
    table = predicted(unlabelled, tmp_path / "a.parquet", wanted=Wanted(True, samples=1))
    assert table[["variance_1", "noise_variance_1", "sample_0_1"]].isna().all(axis=None)
    assert table[["variance_0", "noise_variance_0", "sample_0_0"]].notna().all(axis=None)


# ------------------------------------------------------------------------------ a study's own test sets


def test_raw_test_images_give_the_predictions_that_were_evaluated(tmp_path: Path) -> None:
    config = CONFIG | {
        "data": {
            "name": "digits",
            "train_examples": 60,
            "validation_examples": 25,
            "test_sets": {"digits": {"examples": 40}},
        },
        "preprocessing": {"white": {"method": "zca", "regularization": 0.1}},
        "kernels": {"CV": {"architecture": {"name": "CNNVec", "depth": 1}, "preprocessing": "white"}},
        "training_sizes": {"sizes": [60]},
    }
    run = study, results = make(tmp_path, config)
    solve_all(study, results)
    raw = np.load(results / "tiny/data/digits_x.npy")
    table = predicted(run, tmp_path / "a.parquet", raw, "CV", wanted=Wanted(True))
    scores = table[[f"score_{k}" for k in range(10)]].to_numpy()
    targets, labels = (
        np.load(results / f"tiny/features/white/digits_{k}.npy") for k in ("targets", "labels")
    )
    found = evaluate(scores - 0.1, targets, labels, "classification")
    metrics = metrics_table.read(results / "tiny/metrics/CV/n60.parquet").query("split == 'digits'")
    for metric, value in metrics.set_index("metric")["value"].items():
        assert found[str(metric)] == pytest.approx(value, rel=1e-9)
    assert list(table["class"]) == [str(k) for k in scores.argmax(axis=1)]
    assert (table["variance_3"] > 0).all()
    # What it was trained on it is far more certain of.
    own = predicted(
        run, tmp_path / "b.parquet", np.load(results / "tiny/data/train_x.npy"), "CV", wanted=Wanted(True)
    )
    assert own["variance_3"].max() < table["variance_3"].median()
    assert own["nearest_training_example"].tolist() == [*range(60)]
    assert "rank_3" not in own  # a large score is no aim


def test_a_table_keeps_its_columns_and_lists_what_is_left_out(tmp_path: Path) -> None:
    letters = ["ACDEFGHIKL"[k % 10] + "ACD"[k % 3] + "AC"[k % 2] for k in range(40)]
    lines = [f"{text},{k % 7},{'test' if k >= 30 else 'train'}" for k, text in enumerate(letters)]
    (tmp_path / "mine.csv").write_text("\n".join(["sequence,target,set", *lines]))
    data = {
        "name": "flip",
        "path": str(tmp_path / "mine.csv"),
        "train_examples": 25,
        "validation_examples": 5,
    }
    config = CONFIG | {"data": data, "training_sizes": {"sizes": [25]}}
    study, results = make(tmp_path, config)
    solve_all(study, results)
    new = tmp_path / "round.csv"
    trained = pd.read_csv(results / "tiny/data/rows.csv").query("part == 'train'")["line"].iloc[[4, 9]]
    new.write_text(
        "id,sequence,prediction,rank_given\n"
        f"01,{letters[trained.iloc[0] - 2]},old,x\n02,AXA,,\n03,{letters[trained.iloc[1] - 2]},,\n04,AAAA,,\n"
    )
    for _ in range(2):
        predict_inputs(study, results, "FC", new, tmp_path / "out.csv", variance=True, threads=1)
    table = pd.read_csv(tmp_path / "out.csv", dtype={"id": str})
    assert list(table.columns[:5]) == ["id", "sequence", "prediction_given", "rank_given", "prediction"]
    assert table["id"].tolist() == ["01", "03"]
    assert table["prediction_given"].tolist()[0] == "old"
    assert table["rank_given"].tolist()[0] == "x"
    assert set(table["rank"]) == {1, 2}
    assert [letters[line - 2] for line in table["nearest_training_line"]] == table["sequence"].tolist()
    assert table["nearest_training_row"].tolist() == [line - 2 for line in table["nearest_training_line"]]
    left = pd.read_csv(tmp_path / "out_left_out.csv")
    assert left["line"].tolist() == [3, 5]
    assert left["reason"].str.contains("'X' at position 2|4 letters, expected at most 3").all()
    # Of inputs that can all be used none is listed, and no older list is left.
    new.write_text(f"sequence\n{letters[0]}\n")
    predict_inputs(study, results, "FC", new, tmp_path / "out.csv", threads=1)
    assert not (tmp_path / "out_left_out.csv").exists()


def test_a_copy_is_known_by_the_row_of_its_image(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 4, 3), np.uint8)
    y = np.random.default_rng(1).normal(size=30)
    np.savez(tmp_path / "images.npz", x_train=images, y_train=y, x_test=images[:5], y_test=y[:5])
    data = {"name": "arrays", "path": str(tmp_path / "images.npz"), "validation_examples": 10}
    data |= {"train_examples": 20, "augmentation": {"factor": 2}}
    config = CONFIG | {"data": data, "training_sizes": {"sizes": [40]}, "blocks": {"edge": 20, "tile": 10}}
    config["kernels"] = {"CV": {"architecture": {"name": "CNNVec", "depth": 1}, "preprocessing": "scaled"}}
    config["preprocessing"] = {"scaled": {"method": "standardize", "fit_examples": 40}}
    run = study, results = make(tmp_path, config)
    solve_all(study, results)
    train = np.random.default_rng(study.seed).permutation(30)[10:]
    new = np.concatenate([images[train[[3, 8]]], images[train[[5]], :, ::-1]])
    table = predicted(run, tmp_path / "a.csv", new, "CV")
    assert table["nearest_training_example"].tolist() == [3, 8, 25]
    assert table["nearest_training_row"].tolist() == train[[3, 8, 5]].tolist()


def test_labels_have_a_nearest_example_and_no_improvement(tmp_path: Path) -> None:
    pytest.importorskip("rdkit", reason="reading SMILES needs the package rdkit")
    lines = [f"{'C' * (k + 1)}O,{k % 2},{(k // 2) % 2 if k % 3 else ''}" for k in range(40)]
    (tmp_path / "mine.csv").write_text("\n".join(["smiles,a,b", *lines]))
    data: dict[str, Any] = {
        "name": "smiles",
        "path": str(tmp_path / "mine.csv"),
        "split": {"method": "random"},
    }
    data |= {"validation_examples": None, "train_examples": 30}
    config = CONFIG | {"data": data, "training_sizes": {"sizes": [30]}}
    config["kernels"] = {"GNN": {"architecture": {"name": "SimpleGNN"}, "preprocessing": "scaled"}}
    study, results = make(tmp_path, config)
    solve(study, results, "GNN", 30, threads=1)
    (tmp_path / "new.csv").write_text("smiles\nCCCO\n")
    predict_inputs(study, results, "GNN", tmp_path / "new.csv", tmp_path / "a.csv", variance=True, threads=1)
    table = pd.read_csv(tmp_path / "a.csv")
    assert not {"rank_a", "expected_improvement_a"} & set(table.columns)
    near = ["nearest_training_example", "nearest_training_row", "nearest_training_line", "nearest_similarity"]
    assert list(table.columns[-4:]) == near
    line = int(table["nearest_training_line"][0])
    assert table["nearest_training_row"][0] == line - 2
    assert 0 < table["nearest_similarity"][0] <= 1


def test_graphs_are_predicted_like_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from neural_kernels.datasets import arrays, inputs
    from neural_kernels.datasets.inputs import Inputs
    from neural_kernels.datasets.pools import Dataset, in_memory

    graphs = made_up(40, 3, np.random.default_rng(0), mean_nodes=7)
    y = np.random.default_rng(1).standard_normal((40, 1))

    def load(options: Any) -> Dataset:
        pools = in_memory("train", graphs[:30], y[:30]), in_memory("test", graphs[30:], y[30:])
        return Dataset(pools[0], {"test": lambda: pools[1]}, "regression", 1)

    def read(options: Any, path: Path) -> Inputs:
        names = pd.DataFrame({"name": [f"m{k}" for k in range(10)]})
        return Inputs(str(path), graphs[30:], names, ((12, "not a molecule"),))

    monkeypatch.setattr(arrays, "open_dataset", load)
    monkeypatch.setattr(inputs, "read_arrays", read)
    config = CONFIG | {
        "data": {"name": "arrays", "path": "none", "train_examples": 20, "validation_examples": 10},
        "kernels": {"GNN": {"architecture": {"name": "SimpleGNN"}, "preprocessing": "scaled"}},
        "training_sizes": {"sizes": [20]},
    }
    run = study, results = make(tmp_path, config)
    solve_all(study, results)
    table = predicted(run, tmp_path / "a.parquet", np.zeros(1), "GNN", wanted=Wanted(True, samples=1))
    assert list(table.columns) == [
        "name", "prediction", "variance", "std", "std_function", "noise_variance", "low_95", "high_95",
        "expected_improvement", "upper_confidence_bound", "rank", "sample_0",
        "nearest_training_example", "nearest_training_row", "nearest_similarity",
    ]  # fmt: skip
    assert (tmp_path / "a_left_out.csv").read_text() == "line,reason\n12,not a molecule\n"
    scaling = read_json(results / "tiny/features/scaled/features.json")["target_scaling"]
    f = (table["prediction"] - scaling["mean"][0]) / scaling["scale"][0]
    targets = np.load(results / "tiny/features/scaled/test_targets.npy")
    metrics = metrics_table.read(results / "tiny/metrics/GNN/n20.parquet").query("split == 'test'")
    mse = metrics.set_index("metric")["value"]["mse"]
    assert np.mean((f.to_numpy() - targets[:, 0]) ** 2) == pytest.approx(mse, rel=1e-9)


# ---------------------------------------------------------------------------------- kill and resume

PROGRAM = """
import os, signal, sys
from neural_kernels.prediction import job
from neural_kernels.stages import predict
from neural_kernels.cli import main
predict.CHUNK_ROWS = 5
finish = job._finish
def a_few(folder, job, kernel, chunk, *arguments):
    if chunk[0] == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    finish(folder, job, kernel, chunk, *arguments)
job._finish = a_few
main(sys.argv[1:])
"""


def test_a_killed_job_goes_on_where_it_was_and_gives_the_same(
    run: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = run
    np.save(tmp_path / "new.npy", NEW)
    output, wanted = tmp_path / "killed.parquet", Wanted(True, samples=2)
    command = [
        sys.executable, "-c", PROGRAM, "predict", str(results.parent / "tiny.yaml"), "--results", str(results),
        "--kernel", "FC", "--inputs", str(tmp_path / "new.npy"), "--output", str(output), "--variance",
        "--samples", "2", "--threads", "1",
    ]  # fmt: skip
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert not output.exists()
    partial = tmp_path / "killed.parquet.partial"
    assert sorted(path.name for path in partial.glob("chunks/*.npz")) == ["0.npz", "5.npz"]

    with pytest.raises(
        UserError, match="unfinished predictions of other inputs, another solution or other options"
    ):
        predict_inputs(study, results, "FC", tmp_path / "new.npy", output)
    monkeypatch.setattr(predict_stages, "CHUNK_ROWS", 5)
    computed, finish = [], prediction_job._finish

    def recorded(folder: Path, job: Any, kernel: Any, chunk: Any, *arguments: Any) -> None:
        computed.append(chunk)
        finish(folder, job, kernel, chunk, *arguments)

    monkeypatch.setattr(prediction_job, "_finish", recorded)
    resumed = predicted(run, output, wanted=wanted)
    assert computed == [(10, 15), (15, 20), (20, 23)]
    assert not partial.exists()
    whole = predicted(run, tmp_path / "whole.parquet", wanted=wanted)
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)


OPERATIONS = [
    (os, "replace"), (os, "open"), (os, "link"), (os, "rmdir"), (Path, "unlink"), (Path, "mkdir"), (np, "savez")
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(run: tuple[Study, Path], tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """What an undisturbed job in chunks of five gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_stages, "CHUNK_ROWS", 5)
        return predicted(run, tmp_path_factory.mktemp("whole") / "a.parquet", wanted=Wanted(True, samples=2))


def interrupted(run: tuple[Study, Path], folder: Path, left: int) -> bool:
    """A job that is killed after so many file operations; whether it was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_stages, "CHUNK_ROWS", 5)
        killed_after(left, OPERATIONS, patch)
        with contextlib.suppress(Killed):
            predicted(run, folder / "a.parquet", wanted=Wanted(True, samples=2))
            return False
    return True


def finished_by_the_same_command(run: tuple[Study, Path], folder: Path, attempts: int = 3) -> pd.DataFrame:
    """The table of the same command again, which may refuse a damaged file and then makes it anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict_stages, "CHUNK_ROWS", 5)
        for _ in range(attempts):
            with contextlib.suppress(DamagedFile):
                return predicted(run, folder / "a.parquet", wanted=Wanted(True, samples=2))
    raise AssertionError("it never ends")


@pytest.fixture
def no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=POSITION)
def test_a_kill_at_any_file_operation_leads_to_the_same_table(
    run: tuple[Study, Path],
    whole: pd.DataFrame,
    no_flushing: None,
    tmp_path_factory: pytest.TempPathFactory,
    position: float,
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    interrupted(run, folder, int(300 * position))
    pd.testing.assert_frame_equal(finished_by_the_same_command(run, folder), whole, check_exact=True)
    assert sorted(path.name for path in folder.iterdir()) == ["a.parquet", "new.npy"]


@pytest.fixture(scope="module")
def half_done(run: tuple[Study, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job that was killed when all of its chunks were there."""
    folder = tmp_path_factory.mktemp("half")

    def killed(*_: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prediction_job, "close_job", killed)
        patch.setattr(predict_stages, "CHUNK_ROWS", 5)
        with pytest.raises(Killed):
            predicted(run, folder / "a.parquet", wanted=Wanted(True, samples=2))
    (folder / "a.parquet").unlink()
    names = {path.name for path in (folder / "a.parquet.partial").rglob("*")}
    assert {"job.json", "inputs.npy", "0.npz", "0.json", "solved-0.npy", "0-0.npy"} <= names
    return folder


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=POSITION, position=POSITION, bit=BIT, how=st.sampled_from(["flipped", "emptied", "removed"]))
def test_damage_to_any_file_of_a_job_is_never_used_and_never_a_dead_end(
    run: tuple[Study, Path],
    whole: pd.DataFrame,
    half_done: Path,
    no_flushing: None,
    tmp_path_factory: pytest.TempPathFactory,
    which: float,
    position: float,
    bit: int,
    how: str,
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "job"
    shutil.copytree(half_done, folder)
    files = [
        path for path in (folder / "a.parquet.partial").rglob("*") if path.is_file() and path.stat().st_size
    ]
    if how == "flipped":
        flip_one(files, which, position, bit)
    else:
        path = sorted(files)[int(which * len(files))]
        path.unlink() if how == "removed" else path.write_bytes(b"")
    pd.testing.assert_frame_equal(finished_by_the_same_command(run, folder), whole, check_exact=True)


def test_finished_chunks_of_a_job_are_not_computed_again(
    run: tuple[Study, Path],
    whole: pd.DataFrame,
    half_done: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(half_done, tmp_path / "job")
    (tmp_path / "job/a.parquet.partial/chunks/10.npz").write_bytes(b"")
    computed, finish = [], prediction_job._finish

    def recorded(folder: Path, job: Any, kernel: Any, chunk: Any, *arguments: Any) -> None:
        computed.append(chunk[0])
        finish(folder, job, kernel, chunk, *arguments)

    monkeypatch.setattr(prediction_job, "_finish", recorded)
    pd.testing.assert_frame_equal(finished_by_the_same_command(run, tmp_path / "job"), whole)
    assert computed == [10]


def test_chunks_of_a_version_that_kept_less_are_computed_again(
    run: tuple[Study, Path],
    whole: pd.DataFrame,
    half_done: Path,
    tmp_path: Path,
) -> None:
    shutil.copytree(half_done, tmp_path / "job")
    for path in (tmp_path / "job/a.parquet.partial/chunks").glob("*.json"):
        facts = read_json(path)
        with np.load(path.with_suffix(".npz")) as arrays:
            kept = {name: arrays[name] for name in facts.pop("arrays") if "ne" not in name}
        np.savez(path.with_suffix(".npz"), allow_pickle=False, **kept)
        facts["files"][f"{path.stem}.npz"] = checksums.of_file(path.with_suffix(".npz"))
        write_json(path, facts)
    pd.testing.assert_frame_equal(finished_by_the_same_command(run, tmp_path / "job"), whole)


def test_a_folder_that_was_never_begun_is_used_and_a_foreign_one_is_refused(
    run: tuple[Study, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "a.csv.partial"
    folder.mkdir()
    (folder / ".job.json.tmp").write_text("{")
    predicted(run, tmp_path / "a.csv")
    assert not folder.exists()
    folder.mkdir()
    (folder / "thesis.tex").touch()
    with pytest.raises(
        UserError, match=r"a\.csv\.partial holds thesis\.tex, expected a folder of unfinished"
    ):
        predicted(run, tmp_path / "a.csv")
    assert (folder / "thesis.tex").exists()


def test_features_with_other_bits_begin_the_chunks_anew(
    run: tuple[Study, Path],
    whole: pd.DataFrame,
    half_done: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(half_done, tmp_path / "job")
    transformed = preprocess_inputs

    def elsewhere(*arguments: Any) -> str:
        return transformed(*arguments).replace("a", "b").replace("0", "1")

    monkeypatch.setattr(predict_stages, "preprocess_inputs", elsewhere)
    pd.testing.assert_frame_equal(finished_by_the_same_command(run, tmp_path / "job"), whole)


def test_a_second_job_waits_for_the_first_and_takes_over_its_table(
    run: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    begun, go_on, computed = threading.Event(), threading.Event(), []
    compute = prediction_job.compute

    def slowly(*arguments: Any, **options: Any) -> Any:
        computed.append(True)
        begun.set()
        assert go_on.wait(60)
        return compute(*arguments, **options)

    monkeypatch.setattr(prediction_job, "compute", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(predicted, run, tmp_path / "a.parquet")
        assert begun.wait(60)
        second = pool.submit(predicted, run, tmp_path / "a.parquet")
        while "is being made by process" not in caplog.text:
            time.sleep(0.01)
        go_on.set()
        pd.testing.assert_frame_equal(first.result(), second.result())
    assert "another process has made the same predictions meanwhile" in caplog.text
    assert computed == [True]


# --------------------------------------------------------------------------------------- mistakes


def test_what_is_missing_is_named_with_what_makes_it(run: tuple[Study, Path], tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    study, results = make(folder, CONFIG)
    target = (
        r"solved.json is missing: make results/tiny/solutions/FC/direct/n50/solved.json with snakemake first"
    )
    with pytest.raises(UserError, match=target):
        predicted((study, results), tmp_path / "a.csv")
    solve_all(study, results)
    block = results / "tiny/kernels/FC/train/blocks/0-2.npy"
    block.rename(block.with_suffix(".away"))
    with pytest.raises(
        UserError, match=r"0-2\.npy is missing, with 0 more blocks that the posterior variance"
    ):
        predicted((study, results), tmp_path / "a.csv", wanted=Wanted(True))
    predicted((study, results), tmp_path / "a.csv")
    fitted = results / "tiny/features/scaled/transform.npz"
    fitted.unlink()
    verb = r"transform\.npz is missing; run preprocess-data, or the same snakemake command, again"
    with pytest.raises(UserError, match=verb):
        predicted((study, results), tmp_path / "a.csv")
    preprocess_data(study, results, "scaled")
    again = predicted((study, results), tmp_path / "again.csv")
    pd.testing.assert_frame_equal(again, pd.read_csv(tmp_path / "a.csv"), check_exact=True)


def test_features_that_were_made_anew_are_not_taken_for_those_of_the_kernel(tmp_path: Path) -> None:
    study, results = make(tmp_path, CONFIG)
    solve_all(study, results)
    data = results / "tiny/data/train_x.npy"
    rewrite(data, np.load(data) ** 2)
    preprocess_data(study, results, "scaled")
    with pytest.raises(UserError, match=r"the features of train are not those that .* was declared with"):
        predicted((study, results), tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (np.zeros((3, 5)), r"found examples of shape \(5\) and dtype float64, expected \(4\) of floats"),
        (np.zeros((3, 4), np.uint8), "dtype uint8, expected"),
        (np.zeros((0, 4)), "found no examples"),
        (np.array([[0, 1, np.nan, 0]]), "a feature of example 0 is nan"),
        (np.array([["a"]]), "found an array of <U1"),
    ],
)
def test_bad_inputs_are_one_sentence_and_nothing_is_written(
    run: tuple[Study, Path], tmp_path: Path, x: np.ndarray, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        predicted(run, tmp_path / "a.csv", x)
    assert [path.name for path in tmp_path.iterdir()] == ["new.npy"]


def test_bad_options_are_one_sentence_and_nothing_is_written(
    run: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"a\.xlsx: found the ending '\.xlsx', expected \.csv or \.parquet"):
        predicted(run, tmp_path / "a.xlsx")
    with pytest.raises(UserError, match="has no kernel 'FD', expected one of FC"):
        predicted(run, tmp_path / "a.csv", kernel="FD")
    with pytest.raises(UserError, match="training size 31 is not on the ladder"):
        predicted(run, tmp_path / "a.csv", size=31)
    monkeypatch.setattr(predict_stages, "MOST_SAMPLED", 22)
    with pytest.raises(UserError, match="samples were asked for at 23 inputs, expected at most 22"):
        predicted(run, tmp_path / "a.csv", wanted=Wanted(samples=1))
    assert [path.name for path in tmp_path.iterdir()] == ["new.npy"]


def test_the_verb_writes_the_table(
    run: tuple[Study, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, results = run
    np.save(tmp_path / "new.npy", NEW)
    command = ["predict", str(results.parent / "tiny.yaml"), "--results", str(results), "--kernel", "FC"]
    command += ["--inputs", str(tmp_path / "new.npy"), "--output", str(tmp_path / "a.csv")]
    assert main([*command, "--size", "30", "--samples", "1", "--seed", "5"]) == 0
    assert list(pd.read_csv(tmp_path / "a.csv").columns[:3]) == ["row", "prediction_0", "prediction_1"]
    assert main([*command, "--size", "31"]) == 2
    assert "training size 31 is not on the ladder" in capsys.readouterr().err


def test_a_job_goes_on_with_its_chunks_whatever_memory_is_left_now(tmp_path: Path) -> None:
    prediction_job.open_job(tmp_path / "job", {"chunk": 100}, {})
    for rows, kept in {100: 100, 60: 100, 190: 100, 40: 40, 500: 500}.items():
        assert predict_stages._rows_begun_with(tmp_path / "job", rows) == kept
    assert predict_stages._rows_begun_with(tmp_path / "none", 7) == 7


def test_a_job_whose_record_did_not_fit_on_the_disk_can_be_begun(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / ".job.json.tmp").touch()
    prediction_job.open_job(tmp_path / "job", {"chunk": 1}, {})
    with pytest.raises(UserError, match="holds unfinished predictions of other inputs"):
        prediction_job.open_job(tmp_path / "job", {"chunk": 2}, {})


# --------------------------------------------------------------------------------- many variances


@pytest.fixture(scope="module")
def iterated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    config = CONFIG | {"solver": CONFIG["solver"] | {"direct_up_to": 30}}
    study, results = make(tmp_path_factory.mktemp("iterated"), config)
    solve_all(study, results)
    return study, results


MANY = np.random.default_rng(5).normal(2, 3, (300, 4))


def test_variances_of_many_inputs_lie_where_the_table_says(
    iterated: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neural_kernels.solvers.inverse.SPACE_COLUMNS", 4)
    table = predicted(iterated, tmp_path / "many.parquet", MANY, wanted=Wanted(True))
    assert "variance_residual" not in table
    for task in (0, 1):
        mean, covariance, noise = textbook(iterated, 50, task, MANY)
        exact, found = np.diag(covariance), table[f"variance_{task}"]
        np.testing.assert_allclose(table[f"prediction_{task}"], mean, rtol=1e-8)
        np.testing.assert_allclose(found, exact, rtol=0.2)
        assert np.median(np.abs(found / exact - 1)) < 0.01
        least, most = table[f"variance_least_{task}"], table[f"variance_most_{task}"]
        assert np.mean((least <= exact) & (exact <= most)) > 0.9
        np.testing.assert_allclose(table[f"std_{task}"] ** 2, found + noise)


def test_each_variance_can_be_asked_for(iterated: tuple[Study, Path], tmp_path: Path) -> None:
    table = predicted(iterated, tmp_path / "each.parquet", MANY, wanted=Wanted(each_variance=True))
    assert (table.pop("variance_residual") < 1e-12).all()
    assert "variance_least_0" not in table
    _, covariance, _ = textbook(iterated, 50, 0, MANY)
    np.testing.assert_allclose(table["variance_0"], np.diag(covariance), rtol=1e-8)


def test_many_variances_go_on_after_a_kill(
    iterated: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neural_kernels.solvers.inverse.SPACE_COLUMNS", 4)
    monkeypatch.setattr("neural_kernels.solvers.inverse.SECONDS", 0.0)
    monkeypatch.setattr(predict_stages, "CHUNK_ROWS", 90)
    whole = predicted(iterated, tmp_path / "whole.parquet", MANY, wanted=Wanted(True))
    ended = 0
    # Each run ends a little later, in the single solves, the space and the chunks.
    for left in range(1, 400, 9):
        with monkeypatch.context() as patch:
            killed_after(left, OPERATIONS, patch)
            try:
                resumed = predicted(iterated, tmp_path / "killed.parquet", MANY, wanted=Wanted(True))
            except Killed:
                ended += 1
                continue
        break
    assert ended > 3
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)
