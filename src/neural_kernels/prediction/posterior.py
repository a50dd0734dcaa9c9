"""The Gaussian process whose posterior mean kernel regression predicts (Rasmussen and Williams 2006, chapter 2).

Its covariance is s^2 K and the variance of its noise s^2 shift, K the kernel and shift what the solve added to the
diagonal. Predictions don't depend on s^2; uncertainties are proportional to it. A kernel's own scale follows from
how weights are initialised and says nothing of the data, so s^2 is the one of maximum marginal likelihood,
y^T (K + shift I)^-1 y / n for each task: there the derivative of the likelihood of section 5.4.1 by s^2 is zero.

With the NTK as K it is the process that has the NTK as covariance. Without a ridge its mean is what training to
convergence gives on average; its variance is not that of trained networks (Lee et al. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from neural_kernels.errors import UserError

# Relative to the mean prior variance. Rounding leaves a covariance of close inputs slightly indefinite.
JITTERS = tuple(10.0**exponent for exponent in range(-12, -3))


def amplitudes(targets: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """s^2 of each task, (C,) float64; NaN for a task without labels.

    Args:
        targets: (n, C) float64, NaN where a label is missing.
        coefficients: (n, C) float64, (K + shift I)^-1 y, zero where a label is missing.
    """
    labelled = (~np.isnan(targets)).sum(axis=0)
    products = np.einsum("ik,ik->k", np.nan_to_num(targets, nan=0.0), coefficients)
    return np.where(labelled == 0, np.nan, products / np.maximum(labelled, 1))


def leave_one_out_amplitudes(coefficients: np.ndarray, inverse_diagonal: np.ndarray) -> np.ndarray:
    """s^2 of each task, (C,) float64, at which what each example is predicted by the others is likeliest.

    Left out, example i is predicted with the error a_i / [A^-1]_ii and the variance s^2 / [A^-1]_ii (Rasmussen and
    Williams 2006, section 5.4.2), so that s^2 is the mean of a_i^2 / [A^-1]_ii.

    Args:
        coefficients: (n, C) float64, A^-1 y.
        inverse_diagonal: (n, C) of A^-1, NaN where a label is missing.
    """
    counts = (~np.isnan(inverse_diagonal)).sum(axis=0)
    squares = np.nansum(coefficients**2 / inverse_diagonal, axis=0)
    return np.where(counts == 0, np.nan, squares / np.maximum(counts, 1))


def explained(cross: np.ndarray, solved: np.ndarray) -> np.ndarray:
    """k_x^T (K + shift I)^-1 k_x of each new input, (m,): by how much the data lowers k(x, x).

    Args:
        cross: (m, n) float64, the kernel between new inputs and training examples.
        solved: (n, m) float64, (K + shift I)^-1 cross^T.
    """
    return np.einsum("ij,ji->i", cross, solved)


def variances(prior: np.ndarray, explained: np.ndarray, amplitude: float) -> np.ndarray:
    """Posterior variance of the function, without noise, (m,); ``prior`` is k(x, x) of each new input."""
    # What rounding makes negative is zero to rounding.
    return amplitude * np.maximum(prior - explained, 0.0)


@dataclass(frozen=True)
class Root:
    """L of L L^T = covariance + jitter I, as ``lower`` (m, m) float64; what is above its diagonal is not used."""

    lower: np.ndarray
    jitter: float


def root(covariance: np.ndarray, scale: float) -> Root:
    """Cholesky factor of a joint posterior covariance, with the smallest of ``JITTERS`` that lets it exist.

    Args:
        covariance: (m, m) float64, symmetric, before the amplitude. Twice its memory is used.
        scale: mean prior variance of the new inputs.

    Raises:
        UserError: it is indefinite by more than rounding.
    """
    diagonal = np.diag(covariance).copy()
    for relative in JITTERS:
        jitter = relative * scale
        shifted = covariance.copy(order="F")
        shifted[np.diag_indices(len(shifted))] = diagonal + jitter
        factor, minor = lapack.dpotrf(shifted, lower=1, overwrite_a=1, clean=1)
        if minor == 0:
            return Root(factor, jitter)
    raise UserError(
        f"the joint posterior covariance of {len(covariance)} inputs is not positive semidefinite, even with "
        f"{JITTERS[-1]:g} of the prior variance on its diagonal: expected a kernel in float64 and a solve that "
        "converged"
    )


def draws(
    mean: np.ndarray, root: Root, amplitude: float, count: int, random: np.random.Generator
) -> np.ndarray:
    """Functions drawn from the joint posterior at all new inputs, (m, count) float64: Thompson samples.

    Args:
        mean: (m,) posterior mean.
        root: of the joint posterior covariance before the amplitude.
    """
    normal = random.standard_normal((len(mean), count))
    return mean[:, np.newaxis] + np.sqrt(amplitude) * (root.lower @ normal)
