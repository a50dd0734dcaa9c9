"""A few numbers of each example by which features are known again that were made anew and differ by rounding.

Of each example, a few projections on fixed random directions, and its norm. Features that differ in any one example
by more than rounding have other projections there: that all of them agree by chance has a probability of about
(tolerance / difference)^4, both relative to the norm. The structure of graphs is compared exactly.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from neural_kernels.graphs import Examples, Graphs

PROJECTIONS = 4

LEAST_TOLERANCE, LARGEST_TOLERANCE = 1e-12, 1e-9
"""Of a difference, relative to the example's norm: projections in another order of summation differ by less than the
first, and features that were rounded to float32, some 1e-8, by more than the last."""


class Sketching:
    """The sketch of examples whose feature rows come in batches."""

    def __init__(self, x: Examples) -> None:
        """Of examples of ``x``'s sizes and structure; none of its features are read."""
        rows = x.nodes if isinstance(x, Graphs) else x
        self._directions = _directions("features", int(np.prod(rows.shape[1:])))
        self._offsets: np.ndarray | None = None
        if isinstance(x, Graphs):
            self._offsets = np.asarray(x.node_offsets)
            self._of_nodes = _directions("nodes", int(x.node_counts.max(initial=0)))
        self._projections, self._squares = np.zeros((len(x), PROJECTIONS)), np.zeros(len(x))
        self._next = 0

    def add(self, batch: np.ndarray) -> None:
        """The features of the next examples, or nodes, float64 (n, ...)."""
        flat = batch.reshape(len(batch), -1)
        places = np.arange(self._next, self._next + len(batch))
        self._next += len(batch)
        projections, squares = flat @ self._directions, np.einsum("ij,ij->i", flat, flat)
        if self._offsets is None:
            self._projections[places], self._squares[places] = projections, squares
            return
        graphs = np.searchsorted(self._offsets, places, side="right") - 1
        np.add.at(self._projections, graphs, projections * self._of_nodes[places - self._offsets[graphs]])
        np.add.at(self._squares, graphs, squares)

    def sketch(self) -> np.ndarray:
        """(examples, PROJECTIONS + 1) float64: the projections, then the norm."""
        return np.column_stack([self._projections, np.sqrt(self._squares)])


def structure(x: Examples) -> str:
    """A hash of what is the same in features that differ by rounding: shape, and how graphs are built."""
    digest = hashlib.sha256(str(x.shape).encode())
    if isinstance(x, Graphs):
        for array in (x.node_offsets, x.edges, x.edge_offsets):
            digest.update(np.ascontiguousarray(array, np.int64).data)
    return digest.hexdigest()


def tolerance(regularization: float | None, features: int) -> float:
    """Largest difference that rounding explains, relative to an example's norm.

    Whitening multiplies rounding by at most the condition number of the regularised covariance, whose largest
    eigenvalue is at most its trace: features / regularization.

    Args:
        regularization: of ZCA, None where nothing was whitened.
        features: numbers in an example.
    """
    if regularization is None:
        return LEAST_TOLERANCE
    condition = features / regularization + 1 if regularization > 0 else np.inf
    rounding = 4 * np.finfo(np.float64).eps * condition
    return float(np.clip(rounding, LEAST_TOLERANCE, LARGEST_TOLERANCE))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of two sketches of as many examples, relative to the example's norm; infinity for NaN."""
    if not len(one):
        return 0.0
    gap = np.abs(one - other).max(axis=1)
    norm = np.maximum(one[:, -1], other[:, -1])
    relative = np.divide(gap, norm, out=np.where(gap == 0, 0.0, np.inf), where=norm > 0)
    return float(np.nan_to_num(relative.max(), nan=np.inf))


def _directions(what: str, size: int) -> np.ndarray:
    """(size, PROJECTIONS), uniform from -1 to 1, the same for ever: not of a generator that a library may change."""
    drawn = np.frombuffer(hashlib.shake_256(what.encode()).digest(8 * PROJECTIONS * size), "<u8")
    return (drawn >> np.uint64(11)).reshape(size, PROJECTIONS) * 2.0**-52 - 1.0


def sketch_file(features: Path) -> Path:
    """The file with the sketch of the features in the file ``features``."""
    return features.with_suffix(".sketch.npy")
