"""Approximations of one full solution, their ridge and jitter chosen on the validation set (paper, Fig. 1).

``registry`` has the methods; here each is tried with every candidate on the same stored
kernel, and the candidate with the smallest validation loss is kept. What candidates share is computed once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.machine.threads import blas_threads
from neural_kernels.metrics.losses import mean_squared_error
from neural_kernels.solvers.approximations.problem import Asked, Attempt, Problem, check_memory
from neural_kernels.solvers.approximations.registry import APPROXIMATIONS
from neural_kernels.solvers.settings import Settings

log = logging.getLogger(__name__)


def approximate(
    problem: Problem, method: str, size: int, seed: int, settings: Settings, jitters: Sequence[float]
) -> Attempt:
    """The attempt with the smallest validation loss; of equals, that with the larger jitter and ridge.

    Args:
        method: a name in ``registry.APPROXIMATIONS``.
        size, seed, settings, jitters: see ``Asked``.

    Raises:
        UserError: targets are missing, the memory budget is too small, a block cannot be used, no candidate gives a
            solution, or the matrix is no kernel.
    """
    if method not in APPROXIMATIONS:
        raise UserError(f"the approximation is {method!r}, expected one of {', '.join(APPROXIMATIONS)}")
    chosen = APPROXIMATIONS[method]
    if np.isnan(problem.targets).any() or np.isnan(problem.validation_targets).any():
        raise UserError("some labels are missing, but approximations need every label")
    with blas_threads(settings.threads):
        # Every candidate needs the validation set's kernel rows, and every prediction two blocks.
        rows, store = problem.queries["validation"], problem.train
        held = 8 * rows.size * problem.n + 2 * max(store.largest_block_bytes, rows.store.largest_block_bytes)
        check_memory(held, settings)
        settings = replace(settings, memory_budget=settings.memory_budget - held)
        best, best_loss = None, math.inf
        passed_over: list[float] = []
        asked = Asked(size, seed, settings, jitters)
        for attempt in chosen.attempts(problem, asked, passed_over):
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
    return replace(best, facts={**best.facts, f"{chosen.passes_over}_passed_over": len(passed_over)})
