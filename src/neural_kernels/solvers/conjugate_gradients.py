"""Preconditioned conjugate gradients for many right-hand sides at once.

Each column has its own step sizes and its own stopping; what they share is the pass over the matrix. A
column has converged when its true residual, recomputed from the matrix, says so; then it leaves the work.
True residuals come out of the same passes as the steps, so that looking at them costs no reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from neural_kernels.solvers.iteration import (
    DRIFT,
    History,
    Problem,
    Stopping,
    judge_last,
    note,
    pose,
    run,
    stop,
    stop_stagnant,
    unjudged,
)
from neural_kernels.solvers.operator import RidgeSystem
from neural_kernels.solvers.preconditioners import Preconditioner
from neural_kernels.solvers.solution import StoppedBy


@dataclass
class State:
    """Everything that the next iteration depends on. Arrays of n rows hold this process's own.

    Attributes:
        x: (own rows, C) the solution so far.
        active: columns that are still iterated on; the next four have one column or entry for each.
        r: residuals of the recurrence, p: search directions, rz: r^T P^-1 r.
        near: whether the recurrence is at the tolerance, so that the true residual is to decide.
        iterations, residuals, stopped_by: (C,) of each column, the residual being the last known one.
        corrected, futile: (C,) true residual at the last useful correction of a drift, and useless ones since.
        best, best_at: (C,) smallest true residual so far, and its iteration.
        curvature: the least p^T A p / p^T p of a direction that ended a column as indefinite, infinite where none did.
        history: (iteration, column, relative residual, recomputed from the matrix?, seconds).
    """

    ROWS: ClassVar[tuple[str, ...]] = ("x", "r", "p")

    iteration: int
    x: np.ndarray
    active: np.ndarray
    r: np.ndarray
    p: np.ndarray
    rz: np.ndarray
    near: np.ndarray
    iterations: np.ndarray
    residuals: np.ndarray
    stopped_by: list[StoppedBy | None]
    corrected: np.ndarray
    futile: np.ndarray
    best: np.ndarray
    best_at: np.ndarray
    seconds: float = 0.0
    curvature: float = math.inf
    history: History = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return len(self.active) == 0


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
    problem = pose(system, targets, preconditioner, stopping, state)
    state = run(state or _first_state(problem, start), problem, _iterate, after_iteration)
    _finish(state, problem)
    return state


def _first_state(problem: Problem, start: np.ndarray | None) -> State:
    every = problem.columns
    x, r = problem.first_guess(start)
    residuals = problem.norms(r, every)
    solved = residuals <= problem.stopping.tolerance
    active = np.flatnonzero(~solved)
    r = r[:, active]
    p = problem.preconditioner.apply(r, active)
    return State(
        iteration=0,
        x=x,
        active=active,
        r=r,
        p=p,
        rz=problem.dots(r, p),
        near=np.zeros(len(active), bool),
        iterations=np.zeros(len(every), np.int64),
        residuals=residuals,
        stopped_by=["tolerance" if done else None for done in solved],
        corrected=residuals.copy(),
        futile=np.zeros(len(every), np.int64),
        best=residuals.copy(),
        best_at=np.zeros(len(every), np.int64),
        history=[(0, int(c), float(residuals[c]), True, 0.0) for c in every],
    )


def _iterate(state: State, problem: Problem) -> None:
    """One pass over the matrix: true residuals where it is time to look at them, and a step elsewhere."""
    look_at_all = state.iteration > 0 and state.iteration % problem.stopping.residual_every == 0
    looked = np.ones(len(state.active), bool) if look_at_all else state.near.copy()
    moving = ~state.near
    seen = state.active[looked]
    product = problem.system.apply(
        np.hstack([state.p[:, moving], state.x[:, seen]]), np.concatenate([state.active[moving], seen])
    )
    q = np.zeros_like(state.p)
    q[:, moving] = product[:, : moving.sum()]
    renewed = np.zeros(len(state.active), bool)
    if len(seen):
        r = problem.targets[:, seen] - product[:, moving.sum() :]
        renewed[looked] = _judge(state, problem, looked, r)
    going = _going(state)
    _keep(state, going)
    _step(state, problem, q[:, going], ~renewed[going])


def _step(state: State, problem: Problem, q: np.ndarray, stepping: np.ndarray) -> None:
    """Move the columns ``stepping`` along their directions, q = A p; the others start new ones."""
    curvature = problem.dots(state.p, q)
    # Also false for NaN. A negative rz means that the preconditioner is not positive definite.
    definite = ~stepping | ((curvature > 0) & (state.rz > 0))
    if not definite.all():
        stop(state, state.active[~definite], "indefinite")
        lengths = problem.dots(state.p, state.p)
        found = curvature[~definite] / np.where(lengths > 0, lengths, 1.0)[~definite]
        state.curvature = min(state.curvature, *found[np.isfinite(found)].tolist(), math.inf)
        q, curvature, stepping = q[:, definite], curvature[definite], stepping[definite]
        _keep(state, definite)
    if not len(state.active):
        return
    step = np.where(stepping, state.rz / np.where(stepping, curvature, 1.0), 0.0)
    state.x[:, state.active] += step * state.p
    state.r -= step * q
    state.iteration += 1
    estimates = problem.norms(state.r, state.active)
    moved = state.active[stepping]
    state.iterations[moved] = state.iteration
    state.residuals[moved] = estimates[stepping]
    state.near = stepping & (estimates <= problem.stopping.tolerance)
    note(state, problem, moved, recomputed=False)
    z = problem.preconditioner.apply(state.r, state.active)
    rz = problem.dots(state.r, z)
    # Where the residual was replaced, the old direction is no longer conjugate to anything.
    beta = np.where(stepping, rz / np.where(stepping, state.rz, 1.0), 0.0)
    state.p = z + beta * state.p
    state.rz = rz


def _judge(state: State, problem: Problem, looked: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Act on true residuals ``r`` of the active columns ``looked``: stop, correct, or go on.

    Returns:
        Which of them had the residual of the recurrence replaced, or needed no direction: they do not step.
    """
    columns, near = state.active[looked], state.near[looked]
    estimates, true = state.residuals[columns], problem.norms(r, columns)
    state.residuals[columns] = true
    note(state, problem, columns, recomputed=True)
    solved = true <= problem.stopping.tolerance
    stop(state, columns[solved], "tolerance")
    adrift = ~solved & (near | (estimates < DRIFT * true))
    positions = np.flatnonzero(looked)
    state.r[:, positions[adrift]] = r[:, adrift]
    stop_stagnant(state, problem, columns, true, adrift)
    return adrift


def _going(state: State) -> np.ndarray:
    return np.array([state.stopped_by[column] is None for column in state.active], bool)


def _keep(state: State, going: np.ndarray) -> None:
    """Drop the columns that have stopped from the arrays of active ones."""
    if not going.all():
        state.active, state.rz, state.near = state.active[going], state.rz[going], state.near[going]
        state.r, state.p = state.r[:, going], state.p[:, going]


def _finish(state: State, problem: Problem) -> None:
    """Columns that ran out of iterations, or into indefiniteness, still get their true residual."""
    stop(state, state.active, "max_iterations")
    columns = unjudged(state)
    if len(columns):
        judge_last(state, problem, columns)
        note(state, problem, columns, recomputed=True)
    _keep(state, np.zeros(len(state.active), bool))
    state.seconds = problem.seconds
