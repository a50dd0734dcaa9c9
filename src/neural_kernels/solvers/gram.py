"""Gram matrices of some vectors of n rows: their roots, inverses and curvatures, with what rounding leaves out.

Their eigenvectors are found on one process, which decides for all: they may differ between machines, in more than
their last bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from neural_kernels.solvers.communicator import Communicator

T = TypeVar("T")

# Directions whose share of the Gram matrix is below this are rounding errors of the others.
DEPENDENT = 1e-14
# Rounding leaves smaller negative eigenvalues in a scaled Gram matrix that has none.
NEGATIVE = -1e-3


def gram_of(communicator: Communicator, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """left^T right over the rows of all processes, made symmetric."""
    product = communicator.sum(left.T @ right)
    return (product + product.T) / 2


def decided(communicator: Communicator, gram: np.ndarray, work: Callable[[np.ndarray], T]) -> T:
    """``work`` on the Gram matrix, by the first process for all."""
    return communicator.gather(work(gram) if communicator.rank == 0 else None)[0]


def root_of(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """S, (k, m), with S^T S = G, and its right inverse, (m, k); None where G is not positive semidefinite."""
    found = _scaled_eigen(gram)
    if found is None:
        return None
    values, vectors, scale, inverse = found
    root = np.sqrt(values)
    return root[:, None] * vectors.T * scale, inverse[:, None] * vectors / root


def pseudo_inverse(gram: np.ndarray) -> np.ndarray | None:
    """Of a positive semidefinite matrix; None where it is not, or where a direction has no curvature."""
    found = _scaled_eigen(gram)
    if found is None or not np.diag(gram).all():
        return None
    values, vectors, _, inverse = found
    half = inverse[:, None] * vectors / np.sqrt(values)
    return half @ half.T


def least_curvature(gram: np.ndarray, lengths: np.ndarray) -> float:
    """An upper bound on the smallest eigenvalue of A from P^T A P and P^T P, infinite where they are not finite."""
    if not (np.isfinite(gram).all() and np.isfinite(lengths).all()):
        return math.inf
    scale = np.sqrt(np.diag(lengths))
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    values, vectors = np.linalg.eigh(inverse[:, None] * gram * inverse)
    direction = inverse * vectors[:, 0]
    # Of directions that nearly depend on each other little is left but rounding: their length is not divided by.
    return float(values[0] / max(direction @ lengths @ direction, 1.0))


def _scaled_eigen(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None:
    """Eigenvalues and eigenvectors of D^-1 G D^-1, D = sqrt(diag G), without those of rounding, and D and D^-1.

    Zero rows have zero in both D and D^-1. None where G is not positive semidefinite, or not finite.
    """
    diagonal = np.diag(gram)
    if not np.isfinite(gram).all() or (diagonal < 0).any():
        return None
    scale = np.sqrt(diagonal)
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    values, vectors = np.linalg.eigh(inverse[:, None] * gram * inverse)
    if not len(values) or values[-1] <= 0:
        return values[:0], vectors[:, :0], scale, inverse
    if values[0] < NEGATIVE:
        return None
    kept = values > DEPENDENT * values[-1]
    return values[kept], vectors[:, kept], scale, inverse
