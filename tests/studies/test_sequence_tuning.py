"""A tiny tuning study of a regression on sequences, as the paper's Appendix C.1 on AAV, stage by stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from neural_kernels.architectures import build
from neural_kernels.engines import kernel_matrix
from neural_kernels.stages import tune as tuning_stages
from neural_kernels.stages.data import prepare_data
from neural_kernels.storage.files import read_json
from neural_kernels.study.study import Study, load_study
from neural_kernels.tuning.candidate import read_candidate

LENGTH, LETTERS = 6, 4
TRIALS, EXAMPLES, MORE, VALIDATION = 6, 24, 60, 40
CONFIG: dict[str, Any] = {
    "title": "Tiny sequences",
    "seed": 3,
    "data": {
        "name": "arrays",
        "path": "sequences.npz",
        "train_examples": 80,
        "validation_examples": VALIDATION,
        "test_sets": {"held_out": {"examples": 50}},
    },
    "preprocessing": {"plain": {"method": "standardize"}},
    "kernels": {"Conv": {"architecture": {"name": "Conv1D", "depth": 1}, "preprocessing": "plain"}},
    "training_sizes": {"sizes": [EXAMPLES]},
    "ridge": {"candidates": [1e-3, 1e-1, 10.0]},
    "tuning": {
        "baseline": "Conv",
        "objective": "mse",
        "training_examples": EXAMPLES,
        "trials": TRIALS,
        "startup_trials": 3,
        "transfer": {"training_examples": MORE, "trials": 4},
        "space": {
            "architecture": {
                "name": "Conv1D",
                "activation": {"choices": ["relu", "erf", "identity", "gelu", "exp_normalized"]},
                "gamma": {"low": 0.5, "high": 2.0, "log": True, "when": {"activation": "exp_normalized"}},
                "W_std": {"low": 0.5, "high": 2.5},
                "b_std": {"choices": [0.0, 0.1, 1.0]},
                "last_W_std": {"low": 0.1, "high": 10.0, "log": True},
                "depth": {"low": 1, "high": 3, "integer": True},
                "filter_size": {"choices": [3, 5]},
                "pooling": {"choices": ["flatten", "average"]},
            },
            "preprocessing": {"method": "standardize"},
            "kind": {"choices": ["nngp", "ntk"]},
        },
    },
}


def sequences(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """One-hot sequences, and a sum of effects of letters and of neighbours in units of its own."""
    letters = rng.integers(0, LETTERS, (n, LENGTH))
    effects = np.random.default_rng(1)
    alone, pairs = effects.normal(size=(LENGTH, LETTERS)), effects.normal(size=(LETTERS, LETTERS))
    fitness = alone[np.arange(LENGTH), letters].sum(axis=1)
    fitness += 0.3 * pairs[letters[:, :-1], letters[:, 1:]].sum(axis=1)
    return np.eye(LETTERS)[letters], 50 + 7 * fitness


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """The study with all its stages done, and its results."""
    folder = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {f"{axis}_{part}": values
              for part, n in (("train", 130), ("held_out", 60))
              for axis, values in zip("xy", sequences(rng, n), strict=True)}  # fmt: skip
    np.savez(folder / "sequences.npz", **arrays)
    config = {**CONFIG, "data": {**CONFIG["data"], "path": str(folder / "sequences.npz")}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    study, results = load_study(folder / "tiny.yaml"), folder / "results"
    prepare_data(study, results)
    tuning_stages.start_tuning(study, results)
    for trial in range(TRIALS):
        tuning_stages.run_trial(study, results, trial, threads=1)
    tuning_stages.select_tuned(study, results)
    for which in ("tuned", "baseline"):
        tuning_stages.test_tuned(study, results, which, threads=1)
    for which in ("baseline", "0", "1", "2", "3"):
        tuning_stages.transfer_trial(study, results, which, threads=1)
    tuning_stages.report_tuning(study, results)
    return study, results


def record(results: Path, path: str) -> Any:
    return read_json(results / "tiny" / "tuning" / f"{path}.json")


def examples(results: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets, standardised as the docs say: by channel and by the whole training set."""
    x, y = (np.load(results / "tiny" / "data" / f"{part}_{axis}.npy") for axis in "xy")
    x_train, y_train = (np.load(results / "tiny" / "data" / f"train_{axis}.npy") for axis in "xy")
    channels = x_train.reshape(-1, LETTERS)
    features = (x - channels.mean(axis=0)) / channels.std(axis=0)
    return features, (y - y_train.mean()) / y_train.std()


def directly(
    results: Path, candidate: dict[str, Any], n: int, part: str, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions for ``part`` with dense NumPy, and its targets."""
    x, y = (values[:n] for values in examples(results, "train"))
    rows, targets = examples(results, part)
    architecture, kind = build(**candidate["architecture"]), candidate["kind"]
    kernel = kernel_matrix(architecture, x, kind=kind)
    kernel += ridge * np.mean(np.diag(kernel)) * np.eye(n)
    return kernel_matrix(architecture, rows, x, kind=kind) @ np.linalg.solve(kernel, y), targets


def test_every_trial_is_judged_by_its_validation_error(run: tuple[Study, Path]) -> None:
    _, results = run
    for number in range(TRIALS):
        found = record(results, f"trials/{number}")
        assert found["state"] == "complete", found["reason"]
        value, ridge = found["assessment"]["value"], found["assessment"]["ridge"]
        errors = {}
        for candidate in CONFIG["ridge"]["candidates"]:
            predictions, targets = directly(results, found["candidate"], EXAMPLES, "validation", candidate)
            assert targets.shape == (VALIDATION, 1)
            errors[candidate] = np.mean((predictions - targets) ** 2)
        assert value == pytest.approx(errors[ridge], rel=1e-6)
        assert errors[ridge] == min(errors.values())
        scores = found["assessment"]["scores"]
        assert set(scores) == {"validation"}
        assert scores["validation"]["mse"] == pytest.approx(value, rel=1e-12)


def test_the_winner_is_tested_by_error_and_rank_correlation(run: tuple[Study, Path]) -> None:
    _, results = run
    values = [record(results, f"trials/{number}")["assessment"]["value"] for number in range(TRIALS)]
    assert record(results, "selected")["best"] == int(np.argmin(values))
    tested = record(results, "test/tuned")
    predictions, targets = directly(
        results, tested["candidate"], EXAMPLES, "held_out", tested["assessment"]["ridge"]
    )
    scores = tested["assessment"]["scores"]["held_out"]
    assert scores["mse"] == pytest.approx(np.mean((predictions - targets) ** 2), rel=1e-6)
    rank_correlation = stats.spearmanr(predictions[:, 0], targets[:, 0]).statistic
    # Sequences whose predictions differ by rounding alone change places.
    assert scores["spearman"] == pytest.approx(rank_correlation, abs=1e-2)
    # Half the error of the mean of the training targets: there was something to find.
    assert min(values) < 0.5 * np.mean(examples(results, "validation")[1] ** 2)
    assert scores["spearman"] > 0.5


def test_the_second_look_has_more_training_examples(run: tuple[Study, Path]) -> None:
    _, results = run
    chosen = record(results, "selected")["transfer"]
    for place, number in enumerate(chosen):
        again = record(results, f"transfer/{place}")
        assert again["hyperparameters"] == record(results, f"trials/{number}")["hyperparameters"]
        predictions, targets = directly(
            results, again["candidate"], MORE, "validation", again["assessment"]["ridge"]
        )
        error = np.mean((predictions - targets) ** 2)
        assert again["assessment"]["value"] == pytest.approx(error, rel=1e-6)


def test_the_report_is_a_pdf_and_the_winner_a_file_of_the_family(run: tuple[Study, Path]) -> None:
    _, results = run
    assert (results / "tiny_tuning.pdf").read_bytes().startswith(b"%PDF")
    winner = read_candidate(results / "tiny" / "tuned.yaml")
    assert winner["architecture"]["name"] == "Conv1D"
    # Not what only whitening has, though the config's defaults give it.
    assert winner["preprocessing"].keys() - {"fit_examples"} == {"method"}
