"""A tiny tuning study on the digits, for the tests of tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from neural_kernels.stages.data import prepare_data
from neural_kernels.study.study import Study, load_study

CONFIG: dict[str, Any] = {
    "title": "Tiny tuning",
    "seed": 5,
    "data": {
        "name": "digits",
        "train_examples": 80,
        "validation_examples": 40,
        "test_sets": {"digits": {"examples": 50}},
    },
    "preprocessing": {"whitened": {"method": "zca"}},
    "kernels": {"CV1": {"architecture": {"name": "CNNVec", "depth": 1}, "preprocessing": "whitened"}},
    "ridge": {"candidates": [1e-4, 1e-2, 1.0]},
    "tuning": {
        "baseline": "CV1",
        "training_examples": 20,
        "validation_examples": 30,
        "trials": 5,
        "startup_trials": 3,
        "transfer": {"training_examples": 40, "trials": 3},
        "space": {
            "architecture": {
                "name": "CNNVec",
                "depth": {"low": 1, "high": 3, "integer": True},
                "activation": {"choices": ["relu", "erf", "exp_normalized"]},
                "gamma": {"low": 0.5, "high": 2.0, "when": {"activation": "exp_normalized"}},
                "W_std": {"low": 0.5, "high": 3.0},
            },
            "preprocessing": {
                "method": "zca",
                "regularization": {"low": 0.01, "high": 10.0, "log": True},
            },
            "kind": {"choices": ["nngp", "ntk"]},
        },
    },
}


def config(**tuning: Any) -> dict[str, Any]:
    """The config with keys of the section tuning replaced, or left out where they are None."""
    section = {key: v for key, v in {**CONFIG["tuning"], **tuning}.items() if v is not None}
    return {**CONFIG, "tuning": section}


def prepared(folder: Path, name: str = "tiny", **tuning: Any) -> tuple[Study, Path]:
    """A study in ``folder`` with its data prepared, and its results folder."""
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(config(**tuning)))
    study, results = load_study(folder / f"{name}.yaml"), folder / "results"
    prepare_data(study, results)
    return study, results
