"""The learning curve that one kernel matrix predicts: the test error of ridge regression with fewer of its examples.

With m examples and the shift delta on the diagonal, how well ridge regression learns each eigenfunction of the kernel
follows from one number kappa, at which the sum of their learnabilities is m - delta / kappa (Simon, Dickens, Karkada,
DeWeese 2023, "The eigenlearning framework"). The eigenvalues, and the targets in their eigenfunctions, are unknown
beyond what n examples show, so that none is estimated: on all n examples some larger shift s has the same kappa, and
the error there can be measured without others (Wei, Hu, Steinhardt 2022, "More than a toy"). With the eigenvalues mu of
K, and t_1, t_2 the sums of (mu + s)^-1 and (mu + s)^-2, kappa is 1 / t_1, and s and the error follow from

    sum of (mu + delta) / (mu + s) = m,   error(m, delta) / error(n, s) = m / (m - n + t_1^2 / t_2) / (n t_2 / t_1^2).

The error with s on all examples is that of leaving one out, which is exact from the inverse's diagonal. Generalised
cross-validation, which the papers take, equals it where examples are alike: where norms differ, as images' do, it is
far off with a small ridge (docs/results.md). Noise, and what n examples cannot learn, are in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize

# What LAPACK takes for each row besides the matrix and its eigenvectors.
ROW_BYTES = 8 * 100


@dataclass(frozen=True)
class Spectrum:
    """K = U diag(mu) U^T and the targets.

    ``eigenvalues`` (n,) ascending, ``vectors`` (n, n) columns of U, ``coefficients`` (n, C) U^T y; all float64.
    """

    eigenvalues: np.ndarray
    vectors: np.ndarray
    coefficients: np.ndarray

    @property
    def n(self) -> int:
        """How many examples."""
        return len(self.eigenvalues)


def working_bytes(n: int, columns: int) -> int:
    """Bytes that ``spectrum`` and predictions take: the matrix, its eigenvectors, vectors of targets."""
    return 2 * 8 * n * n + 4 * 8 * n * columns + ROW_BYTES * n


def spectrum(kernel: np.ndarray, targets: np.ndarray) -> Spectrum:
    """Eigenvalues and eigenvectors of K, some 9 n^3 operations.

    Args:
        kernel: (n, n) float64, symmetric; overwritten.
        targets: (n, C) float64 without NaN.

    Raises:
        ValueError: other shapes or types, or a target that is not finite.
    """
    n = len(kernel)
    if kernel.dtype != np.float64 or kernel.shape != (n, n) or targets.shape[:1] != (n,) or targets.ndim != 2:
        raise ValueError(
            f"the kernel is {kernel.dtype} {kernel.shape} and targets have shape {targets.shape}, expected float64 "
            "(n, n) and (n, C)"
        )
    if not np.isfinite(targets).all():
        raise ValueError("targets are not finite")
    # To LAPACK, which takes columns, the transpose of what NumPy has in rows needs no copy.
    eigenvalues, vectors = linalg.eigh(kernel.T, driver="evr", overwrite_a=True, check_finite=False)
    return Spectrum(eigenvalues, vectors, vectors.T @ targets)


def predicted_loss(kernel: Spectrum, m: int, shift: float) -> float:
    """Expected squared error of new examples, a mean over targets, after ridge regression on ``m`` of the examples.

    Args:
        kernel: of the n examples, n at least ``m``.
        m: at least 1.
        shift: on the diagonal of K, at least 0; in the units of K.

    Raises:
        ValueError: ``m`` or ``shift`` out of range, or K with the shift is not positive definite.
    """
    n, values = kernel.n, kernel.eigenvalues
    if not 1 <= m <= n or not shift >= 0:
        raise ValueError(
            f"m is {m} and the shift {shift:g}, expected 1 <= m <= {n} and a shift of at least 0"
        )
    if not values[0] + shift > 0:
        raise ValueError(f"the kernel of {n} examples with shift {shift:g} is not positive definite")
    inverse = 1 / (values + equivalent_shift(values, m, shift))
    first, second = float(inverse.sum()), float(inverse @ inverse)
    dual = kernel.vectors @ (inverse[:, None] * kernel.coefficients)
    diagonal = np.einsum("ij,ij,j->i", kernel.vectors, kernel.vectors, inverse)
    left_out = float(np.mean((dual / diagonal[:, None]) ** 2))
    overfitting = m / (m - n + first**2 / second)
    return left_out * overfitting / (n * second / first**2)


def equivalent_shift(eigenvalues: np.ndarray, m: int, shift: float) -> float:
    """The shift with which all n examples have the kappa that ``m`` of them have with ``shift``.

    Args:
        eigenvalues: (n,) float64 of K, each plus ``shift`` positive.
    """
    n = len(eigenvalues)
    if m == n:
        return shift
    shifted = eigenvalues + shift

    def surplus(log_added: float) -> float:
        return float(np.sum(shifted / (shifted + np.exp(log_added)))) - m

    # With so little added the sum is above n - 1, and with so much below any m.
    least, most = np.log(shifted[0]) - np.log(2.0 * n), np.log(shifted.sum() / m) + 1
    return shift + float(np.exp(optimize.brentq(surplus, least, most, xtol=1e-12)))
