"""rlaopt's block conjugate gradients with its Nystrom preconditioner (Rathore, Frangella, Udell), as a peer of ours.

Neither it nor torch is a dependency of the project: importing this module fails where they are not installed.
"""

from __future__ import annotations

import numpy as np
import torch  # type: ignore[import-not-found]
from rlaopt.linalg import LinSys, NystromConfig  # type: ignore[import-not-found]
from rlaopt.solvers.pcg import PCG, PCGConfig, PCGStoppingCriteria  # type: ignore[import-not-found]

DEPENDENT = 1e-10


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
    """(K + shift I)^-1 B, (n, C) float64."""
    torch.set_num_threads(threads)
    # Its estimate of a norm begins with a vector of the default type.
    torch.set_default_dtype(torch.float64)
    # Its iteration breaks down on columns that depend on each other, as those of centred one-hot labels do.
    left, sizes, right = np.linalg.svd(targets, full_matrices=False)
    kept = sizes > DEPENDENT * sizes[0]
    columns = np.ascontiguousarray((left * sizes)[:, kept])
    system = LinSys(torch.from_numpy(matrix), torch.from_numpy(columns), reg=float(shift))
    preconditioner = NystromConfig(rank_init=rank, base_damping=float(shift))
    with torch.no_grad():
        solver = PCG(system, PCGConfig(preconditioner_config=preconditioner))
        found = solver.solve(stopping_criteria=PCGStoppingCriteria(max_iters=most_iterations, tol=tolerance))
    solution: np.ndarray = found.solution.detach().numpy() @ right[kept]
    return solution
