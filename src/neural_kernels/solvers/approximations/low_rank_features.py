"""What Nystroem and subset of regressors share: features L with L L^T = K_nS (K_SS + jitter I)^-1 K_Sn."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack, solve_triangular

from neural_kernels.errors import UserError
from neural_kernels.solvers import cholesky
from neural_kernels.solvers.approximations.problem import (
    Asked,
    Attempt,
    Problem,
    descending,
    from_coefficients,
    operator_of,
)
from neural_kernels.solvers.approximations.subsets import draw_subset
from neural_kernels.solvers.communicator import SerialCommunicator
from neural_kernels.solvers.definiteness import NotPositiveDefinite
from neural_kernels.solvers.operator import Operator
from neural_kernels.solvers.preconditioners import LowRank, LowRankFamily, low_rank_family

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LowRankFeatures:
    """Features of one jitter, for solves with any ridge.

    Attributes:
        subset: (m,) indices S.
        triangle: lower Cholesky factor of K_SS + jitter mean(diag K) I, (m, m).
        family: L L^T + shift I for every shift, L of (n, m).
        mean_diagonal: of K.
    """

    subset: np.ndarray
    triangle: np.ndarray
    family: LowRankFamily
    mean_diagonal: float

    def system(self, ridge: float) -> LowRank:
        """L L^T + ridge mean(diag K) I, factorised stably.

        Raises:
            UserError: the ridge is not positive.
        """
        if not ridge > 0:
            raise UserError(
                f"ridge is {ridge}, expected a positive number: the approximate kernel is singular"
            )
        return self.family.at(ridge * self.mean_diagonal)


def low_rank_features(
    operator: Operator,
    subset: np.ndarray,
    jitter: float,
    outputs: int,
    threads: int = 1,
    precision: npt.DTypeLike = np.float64,
) -> LowRankFeatures:
    """The features of a subset, for targets of (n, outputs).

    Args:
        operator: K, in one process; its columns S are read in one pass.
        subset: (m,) indices S.
        jitter: relative to the mean diagonal, not negative.
        threads: of products with L.
        precision: in which the entries of K were computed.

    Raises:
        NotPositiveDefinite: K_SS + jitter is not, to working precision.
        NotAKernel: K_SS is not positive semidefinite, by more than rounding.
        UserError: a jitter below zero, or several processes.
    """
    if operator.communicator.size != 1:
        raise UserError(f"approximations run in one process, found {operator.communicator.size}")
    if not jitter >= 0:
        raise UserError(f"jitter is {jitter}, expected zero or a positive number")
    mean_diagonal = float(operator.diagonal().mean())
    columns = operator.columns(subset)
    among = columns[subset]
    among.flat[:: len(subset) + 1] += jitter * mean_diagonal
    triangle, minor = lapack.dpotrf(among, lower=1, clean=1)
    pivots = np.diag(triangle) ** 2
    if minor:
        with contextlib.suppress(NotPositiveDefinite):  # and not NotAKernel
            cholesky.factorise(
                np.ascontiguousarray(columns[subset]), jitter * mean_diagonal, jitter, precision
            )
    if minor or pivots.min() <= len(subset) * np.finfo(np.float64).eps * pivots.max():
        raise NotPositiveDefinite(
            f"the kernel among the {len(subset)} chosen examples with jitter {jitter:g} is not positive definite "
            "to working precision: choose a larger jitter"
        )
    factor = np.ascontiguousarray(solve_triangular(triangle, columns.T, lower=True).T)
    del columns
    family = low_rank_family(factor, None, outputs, SerialCommunicator(), threads)
    return LowRankFeatures(subset, triangle, family, mean_diagonal)


def low_rank_attempts(
    solve: Callable[[LowRankFeatures, np.ndarray, float], np.ndarray],
    problem: Problem,
    asked: Asked,
    passed_over: list[float],
) -> Iterator[Attempt]:
    """Attempts with the features of a random subset, from which ``solve`` makes coefficients with a ridge."""
    settings, subset = asked.settings, draw_subset(problem.n, asked.size, asked.seed)
    n, m = problem.n, len(subset)
    operator = operator_of(problem, settings, working=8 * (4 * n * m + 6 * m * m))
    outputs = problem.targets.shape[1]
    for jitter in descending(asked.jitters):
        begun = time.perf_counter()
        try:
            features = low_rank_features(
                operator, subset, jitter, outputs, settings.threads, problem.train.dtype
            )
        except NotPositiveDefinite as error:
            log.warning("jitter %g is passed over: %s", jitter, error)
            passed_over.append(jitter)
            continue
        shared = time.perf_counter() - begun
        for ridge in descending(settings.ridges):
            begun = time.perf_counter()
            coefficients = solve(features, problem.targets, ridge)
            seconds = shared + time.perf_counter() - begun
            yield Attempt(
                ridge, jitter, from_coefficients(problem, coefficients), seconds, "direct", True, {}
            )
