"""Bayesian committee machine (Tresp 2000; Rasmussen and Williams 2006, section 8.3.5): posterior mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from neural_kernels.errors import UserError
from neural_kernels.solvers import cholesky
from neural_kernels.solvers.definiteness import NotPositiveDefinite


def bayesian_committee_machine(
    kernel_among: Callable[[np.ndarray], np.ndarray],
    cross: Callable[[np.ndarray], np.ndarray],
    prior: np.ndarray,
    targets: np.ndarray,
    partition: Sequence[np.ndarray],
    ridge: float,
    jitter: float = 1e-10,
    computed_in: npt.DTypeLike = np.float64,
) -> np.ndarray:
    """Predictions, (m, C) float64, of M Gaussian processes that saw one part of the data each.

    With the mean f_b and covariance S_b of each process and the prior covariance S on the test examples,
    the committee's precision is A = sum_b S_b^-1 - (M - 1) S^-1 and its mean A^-1 sum_b S_b^-1 f_b.

    Args:
        kernel_among: K[b, b] of indices b, (size, size) float64.
        cross: K[test, b] of indices b, (m, size) float64.
        prior: S. Either (m, m), the kernel among the test examples, which are then predicted together, or
            (m,), its diagonal, with which each test example is a query of its own.
        targets: Y, (n, C) float64.
        partition: the indices of each part; a single part gives the exact prediction.
        ridge: relative to the mean diagonal of each part.
        jitter: added to all covariances of the test examples, relative to their mean variance.
        computed_in: precision in which the kernel's entries were computed.

    Raises:
        UserError: shapes that do not fit.
        NotPositiveDefinite: the kernel of a part, or a covariance, is not.
        NotAKernel: the kernel of a part is not positive semidefinite, by more than rounding.
    """
    m, columns = len(prior), targets.shape[1]
    joint = prior.ndim == 2
    if prior.shape not in ((m, m), (m,)):
        raise UserError(f"the prior covariance has shape {prior.shape}, expected (m, m), or (m,) variances")
    variance = np.diag(prior) if joint else prior
    extra = jitter * float(variance.mean())
    precision = np.zeros_like(prior, np.float64)
    weighted = np.zeros((m, columns))
    for part in partition:
        mean, covariance = _expert(kernel_among(part), cross(part), prior, targets[part], ridge, computed_in)
        if joint:
            inverse = _inverse(covariance, extra, "a part's covariance of the test examples")
            weighted += inverse @ mean
        else:
            inverse = 1 / _positive(covariance + extra, "a part's variance of a test example")
            weighted += inverse[:, None] * mean
        precision += inverse
    members = len(partition)
    if joint:
        precision -= (members - 1) * _inverse(prior, extra, "the prior covariance of the test examples")
        return _solve(precision, weighted, "the committee's precision")
    precision -= (members - 1) / _positive(prior + extra, "the prior variance of a test example")
    return weighted / _positive(precision, "the committee's precision")[:, None]


def _expert(
    kernel: np.ndarray,
    cross: np.ndarray,
    prior: np.ndarray,
    targets: np.ndarray,
    ridge: float,
    computed_in: npt.DTypeLike,
) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean, (m, C), and covariance, as the prior's shape, of the process that saw one part."""
    shift = ridge * float(np.diag(kernel).mean())
    factor, _ = cholesky.factorise(np.array(kernel, order="C"), shift, ridge, computed_in)
    explained = cholesky.solve_factorised(factor, cross.T)
    if prior.ndim == 2:
        return explained.T @ targets, prior - cross @ explained
    return explained.T @ targets, prior - np.einsum("mb,bm->m", cross, explained)


def _factor(matrix: np.ndarray, what: str) -> tuple[np.ndarray, bool]:
    try:
        return cho_factor(matrix, lower=True)
    except LinAlgError as error:
        raise NotPositiveDefinite(
            f"{what} is not positive definite ({error}): choose a larger ridge or jitter"
        ) from None


def _solve(matrix: np.ndarray, right: np.ndarray, what: str) -> np.ndarray:
    return cho_solve(_factor((matrix + matrix.T) / 2, what), right)


def _inverse(matrix: np.ndarray, extra: float, what: str) -> np.ndarray:
    n = len(matrix)
    return _solve(matrix + extra * np.eye(n), np.eye(n), what)


def _positive(values: np.ndarray, what: str) -> np.ndarray:
    if not (values > 0).all():
        raise NotPositiveDefinite(
            f"{what} is {values.min():g}, expected a positive number: choose a larger jitter"
        )
    return values
