"""How long the solves of a study take: by their arithmetic, and by what they read."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
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


SMALL_SIDES = (64, 1024)
"""Of the systems that are solved for what a direct solve takes besides its arithmetic."""

JUDGING = 3e-3
"""Seconds in which a solution is judged: its predictions' objective and what is logged of it."""

OPENING = 0.02
"""Seconds in which a solve finds its blocks and writes what it has found."""


@dataclass(frozen=True)
class Pace:
    """Of a machine.

    Attributes:
        flops: multiply-adds, two each, a second.
        bytes: a second from its disk.
        solution: seconds of a direct solve of any size, and entry: those besides for each entry of its matrix, which is
            copied and restored, judging: those in which it is judged, and opening: those that a size and draw takes.
        starting: seconds in which a process starts.
    """

    flops: float
    bytes: float = READING
    solution: float = 0.0
    entry: float = 0.0
    judging: float = 0.0
    opening: float = 0.0
    starting: float = 0.0


def measure_pace() -> Pace:
    """That of this machine in float64, in some two seconds."""
    left = np.random.default_rng(0).standard_normal((SIDE, SIDE))
    left @ left
    flops = 2 * SIDE**3 / _seconds(lambda: left @ left)
    smallest, larger = (_direct_solve(n) for n in SMALL_SIDES)
    n = SMALL_SIDES[1]
    entry = (larger - smallest - n**3 / 3 / (FACTORISED * flops)) / n**2
    starting = _seconds(_start_process)
    return Pace(flops, READING, smallest, max(entry, 0.0), JUDGING, OPENING, starting)


def _direct_solve(n: int) -> float:
    """Seconds of a direct solve of n examples, the median of three after a first."""
    # Late: what plans the jobs of a workflow reads this module, and solves nothing.
    from neural_kernels.solvers.cholesky import solve_cholesky

    draws = np.random.default_rng(0)
    features, targets = draws.standard_normal((n, 16)), draws.standard_normal((n, 10))
    kernel = features @ features.T
    solve_cholesky(kernel, targets, 1.0)
    return statistics.median(_seconds(lambda: solve_cholesky(kernel, targets, 1.0)) for _ in range(3))


def _start_process() -> None:
    subprocess.run([sys.executable, "-c", "import neural_kernels.stages.solve"], check=True)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


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
        copied = factorised * (pace.solution + n * n * pace.entry) + pace.judging
        return draws * (pace.opening + read + ridges * (copied + flops / (FACTORISED * pace.flops)))
    solves = 1 if sweeps(study) else ridges
    in_memory = n * n / 2 * np.dtype(study.precision).itemsize < study.solver.memory_gib * 2**30
    a_pass = 2 * n * n * (outputs + USUAL_COLUMNS) / pace.flops
    a_pass = a_pass if in_memory else max(a_pass, read)
    return draws * (pace.opening + read + solves * USUAL_PASSES * a_pass)
