"""How to solve: plain values, which are part of what a solution is recognised by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from neural_kernels.machine.threads import thread_count
from neural_kernels.solvers.criteria import VALIDATION, Criterion
from neural_kernels.solvers.iteration import Stopping

AUTO = "auto"
FLOAT32 = "float32"
FLOAT64 = "float64"
NO_PRECONDITIONER = "none"


@dataclass(frozen=True)
class PreconditionerSettings:
    """Which low-rank approximation of the kernel preconditions.

    Attributes:
        method: a name in ``pivots.PIVOTS``, how the pivots of a partial Cholesky factorisation are chosen, or "none";
            "auto" leaves it to ``acceleration``, and is "random" where nothing chooses.
        rank: pivots; 0 is none.
        seed: of random pivots, and of random columns.
    """

    method: str = AUTO
    rank: int = 500
    seed: int = 0

    @property
    def used_rank(self) -> int:
        """Pivots that are asked for, at most: 0 without a preconditioner."""
        return 0 if self.method == NO_PRECONDITIONER else self.rank

    @property
    def least_rank(self) -> int:
        """Pivots that are asked for, at least."""
        return 0 if self.method == AUTO else self.used_rank


@dataclass(frozen=True)
class CheckpointSettings:
    """Where the state of the iteration is saved, and the least seconds between two checkpoints."""

    directory: Path
    seconds: float = 300.0


@dataclass(frozen=True)
class Settings:
    """How to solve.

    Attributes:
        ridges: candidates relative to the mean diagonal; one needs no choice.
        choose_by: what chooses among them: validation data, or a criterion that needs none (``criteria``), which a
            direct solve alone gives.
        direct_up_to: the largest n that is solved by Cholesky, unless ``method`` says otherwise.
        method: "auto" or a name in ``registry.SOLVERS``.
        stopping: of the iteration.
        preconditioner: of the iteration.
        random_columns: beside the right-hand sides, where these share their directions; None leaves the number to
            ``acceleration``.
        block: whether conjugate gradients let the columns of B share their directions, where all have the same
            labels known; False gives each column its own, as in the paper.
        panels: in which precision block conjugate gradients keep the panels of a float64 matrix that stay in memory:
            "float64"; "float32", which the true residuals correct; or "auto", which is float32 where a good part of the
            matrix fits, not all of it, and the smallest ridge is far above the rounding (``rounding``).
        memory_budget: bytes that the whole solve may add to what each process holds: matrix, vectors and
            preconditioner (``memory.left`` gives what is left of a process's budget). What does not fit of the matrix
            is read from disk in every iteration.
        threads: that compute.
    """

    ridges: Sequence[float]
    choose_by: Criterion = VALIDATION
    direct_up_to: int = 8192
    method: str = AUTO
    stopping: Stopping = field(default_factory=Stopping)
    preconditioner: PreconditionerSettings = field(default_factory=PreconditionerSettings)
    random_columns: int | None = None
    block: bool = True
    panels: str = AUTO
    memory_budget: int = 4 * 2**30
    threads: int = field(default_factory=thread_count)
