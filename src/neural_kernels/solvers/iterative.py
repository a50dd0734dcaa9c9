"""The iterative path: preconditioner, conjugate gradients, checkpoints, and the record of them."""

from __future__ import annotations

import functools
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
from neural_kernels.solvers import acceleration, checkpoint
from neural_kernels.solvers.acceleration import COUNTS, ROWS_A_COLUMN, Acceleration, Room
from neural_kernels.solvers.block_conjugate_gradients import BlockState, block_conjugate_gradients
from neural_kernels.solvers.checkpoint import AnyState, Checkpoint
from neural_kernels.solvers.conjugate_gradients import State, conjugate_gradients
from neural_kernels.solvers.definiteness import NotPositiveDefinite, explained_by_rounding, not_a_kernel
from neural_kernels.solvers.iteration import Stopping
from neural_kernels.solvers.operator import Operator, RidgeSystem, positive_diagonal
from neural_kernels.solvers.pivots import low_rank_factor
from neural_kernels.solvers.preconditioners import (
    Identity,
    LowRankFamily,
    Preconditioner,
    low_rank_family,
)
from neural_kernels.solvers.random_columns import gaussian_columns
from neural_kernels.solvers.rounding import panels_for
from neural_kernels.solvers.settings import (
    AUTO,
    FLOAT32,
    NO_PRECONDITIONER,
    CheckpointSettings,
    PreconditionerSettings,
)
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

    def working_bytes(self, n: int, columns: int, rank: int, masks: int, ridges: int) -> int:
        """See ``Solver.working_bytes``; entries of the matrix are the operator's."""
        return working_bytes(n, columns, rank, max(1, masks))

    def open(self, system: System) -> Opened:
        """The operator, with as much of the matrix in memory as fits; see ``Solver.open``."""
        settings, store = system.settings, system.store
        identity = f"{store.fingerprint} {system.window[0]} {system.window[1]}"
        least = Room(
            (settings.random_columns or 0) if self._together(system) else 0,
            min(settings.preconditioner.least_rank, system.n),
        )
        # Where true residuals are looked at, each column has two: the solution and the direction.
        operator = StoreOperator(
            store,
            system.window,
            memory_budget=self._left(system, least),
            vectors=2 * system.columns + least.random_columns,
            threads=settings.threads,
            communicator=system.communicator,
        )
        kept = panels_for(system, operator, identity, self._together(system))
        spare = self._spare(system, least, operator)
        room = self._room(system, least, operator, spare)
        operator.place(
            self._left(system, least) - spare, 2 * system.columns + least.random_columns, kept.float32
        )
        chosen = self._acceleration(system, room, operator, identity)
        taken = Room(chosen.random_columns, min(chosen.preconditioner.used_rank, system.n))
        operator.place(self._left(system, taken), 2 * system.columns + chosen.random_columns, kept.float32)
        solve = solver(
            operator,
            identity,
            system.targets,
            chosen.preconditioner,
            settings.stopping,
            system.checkpoints,
            settings.threads,
            block=self.block,
            beside=chosen.random_columns,
            precision=store.dtype,
            rounded=operator.matmul_rounded if kept.float32 else None,
        )
        return Opened(solve, lambda: {"acceleration": chosen.reason, **kept.facts(), **operator.placement()})

    def _together(self, system: System) -> bool:
        """Whether all right-hand sides may share their directions."""
        return self.block and system.masks <= 1

    def _left(self, system: System, room: Room) -> int:
        """Bytes that vectors, random columns and preconditioner leave for the matrix."""
        n, budget = system.n, system.settings.memory_budget
        taken = working_bytes(n, system.columns, room.rank, max(1, system.masks), room.random_columns)
        if taken >= budget:
            raise UserError(
                f"the vectors and the preconditioner of n = {n} alone take {taken / 2**30:.2f} GiB, the memory budget "
                f"leaves {budget / 2**30:.2f} GiB: raise solver.memory_gib or lower the preconditioner's rank"
            )
        return budget - taken

    def _room(self, system: System, least: Room, operator: StoreOperator, spare: int) -> Room:
        """What fits into the ``spare`` bytes beside the least of everything."""
        settings, n, masks = system.settings, system.n, max(1, system.masks)

        def fits(rank: int, count: int) -> bool:
            taken = working_bytes(n, system.columns, rank, masks, count) + operator.product_bytes(count)
            fixed = working_bytes(n, system.columns, least.rank, masks, least.random_columns)
            return taken - fixed - operator.product_bytes(least.random_columns) <= spare

        rank, beside = least.rank, least.random_columns
        if settings.preconditioner.method == AUTO:
            wanted = range(min(settings.preconditioner.rank, n), 0, -1)
            rank = next((rank for rank in wanted if fits(rank, beside)), 0)
        if settings.random_columns is None and self._together(system):
            wanted = range(min(n // ROWS_A_COLUMN, COUNTS[-1]), 0, -1)
            beside = next((count for count in wanted if fits(least.rank, count)), 0)
        return Room(beside, rank, fits)

    def _spare(self, system: System, least: Room, operator: StoreOperator) -> int:
        """Bytes that a choice may take from the matrix: three quarters of what the least leaves, where there is one."""
        open_choice = system.settings.preconditioner.method == AUTO or system.settings.random_columns is None
        left = self._left(system, least) - operator.streaming_bytes(2 * system.columns)
        return max(0, 3 * left // 4) if open_choice else 0

    def _acceleration(
        self, system: System, room: Room, operator: StoreOperator, identity: str
    ) -> Acceleration:
        settings = system.settings

        def decide() -> Acceleration:
            return acceleration.choose(
                settings.preconditioner,
                settings.random_columns,
                system.columns,
                self._together(system),
                room,
                operator.leading,
                operator.measured_cost,
                system.n,
            )

        counted = settings.random_columns is not None or not self._together(system)
        if counted and settings.preconditioner.method != AUTO:
            return decide()  # nothing is left to choose
        problem = [identity, asdict(settings.preconditioner), settings.random_columns]
        return chosen_by_one(system, problem, room, decide)


def chosen_by_one(
    system: System, problem: list[Any], room: Room, decide: Callable[[], Acceleration]
) -> Acceleration:
    """What one process decides for all, since no two measure alike, or what an interrupted solve of ``problem`` did."""
    found = None
    if system.communicator.rank == 0:
        directory = None if system.checkpoints is None else system.checkpoints.directory
        name = checkpoint.fingerprint(problem, system.targets)
        found = acceleration.remembered(directory, name, room, decide)
    chosen = system.communicator.gather(found)[0]
    assert chosen is not None
    return chosen


def working_bytes(n: int, columns: int, rank: int, masks: int = 1, beside: int = 0) -> int:
    """Bytes that an iteration holds: vectors, those of the ``beside`` random columns, the factor, the columns it came
    from, and two triangles for each of the ``masks``, the different sets of examples that have a label.

    Entries of the matrix and the products of its panels are the operator's (``StoreOperator``).
    """
    rank = min(rank, n)
    return 8 * n * (16 * columns + 10 * beside + 2 * rank) + 8 * (2 + 2 * masks) * rank * rank


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
    beside: int = 0,
    precision: npt.DTypeLike = np.float64,
    rounded: Callable[[np.ndarray], np.ndarray] | None = None,
    tentative: bool = False,
) -> Solve:
    """A function that solves for one ridge after another, from a first guess; they share one factor of K.

    Args:
        operator: K.
        identity: fingerprint of K, for the checkpoints.
        targets: (n, C) float64, all rows; NaN where a label is missing.
        block: whether several columns with the same labels known share their directions.
        beside: random columns whose directions they share as well; not used where they don't share theirs.
        precision: in which the entries of K were computed.
        rounded: the product with fl32(K), for the steps; where the right-hand sides share their directions alone.
        tentative: whether the caller solves what does not converge in another way, so that no warning is due.

    Raises:
        UserError: a kernel whose diagonal is not positive.
        NotPositiveDefinite, NotAKernel: by that function, see ``refuse_indefinite``.
    """
    mean_diagonal = float(positive_diagonal(operator).mean())
    first, last = operator.rows
    known = ~np.isnan(targets)
    own_known = None if known.all() else known[first:last]
    shared = targets.shape[1] + beside > 1 or rounded is not None
    together = block and shared and bool((known == known[:, :1]).all())
    own_targets = np.nan_to_num(targets[first:last], nan=0.0)
    # The first solve that iterates makes it; one that only reads a finished checkpoint does without.
    family: LowRankFamily | None = None
    details: dict[str, Any] = {
        "preconditioner": settings.method if settings.used_rank else NO_PRECONDITIONER,
        "rank": min(settings.used_rank, operator.n),
        "random_columns": beside if together else 0,
    }

    def random_columns() -> np.ndarray:
        drawn = gaussian_columns(operator.rows, beside, settings.seed)
        return drawn if own_known is None else drawn * own_known[:, :1]

    def preconditioner(shift: float) -> Preconditioner:
        nonlocal family
        if settings.used_rank == 0:
            return Identity()
        if family is None:
            begun = time.perf_counter()
            factor = low_rank_factor(operator, settings)
            family = low_rank_family(
                factor.rows,
                own_known,
                targets.shape[1],
                operator.communicator,
                threads,
                rest=factor.residual * mean_diagonal,
            )
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
        problem = [identity, ridge, asdict(stopping), asdict(settings), beside if together else None]
        if rounded is not None:
            problem.append(FLOAT32)
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
                    RidgeSystem(operator, shift, own_known, rounded),
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
            method = functools.partial(block_conjugate_gradients, beside=random_columns if beside else None)
            state, resumed = iterate(method, BlockState)
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
        if not record.converged and not tentative:
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
