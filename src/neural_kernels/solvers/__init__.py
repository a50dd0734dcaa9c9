"""Solvers of (K + ridge mean(diag K) I) X = B: direct where n allows it, conjugate gradients beyond.

One idea a file: ``operator`` and ``store_operator`` multiply with the matrix, ``cholesky``,
``block_conjugate_gradients``, ``conjugate_gradients`` and ``krylov_sweep`` solve, ``preconditioners`` help, ``ridge``
chooses the ridge, ``solution`` is what comes out. ``system`` says what a solver is, ``registry`` names them;
``solve_system`` puts them together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from neural_kernels.blocks import KernelStore
from neural_kernels.errors import UserError
from neural_kernels.machine.threads import blas_threads
from neural_kernels.metrics.losses import mean_squared_error
from neural_kernels.solvers import criteria
from neural_kernels.solvers.communicator import Communicator, SerialCommunicator
from neural_kernels.solvers.estimates import InverseSums, judge_estimated
from neural_kernels.solvers.iteration import Stopping
from neural_kernels.solvers.pivots import PIVOTS
from neural_kernels.solvers.registry import SOLVERS, SWEEP, solver_of
from neural_kernels.solvers.ridge import Judgement, Validation, select_ridge
from neural_kernels.solvers.settings import (
    AUTO,
    FLOAT32,
    FLOAT64,
    NO_PRECONDITIONER,
    CheckpointSettings,
    PreconditionerSettings,
    Settings,
)
from neural_kernels.solvers.solution import Record, Solution, load_solution
from neural_kernels.solvers.system import Solve, Solver, System

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


def solve_system(
    store: KernelStore,
    window: tuple[int, int],
    targets: np.ndarray,
    settings: Settings,
    validation: Validation | None = None,
    *,
    loss: criteria.Loss = mean_squared_error,
    checkpoints: CheckpointSettings | None = None,
    communicator: Communicator | None = None,
) -> Solution:
    """Dual coefficients on the training examples ``window`` of a symmetric store.

    Args:
        window: first training example and the first after it.
        targets: (n, C) float64, those of the window; NaN where a label is missing. Each task is then solved
            on its labelled examples, and its other coefficients are zero.
        validation: chooses the ridge; may be None where there is one candidate, or where ``settings.choose_by`` is
            not to go by it.
        loss: of leave-one-out predictions and targets, where these choose.
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
    communicator = SerialCommunicator() if communicator is None else communicator
    _check(window[1] - window[0], targets, settings, validation)
    system = System(store, window, targets, settings, checkpoints, communicator)
    solver = solver_of(system)
    _check_criterion(solver, system)
    with blas_threads(settings.threads):
        if solver.iterates:
            return _solve(solver, system, validation, loss)
        # A direct solve is for one process; the others wait for its answer.
        mine = None
        if communicator.rank == 0:
            alone = replace(system, communicator=SerialCommunicator())
            mine = _solve(solver, alone, validation, loss)
        solution = communicator.gather(mine)[0]
        assert solution is not None
        return solution


def _solve(solver: Solver, system: System, validation: Validation | None, loss: criteria.Loss) -> Solution:
    opened = solver.open(system)
    solution = opened.finish(_choose(opened.solve, system, validation, loss))
    record = solution.record
    return replace(solution, record=replace(record, details=record.details | opened.facts()), inverse=None)


def _choose(solve: Solve, system: System, validation: Validation | None, loss: criteria.Loss) -> Solution:
    ridges, criterion, communicator = system.settings.ridges, system.settings.choose_by, system.communicator

    def judge(solution: Solution) -> Judgement:
        if criterion == criteria.VALIDATION:
            assert validation is not None
            found = communicator.gather(validation.judge(solution) if communicator.rank == 0 else None)[0]
            assert found is not None
            return found
        targets, coefficients, known = system.targets, solution.coefficients, solution.inverse
        if isinstance(known, InverseSums):
            estimate = judge_estimated(criterion, targets, coefficients, known, loss)
            return Judgement(*communicator.gather(estimate)[0])
        assert known is not None
        return Judgement(criteria.judge(criterion, targets, coefficients, known, loss))

    if len(ridges) == 1 and (validation is None or criterion != criteria.VALIDATION):
        return solve(float(ridges[0]), None)
    return select_ridge(solve, ridges, judge, criterion)


def _check_criterion(solver: Solver, system: System) -> None:
    settings = system.settings
    chooses = settings.choose_by != criteria.VALIDATION and len(settings.ridges) > 1
    if chooses and solver.iterates and solver is not SOLVERS[SWEEP]:
        raise UserError(
            f"the ridge of n = {system.n} is to be chosen by {settings.choose_by}, which takes a direct solve, or one "
            "space for all ridges: raise solver.direct_up_to, give one ridge, or leave solver.block and "
            "solver.preconditioner.method as they are by default where all outputs have the same labels"
        )


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
    _check_name("choose_by", settings.choose_by, list(criteria.CRITERIA))
    if len(settings.ridges) > 1 and validation is None and settings.choose_by == criteria.VALIDATION:
        raise UserError(
            f"{len(settings.ridges)} ridges were given, but no validation data to choose among them"
        )
    _check_name("method", settings.method, [AUTO, *SOLVERS])
    _check_name("panels", settings.panels, [AUTO, FLOAT32, FLOAT64])
    _check_name("preconditioner", settings.preconditioner.method, [AUTO, *PIVOTS, NO_PRECONDITIONER])


def _check_name(what: str, name: str, known: list[str]) -> None:
    if name not in known:
        raise UserError(f"{what} is {name!r}, expected {', '.join(known[:-1])} or {known[-1]}")
