"""The kernel by itself: a function for other estimators, and a transformer to Gram matrices."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.validation import check_is_fitted, validate_data

from neural_kernels.architectures import Composite
from neural_kernels.architectures.composites import Term
from neural_kernels.engines import Kind, Precision
from neural_kernels.estimators.defaults import terms_for
from neural_kernels.estimators.examples import encode, kind_of, learned, numbers_in, strings_of
from neural_kernels.estimators.features import (
    How,
    fit_views,
    is_table,
    read,
    seen,
    side_by_side,
    together,
)
from neural_kernels.estimators.model import value_errors
from neural_kernels.graphs import Examples


class NeuralKernel(TransformerMixin, BaseEstimator, Kernel):  # type: ignore[misc]
    """The kernel of an infinitely wide network.

    Called with inputs, ``kernel(X)`` or ``kernel(X, Y)``, it is a kernel for ``SVC``, ``KernelPCA`` or
    ``GaussianProcessRegressor``, whose kernels it can be added to and multiplied with. Molecules are compared as graphs
    unless ``inputs`` says otherwise, or a sum of architectures. Fitted, ``transform`` gives the
    matrix between new inputs and those that were fitted on, for estimators with ``kernel="precomputed"``.

    Args:
        architecture, kind, inputs, sequence_length, precision, engine: as of ``NeuralKernelRegressor``.
        preprocessing: of ``fit``, which a call alone has none of.
    """

    def __init__(
        self,
        architecture: Any = None,
        *,
        kind: str = "ntk",
        inputs: str = "auto",
        sequence_length: int | None = None,
        preprocessing: Any = "none",
        precision: str = "float64",
        engine: str = "auto",
    ) -> None:
        self.architecture = architecture
        self.kind = kind
        self.inputs = inputs
        self.sequence_length = sequence_length
        self.preprocessing = preprocessing
        self.precision = precision
        self.engine = engine

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def fit(self, X: Any, y: Any = None) -> NeuralKernel:
        """Keep X, to compare others with.

        Raises:
            ValueError: inputs or parameters other than described.
        """
        with value_errors():
            terms = self._fitted_terms = self._terms(X)
            if is_table(terms):
                X = np.ascontiguousarray(validate_data(self, X, dtype=np.float64))
            found = [read(X, term.columns, term.inputs, self.sequence_length) for term in terms]
            encodings, views = zip(*found, strict=True)
            if not is_table(terms):
                self.n_features_in_ = sum(map(numbers_in, encodings))
            self.features_, self.X_fit_, _ = fit_views(terms, encodings, views, self._how())
            self.features_.kernel(self.X_fit_[:1])  # an architecture that does not fit is said now
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The kernel between X and what was fitted on, (m, n) float64."""
        check_is_fitted(self)
        with value_errors():
            if is_table(self._fitted_terms):
                X = np.ascontiguousarray(validate_data(self, X, dtype=np.float64, reset=False))
            return self.features_.kernel(self.features_.of(X), self.X_fit_)

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """The kernel between X and Y, or of X with itself, (m, n) float64; of two vectors, a number.

        Args:
            eval_gradient: give the gradient by the kernel's parameters as well, of which it has none to tune.
        """
        with value_errors():
            if np.ndim(X) == 1 and isinstance(X, np.ndarray) and X.dtype.kind in "fiub":
                return float(self(X[np.newaxis], np.asarray(Y)[np.newaxis])[0, 0])
            features, left, right = self._read(X, Y)
            matrix = features.kernel(left, right)
        return (matrix, np.empty((*matrix.shape, 0))) if eval_gradient else matrix

    def diag(self, X: Any) -> np.ndarray:
        """The kernel of each input with itself, (n,) float64."""
        with value_errors():
            features, left, _ = self._read(X, None)
            return features.variances(left)

    def is_stationary(self) -> bool:
        """Whether it depends on the difference of two inputs alone, which it does not."""
        return False

    @property
    def hyperparameters(self) -> list[Any]:
        """What a Gaussian process may tune: nothing."""
        return []

    @property
    def requires_vector_input(self) -> bool:
        """Whether inputs must be vectors, for Gaussian processes; they need not be."""
        return False

    def _read(self, X: Any, Y: Any) -> tuple[Any, Any, Any]:
        """Features, and X and Y as it takes them; Y is None where it is X."""
        other = None if Y is None or Y is X else Y
        parts, left, right = [], [], []
        terms = self._terms(X)
        for term in terms:
            view, over = seen(X, term.columns), None if other is None else seen(other, term.columns)
            kind = kind_of(view, term.inputs)
            if kind == "strings" and self.sequence_length is None:
                _check_lengths(view, over)
            encoding, examples = learned(view, kind, self.sequence_length)
            parts.append(self._how().features(term, encoding, None))
            left.append(examples)
            right.append(None if over is None else encode(encoding, over))
        others = None if other is None else side_by_side(cast(list[Examples], right))
        return together(parts, terms), side_by_side(left), others

    def _terms(self, X: Any) -> tuple[Term, ...]:
        if isinstance(self.architecture, Composite):
            return self.architecture.terms
        return terms_for(self.architecture, X, kind_of(X, self.inputs), self.preprocessing)

    def _how(self) -> How:
        return How(cast(Kind, self.kind), self.engine, cast(Precision, self.precision))


def _check_lengths(*views: Any) -> None:
    """Refuse strings of several lengths: what they are filled up to changes the kernel, and another call has others."""
    lengths = {len(text) for view in views if view is not None for text in strings_of(view)}
    if len(lengths) > 1:
        raise ValueError(
            f"the strings have from {min(lengths)} to {max(lengths)} letters: set sequence_length, up to which all are "
            "filled in every call"
        )
