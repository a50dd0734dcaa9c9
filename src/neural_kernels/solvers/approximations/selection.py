"""Approximations of one full solution, their ridge and jitter chosen on the validation set (paper, Fig. 1).

``solvers.approximations`` has the methods; here each is tried with every candidate on the same stored
kernel, and the candidate with the smallest validation loss is kept. What candidates share is computed once.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from neural_kernels.blocks import KernelStore, read_block, read_submatrix
from neural_kernels.blocks import cross_product as prediction
from neural_kernels.errors import UserError
from neural_kernels.machine.threads import blas_threads
from neural_kernels.planning.costs import gibibytes
from neural_kernels.prediction.query_chunks import Queries, QueryChunks, chunk_size, reading_bytes
from neural_kernels.solvers import Settings, cholesky, iterative
from neural_kernels.solvers.approximations import (
    LowRankFeatures,
    bayesian_committee_machine,
    bayesian_committee_machine_independent,
    block_diagonal,
    draw_partition,
    draw_subset,
    low_rank_features,
    nystrom,
    subset_of_regressors,
)
from neural_kernels.solvers.approximations.bayesian_committee_machine import working_bytes
from neural_kernels.solvers.definiteness import NotPositiveDefinite
from neural_kernels.solvers.ridge import mean_squared_error
from neural_kernels.solvers.store_operator import StoreOperator
from neural_kernels.study.approximation_settings import TRUNCATED

log = logging.getLogger(__name__)

LOW_RANK = {"nystrom": nystrom, "subset_of_regressors": subset_of_regressors}


@dataclass(frozen=True)
class Problem:
    """What is approximated: regression on the training examples ``window`` of a symmetric store.

    Attributes:
        targets: (n, C) float64, those of the window.
        queries: by part of the data; "validation" is what candidates are judged on.
        validation_targets: (size, C) float64.
    """

    train: KernelStore
    window: tuple[int, int]
    targets: np.ndarray
    queries: Mapping[str, Queries]
    validation_targets: np.ndarray

    @property
    def n(self) -> int:
        return self.window[1] - self.window[0]

    @functools.cached_property
    def validation_cross(self) -> np.ndarray:
        """K(validation, window), (size, n) float64, which every candidate needs."""
        return self.cross("validation")

    def cross(self, part: str) -> np.ndarray:
        """K(part, window), (size, n) float64."""
        queries = self.queries[part]
        return read_submatrix(queries.store, (0, queries.size), self.window, np.float64)


@dataclass(frozen=True)
class Attempt:
    """One candidate, solved.

    Attributes:
        predict: from a part of the data to predictions (size, C) float64 on it.
        seconds: wall-clock time of this solve with the kernel in memory, what it shares with other
            candidates included.
        jitter: None for a method that has none.
        facts: numbers that belong to one method alone, by name; and ``ridges_passed_over`` or ``jitters_passed_over``,
            how many candidates were, where the kernel is singular to rounding.
    """

    ridge: float
    jitter: float | None
    predict: Callable[[str], np.ndarray]
    seconds: float
    stopped_by: str
    converged: bool
    facts: Mapping[str, float]


def approximate(
    problem: Problem, method: str, size: int, seed: int, settings: Settings, jitters: Sequence[float]
) -> Attempt:
    """The attempt with the smallest validation loss; of equals, that with the larger jitter and ridge.

    Args:
        method: nystrom, subset_of_regressors, block_diagonal, bayesian_committee_machine,
            bayesian_committee_machine_independent or truncated_cg.
        size: rank, examples of a part (and, of the committee, of a query), or iterations.
        seed: of the random subset or partition.
        settings: ridges are the candidates; memory, threads and how conjugate gradients run.
        jitters: candidates of the low-rank methods, relative to the mean diagonal.

    Raises:
        UserError: targets are missing, the memory budget is too small, a block cannot be used, no candidate gives a
            solution, or the matrix is no kernel.
    """
    if np.isnan(problem.targets).any() or np.isnan(problem.validation_targets).any():
        raise UserError("some labels are missing, but approximations need every label")
    with blas_threads(settings.threads):
        # Every candidate needs the validation set's kernel rows, and every prediction two blocks.
        rows, store = problem.queries["validation"], problem.train
        held = 8 * rows.size * problem.n + 2 * max(store.largest_block_bytes, rows.store.largest_block_bytes)
        _check_memory(held, settings)
        settings = replace(settings, memory_budget=settings.memory_budget - held)
        best, best_loss = None, math.inf
        passed_over: list[float] = []
        for attempt in _attempts(problem, method, size, seed, settings, jitters, passed_over):
            loss = mean_squared_error(attempt.predict("validation"), problem.validation_targets)
            jitter = "" if attempt.jitter is None else f", jitter {attempt.jitter:g}"
            log.info("ridge %g%s: validation loss %.6f", attempt.ridge, jitter, loss)
            if loss < best_loss:
                best, best_loss = attempt, loss
    if best is None:
        raise UserError(
            f"{method} of size {size}: no candidate of ridge and jitter gives a solution, the log has the "
            "reasons: add larger candidates"
        )
    which = "jitters_passed_over" if method in LOW_RANK else "ridges_passed_over"
    return replace(best, facts={**best.facts, which: len(passed_over)})


def _attempts(
    problem: Problem,
    method: str,
    size: int,
    seed: int,
    settings: Settings,
    jitters: Sequence[float],
    passed_over: list[float],
) -> Iterator[Attempt]:
    """``passed_over`` gets the candidates that cannot be used."""
    if method == TRUNCATED:
        return _truncated(problem, size, settings, passed_over)
    if method in LOW_RANK:
        subset = draw_subset(problem.n, size, seed)
        return _low_rank(problem, LOW_RANK[method], subset, settings, jitters, passed_over)
    partition = draw_partition(problem.n, size, seed)
    if method == "block_diagonal":
        return _block_diagonal(problem, partition, settings, passed_over)
    if method == "bayesian_committee_machine":
        return _committee(problem, partition, size, settings, passed_over)
    if method == "bayesian_committee_machine_independent":
        return _independent_committee(problem, partition, settings, passed_over)
    raise ValueError(f"there is no method {method!r}")


def _descending(candidates: Sequence[float]) -> list[float]:
    """The easiest first."""
    return sorted(candidates, reverse=True)


def _from_coefficients(problem: Problem, coefficients: np.ndarray) -> Callable[[str], np.ndarray]:
    def predict(part: str) -> np.ndarray:
        if part == "validation":
            return problem.validation_cross @ coefficients
        queries = problem.queries[part]
        return prediction.predict(queries.store, queries.size, [problem.window], [coefficients])[0]

    return predict


# ----------------------------------------------------------------------------------- on the operator


def _operator(problem: Problem, settings: Settings, working: int) -> StoreOperator:
    """The training kernel, as much of it in memory as ``working`` bytes for everything else leave."""
    _check_memory(working, settings)
    budget = settings.memory_budget - working
    return StoreOperator(problem.train, problem.window, memory_budget=budget, threads=settings.threads)


def _check_memory(needed: int, settings: Settings) -> None:
    if needed >= settings.memory_budget:
        raise UserError(
            f"the approximation takes {gibibytes(needed)} besides the kernel, the memory budget leaves "
            f"{gibibytes(settings.memory_budget)}: raise solver.memory_gib or lower the size"
        )


def _low_rank(
    problem: Problem,
    solve: Callable[[LowRankFeatures, np.ndarray, float], np.ndarray],
    subset: np.ndarray,
    settings: Settings,
    jitters: Sequence[float],
    passed_over: list[float],
) -> Iterator[Attempt]:
    n, m = problem.n, len(subset)
    operator = _operator(problem, settings, working=8 * (4 * n * m + 6 * m * m))
    outputs = problem.targets.shape[1]
    for jitter in _descending(jitters):
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
        for ridge in _descending(settings.ridges):
            begun = time.perf_counter()
            coefficients = solve(features, problem.targets, ridge)
            seconds = shared + time.perf_counter() - begun
            yield Attempt(
                ridge, jitter, _from_coefficients(problem, coefficients), seconds, "direct", True, {}
            )


def _truncated(
    problem: Problem, iterations: int, settings: Settings, passed_over: list[float]
) -> Iterator[Attempt]:
    rank = 0 if settings.preconditioner.method == "none" else settings.preconditioner.rank
    working = iterative.working_bytes(problem.n, problem.targets.shape[1], rank)
    solve = iterative.solver(
        _operator(problem, settings, working),
        problem.train.fingerprint,
        problem.targets,
        settings.preconditioner,
        replace(settings.stopping, max_iterations=iterations),
        threads=settings.threads,
        block=settings.block,
        precision=problem.train.dtype,
    )
    for ridge in _descending(settings.ridges):
        try:
            # From zero each time: a first guess would be iterations that are not counted.
            solution = solve(ridge, None)
        except NotPositiveDefinite as error:
            log.warning("ridge %g is passed over: %s", ridge, error)
            passed_over.append(ridge)
            continue
        record = solution.record
        stopped_by = "truncated" if record.stopped_by == "max_iterations" else record.stopped_by
        yield Attempt(
            ridge,
            None,
            _from_coefficients(problem, solution.coefficients),
            record.seconds + record.details.get("preconditioner_seconds", 0.0),
            stopped_by,
            record.converged,
            {"iterations": record.iterations, "residual": record.residual},
        )


# ---------------------------------------------------------------------------------------- on parts


class PartKernels:
    """K[b, b] of each part b of a partition: as many parts at a time as fit in memory, one pass over the blocks.

    Parts are asked for in the order of the partition.
    """

    def __init__(
        self, store: KernelStore, window: tuple[int, int], partition: Sequence[np.ndarray], budget: int
    ) -> None:
        """``budget`` bytes for the matrices.

        Raises:
            UserError: a single part needs more.
        """
        largest = max(len(part) for part in partition)
        self._together = budget // (8 * largest**2)
        if self._together < 1:
            raise UserError(
                f"the kernel among the {largest} examples of a part takes {gibibytes(8 * largest**2)}, which "
                f"exceeds the {gibibytes(max(budget, 0))} that are left: raise solver.memory_gib or lower the size"
            )
        self._store, self._window, self._partition = store, window, partition
        self._position = {int(part[0]): place for place, part in enumerate(partition)}
        self._held: dict[int, np.ndarray] = {}
        self.reading_seconds = 0.0

    def __call__(self, part: np.ndarray) -> np.ndarray:
        """K[part, part], (b, b) float64."""
        place = self._position[int(part[0])]
        if place not in self._held:
            begun = time.perf_counter()
            self._held = {}  # the memory of the ones before goes first
            last = min(place + self._together, len(self._partition))
            self._held = self._read(range(place, last))
            self.reading_seconds += time.perf_counter() - begun
        return self._held[place]

    def _read(self, places: range) -> dict[int, np.ndarray]:
        edge, first = self._store.grid.edge, self._window[0]
        rows = {place: self._partition[place] + first for place in places}
        kernels = {place: np.empty((len(part), len(part))) for place, part in rows.items()}
        for i, j in self._store.grid.window_blocks(*self._window):
            block = read_block(self._store, i, j)
            for place, part in rows.items():
                down, across = part // edge == i, part // edge == j
                entries = block[np.ix_(part[down] - i * edge, part[across] - j * edge)]
                kernels[place][np.ix_(down, across)] = entries
                if i != j:
                    kernels[place][np.ix_(across, down)] = entries.T
        return kernels


def _block_diagonal(
    problem: Problem, partition: Sequence[np.ndarray], settings: Settings, passed_over: list[float]
) -> Iterator[Attempt]:
    # What is picked of a block, and what a factorisation takes besides the kernel of a part.
    largest, outputs = max(len(part) for part in partition), problem.targets.shape[1]
    working = cholesky.working_bytes(largest, outputs) - 8 * largest**2 + 8 * problem.n * outputs
    budget = settings.memory_budget - working - problem.train.largest_block_bytes
    kernels = PartKernels(problem.train, problem.window, partition, budget)
    for ridge in _descending(settings.ridges):
        begun, reading = time.perf_counter(), kernels.reading_seconds
        try:
            coefficients, residual = block_diagonal(
                kernels, problem.targets, partition, ridge, problem.train.dtype
            )
        except NotPositiveDefinite as error:
            log.warning("ridge %g is passed over: %s", ridge, error)
            passed_over.append(ridge)
            continue
        seconds = time.perf_counter() - begun - (kernels.reading_seconds - reading)
        predict = _from_coefficients(problem, coefficients)
        converged = residual <= settings.stopping.tolerance
        yield Attempt(ridge, None, predict, seconds, "direct", converged, {"residual": residual})


def _committee(
    problem: Problem, partition: Sequence[np.ndarray], size: int, settings: Settings, passed_over: list[float]
) -> Iterator[Attempt]:
    """Queries are predicted together in chunks of at most ``size``, as many as the examples of a part."""
    n, outputs = problem.targets.shape
    queries = problem.queries.values()
    chunk = max(chunk_size(q.size, size) for q in queries)
    working = working_bytes(chunk, max(map(len, partition)), outputs)
    working += 8 * 4 * max(q.size for q in queries) * outputs
    rows = max(reading_bytes(q, chunk, n) for q in queries)
    _check_memory(working + rows, settings)
    # Parts first: every chunk goes through all of them.
    left = settings.memory_budget - working - rows
    kernels = PartKernels(problem.train, problem.window, partition, left)
    left -= min(sum(8 * len(part) ** 2 for part in partition), left)
    chunks = QueryChunks(problem.queries, problem.window, size, budget=rows + left)

    def predict_chunk(part: str, place: int, ridge: float) -> np.ndarray:
        cross, prior = chunks.read(part, place)
        return bayesian_committee_machine(
            kernels, lambda p: cross[:, p], prior, problem.targets, partition, ridge, chunks.rounding
        )

    def predict(part: str, ridge: float) -> np.ndarray:
        return np.concatenate([predict_chunk(part, place, ridge) for place in range(chunks.count(part))])

    def reading() -> float:
        return kernels.reading_seconds + chunks.reading_seconds

    return _committee_attempts(settings.ridges, predict, reading, passed_over)


def _independent_committee(
    problem: Problem, partition: Sequence[np.ndarray], settings: Settings, passed_over: list[float]
) -> Iterator[Attempt]:
    """Each query is predicted on its own, from its prior variance, not together with the others."""
    n, outputs = problem.targets.shape
    queries, largest = problem.queries.values(), max(map(len, partition))
    most = max(q.size for q in queries)
    # K[validation, training set], which stays, and that of another part of the data; then what a member has in hand.
    working = 8 * problem.queries["validation"].size * n + max(reading_bytes(q, q.size, n) for q in queries)
    working += 8 * (4 * most * largest + 4 * most * outputs) + cholesky.working_bytes(largest, outputs)
    _check_memory(working, settings)
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

    return _committee_attempts(settings.ridges, predict, lambda: kernels.reading_seconds, passed_over)


def _committee_attempts(
    ridges: Sequence[float],
    predict: Callable[[str, float], np.ndarray],
    reading: Callable[[], float],
    passed_over: list[float],
) -> Iterator[Attempt]:
    """``predict`` takes a part of the data and a ridge; ``reading`` gives the seconds spent reading so far."""
    for ridge in _descending(ridges):
        begun, before = time.perf_counter(), reading()
        try:
            known = predict("validation", ridge)
        except NotPositiveDefinite as error:
            log.warning("ridge %g is passed over: %s", ridge, error)
            passed_over.append(ridge)
            continue
        seconds = time.perf_counter() - begun - (reading() - before)

        def predictions(part: str, ridge: float = ridge, known: np.ndarray = known) -> np.ndarray:
            return known if part == "validation" else predict(part, ridge)

        yield Attempt(ridge, None, predictions, seconds, "direct", True, {})
