"""The iterative path: preconditioner, conjugate gradients, checkpoints, and the record of them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from neural_kernels.errors import UserError
from neural_kernels.machine.threads import blas_threads
from neural_kernels.progress import progress
from neural_kernels.solvers import checkpoint
from neural_kernels.solvers.block_conjugate_gradients import BlockState, block_conjugate_gradients
from neural_kernels.solvers.checkpoint import AnyState, Checkpoint
from neural_kernels.solvers.conjugate_gradients import State, conjugate_gradients
from neural_kernels.solvers.definiteness import NotPositiveDefinite, explained_by_rounding, not_a_kernel
from neural_kernels.solvers.iteration import Stopping
from neural_kernels.solvers.operator import Operator, RidgeSystem
from neural_kernels.solvers.pivoted_cholesky import LowRankFactor, greedy
from neural_kernels.solvers.preconditioners import (
    Identity,
    LowRankFamily,
    Preconditioner,
    low_rank_family,
)
from neural_kernels.solvers.randomly_pivoted_cholesky import randomly_pivoted
from neural_kernels.solvers.solution import Record, Solution

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreconditionerSettings:
    """Which low-rank approximation of the kernel preconditions.

    Attributes:
        method: "random" or "greedy" pivots of a partial Cholesky factorisation, or "none".
        rank: pivots; 0 is none.
        seed: of random pivots.
    """

    method: Literal["none", "greedy", "random"] = "random"
    rank: int = 500
    seed: int = 0


@dataclass(frozen=True)
class CheckpointSettings:
    """Where the state of the iteration is saved, and the least seconds between two checkpoints."""

    directory: Path
    seconds: float = 300.0


def working_bytes(n: int, columns: int, rank: int, masks: int = 1) -> int:
    """Bytes that an iteration holds: vectors, the factor, the columns it came from, and two triangles for each of
    the ``masks``, the different sets of examples that have a label.

    Entries of the matrix and the products of its panels are the operator's (``StoreOperator``).
    """
    rank = min(rank, n)
    return 8 * n * (16 * columns + 2 * rank) + 8 * (2 + 2 * masks) * rank * rank


def solver(
    operator: Operator,
    identity: str,
    targets: np.ndarray,
    settings: PreconditionerSettings,
    stopping: Stopping,
    checkpoints: CheckpointSettings | None = None,
    threads: int = 1,
    *,
    block: bool = True,
    precision: npt.DTypeLike = np.float64,
) -> Callable[[float, np.ndarray | None], Solution]:
    """A function that solves for one ridge after another, from a first guess; they share one factor of K.

    Args:
        operator: K.
        identity: fingerprint of K, for the checkpoints.
        targets: (n, C) float64, all rows; NaN where a label is missing.
        block: whether several columns with the same labels known share their directions.
        precision: in which the entries of K were computed.

    Raises:
        UserError: a kernel whose diagonal is not positive.
        NotPositiveDefinite, NotAKernel: by that function, see ``refuse_indefinite``.
    """
    mean_diagonal = _mean_diagonal(operator)
    first, last = operator.rows
    known = ~np.isnan(targets)
    own_known = None if known.all() else known[first:last]
    together = block and targets.shape[1] > 1 and bool((known == known[:, :1]).all())
    own_targets = np.nan_to_num(targets[first:last], nan=0.0)
    # The first solve that iterates makes it; one that only reads a finished checkpoint does without.
    family: LowRankFamily | None = None
    none = settings.method == "none" or settings.rank == 0
    details: dict[str, Any] = {
        "preconditioner": "none" if none else settings.method,
        "rank": 0 if none else min(settings.rank, operator.n),
    }

    def preconditioner(shift: float) -> Preconditioner:
        nonlocal family
        if settings.method == "none" or settings.rank == 0:
            return Identity()
        if family is None:
            begun = time.perf_counter()
            factor = low_rank_factor(operator, settings)
            family = low_rank_family(factor.rows, own_known, targets.shape[1], operator.communicator, threads)
            details.update(
                preconditioner=settings.method,
                rank=len(factor.pivots),
                trace_left=factor.residual,
                preconditioner_reads=factor.reads,
                preconditioner_seconds=time.perf_counter() - begun,
            )
        return family.at(shift)

    def solve(ridge: float, start: np.ndarray | None) -> Solution:
        shift = ridge * mean_diagonal
        problem = [identity, ridge, asdict(stopping), asdict(settings), "block" if together else "columns"]
        saved = _checkpoint(checkpoints, problem, ridge, targets, operator)

        def iterate(method: Callable[..., AnyState], kind: type[AnyState]) -> tuple[AnyState, int | None]:
            state = None if saved is None else saved.load(kind, operator.rows)
            resumed = None if state is None else state.iteration
            if state is not None and state.finished:
                return state, resumed
            inverse = preconditioner(shift)
            # The iteration has its own threads; those of BLAS, woken between its products, would spin idle.
            with ResidualProgress(stopping) as report, blas_threads(1):

                def after_iteration(current: AnyState) -> None:
                    report.update(current)
                    if saved is not None:
                        saved.keep(current)

                state = method(
                    RidgeSystem(operator, shift, own_known),
                    own_targets,
                    inverse,
                    stopping,
                    start=None if start is None else start[first:last],
                    state=state,
                    after_iteration=after_iteration,
                )
            if saved is not None:
                saved.save(state)
            return state, resumed

        state: State | BlockState
        if together:
            state, resumed = iterate(block_conjugate_gradients, BlockState)
        else:
            state, resumed = iterate(conjugate_gradients, State)
        refuse_indefinite(state, operator, shift, ridge, precision)
        record = Record(
            solver="block_conjugate_gradients" if together else "conjugate_gradients",
            n=operator.n,
            ridge=ridge,
            shift=shift,
            column_iterations=state.iterations.tolist(),
            column_residuals=state.residuals.tolist(),
            column_stops=[reason for reason in state.stopped_by if reason is not None],
            seconds=state.seconds,
            tolerance=stopping.tolerance,
            details=details | {"resumed_at_iteration": resumed},
        )
        if not record.converged:
            log.warning(
                "n = %d, ridge %g: not converged, largest residual %.1e after %d iterations (%s)",
                operator.n,
                ridge,
                record.residual,
                record.iterations,
                record.stopped_by,
            )
        coefficients = operator.communicator.gather_rows(state.x, operator.n)
        return Solution(coefficients, record, tuple(state.history))

    return solve


def _mean_diagonal(operator: Operator) -> float:
    diagonal = operator.diagonal()
    if not (diagonal >= 0).all() or not diagonal.mean() > 0:
        raise UserError(
            f"the kernel's diagonal goes from {diagonal.min():g} to {diagonal.max():g}, expected positive numbers"
        )
    return float(diagonal.mean())


def low_rank_factor(operator: Operator, settings: PreconditionerSettings) -> LowRankFactor:
    """L of the preconditioner, by the pivots that ``settings`` choose."""
    if settings.method == "greedy":
        return greedy(operator, settings.rank)
    return randomly_pivoted(operator, settings.rank, settings.seed)


def _checkpoint(
    settings: CheckpointSettings | None, problem: list, ridge: float, targets: np.ndarray, operator: Operator
) -> Checkpoint | None:
    if settings is None:
        return None
    directory = settings.directory / f"ridge-{ridge:g}"
    return Checkpoint(
        directory, checkpoint.fingerprint(problem, targets), settings.seconds, operator.communicator
    )


def refuse_indefinite(
    state: State | BlockState, operator: Operator, shift: float, ridge: float, precision: npt.DTypeLike
) -> None:
    """Raise an error where the iteration met a direction of negative curvature.

    Raises:
        NotPositiveDefinite: rounding explains it.
        NotAKernel: rounding does not.
    """
    if "indefinite" not in state.stopped_by:
        return
    column = state.stopped_by.index("indefinite")
    met = f"column {column} met a direction of negative curvature after {int(state.iterations[column])} iterations"
    diagonal = operator.diagonal()
    if state.curvature < 0 and shift - state.curvature > explained_by_rounding(diagonal, precision):
        least = (state.curvature - shift) / float(np.abs(diagonal).mean())
        raise not_a_kernel(
            diagonal,
            precision,
            f"with ridge {ridge:g} {met}, so that it has an eigenvalue below {least:.1e} of the mean diagonal",
        )
    raise NotPositiveDefinite(
        f"the kernel of {operator.n} examples with ridge {ridge:g} is not positive definite to working precision "
        f"({met}): choose a larger ridge, or look for duplicate examples"
    )


class ResidualProgress:
    """A bar whose length is the decades from a residual of one to the tolerance."""

    def __init__(self, stopping: Stopping) -> None:
        self._goal = -math.log10(stopping.tolerance)
        self._bar = progress(total=100, description="conjugate gradients")

    def __enter__(self) -> ResidualProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, state: State | BlockState) -> None:
        largest = max(float(state.residuals.max()), 10.0**-self._goal)
        done = int(100 * min(max(-math.log10(largest) / self._goal, 0.0), 1.0))
        self._bar.set_postfix(iteration=state.iteration, residual=f"{largest:.1e}", refresh=False)
        self._bar.update(max(0, done - self._bar.n))
