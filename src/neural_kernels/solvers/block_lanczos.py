"""Block Lanczos: an orthonormal basis V of a block Krylov space of K, in which every ridge has its solution.

    K V_j = V_{j-1} B_{j-1}^T + V_j A_j + V_{j+1} B_j,        T = V^T K V = tridiag(B_{j-1}, A_j, B_j^T)

The Galerkin solution for a shift s is V (T + s I)^-1 V^T b, that of block conjugate gradients, and the space is the
same for all shifts: one set of passes over the matrix serves them all. The norm of its residual is |B_m y_m|, y_m the
last block of (T + s I)^-1 V^T b, as long as the basis is orthonormal, which is seen to: each block is made orthogonal
to all before it (Golub and Underwood 1977; Golub and Van Loan, Matrix Computations, 10.3.6).

Arrays of n rows hold this process's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from neural_kernels.solvers.communicator import Communicator
from neural_kernels.solvers.gram import decided, gram_of
from neural_kernels.solvers.krylov_basis import KrylovBasis
from neural_kernels.solvers.operator import RidgeSystem

# Of a direction that is a rounding error no more than this is left, once what lies in the basis is taken away.
LOST = 0.1
# Columns that begin the space depend on each other where so little of them is left beside the others' directions: each
# entry is a rounded one, as those of centred one-hot labels are.
DEPENDENT = 1e-14
# So little of a product is certainly its rounding.
NOTHING = float(np.finfo(np.float64).eps)
# Rows for each column of what is orthonormalised at a time, in the processor's cache.
STRIP = 16


@dataclass
class KrylovSpace:
    """The space so far; ``basis`` has one block more than there were passes, unless nothing was left to add.

    Attributes:
        start: S, (k_1, c), the block that it begins with being V_1 S.
        diagonal: A_j, (k_j, k_j), of each pass.
        below: B_j, (k_{j+1}, k_j).
    """

    basis: KrylovBasis
    start: np.ndarray
    diagonal: list[np.ndarray] = field(default_factory=list)
    below: list[np.ndarray] = field(default_factory=list)

    @property
    def passes(self) -> int:
        return len(self.diagonal)

    @property
    def exhausted(self) -> bool:
        """Whether K leads nowhere else: solutions in the space are exact."""
        return len(self.below) > 0 and len(self.below[-1]) == 0


def begin(block: np.ndarray, basis: KrylovBasis, communicator: Communicator) -> KrylovSpace:
    """The space of K's powers times ``block``, (own rows, c), before the first pass.

    Args:
        basis: an empty one.
    """
    q, start = _orthonormal(block, DEPENDENT * _lengths(block, communicator), communicator)
    basis.append(q)
    return KrylovSpace(basis, start)


def extend(space: KrylovSpace, matrix: RidgeSystem, communicator: Communicator) -> None:
    """One pass over the matrix, one block more.

    Args:
        matrix: K, a system without shift, one mask for all columns.
    """
    basis, j = space.basis, space.passes
    v = basis.block(j)
    w = matrix.apply(v, np.zeros(v.shape[1], np.intp))
    lengths = _lengths(w, communicator)
    if j > 0:
        w -= basis.block(j - 1) @ space.below[j - 1].T
    projected = gram_of(communicator, v, w)
    w -= v @ projected
    # Each column of a product is rounded as the largest is: a small one is the sum of large terms.
    q, size = _orthonormal(w, np.full_like(lengths, NOTHING * lengths.max()), communicator)
    for i in range(j + 1):
        block = basis.block(i)
        within = communicator.sum(block.T @ q)
        q -= block @ within
        if i == j:
            rest = within @ size
            projected += (rest + rest.T) / 2
    q, change = _without_lost(q, communicator)
    space.diagonal.append(projected)
    space.below.append(change @ size)
    if q.shape[1]:
        basis.append(q)


def residual_norms(space: KrylovSpace, shift: float, right: np.ndarray) -> np.ndarray | None:
    """|b - (K + s I) x| of the Galerkin solutions after each pass, (passes, c), for right-hand sides V_1 R.

    Args:
        right: R, (k_1, c).

    Returns:
        None where K + s I is not positive definite on the space.
    """
    swept = _forward(space, shift, right)
    return None if swept is None else np.stack([np.linalg.norm(z, axis=0) for z in swept[1][1:]])


def weights(space: KrylovSpace, shift: float, right: np.ndarray) -> np.ndarray | None:
    """(T + s I)^-1 V^T b, (columns that have been multiplied, c); arguments and None as of ``residual_norms``."""
    swept = _forward(space, shift, right)
    if swept is None:
        return None
    factors, z = swept
    y: list[np.ndarray] = [cho_solve(factors[-1], z[-2], check_finite=False)]
    for j in range(len(factors) - 2, -1, -1):
        y.append(cho_solve(factors[j], z[j] - space.below[j].T @ y[-1], check_finite=False))
    return np.vstack(y[::-1])


def combine(space: KrylovSpace, own_rows: int, weights: np.ndarray) -> np.ndarray:
    """V W, (own rows, c), for weights W of the leading columns of the basis, in one reading of it."""
    total, done = np.zeros((own_rows, weights.shape[1])), 0
    for j in range(len(space.basis)):
        width = space.basis.widths[j]
        if done == len(weights):
            break
        total += space.basis.block(j) @ weights[done : done + width]
        done += width
    return total


def tridiagonal(space: KrylovSpace) -> np.ndarray:
    """T, (columns that have been multiplied, same)."""
    ends = np.cumsum([0, *(len(block) for block in space.diagonal)])
    t = np.zeros((ends[-1], ends[-1]))
    for j, block in enumerate(space.diagonal):
        own = slice(ends[j], ends[j + 1])
        t[own, own] = block
        if j + 1 < space.passes:
            following = slice(ends[j + 1], ends[j + 2])
            t[following, own] = space.below[j]
            t[own, following] = space.below[j].T
    return t


def _forward(
    space: KrylovSpace, shift: float, right: np.ndarray
) -> tuple[Sequence[tuple[np.ndarray, bool]], list[np.ndarray]] | None:
    """Block elimination of T + s I: the factor of each pivot, and z, whose last one is the residual's."""
    factors, z = [], [right]
    carried = np.zeros_like(space.diagonal[0])
    for block, below in zip(space.diagonal, space.below, strict=True):
        pivot = block - carried + shift * np.eye(len(block))
        try:
            factor = cho_factor(pivot, lower=True, check_finite=True)
        except (LinAlgError, ValueError):
            return None
        factors.append(factor)
        z.append(-below @ cho_solve(factor, z[-1], check_finite=False))
        carried = below @ cho_solve(factor, below.T, check_finite=False)
        carried = (carried + carried.T) / 2
    return factors, z


def _orthonormal(
    w: np.ndarray, rounding: np.ndarray, communicator: Communicator
) -> tuple[np.ndarray, np.ndarray]:
    """Q, (own rows, k), and S, (k, c), with Q S = W and orthonormal Q.

    By reflections, a strip of rows at a time, and then their triangles together: a Gram matrix knows no direction below
    the root of its rounding, and those that it knows badly, once they are not orthogonal, are lost beside others.

    Args:
        w: (own rows, c).
        rounding: (c,) lengths of each column's rounding errors; a direction that is no larger is left out.

    Raises:
        FloatingPointError: W is not finite.
    """
    scale = np.where(rounding > 0, rounding, 1.0)
    # Rows of zeros are examples without labels, where a direction of rounding must have nothing either.
    there = np.flatnonzero(w.any(axis=1))
    tall = max(1, STRIP * w.shape[1])
    strips = [there[first : first + tall] for first in range(0, len(there), tall)]
    factors = [np.linalg.qr(w[strip] / scale) for strip in strips]
    triangles = communicator.gather([triangle for _, triangle in factors])
    shares, size = communicator.gather(_joined(triangles, w.shape[1]) if communicator.rank == 0 else None)[0]
    if shares is None:
        raise FloatingPointError("a product with the kernel is not finite")
    q = np.zeros((len(w), len(size)))
    for strip, (own, _), share in zip(strips, factors, shares[communicator.rank], strict=True):
        q[strip] = own @ share
    return q, size * scale


def _joined(
    triangles: Sequence[Sequence[np.ndarray]], columns: int
) -> tuple[list[list[np.ndarray]] | None, np.ndarray]:
    """What the Q of each strip of each process is multiplied by, and S; None for the former where R is not finite.

    Args:
        triangles: R of each strip of each process, ``columns`` wide.
    """
    stacked = np.vstack([np.zeros((0, columns)), *(each for of_one in triangles for each in of_one)])
    if not np.isfinite(stacked).all():
        return None, stacked
    left, values, right = np.linalg.svd(stacked, full_matrices=False)
    kept = values > 1.0
    rows = iter(np.split(left[:, kept], np.cumsum([len(each) for of_one in triangles for each in of_one])))
    return [[next(rows) for _ in of_one] for of_one in triangles], values[kept, None] * right[kept]


def _without_lost(q: np.ndarray, communicator: Communicator) -> tuple[np.ndarray, np.ndarray]:
    """As ``_orthonormal``, for Q that was orthonormal before its part in the basis was taken away.

    What is lost was a rounding error, so that its share in the other directions, their own part in the basis, is one of
    a rounding error.
    """

    def root(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = np.linalg.eigh(gram)
        kept = values > LOST
        size = np.sqrt(values[kept])
        return size[:, None] * vectors[:, kept].T, vectors[:, kept] / size

    change, inverse = decided(communicator, gram_of(communicator, q, q), root)
    return q @ inverse, change


def _lengths(vectors: np.ndarray, communicator: Communicator) -> np.ndarray:
    """(c,) of the columns of (own rows, c)."""
    return np.sqrt(communicator.sum(np.einsum("ik,ik->k", vectors, vectors)))
