"""Chunks of test examples on stores, whatever fits in memory, and the committee within its budget."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from neural_kernels.blocks import Grid, KernelStore, declare_store, write_block
from neural_kernels.engines import Precision
from neural_kernels.errors import UserError
from neural_kernels.machine.threads import blas_threads
from neural_kernels.solvers import Settings
from neural_kernels.solvers.approximations import (
    bayesian_committee_machine,
    bayesian_committee_machine_independent,
    draw_partition,
)
from neural_kernels.solvers.approximations import selection as approximations
from neural_kernels.solvers.approximations.problem import Problem
from neural_kernels.solvers.approximations.query_chunks import Queries, QueryChunks, chunk_size

N, OUTPUTS = 480, 3
SIZES = {"validation": 90, "test": 250}
WINDOW = (20, 500)
RANDOM = np.random.default_rng(0)
FACTOR = RANDOM.normal(size=(500 + sum(SIZES.values()), 40))
EVERYTHING = FACTOR @ FACTOR.T / 40 + 0.1 * np.eye(len(FACTOR))
ROWS = {"train": slice(0, 500), "validation": slice(500, 590), "test": slice(590, 840)}
TARGETS = FACTOR[20:500, :OUTPUTS]


def written(
    folder: Path, matrix: np.ndarray, edge: int, precision: Precision, symmetric: bool
) -> KernelStore:
    height, width = matrix.shape
    store = declare_store(folder, Grid(height, width, edge, symmetric), precision, {"name": folder.name})
    for i, j in store.grid.blocks():
        rows, columns = slice(*store.grid.row_range(i)), slice(*store.grid.column_range(j))
        write_block(store, i, j, np.ascontiguousarray(matrix[rows, columns], precision), {})
    return store


@pytest.fixture
def problem(tmp_path: Path, request: pytest.FixtureRequest) -> Problem:
    precision: Precision = getattr(request, "param", "float64")
    train = EVERYTHING[ROWS["train"], ROWS["train"]]
    queries = {}
    for part, size in SIZES.items():
        cross = written(tmp_path / part, EVERYTHING[ROWS[part], ROWS["train"]], 128, precision, False)

        def among(edge: int, part: str = part) -> KernelStore:
            own = EVERYTHING[ROWS[part], ROWS[part]]
            return written(tmp_path / f"{part}-{edge}", own, edge, precision, True)

        variances = np.diag(EVERYTHING)[ROWS[part]]
        queries[part] = Queries(cross, size, variances.view, among)
    return Problem(
        written(tmp_path / "train", train, 128, precision, True),
        WINDOW,
        TARGETS,
        queries,
        FACTOR[ROWS["validation"], :OUTPUTS],
    )


@pytest.mark.parametrize(
    ("size", "most", "expected"), [(10, 4, 4), (10, 5, 5), (10, 9, 5), (10, 10, 10), (10, 99, 10), (7, 1, 1)]
)
def test_chunks_are_as_few_as_can_be_and_of_nearly_equal_size(size: int, most: int, expected: int) -> None:
    assert chunk_size(size, most) == expected


@pytest.mark.parametrize("problem", ["float64", "float32"], indirect=True)
@pytest.mark.parametrize("chunks", [1, 2, 100])
def test_chunks_have_the_entries_of_the_stores_however_many_fit(problem: Problem, chunks: int) -> None:
    found = QueryChunks(problem.queries, WINDOW, 40, budget=chunks * 40 * N * 12 + 8 * 128**2)
    dtype = problem.train.dtype
    for _ in range(2):
        for part, size in SIZES.items():
            edge = chunk_size(size, 40)
            assert found.count(part) == -(-size // edge)
            own = EVERYTHING[ROWS[part]]
            for place in range(found.count(part)):
                rows, among = found.read(part, place)
                here = slice(place * edge, min((place + 1) * edge, size))
                assert rows.dtype == among.dtype == np.float64
                np.testing.assert_array_equal(rows, own[here, 20:500].astype(dtype))
                np.testing.assert_array_equal(among, own[:, ROWS[part]][here, here].astype(dtype))


def least_budget(problem: Problem, method: str, size: int) -> int:
    """The first bytes of a geometric sequence with which a committee of parts of ``size`` runs."""
    budget = 100_000
    while budget < 2**30:
        settings = Settings([1.0], memory_budget=budget, threads=1)
        try:
            approximations.approximate(problem, method, size, 0, settings, [])
        except UserError as error:
            sentence = str(error)
        else:
            assert "raise solver.memory_gib or lower the size" in sentence
            return budget
        budget = budget * 21 // 20
    raise AssertionError("no budget is enough")


def predicted(problem: Problem, method: str, size: int, budget: int) -> tuple[np.ndarray, float, int]:
    """Predictions of the test set, the ridge chosen, and the most memory that was taken."""
    settings = Settings([1e-2, 1.0], memory_budget=budget, threads=1)
    # What is loaded with the first use of BLAS is not the method's.
    with blas_threads(1):
        tracemalloc.start()
    try:
        chosen = approximations.approximate(problem, method, size, 0, settings, [])
        return chosen.predict("test"), chosen.ridge, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def expected_predictions(method: str, size: int, ridge: float) -> np.ndarray:
    own, train = EVERYTHING[ROWS["test"]], EVERYTHING[20:500, 20:500]
    partition = draw_partition(N, size, 0)

    def among(part: np.ndarray) -> np.ndarray:
        return train[np.ix_(part, part)]

    if method == "bayesian_committee_machine_independent":
        variances = np.diag(own[:, ROWS["test"]])
        return bayesian_committee_machine_independent(
            among, lambda p: own[:, 20:500][:, p], variances, TARGETS, partition, ridge
        )
    edge = chunk_size(SIZES["test"], size)

    def of_chunk(chunk: slice) -> np.ndarray:
        prior = own[chunk, ROWS["test"]][:, chunk]
        return bayesian_committee_machine(
            among, lambda p: own[chunk, 20:500][:, p], prior, TARGETS, partition, ridge
        )

    return np.vstack([of_chunk(slice(first, first + edge)) for first in range(0, SIZES["test"], edge)])


@pytest.mark.parametrize("problem", ["float64", "float32"], indirect=True)
@pytest.mark.parametrize("size", [80, 240])
@pytest.mark.parametrize("method", ["bayesian_committee_machine", "bayesian_committee_machine_independent"])
def test_a_committee_is_the_same_in_any_budget_and_keeps_to_it(
    problem: Problem, method: str, size: int
) -> None:
    least = least_budget(problem, method, size)
    predicted(problem, method, size, 2**30)  # what is imported on the way is none of the method's memory
    tolerance = 1e-12 if problem.train.dtype == np.float64 else 1e-3
    for budget in (least, 2 * least, 2**30):
        found, ridge, peak = predicted(problem, method, size, budget)
        expected = expected_predictions(method, size, ridge)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
        assert peak <= budget + 300_000, "beyond what Python itself takes"
