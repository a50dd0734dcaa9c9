"""The CUDA engine with the mixed precision of Shankar et al. (2020): float32 up to the second pooling, then float64.

For cards that compute float64 at a small fraction of float32's rate. Entries are float64, with the error of what comes
before the second pooling, which docs/performance.md has. It is an engine of its own so that the record of every
block, and every table, names it; ``auto`` never takes it.
"""

from __future__ import annotations

import numpy as np

from neural_kernels.architectures import Architecture
from neural_kernels.engines import Kind, Precision
from neural_kernels.engines.cuda import computation
from neural_kernels.engines.cuda.computation import Prepared, provenance, unavailable, uncovered
from neural_kernels.engines.cuda_engine import tile_entries
from neural_kernels.errors import UserError
from neural_kernels.graphs import Examples

__all__ = ["kernel", "prepare", "provenance", "tile_entries", "unavailable", "uncovered"]


def prepare(architecture: Architecture, x: Examples, precision: Precision) -> Prepared:
    """The examples ``x`` (n, *input_shape), with their own variances layer by layer; see ``computation.prepare``.

    Raises:
        UserError: ``precision`` is not float64, too.
    """
    if precision != "float64":
        raise UserError(
            f"engine cuda_mixed makes float64 entries, precision is {precision}, expected float64"
        )
    return computation.prepare(architecture, x, "mixed")


def kernel(
    architecture: Architecture, kind: Kind, left: Prepared, right: Prepared | None, precision: Precision
) -> np.ndarray:
    """Kernel entries (n_left, n_right) of dtype float64; see ``engines.Engine``."""
    return computation.kernel(architecture, kind, left, right)
