"""From a user's inputs to kernel entries: how inputs are read, prepared and compared, as it was fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neural_kernels import engines, preprocessing
from neural_kernels.architectures import Architecture
from neural_kernels.engines import Kind, Precision
from neural_kernels.estimators.examples import Encoding, encode
from neural_kernels.graphs import Examples
from neural_kernels.preprocessing.transform import Fitted

CHUNK = 2048
"""Rows of the kernel between new inputs and training examples that are in memory at a time."""


@dataclass(frozen=True, eq=False)
class NeuralFeatures:
    """A kernel with what prepares its inputs.

    Attributes:
        encoding: of the examples that were fitted on.
        fitted: their preprocessing.
    """

    architecture: Architecture
    kind: Kind
    engine: str
    precision: Precision
    encoding: Encoding
    fitted: Fitted

    def of(self, X: Any) -> Examples:
        """Features of inputs: those of a table are checked already."""
        return self.prepared(X if self.encoding.kind == "table" else encode(self.encoding, X))

    def prepared(self, examples: Examples) -> Examples:
        """Features of examples that were encoded already."""
        return preprocessing.features_of(self.fitted, examples)

    def kernel(self, x1: Examples, x2: Examples | None = None) -> np.ndarray:
        """Kernel entries between features, (n1, n2) float64; symmetric where ``x2`` is None."""
        entries = engines.kernel_matrix(
            self.architecture, x1, x2, kind=self.kind, engine=self.engine, precision=self.precision
        )
        return entries.astype(np.float64, copy=False)

    def variances(self, x: Examples) -> np.ndarray:
        """Kernel of each example with itself, (n,) float64."""
        found = engines.variances(
            self.architecture, x, kind=self.kind, engine=self.engine, precision=self.precision
        )
        return found.astype(np.float64, copy=False)
