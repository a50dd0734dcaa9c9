"""The kernel by itself: a function for other estimators, and a transformer to Gram matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.validation import check_is_fitted, validate_data

from neural_kernels import preprocessing as features_
from neural_kernels.estimators.defaults import architecture_for, preprocessing_for
from neural_kernels.estimators.examples import Encoding, encode, kind_of, learned, numbers_in
from neural_kernels.estimators.features import NeuralFeatures
from neural_kernels.estimators.model import value_errors
from neural_kernels.graphs import Examples


class NeuralKernel(TransformerMixin, BaseEstimator, Kernel):  # type: ignore[misc]
    """The kernel of an infinitely wide network.

    Called with inputs, ``kernel(X)`` or ``kernel(X, Y)``, it is a kernel for ``SVC``, ``KernelPCA`` or
    ``GaussianProcessRegressor``, whose kernels it can be added to and multiplied with. Fitted, ``transform`` gives the
    matrix between new inputs and those that were fitted on, for estimators with ``kernel="precomputed"``.

    Args:
        architecture, kind, inputs, precision, engine: as of ``NeuralKernelRegressor``.
        preprocessing: of ``fit``, which a call alone has none of.
    """

    def __init__(
        self,
        architecture: Any = None,
        *,
        kind: str = "ntk",
        inputs: str = "auto",
        preprocessing: Any = "none",
        precision: str = "float64",
        engine: str = "auto",
    ) -> None:
        self.architecture = architecture
        self.kind = kind
        self.inputs = inputs
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
            kind = kind_of(X, self.inputs)
            if kind == "table":
                table = validate_data(self, X, dtype=np.float64)
                self._encoding = Encoding(kind, table.shape[1:])
                examples: Examples = np.ascontiguousarray(table)
            else:
                self._encoding, examples = learned(X, kind)
                self.n_features_in_ = numbers_in(self._encoding)
            options = preprocessing_for(self.preprocessing, kind)
            self.features_ = self._features(self._encoding, features_.fit_to(options, examples))
            self.X_fit_ = self.features_.prepared(examples)
            self.features_.kernel(self.X_fit_[:1])  # an architecture that does not fit is said now
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The kernel between X and what was fitted on, (m, n) float64."""
        check_is_fitted(self)
        with value_errors():
            if self._encoding.kind == "table":
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

    def _read(self, X: Any, Y: Any) -> tuple[NeuralFeatures, Examples, Examples | None]:
        kind = kind_of(X, self.inputs)
        if kind == "table":
            left: Examples = np.ascontiguousarray(X, np.float64)
            right = None if Y is None or Y is X else np.ascontiguousarray(Y, np.float64)
            encoding = Encoding(kind, left.shape[1:])
        elif kind == "strings" and Y is not None and Y is not X:
            # Of the letters and the length of both.
            encoding, both = learned([*X, *Y], kind)
            left, right = both[: len(X)], both[len(X) :]  # type: ignore[assignment]
        else:
            encoding, left = learned(X, kind)
            right = None if Y is None or Y is X else encode(encoding, Y)  # type: ignore[assignment]
        return self._features(encoding, None), left, right

    def _features(self, encoding: Encoding, fitted: Any) -> NeuralFeatures:
        return NeuralFeatures(
            architecture_for(self.architecture, encoding.kind),
            self.kind,  # type: ignore[arg-type]
            self.engine,
            self.precision,  # type: ignore[arg-type]
            encoding,
            fitted,
        )
