"""A study of a made-up table of SMILES with many tasks, from the file to its reports, and its tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from resealing import rewrite
from sklearn.metrics import average_precision_score

from neural_kernels import blocks
from neural_kernels.errors import UserError
from neural_kernels.metrics import task_scores
from neural_kernels.stages import tune as tuning_stages
from neural_kernels.stages.check import check_study
from neural_kernels.stages.data import prepare_data, preprocess_data
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.kernels import compute_block, declare_kernel
from neural_kernels.stages.report import collect_metrics, report_scaling
from neural_kernels.stages.solve import _validation, solve
from neural_kernels.stages.tasks import report_tasks
from neural_kernels.storage.files import read_json
from neural_kernels.study.study import Study, load_study

pytest.importorskip("rdkit", reason="reading SMILES needs the package rdkit")

TASKS = ("oxygen", "ring", "rare", "unlabelled", "untested")
CONFIG: dict[str, Any] = {
    "title": "Made-up molecules",
    "data": {
        "name": "smiles",
        "id_column": "name",
        "split": {"method": "column", "column": "part"},
        "train_examples": 40,
        "validation_examples": 20,
        "test_sets": {"test": {"examples": 20}},
    },
    "preprocessing": {"plain": {"method": "none"}},
    "kernels": {"GNN": {"architecture": {"name": "SimpleGNN", "depth": 1}, "preprocessing": "plain"}},
    "blocks": {"edge": 40},
    "training_sizes": {"sizes": [10, 40]},
    "ridge": {"candidates": [1e-5, 1e-3, 1e-1]},
    "solver": {"direct_up_to": 10, "tolerance": 1e-10},
    "tasks": {
        "published": [{"name": "Chance", "metric": "average_precision", "value": 0.5, "source": "a guess"}]
    },
}
TUNING = {
    "baseline": "GNN",
    "objective": "average_precision",
    "training_examples": 20,
    "validation_examples": 20,
    "trials": 3,
    "startup_trials": 2,
    "space": {
        "architecture": {
            "name": "SimpleGNN",
            "depth": {"choices": [1, 2]},
            "self_loops": {"choices": [False, True]},
            "W_std": {"low": 0.5, "high": 2.5},
        },
        "preprocessing": {"method": "none"},
        "kind": {"choices": ["nngp", "ntk"]},
    },
}


def write_table(path: Path) -> Path:
    """80 molecules: chains and rings with and without oxygen. Every third label is missing."""
    random = np.random.default_rng(0)
    lines = [",".join(("name", "smiles", "part", *TASKS))]
    parts = ["train"] * 40 + ["valid"] * 20 + ["test"] * 20
    for row, part in enumerate(parts):
        oxygen, ring = (int(value) for value in random.integers(0, 2, 2))
        smiles = "C" * random.integers(1, 6) + ("O" if oxygen else "") + ("C1CCCC1" if ring else "C")
        rare = int(row in (45, 66))
        labels = [oxygen, ring, rare, 1, ring if part != "test" else 0]
        cells = [str(label) if (row + place) % 3 else "" for place, label in enumerate(labels)]
        cells[3] = "" if part == "train" else "1"
        lines.append(",".join((f"m{row}", smiles, part, *cells)))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("molecules")


def load(folder: Path, name: str, **sections: Any) -> Study:
    data = CONFIG["data"] | {"path": str(write_table(folder / "table.csv"))}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(CONFIG | {"data": data} | sections))
    return load_study(folder / f"{name}.yaml")


@pytest.fixture(scope="module")
def solved(folder: Path) -> tuple[Study, Path]:
    study, results = load(folder, "made_up"), folder / "results"
    prepare_data(study, results)
    preprocess_data(study, results, "plain")
    for part in ("train", "validation", "test"):
        declare_kernel(study, results, "GNN", part)
        compute_block(study, results, "GNN", part, (0, 0), threads=1)
    for n in study.training_sizes("GNN"):
        solve(study, results, "GNN", n, threads=1)
        evaluate_predictions(study, results, "GNN", n)
    return study, results


def of(results: Path, part: str, what: str) -> np.ndarray:
    return np.load(results / "made_up" / "features" / "plain" / f"{part}_{what}.npy")


def kernel(results: Path, part: str) -> np.ndarray:
    return blocks.read_block(blocks.open_store(results / "made_up/kernels/GNN" / part), 0, 0)


def mean_ap(predictions: np.ndarray, labels: np.ndarray) -> Any:
    values = []
    for scores, own in zip(predictions.T, labels.T, strict=True):
        known = ~np.isnan(own)
        if len(np.unique(own[known])) == 2:
            values.append(average_precision_score(own[known], scores[known]))
    return np.mean(values)


def dense(results: Path, n: int, ridge: float) -> np.ndarray:
    """Coefficients of each task alone."""
    K, targets = kernel(results, "train")[:n, :n], of(results, "train", "targets")[:n]
    x = np.zeros_like(targets)
    for task, own in enumerate(targets.T):
        known = np.flatnonzero(~np.isnan(own))
        shift = ridge * np.diag(K).mean() * np.eye(len(known))
        x[known, task] = np.linalg.solve(K[np.ix_(known, known)] + shift, own[known])
    return x


@pytest.mark.parametrize("n", [10, 40])
def test_the_ridge_and_the_scores_are_those_of_each_task_alone(solved: tuple[Study, Path], n: int) -> None:
    study, results = solved
    solution = read_json(
        results / "made_up" / "solutions" / "GNN" / study.method(n) / f"n{n}" / "solved.json"
    )["draws"][0]
    cross, labels = kernel(results, "validation")[:, :n], of(results, "validation", "labels")
    scores = {ridge: mean_ap(cross @ dense(results, n, ridge), labels) for ridge in study.ridge_candidates()}
    assert scores[solution["ridge"]] == pytest.approx(max(scores.values()), rel=1e-9)
    predictions = kernel(results, "test")[:, :n] @ dense(results, n, solution["ridge"])
    expected = mean_ap(predictions, of(results, "test", "labels"))
    table = pd.read_parquet(results / "made_up" / "metrics" / "GNN" / f"n{n}.parquet")
    found = table.query("split == 'test' and metric == 'average_precision'")["value"].item()
    assert found == pytest.approx(expected, rel=1e-9)
    each = task_scores.read([results / "made_up" / "metrics" / "GNN" / f"n{n}.tasks.parquet"])
    each = each.loc[each["split"] == "test"].set_index("task")
    assert tuple(each.index) == TASKS
    assert each["average_precision"].mean() == pytest.approx(expected, rel=1e-9)
    test_labels = of(results, "test", "labels")
    np.testing.assert_array_equal(each["labelled"], (~np.isnan(test_labels)).sum(axis=0))
    np.testing.assert_array_equal(each["positives"], np.nansum(test_labels, axis=0))
    assert each["average_precision"].isna().to_dict() == dict.fromkeys(TASKS, False) | {
        "rare": each.loc["rare", "positives"] == 0, "unlabelled": True, "untested": True
    }  # fmt: skip


def test_a_task_without_labels_has_no_coefficients(solved: tuple[Study, Path]) -> None:
    _, results = solved
    assert np.isnan(of(results, "train", "targets")[:, 3]).all()
    for n, method in ((10, "direct"), (40, "iterative")):
        folder = results / "made_up" / "solutions" / "GNN" / method / f"n{n}" / "draw0"
        coefficients = np.load(folder / "coefficients.npy")
        assert not coefficients[:, 3].any()
        # All training labels of "rare" are 0.
        assert not coefficients[:, 2].any()
        assert coefficients[:, 0].any()


def test_the_reports_are_written(solved: tuple[Study, Path], folder: Path) -> None:
    study, results = solved
    collect_metrics(study, results)
    report_tasks(study, results)
    report_scaling(study, results)
    for name in ("made_up_tasks.pdf", "made_up_scaling.pdf"):
        assert (results / name).read_bytes().startswith(b"%PDF")
    assert (results / "made_up" / "tasks.png").stat().st_size > 0


def test_a_ridge_by_mean_squared_error_is_asked_for(solved: tuple[Study, Path], folder: Path) -> None:
    _, results = solved
    by_mse = load(folder, "made_up", ridge=CONFIG["ridge"] | {"objective": "mse"})
    validation = _validation(by_mse, results, by_mse.kernels["GNN"], (0, 10))
    predictions = np.random.default_rng(0).normal(size=(20, 5))
    targets = of(results, "validation", "targets")
    assert validation.loss(predictions, targets) == pytest.approx(np.nanmean((predictions - targets) ** 2))
    wrong = load(folder, "made_up", ridge=CONFIG["ridge"] | {"objective": "accuracy"})
    with pytest.raises(
        UserError, match=r"ridge\.objective is 'accuracy', but the data is multilabel: expected one"
    ):
        check_study(wrong, results)


def test_validation_labels_that_rank_nothing_are_one_sentence(
    solved: tuple[Study, Path], folder: Path
) -> None:
    _, results = solved
    few = dict(CONFIG["kernels"]["GNN"], validation_examples=1)
    study = load(folder, "made_up", kernels={"GNN": few})
    with pytest.raises(UserError, match="none of the tasks has both labels among the 1 validation examples"):
        _validation(study, results, study.kernels["GNN"], (0, 10))


def test_tuning_by_average_precision(folder: Path) -> None:
    pytest.importorskip("optuna", reason="tuning needs the package optuna")
    study, results = load(folder, "tuned", tuning=TUNING), folder / "results"
    prepare_data(study, results)
    tuning_stages.start_tuning(study, results, threads=1)
    records = [tuning_stages.run_trial(study, results, number, threads=1) for number in range(3)]
    assert all(record.state == "complete" for record in records)
    best = tuning_stages.select_tuned(study, results)
    assert best.assessment is not None
    assert best.assessment.value == max(record.assessment.value for record in records if record.assessment)
    assert 0 < best.assessment.value <= 1
    assert best.assessment.scores["validation"]["average_precision"] == pytest.approx(best.assessment.value)
    for which in ("tuned", "baseline"):
        tuning_stages.test_tuned(study, results, which, threads=1)
    tuning_stages.report_tuning(study, results)
    assert (results / "tuned_tuning.pdf").read_bytes().startswith(b"%PDF")
    assert (results / "tuned" / "tuned.yaml").is_file()


def test_tuning_knows_other_graphs(folder: Path) -> None:
    study, results = load(folder, "tuned", tuning=TUNING), folder / "results"
    prepare_data(study, results)
    sizes = {"train": 20, "validation": 20}
    data = results / "tuned" / "data"
    before = tuning_stages._examples_hash(data, sizes)
    edges = np.load(data / "train_x.edges.npy")
    edges[0] = edges[0, ::-1]
    rewrite(data / "train_x.edges.npy", edges)
    assert tuning_stages._examples_hash(data, sizes) != before
