"""The CUDA engine: convolutional and fully connected networks on NVIDIA's cards, all that are visible.

The source, ``cuda/*.h``, is specialised to an architecture, compiled by NVRTC for the card that is there and launched
through the driver; ``cuda/march.h`` has the method, ``cuda/products.h`` that without positions. Formulas are the
native engine's own headers. An entry is bit for bit the same whatever the other examples of the call and the number
of cards.

It has been tested on processors, which the same source is compiled for, and has not run on a card yet.
"""

from __future__ import annotations

import numpy as np

from neural_kernels.architectures import Architecture
from neural_kernels.engines import Kind, Precision
from neural_kernels.engines.cuda import computation, driver
from neural_kernels.engines.cuda.computation import Prepared, provenance, unavailable, uncovered
from neural_kernels.graphs import Examples

__all__ = ["has_no_card", "kernel", "prepare", "provenance", "tile_entries", "unavailable", "uncovered"]


def has_no_card() -> bool:
    """Whether this machine has no NVIDIA card; one on which the engine lacks its compiler counts."""
    return driver.unavailable() is not None


def tile_entries() -> int:
    """Covariances of a tile of pairs: tenths of a second of a card, some 30 pairs for each of its processors."""
    return 2**34


def prepare(architecture: Architecture, x: Examples, precision: Precision) -> Prepared:
    """The examples ``x`` (n, *input_shape), with their own variances layer by layer; see ``computation.prepare``."""
    return computation.prepare(architecture, x, precision)


def kernel(
    architecture: Architecture, kind: Kind, left: Prepared, right: Prepared | None, precision: Precision
) -> np.ndarray:
    """Kernel entries (n_left, n_right) of dtype ``precision``; see ``engines.Engine``."""
    return computation.kernel(architecture, kind, left, right)
