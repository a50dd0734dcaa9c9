"""What both conjugate gradients share: when to stop, the problem, and how the course of a solve is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from neural_kernels.solvers.communicator import Communicator
from neural_kernels.solvers.operator import RidgeSystem
from neural_kernels.solvers.preconditioners import Preconditioner
from neural_kernels.solvers.solution import TOLERANCE, StoppedBy

# The recurrence's residual has drifted from the true one where it is below this share of it.
DRIFT = 0.5
# A column stagnates when the true residual has not halved over this many corrections of its drift.
FUTILE_CORRECTIONS = 3

History = list[tuple[int, int, float, bool, float]]
"""(iteration, column, relative residual, recomputed from the matrix?, seconds)."""


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

    tolerance: float = TOLERANCE
    max_iterations: int = 1000
    residual_every: int = 25
    patience: int = 1000


class Course(Protocol):
    """What the state of either iteration has of each column: see ``conjugate_gradients.State``."""

    iteration: int
    x: np.ndarray
    iterations: np.ndarray
    residuals: np.ndarray
    stopped_by: list[StoppedBy | None]
    corrected: np.ndarray
    futile: np.ndarray
    best: np.ndarray
    best_at: np.ndarray
    seconds: float
    history: History

    @property
    def finished(self) -> bool: ...


AnyCourse = TypeVar("AnyCourse", bound=Course)


@dataclass(frozen=True)
class Problem:
    """A X = B, with what it is solved by.

    Attributes:
        targets: own rows of B, (own rows, C).
        nothing: (C,) the columns of B that are zero.
        size: (C,) norms of the columns of B, one where that is zero.
        begun: when the solve began, or would have begun had it not been interrupted.
    """

    system: RidgeSystem
    targets: np.ndarray
    nothing: np.ndarray
    size: np.ndarray
    preconditioner: Preconditioner
    stopping: Stopping
    begun: float

    @property
    def communicator(self) -> Communicator:
        return self.system.kernel.communicator

    @property
    def columns(self) -> np.ndarray:
        return np.arange(self.targets.shape[1])

    @property
    def seconds(self) -> float:
        """Since the solve began."""
        return time.perf_counter() - self.begun

    def dots(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Column by column, over the rows of all processes."""
        return self.communicator.sum(np.einsum("ik,ik->k", left, right))

    def norms(self, vectors: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """|v_t| / |b_t| over the rows of all processes, (k,), one v_t for each of ``columns``."""
        return np.sqrt(self.dots(vectors, vectors)) / self.size[columns]

    def first_guess(self, start: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Own rows of X and of B - A X, from a first guess, zero where None."""
        if start is None:
            return np.zeros_like(self.targets), self.targets
        x = start.copy()
        x[:, self.nothing] = 0.0
        return x, self.targets - self.system.apply(x, self.columns)


def pose(
    system: RidgeSystem,
    targets: np.ndarray,
    preconditioner: Preconditioner,
    stopping: Stopping,
    state: Course | None,
) -> Problem:
    """The problem, which ``state`` has already worked on."""
    begun = time.perf_counter() - (0.0 if state is None else state.seconds)
    squares = system.kernel.communicator.sum(np.einsum("ik,ik->k", targets, targets))
    size = np.where(squares == 0, 1.0, np.sqrt(squares))
    return Problem(system, targets, squares == 0, size, preconditioner, stopping, begun)


def run(
    state: AnyCourse,
    problem: Problem,
    iterate: Callable[[AnyCourse, Problem], None],
    after_iteration: Callable[[AnyCourse], object] | None,
) -> AnyCourse:
    """``iterate`` until every column has stopped, or iterations run out."""
    while not state.finished and state.iteration < problem.stopping.max_iterations:
        iterate(state, problem)
        if after_iteration is not None:
            after_iteration(state)
    return state


def stop(state: Course, columns: Iterable[int] | np.ndarray, reason: StoppedBy) -> None:
    """Say what ended ``columns``."""
    for column in columns:
        state.stopped_by[int(column)] = reason


def note(state: Course, problem: Problem, columns: np.ndarray, recomputed: bool) -> None:
    """Append the residuals of ``columns`` to the history."""
    state.seconds = problem.seconds
    state.history += [
        (int(state.iterations[c]), int(c), float(state.residuals[c]), recomputed, state.seconds)
        for c in columns
    ]


def stop_stagnant(
    state: Course, problem: Problem, columns: np.ndarray, true: np.ndarray, adrift: np.ndarray
) -> None:
    """Stop those of ``columns`` whose true residual has long not fallen.

    Args:
        columns: (k,), whose true residuals are (k,) ``true``.
        adrift: (k,) bool, those whose recurrence is about to be replaced.
    """
    useful = adrift & (true < 0.5 * state.corrected[columns])
    state.corrected[columns[useful]], state.futile[columns[useful]] = true[useful], 0
    state.futile[columns[adrift & ~useful]] += 1
    improved = true < state.best[columns]
    state.best[columns[improved]], state.best_at[columns[improved]] = true[improved], state.iteration
    waited = state.iteration - state.best_at[columns] >= problem.stopping.patience
    futile = adrift & (state.futile[columns] >= FUTILE_CORRECTIONS)
    unsolved = ~(true <= problem.stopping.tolerance)
    stop(state, columns[unsolved & (waited | futile)], "stagnation")


def unjudged(state: Course) -> np.ndarray:
    """Columns that ran out of iterations, or into indefiniteness: their true residual is still unknown."""
    late = ("max_iterations", "indefinite")
    return np.array([c for c, reason in enumerate(state.stopped_by) if reason in late], np.intp)


def judge_last(state: Course, problem: Problem, columns: np.ndarray) -> None:
    """The true residuals of ``columns``, which have stopped, and whether they solve them after all."""
    r = problem.targets[:, columns] - problem.system.apply(state.x[:, columns], columns)
    state.residuals[columns] = problem.norms(r, columns)
    stop(state, columns[state.residuals[columns] <= problem.stopping.tolerance], "tolerance")
