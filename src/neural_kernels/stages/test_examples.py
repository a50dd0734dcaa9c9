"""Examples one by one, of the largest training size: what the stage of evaluation writes beside its metrics.

Test examples, and training examples as all others predict them, which says what a kernel is worth without a validation
set, how sharp its scores of classes are, and how far conformal intervals reach.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neural_kernels import blocks, engines
from neural_kernels.blocks import KernelStore
from neural_kernels.estimators.calibration import probabilities, sharpness
from neural_kernels.graphs import Examples
from neural_kernels.metrics.table import VALIDATION
from neural_kernels.prediction import example_table, posterior
from neural_kernels.prediction.example_table import LEFT_OUT
from neural_kernels.prediction.likeness import most_alike
from neural_kernels.solvers import Solution, inverse
from neural_kernels.solvers.cholesky import solve_cholesky, tasks_by_mask
from neural_kernels.solvers.criteria import InverseFacts, leave_one_out_predictions
from neural_kernels.solvers.definiteness import NotPositiveDefinite
from neural_kernels.stages.job_memory import SPREAD_UP_TO
from neural_kernels.study import folders
from neural_kernels.study.study import Kernel, Study

__test__ = False  # no module of tests

log = logging.getLogger(__name__)

MOST_COMPARED = 2**29
"""Entries of the kernel between a test set and the training examples that are read for the nearest of these."""
ROWS = 512
"""Of them that are in memory at a time."""


def path_of(study: Study, results: Path, kernel: str, n: int) -> Path | None:
    """Where they are written; None for another size than the largest."""
    if n != study.training_sizes(kernel)[-1]:
        return None
    return folders.at(results, folders.EXAMPLES, study=study.name, kernel=kernel, n=n)


@dataclass(frozen=True)
class LeftOut:
    """Training examples, each predicted by all others: (n, C) float64 predictions and spread of the targets."""

    prediction: np.ndarray
    spread: np.ndarray


def table(
    study: Study,
    kernel: Kernel,
    solution: Solution,
    training: Callable[[], tuple[np.ndarray, np.ndarray]],
    stores: Mapping[str, KernelStore],
    examples: Callable[[str], Examples],
    predictions: Mapping[str, tuple[np.ndarray, np.ndarray]],
    described: Mapping[str, Any],
) -> pd.DataFrame:
    """The rows (``example_table``) of every test set and, up to ``SPREAD_UP_TO``, of what was left out, first draw.

    Args:
        training: reads targets of the training examples, (n, C), NaN where a label is missing, and their labels; asked
            where there is a spread, as ``examples`` is.
        stores: of each part, the training kernel under "train".
        examples: from a part to its features, the training examples that were solved with under "train".
        predictions: (m, C) of the validation and test sets, and their labels.
        described: of the features (features.json).
    """
    spreads: dict[str, np.ndarray] = {}
    nearest: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    tables = []
    tested = {part: found for part, found in predictions.items() if part != VALIDATION}
    sharp = _sharpness(*predictions[VALIDATION], described) if VALIDATION in predictions else None
    if kernel.imported is None and described["task"] != "multilabel":
        tests = {part: examples(part) for part in tested}
        nearest = _nearest(study, kernel, solution.record.n, stores, tests, examples)
        if solution.record.n <= SPREAD_UP_TO:
            targets, labels = training()
            left_out = _left_out(study, solution, targets, stores["train"])
            if described["task"] == "regression":
                spreads = _spreads(study, kernel, solution, targets, stores, tests)
            if left_out is not None:
                if sharp is None:
                    sharp = _sharpness(left_out.prediction, labels, described)
                likely = _probabilities(left_out.prediction, sharp)
                found = left_out.prediction
                tables.append(example_table.rows(LEFT_OUT, found, labels, described, left_out.spread, likely))
    for part, (prediction, labels) in tested.items():
        likely = _probabilities(prediction, sharp)
        known = spreads.get(part), likely, nearest.get(part)
        tables.append(example_table.rows(part, prediction, labels, described, *known))
    return pd.concat(tables, ignore_index=True)


def _sharpness(scores: np.ndarray, labels: np.ndarray, described: Mapping[str, Any]) -> float | None:
    return sharpness(scores, labels) if described["task"] == "classification" else None


def _probabilities(scores: np.ndarray, sharp: float | None) -> np.ndarray | None:
    return None if sharp is None else probabilities(scores, sharp)


def _left_out(study: Study, solution: Solution, targets: np.ndarray, train: KernelStore) -> LeftOut | None:
    """None where copies of an image predict each other, and where the kernel is singular to rounding."""
    record = solution.record
    if study.augmentation_factor > 1:
        return None
    window = (0, record.n)
    matrix = blocks.read_submatrix(train, window, window, np.float64)
    try:
        solved = solve_cholesky(matrix, targets, record.ridge, precision=train.dtype, judged=True)
    except NotPositiveDefinite as error:
        log.warning("no leave-one-out predictions of n = %d: %s", record.n, error)
        return None
    assert isinstance(solved.inverse, InverseFacts)
    diagonal = solved.inverse.diagonal
    prediction = leave_one_out_predictions(targets, solution.coefficients, diagonal)
    prediction[np.isnan(targets)] = np.nan
    amplitude = posterior.amplitudes(targets, solution.coefficients)
    return LeftOut(prediction, np.sqrt(amplitude / diagonal))


def _nearest(
    study: Study,
    kernel: Kernel,
    n: int,
    stores: Mapping[str, KernelStore],
    tests: Mapping[str, Examples],
    examples: Callable[[str], Examples],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The training example with the largest correlation, and this, of each test set that is not too large."""
    compared = {part: x for part, x in tests.items() if len(x) * n <= MOST_COMPARED}
    if not compared:
        return {}
    theirs = _variances(study, kernel, examples("train"))
    found = {}
    for part, x in compared.items():
        own, places = _variances(study, kernel, x), np.empty(len(x), np.intp)
        likeness = np.empty(len(x))
        for first in range(0, len(x), ROWS):
            last = min(first + ROWS, len(x))
            cross = blocks.read_submatrix(stores[part], (first, last), (0, n), np.float64)
            places[first:last], likeness[first:last] = most_alike(cross, own[first:last], theirs)
        found[part] = places, likeness
    return found


def _variances(study: Study, kernel: Kernel, x: Examples) -> np.ndarray:
    return engines.variances(
        kernel.architecture, x, kind=kernel.kind, engine=study.engine, precision=study.precision
    ).astype(np.float64)


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
        prior = _variances(study, kernel, x)
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
