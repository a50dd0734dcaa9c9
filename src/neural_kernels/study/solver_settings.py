"""The section ``solver`` of a study: how its linear systems are solved."""

from typing import Annotated, Literal

from pydantic import Field

from neural_kernels.sections import WHOLE, Million, Number, Section, UpToAMillion


class Preconditioner(Section):
    """Low-rank factor of the kernel that preconditions conjugate gradients."""

    method: Literal["auto", "random", "greedy", "none"] = Field(
        "auto",
        description="Randomly pivoted Cholesky, whose pivots follow from the study's seed; greedy (partial pivoted) "
        "Cholesky, as in the paper; or none. auto takes random, but none where the kernel's spectrum is flat, a pass "
        "waits for the disk, and random columns alone are expected to be faster.",
    )
    rank: Million = Field(500, description="Rank of the factor; with auto at most, as memory allows.")

    @property
    def unchosen(self) -> str:
        """The method where each right-hand side has directions of its own, and nothing is to be chosen."""
        return "random" if self.method == "auto" else self.method

    @property
    def used_rank(self) -> int:
        """At most; 0 without a preconditioner."""
        return 0 if self.method == "none" else self.rank

    @property
    def least_rank(self) -> int:
        """Where memory allows no more."""
        return 0 if self.method == "auto" else self.used_rank


class SolverSection(Section):
    """How the linear systems are solved."""

    direct_up_to: Annotated[int, Field(ge=0, le=10**7), WHOLE] = Field(
        16384,
        description="Largest n that is solved by dense Cholesky; above it, conjugate gradients, or one Krylov space "
        "for all candidates of the ridge.",
    )
    tolerance: Number = Field(
        1e-6,
        ge=1e-16,
        lt=1,
        description="Relative residual |b - A x| / |b| at which a right-hand side has converged.",
    )
    max_iterations: Million = Field(1000, description="Iterations of conjugate gradients.")
    residual_every: Million = Field(20, description="Iterations between recomputations of the true residual.")
    block: bool = Field(
        True,
        description="Block conjugate gradients where all right-hand sides have the same labels known: they share their "
        "directions, and take fewer passes over the kernel. False gives each its own, as in the paper.",
    )
    random_columns: Annotated[int, Field(ge=0, le=10_000), WHOLE] | None = Field(
        None,
        description="Random columns beside the right-hand sides, whose directions these share in block conjugate "
        "gradients: the more, the fewer passes over the kernel. Left out, as many as are expected to take about the "
        "least time, within the memory; at least 40 for estimates of loo, gcv or likelihood.",
    )
    panels: Literal["auto", "float64", "float32"] = Field(
        "auto",
        description="In which precision block conjugate gradients keep the part of a float64 kernel that stays in "
        "memory. With float32 twice as much of it does; true residuals come from the float64 blocks, and correct what "
        "the rounding did, which takes a ridge of at least ten times the rounding's norm. auto takes float32 where a "
        "quarter of the kernel fits otherwise, not all of it, and the ridge allows it.",
    )
    preconditioner: Preconditioner = Field(
        Preconditioner(),
        description="Low-rank factor of the kernel that preconditions conjugate gradients.",
    )
    memory_gib: UpToAMillion = Field(
        8,
        description="The most resident memory of a process that solves, approximates or predicts, the program itself "
        "included (some 0.3 GiB). Kernel blocks take what is left; what does not fit is streamed from disk at every "
        "iteration.",
    )
    checkpoint_minutes: UpToAMillion = Field(
        5, description="Minutes between checkpoints of conjugate gradients."
    )
