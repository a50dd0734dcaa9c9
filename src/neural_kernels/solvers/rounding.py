"""Whether the panels of a float64 matrix are kept rounded to float32, so that twice as much of it fits into memory.

The steps of block conjugate gradients are then those of fl32(K) + shift I, the true residuals those of K + shift I. As
long as the norm of K - fl32(K) is small beside the shift, each look at a true residual and each beginning anew from it
gains at least the shift over that norm; found, far more (docs/performance.md).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.solvers import checkpoint
from neural_kernels.solvers.gram import decided, gram_of, root_of
from neural_kernels.solvers.random_columns import gaussian_columns
from neural_kernels.solvers.settings import AUTO, FLOAT32, FLOAT64
from neural_kernels.solvers.store_operator import StoreOperator
from neural_kernels.solvers.system import System
from neural_kernels.storage.files import read_json_if_sound, write_json

SHARE = 10
"""The shift is at least so many times the norm of the rounding."""

LEAST = 0.25
"""Of the matrix in memory, as float64: where it is less, what rounding keeps beside spares a solve of some 50 passes
hardly more reading than measuring the norm and looking at true residuals take."""

COLUMNS, STEPS = 8, 2
"""Of the block power iteration that measures it: as many passes over the store as steps."""

FILE = "panels.json"


@dataclass(frozen=True)
class Panels:
    """What is kept in memory of a matrix.

    Attributes:
        float32: whether panels are rounded.
        norm: of the rounding, relative to the mean diagonal; None where it was not measured.
        reason: why, a sentence without its capital and full stop.
    """

    float32: bool
    norm: float | None
    reason: str

    def facts(self) -> dict[str, Any]:
        """For the record."""
        return {
            "panels": {
                "precision": FLOAT32 if self.float32 else FLOAT64,
                "rounding": self.norm,
                "reason": self.reason,
            }
        }


def panels_for(system: System, operator: StoreOperator, identity: str, together: bool) -> Panels:
    """What the settings ask for, or where they leave it open ("auto") what memory, ridge and rounding suggest.

    All processes get the same, and an interrupted solve of this problem what it had decided.

    Args:
        operator: K, placed with as much in memory as there is room for.
        identity: fingerprint of K.
        together: whether all right-hand sides share their directions.

    Raises:
        UserError: float32 is asked for where it cannot be.
    """
    asked, communicator = system.settings.panels, system.communicator
    if system.store.dtype != np.float64:
        return Panels(False, None, f"panels as they are stored, in {system.store.dtype}")
    if asked == FLOAT64:
        return Panels(False, None, "float64 panels as the config has them")
    if not together:
        if asked == FLOAT32:
            raise refused("right-hand sides have directions of their own")
        return Panels(False, None, "float64 panels: every right-hand side has its own directions")
    path = None if system.checkpoints is None else system.checkpoints.directory / FILE
    problem = checkpoint.fingerprint(
        [identity, asked, list(map(float, system.settings.ridges))], system.targets
    )
    found = communicator.gather(_remembered(path, problem) if communicator.rank == 0 else None)[0]
    if found is None:
        found = _decided(system, operator)
        if path is not None and communicator.rank == 0:
            write_json(path, {"problem": problem, "panels": asdict(found)})
    return found


def refused(why: str) -> UserError:
    """The error where ``solver.panels`` is float32 and something else than the rounding's norm stands against it."""
    return UserError(
        f"solver.panels is float32, but {why}: expected auto or float64, as block conjugate gradients alone correct "
        "rounded panels"
    )


def _decided(system: System, operator: StoreOperator) -> Panels:
    asked, placed = system.settings.panels, operator.placement()
    resident, streamed = placed["resident_bytes"], placed["streamed_bytes"]
    if asked == AUTO and not streamed:
        return Panels(False, None, "float64 panels: all of them are in memory")
    if asked == AUTO and resident < LEAST * (resident + streamed):
        return Panels(False, None, f"float64 panels: memory has no room for {LEAST:.0%} of them")
    ridge, diagonal = float(min(system.settings.ridges)), operator.diagonal()
    # No entry of a kernel is larger than its diagonal.
    norm = np.inf if diagonal.max() > np.finfo(np.float32).max else rounding_norm(operator) / diagonal.mean()
    # The first process's last bits decide for all.
    norm = float(system.communicator.gather(norm)[0])
    share = f"the norm of float32's rounding is {norm:.1e} of the mean diagonal"
    if ridge >= SHARE * norm:
        return Panels(True, norm, f"float32 panels: {share}, the ridge {ridge:g}")
    if asked == FLOAT32:
        raise UserError(
            f"solver.panels is float32, but the ridge is {ridge:g} where {share}: expected a ridge of at least "
            f"{SHARE * norm:.1e}, or auto or float64 panels"
        )
    return Panels(False, norm, f"float64 panels: {share}, more than a tenth of the ridge {ridge:g}")


def rounding_norm(operator: StoreOperator) -> float:
    """An estimate from below of the spectral norm of K - fl32(K), in ``STEPS`` passes over the store.

    A block power iteration from Gaussian columns: the largest singular value of the product with an orthonormal block.
    Rounding is nearly random, its spectrum dense up to its end, which is not quite reached: found, 0.62 to 0.67 of the
    norm (FC3 and CV8 of CIFAR-10, n = 1,000 and 2,048). At worst one eigenvalue
    stands out of others that are all alike, by as much as two steps just miss: of it sqrt(2) (c / n)^(1/4) is seen, c a
    chi-square of 8 degrees, 0.24 at n = 10,000, and less than 0.13 once in a thousand times. ``SHARE`` has room for
    that; and residuals are looked at without it, so that a norm too small costs passes, no accuracy.
    """
    block = gaussian_columns(operator.rows, COLUMNS, 0)
    norm = 0.0
    for _ in range(STEPS):
        found = decided(operator.communicator, gram_of(operator.communicator, block, block), root_of)
        if found is None:
            raise FloatingPointError("the rounding of the kernel to float32 is not finite")
        block = operator.matmul_rounding(block @ found[1])
        squares = gram_of(operator.communicator, block, block)
        norm = float(np.sqrt(max(np.linalg.eigvalsh(squares).max(initial=0.0), 0.0)))
    return norm


def _remembered(path: Path | None, problem: str) -> Panels | None:
    found = None if path is None else read_json_if_sound(path)
    return Panels(**found["panels"]) if found is not None and found["problem"] == problem else None
