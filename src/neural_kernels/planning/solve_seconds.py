"""How long the solves of a study take: by their arithmetic, and by what they read."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from neural_kernels.planning.costs import USUAL_COLUMNS, USUAL_PASSES, sweeps
from neural_kernels.study.study import Study

READING = 1e9
"""Bytes a second of a disk of which nothing is known."""

SIDE = 1536
"""Of the product that is timed."""

FACTORISED = 0.7
"""Of the rate of a product, what a factorisation and its substitutions reach (docs/performance.md)."""


@dataclass(frozen=True)
class Pace:
    """Of a machine: multiply-adds, two each, a second, and bytes a second from its disk."""

    flops: float
    bytes: float = READING


def measure_pace() -> Pace:
    """That of this machine in float64, in a fraction of a second."""
    left = np.random.default_rng(0).standard_normal((SIDE, SIDE))
    left @ left
    started = time.perf_counter()
    left @ left
    return Pace(2 * SIDE**3 / (time.perf_counter() - started))


def of_kernel(study: Study, kernel: str, outputs: int, pace: Pace) -> float:
    """Seconds of all sizes and draws of a kernel, validation and test predictions not counted."""
    return sum(of_size(study, kernel, n, outputs, pace) for n in study.training_sizes(kernel))


def of_size(study: Study, kernel: str, n: int, outputs: int, pace: Pace, factorised: int = 1) -> float:
    """Seconds of all draws of one size, as those of ``of_kernel``.

    Args:
        factorised: matrices of a direct solve, one for each set of tasks that lack the same labels.
    """
    ridges, draws = len(study.ridge_candidates()), study.draws(n, kernel)
    read = n * n / 2 * np.dtype(study.precision).itemsize / pace.bytes
    if study.method(n) == "direct":
        # Without a validation set the inverse's diagonal judges, which is twice a factorisation more.
        judged = study.ridge.choose_by != "validation" and ridges > 1
        flops = factorised * n**3 / 3 * (3 if judged else 1) + 4 * n * n * outputs
        return draws * (read + ridges * flops / (FACTORISED * pace.flops))
    solves = 1 if sweeps(study) else ridges
    in_memory = n * n / 2 * np.dtype(study.precision).itemsize < study.solver.memory_gib * 2**30
    a_pass = 2 * n * n * (outputs + USUAL_COLUMNS) / pace.flops
    a_pass = a_pass if in_memory else max(a_pass, read)
    return draws * (read + solves * USUAL_PASSES * a_pass)
