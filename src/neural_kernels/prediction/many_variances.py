"""Posterior variances of many new inputs from one Krylov space, where each would take an iterative solve.

A few inputs, drawn at random, are solved for singly; from these is learned what the space leaves out of the others
(``solvers.quadratic_forms``). In the folder of the job (``job``):

    known.json      the inputs that were solved for, and what was found
    space/          the space, from which a run that ended goes on
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from neural_kernels import engines
from neural_kernels.blocks import KernelStore
from neural_kernels.prediction.job import CrossKernel
from neural_kernels.prediction.posterior import explained
from neural_kernels.solvers import inverse
from neural_kernels.solvers.quadratic_forms import Forms, drawn
from neural_kernels.solvers.settings import Settings
from neural_kernels.solvers.solution import Record
from neural_kernels.storage.files import read_json_if_sound, write_json

Solve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
"""(n, k) to (K + shift I)^-1 of it, and the relative residuals (k,)."""


def forms(
    folder: Path,
    job: str,
    kernel: CrossKernel,
    store: KernelStore,
    record: Record,
    settings: Settings,
    solve: Solve,
) -> Callable[[np.ndarray], Forms]:
    """From kernel rows of new inputs, (n, m) float64, to what the data explain of their variances.

    Args:
        folder: of the job, whose fingerprint is ``job``.
        store: of the training kernel.
        record: of the solve.
        solve: for single inputs.
    """
    few = kernel.inputs[drawn(len(kernel.inputs))]
    facts = {"kind": kernel.kind, "engine": kernel.engine, "precision": kernel.precision}
    cross = engines.kernel_matrix(kernel.architecture, kernel.train, few, **facts)  # type: ignore[arg-type]
    vectors = np.ascontiguousarray(cross, dtype=np.float64)
    prior = engines.variances(kernel.architecture, few, **facts).astype(np.float64)  # type: ignore[arg-type]
    known = _known(folder, job, kernel, vectors, solve)
    problem = f"{job} {kernel.inputs_hash}"
    return inverse.forms_of_store(
        store, record, settings, (vectors, known), prior - known, folder / "space", problem
    )


def _known(folder: Path, job: str, kernel: CrossKernel, vectors: np.ndarray, solve: Solve) -> np.ndarray:
    """What the data explain of the inputs whose kernel rows are ``vectors``, by a solve each."""
    path = folder / "known.json"
    identity = {"job": job, "inputs": kernel.inputs_hash}
    found = read_json_if_sound(path)
    if found is not None and {key: found.get(key) for key in identity} == identity:
        return np.array(found["explained"])
    solved, residuals = solve(vectors)
    values = explained(vectors.T, solved)
    assert residuals is not None
    write_json(path, identity | {"explained": values.tolist(), "residuals": residuals.tolist()})
    return values
