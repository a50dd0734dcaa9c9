"""Whether rounding explains that a kernel matrix is not positive definite, or its entries must be wrong.

A kernel has no negative eigenvalue. Its matrix in a computer may have small ones, for two reasons: entries are
rounded, and so is the arithmetic that factorises or multiplies. What is beyond both has another cause: blocks of
another kernel, damaged ones, or an engine that is wrong. A larger ridge would hide that, not mend it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neural_kernels.errors import UserError

# An entry K_ij is off by up to so many units of its precision, relative to sqrt(K_ii K_jj): then no eigenvalue is off
# by more than this times the trace. (Found: up to 0.7, among kernels of digits and of points in the plane with ReLU,
# erf and GELU, n up to 1,500, in both precisions.)
ENTRY = 4
# The NTK of ReLU has the root of an angle's rounding in it: among nearly equal examples entries are off by the root of
# a unit. (Found: up to 1.5 such roots of the diagonal, among fivefold near duplicates.)
ROOT = 4


class NotPositiveDefinite(UserError):
    """K + shift I has no Cholesky factorisation, or is singular to working precision; rounding may be the cause."""


class NotAKernel(UserError):
    """K has an eigenvalue further below zero than rounding explains. No ridge makes that right."""


def explained_by_rounding(diagonal: np.ndarray, precision: npt.DTypeLike) -> float:
    """How far below zero rounding may take eigenvalues of a kernel matrix, as factorised or multiplied in float64.

    The backward error of a Cholesky factorisation is at most (n + 1) u |U^T| |U|, whose norm is at most the trace
    (Higham, Accuracy and Stability of Numerical Algorithms, theorem 10.3); that of products is no larger.

    Args:
        diagonal: (n,) of the matrix.
        precision: in which the entries were computed.
    """
    size = np.abs(diagonal)
    if not len(size):
        return 0.0
    unit = float(np.finfo(np.dtype(precision)).eps)
    arithmetic = (len(size) + 1) * float(np.finfo(np.float64).eps) / 2
    return float((arithmetic + ENTRY * unit) * size.sum() + ROOT * np.sqrt(unit) * size.max())


def not_a_kernel(diagonal: np.ndarray, precision: npt.DTypeLike, evidence: str) -> NotAKernel:
    """The error for the matrix with this diagonal, (n,), whose ``evidence`` is what was met beyond rounding."""
    explained = explained_by_rounding(diagonal, precision) / (float(np.abs(diagonal).mean()) or 1.0)
    return NotAKernel(
        f"the matrix of {len(diagonal)} examples is no kernel: {evidence}, where rounding in {np.dtype(precision)} "
        f"explains negative eigenvalues down to {-explained:.1e} of the mean diagonal; expected sound blocks of one "
        "kernel, by one engine (verify-blocks names damaged ones)"
    )
