"""Preconditioned conjugate gradients for many right-hand sides at once.

Each column has its own step sizes and its own stopping; what they share is the pass over the matrix. A
column has converged when its true residual, recomputed from the matrix, says so; then it leaves the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from neural_kernels.solvers.communicator import Communicator
from neural_kernels.solvers.operator import RidgeSystem
from neural_kernels.solvers.preconditioners import Preconditioner
from neural_kernels.solvers.solution import StoppedBy

# The recurrence's residual has drifted from the true one where it is below this share of it.
DRIFT = 0.5
# A column stagnates when the true residual has not halved over this many corrections of its drift.
FUTILE_CORRECTIONS = 3


@dataclass
class State:
    """Everything that the next iteration depends on. Arrays of n rows hold this process's own.

    Attributes:
        x: (own rows, C) the solution so far.
        active: columns that are still iterated on; the next three have one column or entry for each.
        r: residuals of the recurrence, p: search directions, rz: r^T P^-1 r.
        iterations, residuals, stopped_by: (C,) of each column, the residual being the last known one.
        corrected, futile: (C,) true residual at the last useful correction of a drift, and useless ones since.
        best, best_at: (C,) smallest true residual so far, and its iteration.
        history: (iteration, column, relative residual, recomputed from the matrix?, seconds).
    """

    iteration: int
    x: np.ndarray
    active: np.ndarray
    r: np.ndarray
    p: np.ndarray
    rz: np.ndarray
    iterations: np.ndarray
    residuals: np.ndarray
    stopped_by: list[StoppedBy | None]
    corrected: np.ndarray
    futile: np.ndarray
    best: np.ndarray
    best_at: np.ndarray
    seconds: float = 0.0
    history: list[tuple[int, int, float, bool, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Stopping:
    """When to stop, and how often to look.

    Attributes:
        tolerance: of the true relative residual |b - A x| / |b|, column by column.
        max_iterations: of any column.
        residual_every: iterations between two looks at the true residual of all columns.
        patience: iterations without a new smallest residual after which a column stagnates. The residual
            of conjugate gradients may rise for long before it falls.
    """

    tolerance: float = 1e-6
    max_iterations: int = 1000
    residual_every: int = 25
    patience: int = 1000


def conjugate_gradients(
    system: RidgeSystem,
    targets: np.ndarray,
    preconditioner: Preconditioner,
    stopping: Stopping,
    *,
    start: np.ndarray | None = None,
    state: State | None = None,
    after_iteration: Callable[[State], object] | None = None,
) -> State:
    """Solve A X = B.

    Args:
        system: A, symmetric; that it is positive definite is watched for, not assumed.
        targets: own rows of B, (own rows, C) float64, zero where a label is missing.
        preconditioner: P^-1.
        start: own rows of a first guess, zero where None.
        state: of an interrupted solve of the same problem, which continues; excludes ``start``.
        after_iteration: called with the state after each iteration.

    Returns:
        The last state, in which no column is active and ``residuals`` are true residuals.
    """
    communicator = system.kernel.communicator
    size = norms(targets, communicator)
    if state is None:
        state = _first_state(system, targets, size, preconditioner, stopping, start)
    before = time.perf_counter() - state.seconds
    while len(state.active) and state.iteration < stopping.max_iterations:
        _iterate(state, system, targets, size, preconditioner, stopping)
        state.seconds = time.perf_counter() - before
        _remember(state, stopping)
        if after_iteration is not None:
            after_iteration(state)
    _finish(state, system, targets, size)
    state.seconds = time.perf_counter() - before
    return state


def norms(vectors: np.ndarray, communicator: Communicator) -> np.ndarray:
    """Euclidean norm of each column, (k,), over the rows of all processes."""
    return np.sqrt(_dots(vectors, vectors, communicator))


def _dots(left: np.ndarray, right: np.ndarray, communicator: Communicator) -> np.ndarray:
    return communicator.sum(np.einsum("ik,ik->k", left, right))


def _first_state(
    system: RidgeSystem,
    targets: np.ndarray,
    size: np.ndarray,
    preconditioner: Preconditioner,
    stopping: Stopping,
    start: np.ndarray | None,
) -> State:
    columns = targets.shape[1]
    x = np.zeros_like(targets) if start is None else start.copy()
    x[:, size == 0] = 0.0
    r = targets.copy() if start is None else targets - system.apply(x, np.arange(columns))
    residuals = norms(r, system.kernel.communicator) / np.where(size == 0, 1.0, size)
    solved = residuals <= stopping.tolerance
    stopped_by: list[StoppedBy | None] = ["tolerance" if done else None for done in solved]
    active = np.flatnonzero(~solved)
    r = r[:, active]
    p = preconditioner.apply(r, active)
    return State(
        iteration=0,
        x=x,
        active=active,
        r=r,
        p=p,
        rz=_dots(r, p, system.kernel.communicator),
        iterations=np.zeros(columns, np.int64),
        residuals=residuals,
        stopped_by=stopped_by,
        corrected=residuals.copy(),
        futile=np.zeros(columns, np.int64),
        best=residuals.copy(),
        best_at=np.zeros(columns, np.int64),
        history=[(0, c, float(residuals[c]), True, 0.0) for c in range(columns)],
    )


def _iterate(
    state: State,
    system: RidgeSystem,
    targets: np.ndarray,
    size: np.ndarray,
    preconditioner: Preconditioner,
    stopping: Stopping,
) -> None:
    communicator = system.kernel.communicator
    q = system.apply(state.p, state.active)
    curvature = _dots(state.p, q, communicator)
    # Also false for NaN. A negative rz means that the preconditioner is not positive definite.
    definite = (curvature > 0) & (state.rz > 0)
    if not definite.all():
        _stop(state, state.active[~definite], "indefinite")
        q, curvature = q[:, definite], curvature[definite]
        _keep(state, definite)
        if not len(state.active):
            return
    step = state.rz / curvature
    state.x[:, state.active] += step * state.p
    state.r -= step * q
    state.iteration += 1
    state.iterations[state.active] = state.iteration
    estimates = norms(state.r, communicator) / size[state.active]
    state.residuals[state.active] = estimates
    drifted = _look(state, system, targets, size, stopping, estimates)
    if not len(state.active):
        return
    z = preconditioner.apply(state.r, state.active)
    rz = _dots(state.r, z, communicator)
    # Where the residual was replaced, the old direction is no longer conjugate to anything.
    beta = np.where(drifted, 0.0, rz / state.rz)
    state.p = z + beta * state.p
    state.rz = rz


def _look(
    state: State,
    system: RidgeSystem,
    targets: np.ndarray,
    size: np.ndarray,
    stopping: Stopping,
    estimates: np.ndarray,
) -> np.ndarray:
    """Recompute true residuals where it is time to, and act on them: stop, correct, or go on.

    Returns:
        Which of the columns that are active afterwards had their residual replaced, (a,) bool.
    """
    everything = state.iteration % stopping.residual_every == 0
    seen = np.ones(len(estimates), bool) if everything else estimates <= stopping.tolerance
    drifted = np.zeros(len(estimates), bool)
    if not seen.any():
        return drifted
    columns = state.active[seen]
    r = targets[:, columns] - system.apply(state.x[:, columns], columns)
    true = norms(r, system.kernel.communicator) / size[columns]
    state.residuals[columns] = true
    solved = true <= stopping.tolerance
    _stop(state, columns[solved], "tolerance")
    adrift = ~solved & (estimates[seen] < DRIFT * true)
    positions = np.flatnonzero(seen)
    state.r[:, positions[adrift]] = r[:, adrift]
    drifted[positions[adrift]] = True
    for column, residual in zip(columns[adrift], true[adrift], strict=True):
        if residual < 0.5 * state.corrected[column]:
            state.corrected[column], state.futile[column] = residual, 0
        else:
            state.futile[column] += 1
        if state.futile[column] >= FUTILE_CORRECTIONS:
            _stop(state, [column], "stagnation")
    improved = columns[true < state.best[columns]]
    state.best[improved], state.best_at[improved] = state.residuals[improved], state.iteration
    _stop(
        state,
        columns[~solved & (state.iteration - state.best_at[columns] >= stopping.patience)],
        "stagnation",
    )
    going = np.array([state.stopped_by[column] is None for column in state.active], bool)
    _keep(state, going)
    return drifted[going]


def _stop(state: State, columns: np.ndarray | list[int], reason: StoppedBy) -> None:
    for column in columns:
        state.stopped_by[int(column)] = reason


def _keep(state: State, going: np.ndarray) -> None:
    """Drop the columns that have stopped from the arrays of active ones."""
    if not going.all():
        state.active, state.rz = state.active[going], state.rz[going]
        state.r, state.p = state.r[:, going], state.p[:, going]


def _remember(state: State, stopping: Stopping) -> None:
    recomputed = state.iteration % stopping.residual_every == 0
    for column in np.flatnonzero(state.iterations == state.iteration):
        true = recomputed or state.stopped_by[column] is not None
        state.history.append(
            (state.iteration, int(column), float(state.residuals[column]), true, state.seconds)
        )


def _finish(state: State, system: RidgeSystem, targets: np.ndarray, size: np.ndarray) -> None:
    """Columns that ran out of iterations, or into indefiniteness, still get their true residual."""
    _stop(state, state.active, "max_iterations")
    columns = np.array(
        [c for c, why in enumerate(state.stopped_by) if why in ("max_iterations", "indefinite")], int
    )
    if len(columns):
        r = targets[:, columns] - system.apply(state.x[:, columns], columns)
        state.residuals[columns] = norms(r, system.kernel.communicator) / size[columns]
    _keep(state, np.zeros(len(state.active), bool))
