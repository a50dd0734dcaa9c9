"""From one kernel matrix to the learning curve that it predicts: the stage of the rule predict_learning_curve."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from neural_kernels import blocks
from neural_kernels.blocks import fingerprints
from neural_kernels.errors import UserError
from neural_kernels.machine import memory
from neural_kernels.machine.threads import thread_limit
from neural_kernels.metrics import learning_curves
from neural_kernels.solvers import solved_size
from neural_kernels.storage import locks, sealed_parquet
from neural_kernels.study import folders
from neural_kernels.study.folders import at, open_features_folder, solution_folder, store_folder
from neural_kernels.study.study import Study, kernel_named

log = logging.getLogger(__name__)


def predict_learning_curve(study: Study, results: Path, kernel_name: str, threads: int | None = None) -> None:
    """Predict the test loss of every training size from the kernel matrix of the largest that is solved directly.

    Each size has the shifts that its draws were solved with. Writes a row for each size: kernel, n, predicted (NaN
    where there is none), kernel_examples (of the matrix, 0 for none) and reason (why there is none, else empty).

    Raises:
        UserError: the matrix does not fit in ``solver.memory_gib``, or a file that is needed is missing or damaged.
    """
    kernel_named(study, kernel_name)
    path = at(results, folders.LEARNING_CURVE, study=study.name, kernel=kernel_name)
    with locks.alone(path.with_suffix(".lock"), str(path)), thread_limit(threads):
        _predict(study, results, kernel_name, path)


def _predict(study: Study, results: Path, kernel_name: str, path: Path) -> None:
    kernel, n, sizes = (
        study.kernels[kernel_name],
        study.predicted_from(kernel_name),
        study.training_sizes(kernel_name),
    )
    if n == 0:
        why = "no training size is solved directly"
        if study.augmentation_factor > 1:
            why = "augmented copies are no independent examples, which the theory asks for"
        sealed_parquet.write(path, _table(kernel_name, sizes, {}, 0, why))
        return
    store = blocks.open_store(store_folder(study, results, kernel_name, "train"))
    used = store.grid.window_blocks(0, n)
    blocks.set_aside_faulty(store, used)
    targets = open_features_folder(study, results, kernel).load("train_targets.npy", n)
    shifts = {size: _shifts(study, results, kernel_name, size) for size in sizes if size <= n}
    facts = ["learning curve", sizes, shifts, fingerprints.content(store, used)]
    problem = fingerprints.problem(facts, targets)
    if sealed_parquet.has_problem(path, problem):
        blocks.check_changed_since(store, used, path)
        log.info("%s is there already, whole: nothing to predict", path)
        return
    if np.isnan(targets).any():
        why = "labels are missing, so that tasks have different training examples"
        sealed_parquet.write(path, _table(kernel_name, sizes, {}, 0, why), problem)
        return
    _check_memory(study, store, n, targets.shape[1])
    matrix = blocks.read_submatrix(store, (0, n), (0, n), np.float64)
    spectrum = learning_curves.spectrum(matrix, targets)
    predicted = {
        size: float(np.mean([learning_curves.predicted_loss(spectrum, size, shift) for shift in own]))
        for size, own in shifts.items()
    }
    why = f"the kernel matrix that it is predicted from has {n:,} examples"
    sealed_parquet.write(path, _table(kernel_name, sizes, predicted, n, why), problem)
    log.info("%s: %d sizes predicted from %d examples", path, len(predicted), n)


def _shifts(study: Study, results: Path, kernel: str, n: int) -> list[float]:
    """What each draw of size ``n`` was solved with on the diagonal."""
    solved = solved_size.read(solution_folder(study, results, kernel, n), study.draws(n, kernel))
    return [float(draw["shift"]) for draw in solved["draws"]]


def _check_memory(study: Study, store: blocks.KernelStore, n: int, columns: int) -> None:
    # Two blocks are in memory while the matrix is read, and gone before its eigenvectors are there.
    reading = 8 * n * n + 2 * store.largest_block_bytes
    needed = max(reading, learning_curves.working_bytes(n, columns))
    free = memory.left(study.solver.memory_gib)
    if needed > free:
        raise UserError(
            f"the learning curve from a kernel matrix of {n} examples takes {needed / 2**30:.2f} GiB, "
            f"solver.memory_gib leaves {free / 2**30:.2f}: raise it, or lower solver.direct_up_to"
        )


def _table(
    kernel: str, sizes: list[int], predicted: dict[int, float], kernel_examples: int, why: str
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "kernel": kernel,
            "n": np.array(sizes, dtype=np.int64),
            "predicted": [predicted.get(size, np.nan) for size in sizes],
            "kernel_examples": kernel_examples,
            "reason": ["" if size in predicted else why for size in sizes],
        }
    )
