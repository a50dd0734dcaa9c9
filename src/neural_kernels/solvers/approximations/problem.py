"""What is approximated, what an approximation provides, and what all of them share.

An approximation is a file with an ``Approximation``, and a line in ``registry``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from neural_kernels.blocks import KernelStore, read_submatrix
from neural_kernels.blocks import cross_product as prediction
from neural_kernels.errors import UserError
from neural_kernels.machine.memory import gibibytes
from neural_kernels.solvers.approximations.query_chunks import Queries
from neural_kernels.solvers.settings import Settings
from neural_kernels.solvers.store_operator import StoreOperator


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


@dataclass(frozen=True)
class Asked:
    """How to approximate.

    Attributes:
        size: rank, examples of a part (and, of the committee, of a query), or iterations.
        seed: of the random subset or partition.
        settings: ridges are the candidates; memory, threads and how conjugate gradients run.
        jitters: candidates of the low-rank methods, relative to the mean diagonal.
    """

    size: int
    seed: int
    settings: Settings
    jitters: Sequence[float]


Attempts = Callable[[Problem, Asked, list[float]], Iterator[Attempt]]
"""Attempts with every candidate, the easiest first; the list gets those at which the kernel is singular to rounding."""


@dataclass(frozen=True)
class Approximation:
    """An entry of ``registry.APPROXIMATIONS``.

    Attributes:
        title: what tables and legends call it.
        passes_over: which candidates it may have to pass over.
        note: a sentence for the foot of tables, to go on from the title.
    """

    title: str
    attempts: Attempts
    passes_over: Literal["ridges", "jitters"] = "ridges"
    note: str = ""


def descending(candidates: Sequence[float]) -> list[float]:
    """The easiest first."""
    return sorted(candidates, reverse=True)


def from_coefficients(problem: Problem, coefficients: np.ndarray) -> Callable[[str], np.ndarray]:
    def predict(part: str) -> np.ndarray:
        if part == "validation":
            return problem.validation_cross @ coefficients
        queries = problem.queries[part]
        return prediction.predict(queries.store, queries.size, [problem.window], [coefficients])[0]

    return predict


def operator_of(problem: Problem, settings: Settings, working: int) -> StoreOperator:
    """The training kernel, as much of it in memory as ``working`` bytes for everything else leave."""
    check_memory(working, settings)
    budget = settings.memory_budget - working
    return StoreOperator(problem.train, problem.window, memory_budget=budget, threads=settings.threads)


def check_memory(needed: int, settings: Settings) -> None:
    if needed >= settings.memory_budget:
        raise UserError(
            f"the approximation takes {gibibytes(needed)} besides the kernel, the memory budget leaves "
            f"{gibibytes(settings.memory_budget)}: raise solver.memory_gib or lower the size"
        )
