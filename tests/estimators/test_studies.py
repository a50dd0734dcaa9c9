"""An estimator opened from what the workflow has made predicts as the study's own stages do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.datasets import load_digits
from tiny_studies import DIGITS, study_with_blocks

from neural_kernels import NeuralKernelClassifier, NeuralKernelRegressor, kernel_matrix
from neural_kernels.stages.data import prepare_data, preprocess_data
from neural_kernels.stages.kernels import compute_block, declare_kernel
from neural_kernels.stages.predict import predict_inputs
from neural_kernels.stages.solve import solve
from neural_kernels.study.study import load_study

RANDOM = np.random.default_rng(0)
SEQUENCES = ["".join(RANDOM.choice(list("ACDEFGHIKLMNPQRSTVWY"), 8)) for _ in range(50)]
FITNESS = np.array([sequence.count("A") - sequence.count("W") for sequence in SEQUENCES]) + RANDOM.normal(
    size=50
)


def test_digits_are_classified_as_by_the_study(tmp_path: Path) -> None:
    config = DIGITS | {"training_sizes": {"sizes": [60]}, "ridge": {"candidates": [1e-3]}}
    study, results = study_with_blocks(tmp_path, config)
    solve(study, results, "FC", 60)
    fitted = NeuralKernelClassifier.from_study(tmp_path / "tiny.yaml", results=results)
    np.save(tmp_path / "new.npy", load_digits().images[1700:1720, :, :, None].astype(np.uint8))
    predict_inputs(study, results, "FC", tmp_path / "new.npy", tmp_path / "new.csv")
    table = pd.read_csv(tmp_path / "new.csv")
    scores = fitted.decision_function(np.load(tmp_path / "new.npy"))
    np.testing.assert_allclose(scores, table.filter(like="score").to_numpy(), rtol=1e-9, atol=1e-12)
    assert fitted.predict_proba(np.load(tmp_path / "new.npy")).sum(axis=1) == pytest.approx(1)
    with pytest.raises(ValueError, match="a study of classification: open it with NeuralKernelClassifier"):
        NeuralKernelRegressor.from_study(tmp_path / "tiny.yaml", results=results)
    with pytest.raises(ValueError, match=r"features\.json is missing: make"):
        NeuralKernelClassifier.from_study(tmp_path / "tiny.yaml", results=tmp_path / "elsewhere")


def test_sequences_are_predicted_with_the_spread_of_the_study(tmp_path: Path) -> None:
    parts = ["train"] * 40 + ["test"] * 10
    table = pd.DataFrame({"sequence": SEQUENCES, "target": FITNESS, "set": parts, "validation": ""})
    table.to_csv(tmp_path / "assay.csv", index=False)
    config = {
        "title": "t",
        "data": {
            "name": "flip",
            "path": str(tmp_path / "assay.csv"),
            "train_examples": 40,
            "validation_examples": 0,
            "test_sets": {"test": {"examples": 10}},
        },
        "preprocessing": {"plain": {"method": "none"}},
        "kernels": {"C": {"architecture": {"name": "Conv1D", "depth": 1}, "preprocessing": "plain"}},
        "blocks": {"edge": 17},
        "training_sizes": {"sizes": [40]},
        "ridge": {"candidates": [1e-2]},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    study, results = load_study(tmp_path / "tiny.yaml"), tmp_path / "results"
    prepare_data(study, results)
    preprocess_data(study, results, "plain")
    store = declare_kernel(study, results, "C", "train")
    for block in store.grid.blocks():
        compute_block(study, results, "C", "train", block, threads=1)
    solve(study, results, "C", 40)
    pd.DataFrame({"sequence": SEQUENCES[40:]}).to_csv(tmp_path / "new.csv", index=False)
    predict_inputs(study, results, "C", tmp_path / "new.csv", tmp_path / "out.csv", variance=True)
    table = pd.read_csv(tmp_path / "out.csv")
    fitted = NeuralKernelRegressor.from_study(tmp_path / "tiny.yaml", "C", results=results)
    mean, std = fitted.predict(SEQUENCES[40:], return_std=True)
    function = fitted.predict(SEQUENCES[40:], return_std=True, noise=False)[1]
    np.testing.assert_allclose(mean, table["prediction"], rtol=1e-9)
    np.testing.assert_allclose(std, table["std"], rtol=1e-7)
    np.testing.assert_allclose(function, table["std_function"], rtol=1e-7)
    assert fitted.ridge_ == 1e-2
    own = fitted.features_.of(SEQUENCES[:5])
    np.testing.assert_array_equal(fitted.features_.kernel(own), kernel_matrix(fitted.architecture_, own))
