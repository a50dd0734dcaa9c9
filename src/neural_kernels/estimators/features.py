"""From a user's inputs to kernel entries: how inputs are read, prepared and compared, as it was fitted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neural_kernels import engines
from neural_kernels.architectures import Architecture
from neural_kernels.architectures.composites import Term
from neural_kernels.engines import Kind, Precision
from neural_kernels.estimators.defaults import preprocessing_for
from neural_kernels.estimators.examples import Encoding, encode, kind_of, learned
from neural_kernels.graphs import Examples
from neural_kernels.preprocessing import features as preprocessing
from neural_kernels.preprocessing.options import Preprocessing
from neural_kernels.preprocessing.transform import Fitted

CHUNK = 2048
"""Rows of the kernel between new inputs and training examples that are in memory at a time."""

Columns = str | tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class Several:
    """The same examples as each kernel of a sum sees them."""

    parts: tuple[Examples, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, chosen: slice | np.ndarray) -> Several:
        return Several(tuple(part[chosen] for part in self.parts))


@dataclass(frozen=True, eq=False)
class NewInputs:
    """Inputs that an estimator has read and prepared, in place of X in any of its methods."""

    features: Any


@dataclass(frozen=True, eq=False)
class NeuralFeatures:
    """A kernel with what prepares its inputs.

    Attributes:
        encoding: of the examples that were fitted on.
        fitted: their preprocessing.
        columns: of a table, that it sees; all of the inputs where None.
    """

    architecture: Architecture
    kind: Kind
    engine: str
    precision: Precision
    encoding: Encoding
    fitted: Fitted
    columns: Columns = None

    def of(self, X: Any) -> Examples:
        """Features of inputs; a table that is all of them is checked already."""
        return preprocessing.features_of(self.fitted, encode(self.encoding, seen(X, self.columns)))

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


@dataclass(frozen=True, eq=False)
class SummedFeatures:
    """Several kernels, each multiplied by its weight, as one; its features are ``Several``."""

    parts: tuple[NeuralFeatures, ...]
    weights: tuple[float, ...]

    def of(self, X: Any) -> Several:
        """See ``NeuralFeatures.of``."""
        return Several(tuple(part.of(X) for part in self.parts))

    def kernel(self, x1: Several, x2: Several | None = None) -> np.ndarray:
        """See ``NeuralFeatures.kernel``."""
        others: Sequence[Examples | None] = [None] * len(self.parts) if x2 is None else x2.parts
        return self.total(
            weight and part.kernel(one, other)
            for weight, part, one, other in zip(self.weights, self.parts, x1.parts, others, strict=True)
        )

    def variances(self, x: Several) -> np.ndarray:
        """See ``NeuralFeatures.variances``."""
        return self.total(
            weight and part.variances(one)
            for weight, part, one in zip(self.weights, self.parts, x.parts, strict=True)
        )

    def total(self, kernels: Iterable[Any]) -> np.ndarray:
        """The weighted sum of arrays, one a kernel, which are overwritten; of one whose weight is zero, anything."""
        total = None
        for weight, kernel in zip(self.weights, kernels, strict=True):
            if weight:
                kernel *= weight
                total = kernel if total is None else np.add(total, kernel, out=total)
        assert total is not None, "some weight is positive"
        return total


@dataclass(frozen=True)
class How:
    """How kernels are computed, whatever they see."""

    kind: Kind
    engine: str
    precision: Precision

    def features(self, term: Term, encoding: Encoding, fitted: Fitted) -> NeuralFeatures:
        """The kernel of a term."""
        return NeuralFeatures(
            term.architecture, self.kind, self.engine, self.precision, encoding, fitted, term.columns
        )


def seen(X: Any, columns: Columns) -> Any:
    """What a kernel sees of the inputs.

    Raises:
        ValueError: columns are named, and ``X`` is no table that has them.
    """
    if columns is None:
        return X
    names = (columns,) if isinstance(columns, str) else columns
    if not hasattr(X, "loc"):
        raise ValueError(
            f"X is a {type(X).__name__}, expected a DataFrame with the columns {', '.join(names)}"
        )
    for name in names:
        if name not in X.columns:
            raise ValueError(f"X has no column {name!r}, expected one of {', '.join(map(str, X.columns))}")
    return X[columns] if isinstance(columns, str) else X[list(columns)]


def read(X: Any, columns: Columns, inputs: str, positions: int | None) -> tuple[Encoding, Examples]:
    """How training examples are read, and as what they are."""
    view = seen(X, columns)
    return learned(view, kind_of(view, inputs), positions)


def is_table(terms: Sequence[Term]) -> bool:
    """Whether what the kernels see is one table of numbers, which scikit-learn checks."""
    return len(terms) == 1 and terms[0].columns is None and terms[0].inputs == "table"


def side_by_side(views: Sequence[Examples]) -> Any:
    """Examples as one kernel or several see them."""
    return views[0] if len(views) == 1 else Several(tuple(views))


def together(parts: Sequence[NeuralFeatures], terms: Sequence[Term]) -> Any:
    """One kernel, or the sum of several with the weights of their terms."""
    if len(parts) == 1:
        return parts[0]
    return SummedFeatures(tuple(parts), tuple(term.weight for term in terms))


def fit_views(
    terms: Sequence[Term], encodings: Sequence[Encoding], views: Sequence[Examples], how: How
) -> tuple[Any, Any, tuple[Preprocessing, ...]]:
    """Preprocessing fitted to what each kernel sees of training examples.

    Returns:
        The kernels (``together``), the features of the examples (``side_by_side``), and each kernel's preprocessing.
    """
    parts, features = [], []
    options = tuple(
        preprocessing_for(term.preprocessing, encoding.kind)
        for term, encoding in zip(terms, encodings, strict=True)
    )
    for term, encoding, chosen, view in zip(terms, encodings, options, views, strict=True):
        fitted = preprocessing.fit_to(chosen, view)
        parts.append(how.features(term, encoding, fitted))
        features.append(preprocessing.features_of(fitted, view))
    return together(parts, terms), side_by_side(features), options
