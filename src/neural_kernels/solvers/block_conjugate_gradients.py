"""Preconditioned block conjugate gradients: all right-hand sides are minimised over all of their directions.

Where the columns of ``conjugate_gradients`` share only the pass over the matrix, here each also moves along the
directions of the others, so that the residual of each is the smallest over a Krylov space as many times larger as
there are columns (O'Leary 1980). It takes fewer passes over the matrix, the fewer the more columns there are, and
needs one matrix for all of them: the same labels known for every task.

The residuals R are kept as a product Q S, with Q^T P^-1 Q = I made anew in every iteration (Dubrulle 2001, his
variant with a QR factorisation; the inner product is the preconditioner's). Columns that become dependent, as centred
one-hot labels are from the start, leave Q with fewer columns than there are right-hand sides; nothing else changes.

The steps may take the product with a rounded matrix, which costs less (``RidgeSystem.rounded``). What they say of the
residuals is then true up to that rounding. Once it is at the tolerance, the true residuals decide, and the steps begin
anew from those that are not.

Columns that nobody asks the solution of may stand beside the right-hand sides (``random_columns``): the directions are
theirs too, and what is kept of them is Q alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import numpy as np

from neural_kernels.solvers.gram import decided, gram_of, least_curvature, pseudo_inverse, root_of
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

T = TypeVar("T")
Beside = Callable[[], np.ndarray]


@dataclass
class BlockState:
    """Everything that the next iteration depends on. Arrays of n rows hold this process's own.

    Attributes:
        x: (own rows, C) the solution so far.
        q, s: (own rows, k) and (k, C), whose product is the residual of the recurrence; k is at most C and the number
            of columns beside.
        p: (own rows, k) search directions.
        near: whether the recurrence is at the tolerance, so that the true residuals are to decide.
        iterations, residuals, stopped_by: (C,) of each column, the residual being the last known one. All columns
            move until the last one has stopped.
        corrected, futile: (C,) true residual at the last useful correction of a drift, and useless ones since.
        best, best_at: (C,) smallest true residual so far, and its iteration.
        curvature: the least v^T A v / v^T v found where the directions were indefinite, infinite where none was.
        history: (iteration, column, relative residual, recomputed from the matrix?, seconds).
    """

    ROWS: ClassVar[tuple[str, ...]] = ("x", "q", "p")

    iteration: int
    x: np.ndarray
    q: np.ndarray
    s: np.ndarray
    p: np.ndarray
    near: bool
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
        return all(self.stopped_by)

    @property
    def going(self) -> np.ndarray:
        """(C,) bool: the columns that have not stopped."""
        return np.array([reason is None for reason in self.stopped_by], bool)


def block_conjugate_gradients(
    system: RidgeSystem,
    targets: np.ndarray,
    preconditioner: Preconditioner,
    stopping: Stopping,
    *,
    beside: Beside | None = None,
    start: np.ndarray | None = None,
    state: BlockState | None = None,
    after_iteration: Callable[[BlockState], object] | None = None,
) -> BlockState:
    """Solve A X = B, one matrix A for all columns.

    Args:
        system: A, symmetric; that it is positive definite is watched for, not assumed. Its mask, where it has one,
            is the same for all columns.
        targets: own rows of B, (own rows, C) float64, zero where a label is missing.
        preconditioner: P^-1.
        beside: gives own rows of columns whose directions the targets use too, (own rows, m) float64, zero where a
            label is missing, whenever the directions begin; none where None.
        start: own rows of a first guess, zero where None.
        state: of an interrupted solve of the same problem, which continues; excludes ``start``.
        after_iteration: called with the state after each iteration.

    Returns:
        The last state, in which every column has stopped and ``residuals`` are true residuals.
    """
    problem = pose(system, targets, preconditioner, stopping, state)
    state = run(
        state or _first_state(problem, start, beside),
        problem,
        functools.partial(_iterate, beside=beside),
        after_iteration,
    )
    _finish(state, problem)
    return state


def _first_state(problem: Problem, start: np.ndarray | None, beside: Beside | None) -> BlockState:
    every = problem.columns
    x, r = problem.first_guess(start)
    residuals = problem.norms(r, every)
    count = len(every)
    state = BlockState(
        iteration=0,
        x=x,
        q=r,
        s=np.eye(count),
        p=r,
        near=False,
        iterations=np.zeros(count, np.int64),
        residuals=residuals,
        stopped_by=["tolerance" if done else None for done in residuals <= problem.stopping.tolerance],
        corrected=residuals.copy(),
        futile=np.zeros(count, np.int64),
        best=residuals.copy(),
        best_at=np.zeros(count, np.int64),
        history=[(0, int(c), float(residuals[c]), True, 0.0) for c in every],
    )
    if not state.finished:
        _begin(state, problem, r, beside)
    return state


def _begin(state: BlockState, problem: Problem, r: np.ndarray, beside: Beside | None) -> None:
    """Start from the residuals ``r``, (own rows, C), and the columns ``beside``, with no direction kept."""
    every = r if beside is None else np.hstack([r, beside()])
    made = _normalised(problem, every, _precondition(problem, every))
    if made is None:
        stop(state, np.flatnonzero(state.going), "indefinite")
        return
    state.q, state.p, root = made
    state.s = np.ascontiguousarray(root[:, : r.shape[1]])
    state.near = False


def _iterate(state: BlockState, problem: Problem, beside: Beside | None) -> None:
    """One pass over the matrix: true residuals where it is time to look at them, and a step elsewhere."""
    due = state.iteration > 0 and state.iteration % problem.stopping.residual_every == 0
    if state.near:
        _judge(state, problem, problem.targets - _apply(problem, state.x), beside)
    elif problem.system.rounded is not None:
        looked = state.history[-1][3]
        if not due or looked or _judge(state, problem, problem.targets - _apply(problem, state.x), beside):
            _step(state, problem, problem.system.apply_rounded(state.p, _any_column(state.p)))
    elif due:
        moving = state.p.shape[1]
        product = _apply(problem, np.hstack([state.p, state.x]))
        if _judge(state, problem, problem.targets - product[:, moving:], beside):
            _step(state, problem, product[:, :moving])
    else:
        _step(state, problem, _apply(problem, state.p))


def _step(state: BlockState, problem: Problem, product: np.ndarray) -> None:
    """Move all columns along all directions, given the matrix times the directions."""
    gram = gram_of(problem.communicator, state.p, product)
    curvature = decided(problem.communicator, gram, pseudo_inverse)
    if curvature is None:
        lengths = gram_of(problem.communicator, state.p, state.p)
        state.curvature = decided(problem.communicator, gram, lambda gram: least_curvature(gram, lengths))
        stop(state, np.flatnonzero(state.going), "indefinite")
        return
    q = state.q - product @ curvature
    made = _normalised(problem, q, _precondition(problem, q))
    if made is None:
        stop(state, np.flatnonzero(state.going), "indefinite")
        return
    state.x += state.p @ (curvature @ state.s)
    state.q, w, change = made
    state.s = change @ state.s
    state.p = w + state.p @ change.T
    state.iteration += 1
    going = state.going
    state.residuals = problem.norms(state.q @ state.s, problem.columns)
    state.iterations[going] = state.iteration
    state.near = bool((state.residuals[going] <= problem.stopping.tolerance).all())
    note(state, problem, np.flatnonzero(going), recomputed=False)


def _judge(state: BlockState, problem: Problem, r: np.ndarray, beside: Beside | None) -> bool:
    """Act on the true residuals ``r`` of all columns: stop, begin anew from them, or go on.

    Returns:
        Whether the directions are still good to step along.
    """
    columns = np.flatnonzero(state.going)
    every = problem.norms(r, problem.columns)
    estimates, true = state.residuals[columns], every[columns]
    state.residuals = every
    note(state, problem, columns, recomputed=True)
    # With a rounded matrix the recurrence goes on to its own end, and begins anew from the true residual there:
    # whenever it has drifted would be so often that directions never add up.
    drifted = (estimates < DRIFT * true) & (problem.system.rounded is None)
    adrift = ~(true <= problem.stopping.tolerance) & (state.near | drifted)
    stop_stagnant(state, problem, columns, true, adrift)
    solved = every <= problem.stopping.tolerance
    if not (state.going & ~solved).any():
        stop(state, np.flatnonzero(solved), "tolerance")
        return False
    if adrift.any():
        _begin(state, problem, r, beside)
        return False
    return True


def _apply(problem: Problem, vectors: np.ndarray) -> np.ndarray:
    return problem.system.apply(vectors, _any_column(vectors))


def _precondition(problem: Problem, vectors: np.ndarray) -> np.ndarray:
    return problem.preconditioner.apply(vectors, _any_column(vectors))


def _any_column(vectors: np.ndarray) -> np.ndarray:
    # Every column has the matrix and the preconditioner of the first.
    return np.zeros(vectors.shape[1], np.intp)


def _normalised(
    problem: Problem, r: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Q and P^-1 Q, (own rows, k), and S, (k, columns), with Q S = R and Q^T P^-1 Q = I.

    Args:
        z: P^-1 R.

    Returns:
        None where P^-1 is not positive definite.
    """
    made = decided(problem.communicator, gram_of(problem.communicator, r, z), root_of)
    if made is None:
        return None
    root, inverse = made
    return r @ inverse, z @ inverse, root


def _finish(state: BlockState, problem: Problem) -> None:
    """Columns that ran out of iterations, or into indefiniteness, still get their true residual."""
    stop(state, np.flatnonzero(state.going), "max_iterations")
    late = unjudged(state)
    if len(late):
        # The recurrence has gone on for those that had stopped, too.
        judge_last(state, problem, problem.columns)
        note(state, problem, late, recomputed=True)
    state.seconds = problem.seconds
