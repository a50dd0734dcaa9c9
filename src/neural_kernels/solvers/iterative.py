"""The iterative path: preconditioner, conjugate gradients, checkpoints, and the record of them."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

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
from neural_kernels.solvers.pivots import low_rank_factor
from neural_kernels.solvers.preconditioners import (
    Identity,
    LowRankFamily,
    Preconditioner,
    low_rank_family,
)
from neural_kernels.solvers.settings import NO_PRECONDITIONER, CheckpointSettings, PreconditionerSettings
from neural_kernels.solvers.solution import Record, Solution
from neural_kernels.solvers.store_operator import StoreOperator
from neural_kernels.solvers.system import Opened, Solve, System

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConjugateGradients:
    """The solvers for ``registry``.

    Attributes:
        block: whether several columns share their directions, where all have the same labels known.
    """

    block: bool

    iterates = True
    thrift = "lower solver.preconditioner.rank"

    @property
    def title(self) -> str:
        """See ``Solver.title``."""
        return "Exact (block CG to tolerance)" if self.block else "Exact (CG to tolerance)"

    def working_bytes(self, n: int, columns: int, rank: int, masks: int) -> int:
        """See ``Solver.working_bytes``; entries of the matrix are the operator's."""
        return working_bytes(n, columns, rank, max(1, masks))

    def open(self, system: System) -> Opened:
        """The operator, with as much of the matrix in memory as fits; see ``Solver.open``."""
        settings, store = system.settings, system.store
        operator = StoreOperator(
            store,
            system.window,
            memory_budget=self._spare_memory(system),
            # Where true residuals are looked at, each column has two: the solution and the direction.
            vectors=2 * system.columns,
            threads=settings.threads,
            communicator=system.communicator,
        )
        solve = solver(
            operator,
            f"{store.fingerprint} {system.window[0]} {system.window[1]}",
            system.targets,
            settings.preconditioner,
            settings.stopping,
            system.checkpoints,
            settings.threads,
            block=self.block,
            precision=store.dtype,
        )
        return Opened(solve, lambda: _placement(operator))

    def _spare_memory(self, system: System) -> int:
        """Bytes that the vectors and the preconditioner leave for the matrix."""
        settings = system.settings
        rank = settings.preconditioner.used_rank
        working = self.working_bytes(system.n, system.columns, rank, system.masks)
        if working >= settings.memory_budget:
            raise UserError(
                f"the vectors and the preconditioner of n = {system.n} alone take {working / 2**30:.2f} GiB, the "
                f"memory budget leaves {settings.memory_budget / 2**30:.2f} GiB: raise solver.memory_gib or lower "
                "the preconditioner's rank"
            )
        return settings.memory_budget - working


def _placement(operator: StoreOperator) -> dict[str, Any]:
    """How much of the matrix was in memory, and how much was streamed, for the record."""
    shares = operator.communicator.gather((operator.resident_bytes, operator.streamed_bytes))
    return {
        "processes": len(shares),
        "resident_bytes": sum(resident for resident, _ in shares),
        "streamed_bytes": sum(streamed for _, streamed in shares),
    }


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
) -> Solve:
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
    details: dict[str, Any] = {
        "preconditioner": settings.method if settings.used_rank else NO_PRECONDITIONER,
        "rank": min(settings.used_rank, operator.n),
    }

    def preconditioner(shift: float) -> Preconditioner:
        nonlocal family
        if settings.used_rank == 0:
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


def _checkpoint(
    settings: CheckpointSettings | None,
    problem: list[Any],
    ridge: float,
    targets: np.ndarray,
    operator: Operator,
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
