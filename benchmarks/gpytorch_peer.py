"""GPyTorch's preconditioned conjugate gradients (its package linear_operator), as a peer of ours.

Neither it nor torch is a dependency of the project: importing this module fails where they are not installed.
"""

from __future__ import annotations

import numpy as np
import torch  # type: ignore[import-not-found]
from linear_operator import settings  # type: ignore[import-not-found]
from linear_operator.operators import (  # type: ignore[import-not-found]
    AddedDiagLinearOperator,
    DiagLinearOperator,
    to_linear_operator,
)


def solve(
    matrix: np.ndarray,
    shift: float,
    targets: np.ndarray,
    *,
    rank: int,
    tolerance: float,
    most_iterations: int,
    threads: int,
) -> np.ndarray:
    """(K + shift I)^-1 B, (n, C) float64, with a pivoted Cholesky preconditioner of some rank.

    Its tolerance is of the mean residual over the columns of B, so that the largest may be above it.
    """
    torch.set_num_threads(threads)
    kernel, right = torch.from_numpy(matrix), torch.from_numpy(targets)
    diagonal = DiagLinearOperator(torch.full((len(matrix),), shift, dtype=torch.float64))
    with (
        settings.max_cholesky_size(1),
        settings.min_preconditioning_size(1),
        settings.max_preconditioner_size(rank),
        settings.cg_tolerance(tolerance),
        settings.max_cg_iterations(most_iterations),
        torch.no_grad(),
    ):
        return AddedDiagLinearOperator(to_linear_operator(kernel), diagonal).solve(right).numpy()
