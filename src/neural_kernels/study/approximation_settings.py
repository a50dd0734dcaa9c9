"""The section ``approximations`` of a study: what is compared with the full solution."""

from typing import Literal

from pydantic import Field

from neural_kernels.sections import Examples, Million, NotEmpty, Section, Thousand, UpToAThousand
from neural_kernels.study.candidate_grids import Jitter

# The approximation whose size is a number of iterations, in the config and the metrics table.
TRUNCATED = "truncated_cg"

Method = Literal[
    "nystrom",
    "subset_of_regressors",
    "block_diagonal",
    "bayesian_committee_machine",
    "bayesian_committee_machine_independent",
    "truncated_cg",
]


class ApproximationsSection(Section):
    """The study compares approximations of kernel regression with the full solution.

    At the largest training size of each kernel: results/<study>_approximations.pdf. Ridges are the study's candidates.
    """

    methods: NotEmpty[Method] = Field(
        ("nystrom", "subset_of_regressors", "block_diagonal", "bayesian_committee_machine", "truncated_cg"),
        description="nystrom and subset_of_regressors of some rank, block_diagonal and bayesian_committee_machine in "
        "parts of some size, and truncated_cg, the study's conjugate gradients stopped after some iterations. The "
        "Bayesian committee machine predicts test examples together, as many as a part has; "
        "bayesian_committee_machine_independent predicts each on its own, and is not tried unless it is listed.",
    )
    sizes: UpToAThousand[Examples] = Field(
        description="Ranks of the low-rank methods, and training examples of a part of the others; of "
        "bayesian_committee_machine also the most test examples that are predicted together.",
    )
    iterations: UpToAThousand[Million] = Field(
        (1, 2, 4, 8, 16, 32, 64, 128),
        description="Iterations after which conjugate gradients are stopped.",
    )
    jitter: Jitter = Field(
        Jitter(),
        description="What nystrom and subset_of_regressors add to the diagonal of the kernel among their subset, "
        "relative to the mean diagonal, is chosen on the validation set, together with the ridge, from these "
        "candidates.",
    )
    draws: Thousand = Field(
        1,
        description="Random subsets or partitions of the training set for each method and size, by the study's seed.",
    )

    @property
    def asked(self) -> list[tuple[str, int]]:
        """Method and size of each approximation."""
        return [
            (method, size)
            for method in self.methods
            for size in sorted(self.iterations if method == TRUNCATED else self.sizes)
        ]
