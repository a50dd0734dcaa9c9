"""Bayesian committee machine (Tresp 2000): test examples predicted together by processes that saw one part each.

The committee is a Gaussian process whose parts of the training set are independent of each other once the values
f of the test examples are known (Tresp 2000, section 3; the PITC approximation of Quinonero-Candela and Rasmussen
2005 with the test examples as inducing points). With the mean m_b and covariance C_b of f given part b alone and
its prior covariance S, it has on f

    precision A = sum_b C_b^-1 - (M - 1) S^-1   and   mean A^-1 sum_b C_b^-1 m_b.

Both differences lose all digits where S or C_b is nearly singular, as among similar test examples or with a small
ridge. Neither is formed: with S = L L^T, E_b = L^-1 K_qb and R_b R_b^T = K_bb + shift I - E_b^T E_b, the covariance
of part b and its noise once f is known, the Woodbury identity gives, with Z_b = R_b^-1 E_b^T,

    mean = L (I + sum_b Z_b^T Z_b)^-1 sum_b Z_b^T R_b^-1 Y_b.

What is factorised here has no eigenvalue below the jitter, the shift, or one, unless rounding is larger: a smaller
pivot is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.linalg import blas, lapack

from neural_kernels.errors import UserError
from neural_kernels.solvers.approximations.part_kernels import PartKernels
from neural_kernels.solvers.approximations.problem import (
    Approximation,
    Asked,
    Attempt,
    Problem,
    check_memory,
    descending,
)
from neural_kernels.solvers.approximations.query_chunks import QueryChunks, chunk_size, reading_bytes
from neural_kernels.solvers.approximations.subsets import draw_partition
from neural_kernels.solvers.blocked_cholesky import BLOCK, UPDATE_ROWS, factorise_in_place
from neural_kernels.solvers.definiteness import NotPositiveDefinite, explained_by_rounding, not_a_kernel

log = logging.getLogger(__name__)

DOUBLE = float(np.finfo(np.float64).eps)


def working_bytes(queries: int, part: int, columns: int) -> int:
    """Bytes that a call holds, the prior and its copy in float64 included, the kernel of a part left out."""
    larger = max(queries, part)
    matrices = 3 * queries**2 + 2 * queries * part + part**2
    # Factorising in blocks takes a copy of a row of them, and of their products.
    factorising = 0 if larger <= BLOCK else (BLOCK + UPDATE_ROWS) * larger + 2 * BLOCK**2
    return 8 * (matrices + factorising + 3 * larger * columns + 3 * queries * columns)


def bayesian_committee_machine(
    kernel_among: Callable[[np.ndarray], np.ndarray],
    cross: Callable[[np.ndarray], np.ndarray],
    prior: np.ndarray,
    targets: np.ndarray,
    partition: Sequence[np.ndarray],
    ridge: float,
    rounding: float = DOUBLE,
) -> np.ndarray:
    """Predictions of m test examples as one query, (m, C) float64; they depend on which are in it.

    As in Tresp 2000 it is the function's values that are predicted, not noisy observations of them: the ridge is
    noise of the training targets alone. For the sake of rounding the prior variance of each test example is
    larger by rounding^(2/3) of their mean, 4e-11 for float64 and 2e-5 for float32: at that jitter d, what it changes
    is of the size of what rounding changes, rounding / sqrt(d).

    Args:
        kernel_among: K[b, b] of indices b, (size, size) float64.
        cross: K[test, b] of indices b, (m, size) float64.
        prior: S = K[test, test], (m, m) float64.
        targets: Y, (n, C) float64.
        partition: the indices of each part; a single part gives the exact prediction.
        ridge: relative to the mean diagonal of each part.
        rounding: relative rounding of the kernel's entries, as they were computed and stored.

    Raises:
        UserError: shapes that do not fit.
        NotPositiveDefinite: the prior, or a part given the test examples, is not to working precision.
        NotAKernel: one of them is not, by more than rounding.
    """
    m = len(prior)
    if prior.shape != (m, m):
        raise UserError(f"the prior covariance has shape {prior.shape}, expected {(m, m)}")
    try:
        root = _root_of_prior(prior, rounding)
    except NotPositiveDefinite:
        _refuse_beyond_rounding(prior, rounding, f"{m} test examples")
        raise
    precision = np.eye(m)  # in coordinates in which the prior is the identity; the upper triangle counts
    weighted = np.zeros((m, targets.shape[1]))
    for part in partition:
        kernel, rows = kernel_among(part), cross(part)
        try:
            _add_part(precision, weighted, kernel, rows, root, targets[part], ridge)
        except NotPositiveDefinite:
            joint = np.block([[prior, rows], [rows.T, kernel]])
            _refuse_beyond_rounding(joint, rounding, f"{m} test examples and a part of {len(part)}")
            raise
    if factorise_in_place(precision):
        raise NotPositiveDefinite(f"the committee's precision at ridge {ridge:g} is not positive definite")
    mean, _ = lapack.dpotrs(precision.T, weighted, lower=1)
    return np.ascontiguousarray(blas.dtrmm(1.0, root, mean, side=0, lower=1))


def _add_part(
    precision: np.ndarray,
    weighted: np.ndarray,
    kernel: np.ndarray,
    cross: np.ndarray,
    root: np.ndarray,
    targets: np.ndarray,
    ridge: float,
) -> None:
    """Add Z^T Z to the precision's upper triangle, and Z^T R^-1 Y to ``weighted``."""
    b, m = len(kernel), len(root)
    if cross.shape != (m, b):
        raise UserError(f"the kernel of test examples and a part has shape {cross.shape}, expected {(m, b)}")
    # Columns of (b, m), in Fortran's order, so that every product is in place.
    explained = np.array(cross, np.float64, order="C").T
    explained = blas.dtrsm(1.0, root, explained, side=1, lower=1, trans_a=1, overwrite_b=1)
    left = _root_of_part(kernel, explained, ridge)
    explained = blas.dtrsm(1.0, left, explained, side=0, lower=1, overwrite_b=1)
    weighted += explained.T @ blas.dtrsm(1.0, left, targets, side=0, lower=1)
    blas.dsyrk(1.0, explained, beta=1.0, c=precision.T, trans=1, lower=1, overwrite_c=1)


def _root_of_prior(prior: np.ndarray, rounding: float) -> np.ndarray:
    """L of S + jitter I = L L^T, (m, m) in Fortran's order; what is above its diagonal is not used."""
    m = len(prior)
    matrix = np.array(prior, np.float64, order="C")
    jitter = rounding ** (2 / 3) * float(np.diag(matrix).mean())
    matrix.flat[:: m + 1] += jitter
    if factorise_in_place(matrix) or not _smallest_pivot(matrix) > jitter / 2:
        raise NotPositiveDefinite(
            f"the kernel among {m} test examples is not positive definite, beyond a rounding of {rounding:.0e}: "
            "expected the kernel of one architecture, computed in float64 where it is nearly singular"
        )
    return matrix.T


def _root_of_part(kernel: np.ndarray, explained: np.ndarray, ridge: float) -> np.ndarray:
    """R of K_bb + shift I - E^T E = R R^T, (b, b) as that of the prior; ``explained`` is E^T, (b, m)."""
    b = len(kernel)
    matrix = np.array(kernel, np.float64, order="C")
    diagonal = np.diag(matrix)
    largest, shift = float(diagonal.max()), ridge * float(diagonal.mean())
    matrix.flat[:: b + 1] += shift
    blas.dsyrk(-1.0, explained, beta=1.0, c=matrix.T, lower=1, overwrite_c=1)
    least = max(shift / 2, b * DOUBLE * largest)
    if factorise_in_place(matrix) or not _smallest_pivot(matrix) > least:
        raise NotPositiveDefinite(
            f"the kernel of a part of {b} examples, given {explained.shape[1]} test examples and with ridge {ridge:g}, "
            "is not positive definite to working precision: choose a larger ridge"
        )
    return matrix.T


def _refuse_beyond_rounding(matrix: np.ndarray, rounding: float, of_what: str) -> None:
    """Raise NotAKernel where the kernel among some examples is not definite with all that rounding explains added."""
    shifted, precision = (
        np.array(matrix, np.float64, order="C"),
        np.float32 if rounding > DOUBLE else np.float64,
    )
    if not np.isfinite(shifted).all():
        return
    diagonal = np.diag(shifted).copy()
    shifted.flat[:: len(shifted) + 1] += explained_by_rounding(diagonal, precision)
    minor = factorise_in_place(shifted)
    if minor:
        raise not_a_kernel(
            diagonal, precision, f"among {of_what} its leading minor of order {minor} is not positive"
        )


def _smallest_pivot(factor: np.ndarray) -> float:
    return float(np.diag(factor).min() ** 2)


def _committee(problem: Problem, asked: Asked, passed_over: list[float]) -> Iterator[Attempt]:
    """Queries are predicted together in chunks of at most ``size``, as many as the examples of a part."""
    settings, size = asked.settings, asked.size
    partition = draw_partition(problem.n, size, asked.seed)
    n, outputs = problem.targets.shape
    queries = problem.queries.values()
    chunk = max(chunk_size(q.size, size) for q in queries)
    working = working_bytes(chunk, max(map(len, partition)), outputs)
    working += 8 * 4 * max(q.size for q in queries) * outputs
    rows = max(reading_bytes(q, chunk, n) for q in queries)
    check_memory(working + rows, settings)
    # Parts first: every chunk goes through all of them.
    left = settings.memory_budget - working - rows
    kernels = PartKernels(problem.train, problem.window, partition, left)
    left -= min(sum(8 * len(part) ** 2 for part in partition), left)
    chunks = QueryChunks(problem.queries, problem.window, size, budget=rows + left)

    def predict_chunk(part: str, place: int, ridge: float) -> np.ndarray:
        cross, prior = chunks.read(part, place)
        return bayesian_committee_machine(
            kernels, lambda p: cross[:, p], prior, problem.targets, partition, ridge, chunks.rounding
        )

    def predict(part: str, ridge: float) -> np.ndarray:
        return np.concatenate([predict_chunk(part, place, ridge) for place in range(chunks.count(part))])

    def reading() -> float:
        return kernels.reading_seconds + chunks.reading_seconds

    return committee_attempts(settings.ridges, predict, reading, passed_over)


def committee_attempts(
    ridges: Sequence[float],
    predict: Callable[[str, float], np.ndarray],
    reading: Callable[[], float],
    passed_over: list[float],
) -> Iterator[Attempt]:
    """``predict`` takes a part of the data and a ridge; ``reading`` gives the seconds spent reading so far."""
    for ridge in descending(ridges):
        begun, before = time.perf_counter(), reading()
        try:
            known = predict("validation", ridge)
        except NotPositiveDefinite as error:
            log.warning("ridge %g is passed over: %s", ridge, error)
            passed_over.append(ridge)
            continue
        seconds = time.perf_counter() - begun - (reading() - before)

        def predictions(part: str, ridge: float = ridge, known: np.ndarray = known) -> np.ndarray:
            return known if part == "validation" else predict(part, ridge)

        yield Attempt(ridge, None, predictions, seconds, "direct", True, {})


COMMITTEE = Approximation(
    "Bayesian committee machine",
    _committee,
    note="predicts test examples together, in chunks of at most as many as a part has.",
)
