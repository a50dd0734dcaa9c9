"""(K + shift I)^-1 times many vectors, a batch at a time: what the posterior variance needs of a solver.

The factorisation, or the preconditioner, is made once for all batches. Where the inverse is wanted between each vector
and itself alone, one Krylov space serves any number of them (``forms_of_store``).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neural_kernels.blocks import KernelStore
from neural_kernels.machine.threads import blas_threads
from neural_kernels.progress import progress
from neural_kernels.solvers import block_lanczos, cholesky, iterative, quadratic_forms
from neural_kernels.solvers.block_conjugate_gradients import block_conjugate_gradients
from neural_kernels.solvers.block_lanczos import KrylovSpace
from neural_kernels.solvers.communicator import SerialCommunicator
from neural_kernels.solvers.iteration import Stopping
from neural_kernels.solvers.iterative import ResidualProgress
from neural_kernels.solvers.krylov_basis import KrylovBasis
from neural_kernels.solvers.krylov_checkpoint import KrylovCheckpoint
from neural_kernels.solvers.operator import Operator, RidgeSystem
from neural_kernels.solvers.pivots import low_rank_factor
from neural_kernels.solvers.preconditioners import Identity, Preconditioner, low_rank_family
from neural_kernels.solvers.quadratic_forms import KNOWN, MOST_PASSES, Forms
from neural_kernels.solvers.random_columns import gaussian_columns
from neural_kernels.solvers.settings import PreconditionerSettings, Settings
from neural_kernels.solvers.solution import Record
from neural_kernels.solvers.store_operator import StoreOperator

log = logging.getLogger(__name__)

SPACE_COLUMNS = 64
"""Random columns that begin the space of ``forms_of_store``."""

SECONDS = 300.0
"""Least time between two savings of that space."""

Inverse = Callable[[np.ndarray], np.ndarray]
"""(n, k) float64 to (n, k) float64."""


def direct_inverses(
    kernel: np.ndarray,
    shift: float,
    ridge: float,
    masks: Sequence[np.ndarray],
    precision: npt.DTypeLike = np.float64,
) -> Callable[[int], Inverse]:
    """For each mask the inverse of the rows and columns of K + shift I that it keeps, by Cholesky.

    One factor is in memory at a time: it is made again where the masks are asked for in turns.

    Args:
        kernel: (n, n) float64, C-contiguous and symmetric; overwritten where one mask keeps everything.
        ridge: that gave the shift, for messages.
        masks: (n,) bool each.
        precision: in which the kernel's entries were computed.

    Raises:
        NotPositiveDefinite, NotAKernel: as ``cholesky.solve_cholesky``, when a mask is asked for.
    """
    whole = len(masks) == 1 and bool(masks[0].all())
    held: dict[int, Inverse] = {}

    def inverse(mask: int) -> Inverse:
        if mask in held:
            return held[mask]
        held.clear()  # its memory goes first
        known = masks[mask]
        part = kernel if whole else np.ascontiguousarray(kernel[np.ix_(known, known)])
        factor, _ = cholesky.factorise(part, shift, ridge, precision)
        held[mask] = functools.partial(cholesky.solve_factorised, factor)
        return held[mask]

    return inverse


def inverse_of_store(
    store: KernelStore, record: Record, settings: Settings, batch: int
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """``iterative_inverse`` of the leading examples of a store that a solve was of, in half of the memory budget.

    Args:
        record: of the solve, whose n, ridge and shift these are.
        batch: right-hand sides that share each pass over the matrix.
    """
    working = iterative.working_bytes(record.n, batch, settings.preconditioner.used_rank)
    operator = StoreOperator(
        store,
        (0, record.n),
        memory_budget=max(settings.memory_budget // 2 - working, 0),
        # A true residual is looked at together with a direction: two vectors a column.
        vectors=2 * batch,
        threads=settings.threads,
    )
    return iterative_inverse(
        operator,
        record.shift,
        record.ridge,
        settings.preconditioner,
        settings.stopping,
        batch,
        settings.threads,
        store.dtype,
    )


def bytes_of_space(n: int) -> int:
    """On disk, of the largest space of ``forms_of_store``."""
    return 8 * n * SPACE_COLUMNS * (MOST_PASSES + 1)


def forms_of_store(
    store: KernelStore,
    record: Record,
    settings: Settings,
    known: tuple[np.ndarray, np.ndarray],
    wanted: np.ndarray,
    directory: Path,
    problem: str,
) -> Callable[[np.ndarray], Forms]:
    """``quadratic_forms.from_space`` of the leading examples of a store that a solve was of, within half the budget.

    Args:
        record: of the solve, whose n and shift these are.
        known, wanted: as of ``from_space``.
        directory: where the space is kept, from which the same ``problem`` goes on after a kill.
    """
    communicator, n = SerialCommunicator(), record.n
    half = settings.memory_budget // 2
    checkpoint = KrylovCheckpoint(directory, problem, SECONDS, communicator)

    def empty() -> KrylovBasis:
        return KrylovBasis(half // 4, directory, communicator)

    saved = checkpoint.load(empty(), (0, n))
    if saved is None:
        start = gaussian_columns((0, n), SPACE_COLUMNS, settings.preconditioner.seed)
        space = block_lanczos.begin(start, empty(), communicator)
    else:
        space = saved[0]
    working = 8 * n * (6 * SPACE_COLUMNS + 2 * KNOWN)
    operator = StoreOperator(
        store,
        (0, n),
        memory_budget=max(half - half // 4 - working, 0),
        vectors=SPACE_COLUMNS,
        threads=settings.threads,
    )
    before = space.passes
    with progress(total=MOST_PASSES, description="space of the variances", initial=before) as bar:

        def after_pass(grown: KrylovSpace) -> None:
            bar.update()
            checkpoint.keep(grown, {})

        with blas_threads(settings.threads):
            found = quadratic_forms.from_space(operator, record.shift, space, known, wanted, after_pass)
    if space.passes > before:
        checkpoint.save(space, {})
    log.info("variances from a Krylov space of %d columns, %d passes over the kernel, and %d inputs that were solved "
             "for singly", space.basis.columns, space.passes, len(known[1]))  # fmt: skip
    return found.of


def iterative_inverse(
    operator: Operator,
    shift: float,
    ridge: float,
    settings: PreconditionerSettings,
    stopping: Stopping,
    batch: int,
    threads: int = 1,
    precision: npt.DTypeLike = np.float64,
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The inverse by preconditioned conjugate gradients, on this process alone.

    Args:
        operator: K.
        ridge: that gave the shift, for messages.
        batch: right-hand sides that share each pass over the matrix.
        precision: in which the entries of K were computed.

    Returns:
        A function from B (n, k) to X (n, k) and the true relative residual of each column, (k,).

    Raises:
        NotPositiveDefinite, NotAKernel: by that function, where it meets a direction of negative curvature.
    """

    @functools.cache
    def preconditioner() -> Preconditioner:
        if settings.used_rank == 0:
            return Identity()
        factor = low_rank_factor(operator, settings)
        rest = factor.residual * float(operator.diagonal().mean())
        return low_rank_family(factor.rows, None, batch, operator.communicator, threads, rest).at(shift)

    def solve(right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x, residuals = np.empty(right.shape), np.empty(right.shape[1])
        for first in range(0, right.shape[1], batch):
            columns = slice(first, first + batch)
            few, inverse = np.ascontiguousarray(right[:, columns]), preconditioner()
            # The iteration has its own threads, as in ``iterative``.
            with ResidualProgress(stopping) as report, blas_threads(1):
                state = block_conjugate_gradients(
                    RidgeSystem(operator, shift), few, inverse, stopping, after_iteration=report.update
                )
            iterative.refuse_indefinite(state, operator, shift, ridge, precision)
            x[:, columns], residuals[columns] = state.x, state.residuals
        return x, residuals

    return solve
