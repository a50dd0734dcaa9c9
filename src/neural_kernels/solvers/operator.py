"""The symmetric matrix of a solve, as the solvers see it: products with many vectors, and little else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.machine.threads import blas_threads
from neural_kernels.solvers.communicator import Communicator, SerialCommunicator


class Operator(Protocol):
    """A symmetric (n, n) matrix, shared out over the processes of a communicator.

    Vectors come and go as this process's own rows, ``rows[0]`` to ``rows[1]``.
    """

    @property
    def n(self) -> int: ...

    @property
    def rows(self) -> tuple[int, int]: ...

    @property
    def communicator(self) -> Communicator: ...

    def matmul(self, vectors: np.ndarray) -> np.ndarray:
        """Own rows of K V, float64 of shape (own rows, k), from the own rows of V."""

    def diagonal(self) -> np.ndarray:
        """The whole diagonal, (n,) float64, on every process."""

    def columns(self, indices: np.ndarray) -> np.ndarray:
        """Own rows of K[:, indices], float64 of shape (own rows, len(indices))."""


@dataclass(frozen=True)
class DenseOperator:
    """A symmetric (n, n) array in the memory of one process.

    Attributes:
        threads: of a product; as many as BLAS has where None.
    """

    matrix: np.ndarray
    communicator: Communicator = field(default_factory=SerialCommunicator)
    threads: int | None = None

    @property
    def n(self) -> int:
        return len(self.matrix)

    @property
    def rows(self) -> tuple[int, int]:
        return 0, self.n

    def matmul(self, vectors: np.ndarray) -> np.ndarray:
        if self.threads is None:
            return self.matrix @ vectors
        with blas_threads(self.threads):
            return self.matrix @ vectors

    def diagonal(self) -> np.ndarray:
        return np.diag(self.matrix).astype(np.float64)

    def columns(self, indices: np.ndarray) -> np.ndarray:
        return self.matrix[:, indices].astype(np.float64)


@dataclass(frozen=True)
class RidgeSystem:
    """A_t = M_t K M_t + shift I, one matrix for each column t of the targets.

    M_t keeps the rows of the examples that are labelled for task t. Vectors are zero in the other rows,
    and stay so; all tasks share one pass over the matrix.

    Attributes:
        known: own rows of the mask, (own rows, C) bool, or None where every label is there.
        rounded: the product with a matrix near K that costs less, from own rows to own rows: ``apply_rounded`` has it,
            ``apply`` never. None where there is none.
    """

    kernel: Operator
    shift: float
    known: np.ndarray | None = None
    rounded: Callable[[np.ndarray], np.ndarray] | None = None

    def apply(self, vectors: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Own rows of A_t v_t, one v_t for each of ``columns``; v_t is zero where task t has no labels."""
        return self._shifted(self.kernel.matmul(vectors), vectors, columns)

    def apply_rounded(self, vectors: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """As ``apply``, of the matrix near A_t where there is one."""
        if self.rounded is None:
            return self.apply(vectors, columns)
        return self._shifted(self.rounded(vectors), vectors, columns)

    def _shifted(self, product: np.ndarray, vectors: np.ndarray, columns: np.ndarray) -> np.ndarray:
        if self.known is not None:
            product *= self.known[:, columns]
        return product + self.shift * vectors


def positive_diagonal(operator: Operator) -> np.ndarray:
    """The whole diagonal, (n,) float64.

    Raises:
        UserError: it is not that of a kernel.
    """
    diagonal = operator.diagonal()
    if not (diagonal >= 0).all() or not diagonal.mean() > 0:
        raise UserError(
            f"the kernel's diagonal goes from {diagonal.min():g} to {diagonal.max():g}, expected positive numbers"
        )
    return diagonal
