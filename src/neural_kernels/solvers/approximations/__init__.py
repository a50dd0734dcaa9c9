"""Approximations of kernel regression that the paper compares with (its Fig. 1), on the same store.

Each takes uniformly random subsets of the training examples: ``subsets`` draws them. Nystroem, subset of
regressors and block diagonal give dual coefficients, used as any solver's; the Bayesian committee machine
depends on the test examples, which it predicts together, and gives predictions; its independent variant predicts
each on its own. Truncated conjugate gradients, the fifth, is the iterative solver with a small ``max_iterations``.
"""

from neural_kernels.solvers.approximations.bayesian_committee_machine import bayesian_committee_machine
from neural_kernels.solvers.approximations.block_diagonal import block_diagonal
from neural_kernels.solvers.approximations.independent_committee import bayesian_committee_machine_independent
from neural_kernels.solvers.approximations.low_rank_features import LowRankFeatures, low_rank_features
from neural_kernels.solvers.approximations.nystrom import nystrom
from neural_kernels.solvers.approximations.subset_of_regressors import subset_of_regressors
from neural_kernels.solvers.approximations.subsets import draw_partition, draw_subset, principal_submatrix

__all__ = [
    "LowRankFeatures",
    "bayesian_committee_machine",
    "bayesian_committee_machine_independent",
    "block_diagonal",
    "draw_partition",
    "draw_subset",
    "low_rank_features",
    "nystrom",
    "principal_submatrix",
    "subset_of_regressors",
]
