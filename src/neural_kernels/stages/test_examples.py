"""Test examples one by one, of the largest training size: what the stage of evaluation writes beside its metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neural_kernels import blocks, engines
from neural_kernels.blocks import KernelStore
from neural_kernels.graphs import Examples
from neural_kernels.prediction import example_table, posterior
from neural_kernels.solvers import Solution, inverse
from neural_kernels.solvers.cholesky import tasks_by_mask
from neural_kernels.stages.job_memory import SPREAD_UP_TO
from neural_kernels.study import folders
from neural_kernels.study.study import Kernel, Study

__test__ = False  # no module of tests


def path_of(study: Study, results: Path, kernel: str, n: int) -> Path | None:
    """Where they are written; None for another size than the largest."""
    if n != study.training_sizes(kernel)[-1]:
        return None
    return folders.at(results, folders.EXAMPLES, study=study.name, kernel=kernel, n=n)


def table(
    study: Study,
    kernel: Kernel,
    solution: Solution,
    targets: Callable[[], np.ndarray],
    stores: Mapping[str, KernelStore],
    examples: Callable[[str], Examples],
    predictions: Mapping[str, tuple[np.ndarray, np.ndarray]],
    described: Mapping[str, Any],
) -> pd.DataFrame:
    """Every test set's rows (``example_table``), from the first draw.

    Args:
        targets: reads those of the training examples, (n, C), NaN where a label is missing; asked where there is a
            spread, as ``examples`` is.
        stores: of each part, the training kernel under "train".
        examples: from a test set to its features.
        predictions: (m, C) of each test set, and its labels.
        described: of the features (features.json).
    """
    spreads: dict[str, np.ndarray] = {}
    known = kernel.imported is None and described["task"] == "regression"
    if known and solution.record.n <= SPREAD_UP_TO:
        tests = {part: examples(part) for part in predictions}
        spreads = _spreads(study, kernel, solution, targets(), stores, tests)
    return pd.concat(
        [
            example_table.rows(part, prediction, labels, described, spreads.get(part))
            for part, (prediction, labels) in predictions.items()
        ],
        ignore_index=True,
    )


def _spreads(
    study: Study,
    kernel: Kernel,
    solution: Solution,
    targets: np.ndarray,
    stores: Mapping[str, KernelStore],
    examples: Mapping[str, Examples],
) -> dict[str, np.ndarray]:
    """What a new measurement of each test example is expected within, (m, C) of the targets that were solved for."""
    record = solution.record
    train, window = stores["train"], (0, record.n)
    masks = tasks_by_mask(~np.isnan(targets))
    matrix = blocks.read_submatrix(train, window, window, np.float64)
    inverses = inverse.direct_inverses(
        matrix, record.shift, record.ridge, [known for known, _ in masks], train.dtype
    )
    amplitude = posterior.amplitudes(targets, solution.coefficients)
    found = {}
    for part, x in examples.items():
        cross = blocks.read_submatrix(stores[part], (0, len(x)), window, np.float64)
        prior = engines.variances(
            kernel.architecture, x, kind=kernel.kind, engine=study.engine, precision=study.precision
        ).astype(np.float64)
        found[part] = np.full((len(x), targets.shape[1]), np.nan)
        for number, (known, tasks) in enumerate(masks):
            if not known.any():
                continue
            rows = np.ascontiguousarray(cross[:, known])
            explained = posterior.explained(rows, inverses(number)(np.ascontiguousarray(rows.T)))
            for task in tasks:
                variance = posterior.variances(prior, explained, float(amplitude[task]))
                found[part][:, task] = np.sqrt(variance + amplitude[task] * record.shift)
    return found
