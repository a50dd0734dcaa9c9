"""Preconditioners by name: how the pivots of the kernel's low-rank factor are chosen."""

from __future__ import annotations

from collections.abc import Callable

from neural_kernels.solvers.operator import Operator
from neural_kernels.solvers.pivoted_cholesky import LowRankFactor, greedy
from neural_kernels.solvers.randomly_pivoted_cholesky import randomly_pivoted
from neural_kernels.solvers.settings import AUTO, PreconditionerSettings

# From K, the most pivots and a seed to L, with K ~ L L^T.
PIVOTS: dict[str, Callable[[Operator, int, int], LowRankFactor]] = {
    "greedy": lambda operator, rank, seed: greedy(operator, rank),
    "random": randomly_pivoted,
}

USUAL = "random"


def low_rank_factor(operator: Operator, settings: PreconditionerSettings) -> LowRankFactor:
    """L of the preconditioner, by the pivots that ``settings`` choose."""
    method = USUAL if settings.method == AUTO else settings.method
    return PIVOTS[method](operator, settings.rank, settings.seed)
