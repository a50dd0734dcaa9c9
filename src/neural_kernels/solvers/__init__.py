"""Solvers of (K + ridge mean(diag K) I) X = B: direct where n allows it, conjugate gradients beyond.

One idea a file: ``operator`` and ``store_operator`` multiply with the matrix, ``cholesky``,
``block_conjugate_gradients`` and ``conjugate_gradients`` solve, ``preconditioners`` help, ``ridge`` chooses
the ridge, ``solution`` is what comes out. ``solve_system`` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from neural_kernels.blocks import KernelStore, read_submatrix
from neural_kernels.errors import UserError
from neural_kernels.machine.threads import blas_threads, thread_count
from neural_kernels.solvers import cholesky, iterative
from neural_kernels.solvers.communicator import Communicator, SerialCommunicator
from neural_kernels.solvers.iteration import Stopping
from neural_kernels.solvers.iterative import CheckpointSettings, PreconditionerSettings
from neural_kernels.solvers.ridge import Validation, select_ridge
from neural_kernels.solvers.solution import Record, Solution, load_solution
from neural_kernels.solvers.store_operator import StoreOperator

__all__ = [
    "CheckpointSettings",
    "PreconditionerSettings",
    "Record",
    "Settings",
    "Solution",
    "Stopping",
    "Validation",
    "load_solution",
    "solve_system",
]


@dataclass(frozen=True)
class Settings:
    """How to solve.

    Attributes:
        ridges: candidates relative to the mean diagonal; one needs no validation data.
        direct_up_to: the largest n that is solved by Cholesky, unless ``method`` says otherwise.
        method: "auto", "cholesky" or "conjugate_gradients".
        stopping: of the iteration.
        preconditioner: of the iteration.
        block: whether conjugate gradients let the columns of B share their directions, where all have the same
            labels known; False gives each column its own, as in the paper.
        memory_budget: bytes that the whole solve may add to what each process holds: matrix, vectors and
            preconditioner (``memory.left`` gives what is left of a process's budget). What does not fit of the matrix
            is read from disk in every iteration.
        threads: that compute.
    """

    ridges: Sequence[float]
    direct_up_to: int = 8192
    method: Literal["auto", "cholesky", "conjugate_gradients"] = "auto"
    stopping: Stopping = field(default_factory=Stopping)
    preconditioner: PreconditionerSettings = field(default_factory=PreconditionerSettings)
    block: bool = True
    memory_budget: int = 4 * 2**30
    threads: int = field(default_factory=thread_count)


def solve_system(
    store: KernelStore,
    window: tuple[int, int],
    targets: np.ndarray,
    settings: Settings,
    validation: Validation | None = None,
    *,
    checkpoints: CheckpointSettings | None = None,
    communicator: Communicator | None = None,
) -> Solution:
    """Dual coefficients on the training examples ``window`` of a symmetric store.

    Args:
        window: first training example and the first after it.
        targets: (n, C) float64, those of the window; NaN where a label is missing. Each task is then solved
            on its labelled examples, and its other coefficients are zero.
        validation: chooses the ridge; may be None where there is one candidate.
        checkpoints: of the iteration, none where None. A finished solve leaves its last one behind, for a
            kill before the solution is saved; ``checkpoint.discard`` removes it.
        communicator: of the processes that solve together, each calling this function with the same
            arguments; this process alone where None.

    Returns:
        The solution for the chosen ridge, residuals recomputed from the matrix; on every process.

    Raises:
        UserError: settings or targets that cannot be, too little memory, a damaged block, a matrix that is singular
            to rounding with every candidate, or one that is no kernel (``definiteness``).
    """
    n = window[1] - window[0]
    communicator = SerialCommunicator() if communicator is None else communicator
    _check(n, targets, settings, validation)
    with blas_threads(settings.threads):
        if settings.method == "cholesky" or (settings.method == "auto" and n <= settings.direct_up_to):
            _check_direct_memory(store, n, targets, settings)
            # A direct solve is for one process; the others wait for its answer.
            mine = None
            if communicator.rank == 0:
                mine = _choose(
                    _direct(store, window, targets, settings), settings, validation, SerialCommunicator()
                )
            solution = communicator.gather(mine)[0]
            assert solution is not None
            return solution
        operator = StoreOperator(
            store,
            window,
            memory_budget=_spare_memory(n, targets, settings),
            # Where true residuals are looked at, each column has two: the solution and the direction.
            vectors=2 * targets.shape[1],
            threads=settings.threads,
            communicator=communicator,
        )
        identity = f"{store.fingerprint} {window[0]} {window[1]}"
        solve = iterative.solver(
            operator,
            identity,
            targets,
            settings.preconditioner,
            settings.stopping,
            checkpoints,
            settings.threads,
            block=settings.block,
            precision=store.dtype,
        )
        return _with_placement(_choose(solve, settings, validation, communicator), operator)


def _with_placement(solution: Solution, operator: StoreOperator) -> Solution:
    """The solution, its record saying how much of the matrix was in memory and how much was streamed."""
    shares = operator.communicator.gather((operator.resident_bytes, operator.streamed_bytes))
    facts = {
        "processes": len(shares),
        "resident_bytes": sum(resident for resident, _ in shares),
        "streamed_bytes": sum(streamed for _, streamed in shares),
    }
    return replace(solution, record=replace(solution.record, details=solution.record.details | facts))


def _choose(
    solve: Callable[[float, np.ndarray | None], Solution],
    settings: Settings,
    validation: Validation | None,
    communicator: Communicator,
) -> Solution:
    if validation is None:
        return solve(float(settings.ridges[0]), None)

    def judge(solution: Solution) -> float:
        return communicator.gather(validation.judge(solution) if communicator.rank == 0 else None)[0]

    return select_ridge(solve, settings.ridges, judge)


def _direct(
    store: KernelStore, window: tuple[int, int], targets: np.ndarray, settings: Settings
) -> Callable[[float, np.ndarray | None], Solution]:
    kernel = read_submatrix(store, window, window, np.float64)

    def solve(ridge: float, start: np.ndarray | None) -> Solution:
        tolerance = settings.stopping.tolerance
        return cholesky.solve_cholesky(kernel, targets, ridge, tolerance=tolerance, precision=store.dtype)

    return solve


def _check(n: int, targets: np.ndarray, settings: Settings, validation: Validation | None) -> None:
    if targets.ndim != 2 or len(targets) != n or targets.dtype != np.float64:
        raise UserError(
            f"targets are {targets.dtype} of shape {targets.shape}, expected float64 of ({n}, outputs)"
        )
    if np.isinf(targets).any():
        raise UserError(
            f"{int(np.isinf(targets).sum())} targets are infinite, expected numbers, or NaN for none"
        )
    if len(settings.ridges) == 0 or any(not (np.isfinite(ridge) and ridge >= 0) for ridge in settings.ridges):
        raise UserError(f"ridges are {list(settings.ridges)}, expected at least one, finite and not negative")
    if len(settings.ridges) > 1 and validation is None:
        raise UserError(
            f"{len(settings.ridges)} ridges were given, but no validation data to choose among them"
        )
    if settings.method not in ("auto", "cholesky", "conjugate_gradients"):
        raise UserError(f"method is {settings.method!r}, expected auto, cholesky or conjugate_gradients")
    if settings.preconditioner.method not in ("none", "greedy", "random"):
        raise UserError(
            f"preconditioner is {settings.preconditioner.method!r}, expected greedy, random or none"
        )


def _check_direct_memory(store: KernelStore, n: int, targets: np.ndarray, settings: Settings) -> None:
    reading = 8 * n * n + 2 * store.largest_block_bytes
    solving = cholesky.working_bytes(n, targets.shape[1], labels_missing=bool(np.isnan(targets).any()))
    needed = max(reading, solving)
    if needed > settings.memory_budget:
        raise UserError(
            f"a direct solve of n = {n} takes {needed / 2**30:.2f} GiB, the memory budget leaves "
            f"{settings.memory_budget / 2**30:.2f} GiB: raise solver.memory_gib, or lower solver.direct_up_to to solve "
            "iteratively"
        )


def _spare_memory(n: int, targets: np.ndarray, settings: Settings) -> int:
    """Bytes that the vectors and the preconditioner leave for the matrix."""
    rank = 0 if settings.preconditioner.method == "none" else settings.preconditioner.rank
    masks = len({column.tobytes() for column in np.packbits(np.isnan(targets), axis=0).T})
    working = iterative.working_bytes(n, targets.shape[1], rank, masks)
    if working >= settings.memory_budget:
        raise UserError(
            f"the vectors and the preconditioner of n = {n} alone take {working / 2**30:.2f} GiB, the memory budget "
            f"leaves {settings.memory_budget / 2**30:.2f} GiB: raise solver.memory_gib or lower "
            "the preconditioner's rank"
        )
    return settings.memory_budget - working
