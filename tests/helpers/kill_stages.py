"""The stages that are killed: two tiny studies, and every verb that they take, each after those that it needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

DATA = {"name": "arrays", "path": "data.npz", "train_examples": 60, "validation_examples": 24}
STUDY = {
    "title": "Tiny",
    "data": DATA | {"test_sets": {"test": {"examples": 30}}},
    "preprocessing": {"white": {"method": "zca"}},
    "kernels": {"FC": {"architecture": {"name": "FC", "depth": 1}, "preprocessing": "white"}},
    "blocks": {"edge": 40, "tile": 20},
    "training_sizes": {"sizes": [20, 60]},
    "draws": 2,
    "ridge": {"candidates": [1e-3, 1e-1]},
    "solver": {
        "direct_up_to": 20,
        "preconditioner": {"rank": 5},
        "checkpoint_minutes": 1e-9,
        "residual_every": 5,
        "tolerance": 1e-3,
    },
    "approximations": {"methods": ["nystrom", "truncated_cg"], "sizes": [10], "iterations": [4]},
}
TUNING = {
    "title": "Tiny tuning",
    "data": STUDY["data"],
    "preprocessing": {"white": {"method": "zca"}},
    "kernels": {"CV1": {"architecture": {"name": "CNNVec", "depth": 1}, "preprocessing": "white"}},
    "ridge": {"candidates": [1e-2, 1.0]},
    "tuning": {
        "baseline": "CV1",
        "training_examples": 12,
        "validation_examples": 10,
        "trials": 2,
        "startup_trials": 2,
        "space": {
            "architecture": {"name": "CNNVec", "depth": 1, "W_std": {"low": 0.5, "high": 3.0}},
            "preprocessing": {"method": "zca", "regularization": {"low": 0.01, "high": 10.0, "log": True}},
            "kind": {"choices": ["nngp", "ntk"]},
        },
    },
}
KERNEL = ["--kernel", "FC"]
TRAIN = [*KERNEL, "--part", "train"]


def block(place: str, part: str = "train") -> list[str]:
    return ["compute-block", "config/tiny.yaml", *KERNEL, "--part", part, "--block", place, "--threads", "1"]


def solve(n: int) -> list[str]:
    return ["solve", "config/tiny.yaml", *KERNEL, "--size", str(n), "--threads", "1"]


PREDICT = ["predict", "config/tiny.yaml", *KERNEL, "--size", "20", "--inputs", "inputs.npz"]
PREDICT += ["--output", "results/new.csv", "--variance", "--samples", "2", "--threads", "1"]
CHAIN: list[tuple[str, list[str]]] = [
    ("prepare-data", ["prepare-data", "config/tiny.yaml"]),
    ("preprocess-data", ["preprocess-data", "config/tiny.yaml", "--preprocessing", "white"]),
    *[(f"declare-kernel {part}", ["declare-kernel", "config/tiny.yaml", *KERNEL, "--part", part])
      for part in ("train", "validation", "test")],
    ("block 0-0", block("0-0")),
    ("block 0-1", block("0-1")),
    ("block 1-1", block("1-1")),
    *[(f"block {part} 0-{j}", block(f"0-{j}", part)) for part in ("validation", "test") for j in (0, 1)],
    ("solve directly", solve(20)),
    ("solve iteratively", solve(60)),
    *[(f"evaluate {n}", ["evaluate", "config/tiny.yaml", *KERNEL, "--size", str(n)]) for n in (20, 60)],
    ("collect-metrics", ["collect-metrics", "config/tiny.yaml"]),
    *[(f"approximate {method}",
       ["approximate", "config/tiny.yaml", *KERNEL, "--method", method, "--size", size, "--threads", "1"])
      for method, size in (("nystrom", "10"), ("truncated_cg", "4"))],
    ("predict", PREDICT),
    ("prepare-data of tuning", ["prepare-data", "config/tune.yaml"]),
    ("start-tuning", ["start-tuning", "config/tune.yaml", "--threads", "1"]),
    ("run-trial 0", ["run-trial", "config/tune.yaml", "--trial", "0", "--threads", "1"]),
    ("run-trial 1", ["run-trial", "config/tune.yaml", "--trial", "1", "--threads", "1"]),
    ("select-tuned", ["select-tuned", "config/tune.yaml"]),
]  # fmt: skip
"""Every stage of two studies, each after those that it needs."""
ONCE_MORE = ("evaluate 60", "run-trial 1")
"""Stages that do what another one does; the chain needs them, nobody kills them."""
FIRST, LATER = ([name for name, _ in part if name not in ONCE_MORE] for part in (CHAIN[:12], CHAIN[12:]))


def write_inputs(folder: Path) -> None:
    """The studies' data, and new inputs for the verb predict."""
    images = load_digits().images[:, ::2, ::2, np.newaxis].astype(np.uint8)
    labels = load_digits().target
    np.savez(
        folder / "data.npz",
        x_train=images[:84],
        y_train=labels[:84],
        x_test=images[84:114],
        y_test=labels[84:114],
    )
    np.savez(folder / "inputs.npz", x=images[-3:])
