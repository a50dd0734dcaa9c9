"""Preconditioners: P = L L^T + (shift + rest) I from a low-rank approximation L L^T of the kernel.

The rest, the mean diagonal of K - L L^T, stands for the spectrum that L has not: without it P takes that for zero, and
where it is far above the shift (convolutional kernels, small ridges) P^-1 K would have eigenvalues from one to their
ratio, and the preconditioner would cost iterations instead of saving them.

Where labels are missing, each task t has its own matrix M_t K M_t + shift I, and its own
P_t = M_t L L^T M_t + (shift + rest) I. (Masking P^-1 instead, M_t P^-1 M_t, is cheaper and useless: in the leading
directions of K it is too large by the ratio of their eigenvalue to the shift.) Tasks with the same mask share
one small factorisation; the products with L, where the cost is, are shared by all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import lapack, solve_triangular

from neural_kernels.errors import UserError
from neural_kernels.solvers.communicator import Communicator
from neural_kernels.solvers.tall_products import Tall


class Preconditioner(Protocol):
    """The inverses of symmetric positive definite matrices that resemble those solved with."""

    def apply(self, vectors: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Own rows of P_t^-1 v_t, (own rows, k) float64, from the own rows of v_t, one for each of ``columns``."""


@dataclass(frozen=True)
class Identity:
    """No preconditioner."""

    def apply(self, vectors: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return vectors.copy()


@dataclass(frozen=True)
class LowRank:
    """P_t = M_t L L^T M_t + shift I.

    With the QR factorisation [M_t L; sqrt(shift) I] = Q R, P_t^-1 v is the residual of the least-squares
    problem min |[v; 0] - [M_t L; sqrt(shift) I] w|, divided by the shift. R comes from the QR of M_t L itself,
    never from its normal matrix, whose condition number is the square; w comes from the seminormal equations
    R^T R w = L^T v with one correction, which makes them as good as using Q (Bjorck 1987), and Q is never
    stored.

    Attributes:
        factor: own rows of L, (own rows, r).
        triangles: R of each different mask, (r, r).
        mask_of: (C,) which of the masks a column has.
        known: own rows of the mask, (own rows, C) bool, or None where every label is there.
    """

    factor: Tall
    triangles: list[np.ndarray]
    mask_of: np.ndarray
    known: np.ndarray | None
    shift: float
    communicator: Communicator

    def apply(self, vectors: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return self.least_squares(vectors, columns)[1] / self.shift

    def least_squares(self, vectors: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """w that minimises |v - M_t L w|^2 + shift |w|^2, (r, k), and own rows of v - M_t L w."""
        known = None if self.known is None else self.known[:, columns]
        projected = self.communicator.sum(self.factor.transposed_times(vectors))
        weights = self._normal_solve(projected, columns)
        residual, own_projected = self.factor.residual(vectors, weights, known)
        projected = self.communicator.sum(own_projected)
        correction = self._normal_solve(projected - self.shift * weights, columns)
        product = self.factor.times(correction)
        return weights + correction, residual - (product if known is None else product * known)

    def _normal_solve(self, right: np.ndarray, columns: np.ndarray) -> np.ndarray:
        out = np.empty_like(right)
        masks = self.mask_of[columns]
        for mask in np.unique(masks):
            mine, triangle = masks == mask, self.triangles[mask]
            half = solve_triangular(triangle, right[:, mine], trans="T", check_finite=False)
            out[:, mine] = solve_triangular(triangle, half, check_finite=False)
        return out


@dataclass(frozen=True)
class LowRankFamily:
    """What the preconditioners of all shifts share: L, the masks, and R of each M_t L.

    Attributes:
        rest: mean diagonal of what L has not.
    """

    factor: Tall
    bare_triangles: list[np.ndarray]
    mask_of: np.ndarray
    known: np.ndarray | None
    communicator: Communicator
    rest: float = 0.0

    def at(self, shift: float) -> LowRank:
        """The preconditioner for one shift.

        Raises:
            UserError: neither a shift nor a rest, so that P would be singular.
        """
        shift += self.rest
        if not shift > 0:
            raise UserError(
                f"a low-rank preconditioner needs a positive ridge, found a shift of {shift:g}: set the "
                "preconditioner to none"
            )
        triangles = [_stacked_triangle(bare, np.sqrt(shift)) for bare in self.bare_triangles]
        return LowRank(self.factor, triangles, self.mask_of, self.known, shift, self.communicator)


def low_rank_family(
    factor: np.ndarray,
    known: np.ndarray | None,
    columns: int,
    communicator: Communicator,
    threads: int = 1,
    rest: float = 0.0,
) -> LowRankFamily:
    """Preconditioners from own rows of L, (own rows, r), for ``columns`` tasks with the mask ``known``.

    Args:
        rest: mean diagonal of what L has not.
    """
    if known is None:
        masks: list[np.ndarray] = [np.ones(len(factor), bool)]
        mask_of = np.zeros(columns, np.intp)
    else:
        # A mask is told by its digest on every process: the same rows everywhere.
        digests = zip(*communicator.gather([_digest(known[:, c]) for c in range(columns)]), strict=True)
        order: dict[tuple[bytes, ...], int] = {}
        mask_of = np.array([order.setdefault(digest, len(order)) for digest in digests], np.intp)
        masks = [known[:, int(np.flatnonzero(mask_of == mask)[0])] for mask in range(len(order))]
    bare = [_triangle(factor if mask.all() else factor[mask], communicator) for mask in masks]
    return LowRankFamily(Tall(factor, threads), bare, mask_of, known, communicator, rest)


def _digest(mask: np.ndarray) -> bytes:
    return hashlib.sha256(np.packbits(mask).tobytes()).digest()


def _triangle(rows: np.ndarray, communicator: Communicator) -> np.ndarray:
    """R of the QR factorisation of a matrix of which each process has some rows."""
    parts = communicator.gather(np.asarray(np.linalg.qr(rows, mode="r")))
    return np.asarray(np.linalg.qr(np.vstack(parts), mode="r"))


def _stacked_triangle(upper: np.ndarray, scale: float) -> np.ndarray:
    """R, (r, r), of the QR factorisation of [upper; scale I]; LAPACK leaves the zeros of both alone.

    Args:
        upper: (k, r) upper trapezoidal, k at most r: fewer examples than the rank may have a label.
    """
    rank = upper.shape[1]
    square = np.zeros((rank, rank), order="F")
    square[: len(upper)] = upper
    if rank == 0:
        return square
    triangle, _, _, info = lapack.dtpqrt(rank, min(rank, 64), square, scale * np.eye(rank))
    assert info == 0, f"dtpqrt refuses its argument {-info}"
    return np.triu(triangle)
