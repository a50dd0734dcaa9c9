"""A solved kernel regression, and what prepares an input for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import blocks
from neural_kernels.blocks import KernelStore, kernel_features
from neural_kernels.errors import UserError
from neural_kernels.preprocessing import transform
from neural_kernels.preprocessing.features import TRANSFORM_FILE
from neural_kernels.preprocessing.transform import SavedTransform
from neural_kernels.solvers import Solution, solved_size
from neural_kernels.study.folders import features_folder, open_features_folder, solution_folder, store_folder
from neural_kernels.study.study import Kernel, Study, check_size, kernel_named


@dataclass(frozen=True)
class Model:
    """A solved kernel regression, and what prepares an input for it.

    Attributes:
        described: features.json.
        targets: (n, C) float64 of the training examples, NaN where a label is missing.
    """

    study: Study
    kernel: Kernel
    n: int
    described: dict[str, Any]
    transform: SavedTransform
    store: KernelStore
    solution: Solution
    targets: np.ndarray


def load_model(study: Study, results: Path, kernel_name: str, size: int | None) -> Model:
    """What the study has, of its first draw of training size ``size``.

    Raises:
        UserError: something is missing, and what to make first; or features, kernel and transform that don't
            belong together.
    """
    kernel = kernel_named(study, kernel_name)
    n = study.training_sizes(kernel_name)[-1] if size is None else size
    check_size(study, kernel_name, n)
    folder = features_folder(study, results, kernel)
    store = store_folder(study, results, kernel_name, "train")
    solved = solution_folder(study, results, kernel_name, n)
    for needed in (folder / "features.json", store / "kernel.json", solved / "solved.json"):
        if not needed.exists():
            target = solved.relative_to(results) / "solved.json"
            raise UserError(f"{needed} is missing: make results/{target} with snakemake first")
    features = open_features_folder(study, results, kernel)
    described = features.summary
    saved = transform.load(features.file(TRANSFORM_FILE))
    train = blocks.open_store(store)
    kernel_features.check(train, "train", features)
    found = described["feature_hashes"]["train"]
    if saved.train_hash != found:
        raise UserError(
            f"{folder / TRANSFORM_FILE} is of other training features than features.json beside it (hash "
            f"{saved.train_hash[:12]}, expected {found[:12]}): make both again"
        )
    (solution,) = solved_size.load(solved, 1)
    targets = features.load("train_targets.npy", n)
    if solution.coefficients.shape != targets.shape:
        raise UserError(
            f"{solved / 'draw0'} has coefficients {solution.coefficients.shape}, expected {targets.shape} as the "
            "targets"
        )
    return Model(study, kernel, n, described, saved, train, solution, targets)
