"""Against Tresp's formula in 50 digits, a joint Gaussian conditioned by brute force, and the exact posterior."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from solver_problems import digits_problem

from neural_kernels.errors import UserError
from neural_kernels.solvers.approximations import (
    bayesian_committee_machine,
    bayesian_committee_machine_independent,
    draw_partition,
)
from neural_kernels.solvers.approximations.bayesian_committee_machine import working_bytes
from neural_kernels.solvers.definiteness import NotAKernel, NotPositiveDefinite

EVERYTHING, TARGETS = digits_problem(260)
N = 200
KERNEL, CROSS, PRIOR, Y = EVERYTHING[:N, :N], EVERYTHING[N:, :N], EVERYTHING[N:, N:], TARGETS[:N]
M = len(PRIOR)
RIDGES = [1e-6, 1e-2]
DOUBLE, SINGLE = (float(np.finfo(dtype).eps) for dtype in (np.float64, np.float32))


def among(part: np.ndarray) -> np.ndarray:
    return KERNEL[np.ix_(part, part)]


def shifted(part: np.ndarray, ridge: float) -> np.ndarray:
    return among(part) + ridge * np.diag(among(part)).mean() * np.eye(len(part))


def committee(
    partition: Sequence[np.ndarray],
    ridge: float,
    rows: slice | np.ndarray = slice(None),
    cross: np.ndarray = CROSS,
    prior: np.ndarray = PRIOR,
    rounding: float = DOUBLE,
) -> np.ndarray:
    own = prior[rows][:, rows]
    return bayesian_committee_machine(among, lambda b: cross[rows][:, b], own, Y, partition, ridge, rounding)


def agree(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-8) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def in_many_digits(
    cross: np.ndarray,
    prior: np.ndarray,
    partition: Sequence[np.ndarray],
    ridge: float,
    rounding: float = DOUBLE,
) -> np.ndarray:
    """sum_b C_b^-1 - (M - 1) S^-1 as it is written, which float64 cannot do for similar queries."""
    with mpmath.workdps(50):
        jitter = mpmath.mpf(rounding ** (2 / 3) * float(np.diag(prior).mean()))
        prior = mpmath.matrix(prior.tolist()) + jitter * mpmath.eye(len(prior))
        precision, weighted = -(len(partition) - 1) * prior**-1, mpmath.zeros(len(prior), Y.shape[1])
        for part in partition:
            shift = mpmath.mpf(ridge * float(np.diag(among(part)).mean()))
            inverse = (mpmath.matrix(among(part).tolist()) + shift * mpmath.eye(len(part))) ** -1
            rows = mpmath.matrix(cross[:, part].tolist())
            own = (prior - rows * inverse * rows.T) ** -1
            precision += own
            weighted += own * (rows * (inverse * mpmath.matrix(Y[part].tolist())))
        return np.array((precision**-1 * weighted).tolist(), dtype=float)


QUERIES = {
    "different": np.arange(8),
    "each twice": np.r_[np.arange(4), np.arange(4)],
    "one of them four times": np.r_[np.arange(4), 0, 0, 0],
}


@pytest.mark.parametrize("ridge", [1e-12, 1e-6, 1e-1])
@pytest.mark.parametrize("rows", QUERIES.values(), ids=QUERIES)
def test_a_chunk_has_the_mean_of_the_formula_in_many_digits(rows: np.ndarray, ridge: float) -> None:
    partition = draw_partition(36, 12, seed=0)
    expected = in_many_digits(CROSS[rows], PRIOR[np.ix_(rows, rows)], partition, ridge)
    agree(committee(partition, ridge, rows), expected, tolerance=1e-12)


@pytest.mark.parametrize("ridge", RIDGES)
@pytest.mark.parametrize("size", [7, 60, 150])
def test_it_conditions_a_gaussian_whose_parts_are_independent_given_the_queries(
    size: int, ridge: float
) -> None:
    partition = draw_partition(N, size, seed=2)
    training = CROSS.T @ np.linalg.solve(PRIOR, CROSS)
    for part in partition:
        training[np.ix_(part, part)] = shifted(part, ridge)
    agree(committee(partition, ridge), CROSS @ np.linalg.solve(training, Y))


@pytest.mark.parametrize("ridge", RIDGES)
@pytest.mark.parametrize("queries", [1, 13, M])
def test_one_part_is_the_exact_gaussian_process(queries: int, ridge: float) -> None:
    expected = CROSS[:queries] @ np.linalg.solve(shifted(np.arange(N), ridge), Y)
    agree(committee(draw_partition(N, N, seed=0), ridge, slice(queries)), expected)


@given(seed=st.integers(0, 2**32 - 1), size=st.integers(20, N), queries=st.integers(2, M))
def test_the_order_of_queries_in_a_chunk_does_not_matter(seed: int, size: int, queries: int) -> None:
    order = np.random.default_rng(seed).permutation(queries)
    partition = draw_partition(N, size, seed)
    agree(committee(partition, 1e-2, order), committee(partition, 1e-2, slice(queries))[order], 1e-11)


def test_a_query_that_comes_twice_is_predicted_as_if_it_came_once() -> None:
    partition, twice = draw_partition(N, 50, seed=1), np.r_[np.arange(M), np.arange(M)]
    once = committee(partition, 1e-3)
    agree(committee(partition, 1e-3, twice), np.vstack([once, once]), tolerance=1e-6)


def test_queries_depend_on_those_beside_them_unless_each_is_a_query_of_its_own() -> None:
    partition = draw_partition(N, 20, seed=1)
    alone = np.vstack([committee(partition, 1e-2, slice(row, row + 1)) for row in range(M)])
    assert np.abs(alone - committee(partition, 1e-2)).max() > 0.05 * np.abs(alone).max()
    variances = np.diag(PRIOR)
    found = bayesian_committee_machine_independent(
        among, lambda b: CROSS[:, b], variances, Y, partition, 1e-2
    )
    agree(found, alone)


@pytest.mark.parametrize("ridge", RIDGES)
def test_the_independent_one_of_one_part_is_the_exact_gaussian_process(ridge: float) -> None:
    partition = draw_partition(N, N, seed=0)
    found = bayesian_committee_machine_independent(
        among, lambda b: CROSS[:, b], np.diag(PRIOR), Y, partition, ridge
    )
    agree(found, CROSS @ np.linalg.solve(shifted(np.arange(N), ridge), Y))


def rounded(matrix: np.ndarray) -> np.ndarray:
    return matrix.astype(np.float32).astype(np.float64)


def test_a_kernel_in_float32_gives_the_same_to_its_rounding_though_queries_come_twice() -> None:
    partition, twice = draw_partition(N, 50, seed=1), np.r_[np.arange(M), np.arange(M)]
    single: dict[str, Any] = {"cross": rounded(CROSS), "prior": rounded(PRIOR), "rounding": SINGLE}
    agree(committee(partition, 1e-2, twice, **single), committee(partition, 1e-2, twice), tolerance=2e-3)


def test_an_indefinite_kernel_among_queries_is_refused() -> None:
    partition = draw_partition(N, 50, seed=1)
    value, vector = np.linalg.eigh(PRIOR)
    for eigenvalue, error, said in (
        (-1e-3, NotAKernel, f"is no kernel: among {M} test examples its leading minor"),
        (-1e-9, NotPositiveDefinite, f"among {M} test examples is not positive definite"),
    ):
        bad = PRIOR - (value[0] - eigenvalue) * np.outer(vector[:, 0], vector[:, 0])
        with pytest.raises(error, match=said):
            committee(partition, 1e-2, prior=bad)


def test_a_kernel_among_queries_that_is_not_that_of_the_rows_is_refused() -> None:
    with pytest.raises(
        NotAKernel, match=r"is no kernel: among 60 test examples and a part of 50 its leading"
    ):
        committee(draw_partition(N, 50, seed=1), 1e-6, prior=0.9 * PRIOR)


def test_a_part_that_is_singular_to_rounding_is_refused() -> None:
    partition = [np.array([3, 3, 5])]
    with pytest.raises(NotPositiveDefinite, match="with ridge 0, is not positive definite"):
        committee(partition, 0.0)
    assert np.isfinite(committee(partition, 1e-8)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_entries_that_are_not_finite_are_refused(bad: float) -> None:
    prior, cross = PRIOR.copy(), CROSS.copy()
    prior[3, 2] = prior[2, 3] = cross[4, 5] = bad
    wrong: tuple[dict[str, Any], ...] = ({"prior": prior}, {"cross": cross})
    for entries in wrong:
        with pytest.raises(NotPositiveDefinite):
            committee(draw_partition(N, 50, seed=1), 1e-2, **entries)


def test_shapes_that_do_not_fit_are_refused() -> None:
    part = np.arange(5)
    with pytest.raises(UserError, match=r"shape \(60, 3\), expected \(60, 60\)"):
        committee([part], 0.1, prior=np.ones((60, 3)), rows=slice(None, None, None))
    with pytest.raises(UserError, match=r"shape \(60, 5\), expected \(30, 5\)"):
        bayesian_committee_machine(among, lambda b: CROSS[:, b], PRIOR[:30, :30], Y, [part], 0.1)
    with pytest.raises(UserError, match=r"shape \(60, 60\), expected \(m,\)"):
        bayesian_committee_machine_independent(among, lambda b: CROSS[:, b], PRIOR, Y, [part], 0.1)
    with pytest.raises(NotAKernel, match="no kernel"):
        bayesian_committee_machine_independent(
            lambda b: -among(b), lambda b: CROSS[:, b], np.diag(PRIOR), Y, [part], 0.1
        )


@pytest.mark.parametrize(("queries", "part"), [(600, 600), (100, 900), (900, 100)])
def test_it_holds_no_more_memory_than_it_says(queries: int, part: int) -> None:
    random = np.random.default_rng(0)
    factor = random.normal(size=(queries + 2 * part, 50))
    everything = factor @ factor.T / 50
    prior, cross = everything[:queries, :queries] + np.eye(queries), everything[:queries, queries:]
    training, targets = everything[queries:, queries:] + np.eye(2 * part), random.normal(size=(2 * part, 10))
    parts = [np.arange(part), np.arange(part, 2 * part)]
    kernels = [np.ascontiguousarray(training[np.ix_(b, b)]) for b in parts]
    tracemalloc.start()
    try:
        bayesian_committee_machine(
            lambda b: kernels[b[0] // part], lambda b: cross[:, b], prior, targets, parts, 1e-2
        )
        peak = tracemalloc.get_traced_memory()[1] + prior.nbytes
    finally:
        tracemalloc.stop()
    assert peak <= working_bytes(queries, part, 10) + 2**20
