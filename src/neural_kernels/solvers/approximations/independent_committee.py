"""The Bayesian committee machine with every test example as a query of its own.

No kernel among test examples is needed, and a prediction does not depend on which others are made. It is the
weaker method: the parts are taken as independent once the value of one test example is known, where the committee
of Tresp 2000 knows those of all that it predicts together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from neural_kernels.errors import UserError
from neural_kernels.solvers.approximations.bayesian_committee_machine import committee_attempts
from neural_kernels.solvers.approximations.part_kernels import PartKernels
from neural_kernels.solvers.approximations.problem import Approximation, Asked, Attempt, Problem, check_memory
from neural_kernels.solvers.approximations.query_chunks import reading_bytes
from neural_kernels.solvers.approximations.subsets import draw_partition
from neural_kernels.solvers.cholesky import factorise, solve_factorised, working_bytes
from neural_kernels.solvers.definiteness import NotPositiveDefinite


def bayesian_committee_machine_independent(
    kernel_among: Callable[[np.ndarray], np.ndarray],
    cross: Callable[[np.ndarray], np.ndarray],
    prior: np.ndarray,
    targets: np.ndarray,
    partition: Sequence[np.ndarray],
    ridge: float,
    computed_in: npt.DTypeLike = np.float64,
) -> np.ndarray:
    """Predictions, (m, C) float64, each that of ``bayesian_committee_machine`` for a query of one test example.

    Args:
        kernel_among: K[b, b] of indices b, (size, size) float64.
        cross: K[test, b] of indices b, (m, size) float64.
        prior: variances K(x, x) of the test examples, (m,) float64.
        targets: Y, (n, C) float64.
        partition: the indices of each part; a single part gives the exact prediction.
        ridge: relative to the mean diagonal of each part.
        computed_in: precision in which the kernel's entries were computed.

    Raises:
        UserError: shapes that do not fit.
        NotPositiveDefinite: the kernel of a part is not, or a test example's variance given a part.
        NotAKernel: the kernel of a part is not positive semidefinite, by more than rounding.
    """
    if prior.ndim != 1:
        raise UserError(f"the prior variances have shape {prior.shape}, expected (m,)")
    precision, weighted = 1 / prior, np.zeros((len(prior), targets.shape[1]))
    for part in partition:
        kernel = np.array(kernel_among(part), np.float64, order="C")
        factor, _ = factorise(kernel, ridge * float(np.diag(kernel).mean()), ridge, computed_in)
        rows = cross(part)
        solved = solve_factorised(factor, np.ascontiguousarray(rows.T))
        explained = np.einsum("mb,bm->m", rows, solved)
        left = prior - explained
        if not (left > 0).all():
            raise NotPositiveDefinite(
                f"the variance of a test example given a part of {len(part)} examples is {left.min():g} with ridge "
                f"{ridge:g}, expected a positive number: choose a larger ridge"
            )
        # 1 / left - 1 / prior, without the difference.
        precision += explained / (prior * left)
        weighted += (solved.T @ targets[part]) / left[:, None]
    return weighted / precision[:, None]


def _independent_committee(problem: Problem, asked: Asked, passed_over: list[float]) -> Iterator[Attempt]:
    """Each query is predicted on its own, from its prior variance, not together with the others."""
    settings, partition = asked.settings, draw_partition(problem.n, asked.size, asked.seed)
    n, outputs = problem.targets.shape
    queries, largest = problem.queries.values(), max(map(len, partition))
    most = max(q.size for q in queries)
    # K[validation, training set], which stays, and that of another part of the data; then what a member has in hand.
    working = 8 * problem.queries["validation"].size * n + max(reading_bytes(q, q.size, n) for q in queries)
    working += 8 * (4 * most * largest + 4 * most * outputs) + working_bytes(largest, outputs)
    check_memory(working, settings)
    kernels = PartKernels(problem.train, problem.window, partition, settings.memory_budget - working)

    def given(part: str) -> tuple[np.ndarray, np.ndarray]:
        cross = problem.validation_cross if part == "validation" else problem.cross(part)
        return cross, problem.queries[part].variances()

    validation = given("validation")

    def predict(part: str, ridge: float) -> np.ndarray:
        cross, variances = validation if part == "validation" else given(part)
        return bayesian_committee_machine_independent(
            kernels,
            lambda p: cross[:, p],
            variances,
            problem.targets,
            partition,
            ridge,
            problem.train.dtype,
        )

    return committee_attempts(settings.ridges, predict, lambda: kernels.reading_seconds, passed_over)


INDEPENDENT_COMMITTEE = Approximation(
    "Committee, single queries",
    _independent_committee,
    note="predicts each test example as a query of its own.",
)
