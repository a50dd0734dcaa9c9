"""Approximations by the name that a config gives, in the order of legends and tables."""

from __future__ import annotations

from neural_kernels.solvers.approximations.bayesian_committee_machine import COMMITTEE
from neural_kernels.solvers.approximations.block_diagonal import BLOCK_DIAGONAL
from neural_kernels.solvers.approximations.independent_committee import INDEPENDENT_COMMITTEE
from neural_kernels.solvers.approximations.nystrom import NYSTROM
from neural_kernels.solvers.approximations.problem import Approximation
from neural_kernels.solvers.approximations.subset_of_regressors import SUBSET_OF_REGRESSORS
from neural_kernels.solvers.approximations.truncated_cg import TRUNCATED_CG

APPROXIMATIONS: dict[str, Approximation] = {
    "nystrom": NYSTROM,
    "subset_of_regressors": SUBSET_OF_REGRESSORS,
    "block_diagonal": BLOCK_DIAGONAL,
    "bayesian_committee_machine": COMMITTEE,
    "bayesian_committee_machine_independent": INDEPENDENT_COMMITTEE,
    "truncated_cg": TRUNCATED_CG,
}
