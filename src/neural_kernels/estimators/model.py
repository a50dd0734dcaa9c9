"""What both estimators share: parameters, fitting, the kernel between new inputs and those that were fitted on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast, get_args

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from neural_kernels.architectures import Composite
from neural_kernels.engines import Kind, Precision
from neural_kernels.errors import UserError
from neural_kernels.estimators.defaults import RIDGES, RIDGES_OF_ANY_MATRIX, terms_for
from neural_kernels.estimators.examples import numbers_in
from neural_kernels.estimators.features import (
    CHUNK,
    How,
    NewInputs,
    Several,
    SummedFeatures,
    fit_views,
    is_table,
    read,
    side_by_side,
)
from neural_kernels.estimators.studies import opened
from neural_kernels.estimators.training import (
    Choice,
    System,
    Training,
    memory_budget,
    solve_in_memory,
    solve_in_store,
    solve_matrix,
)
from neural_kernels.estimators.weights import By
from neural_kernels.graphs import Examples
from neural_kernels.prediction import posterior
from neural_kernels.prediction.likeness import most_alike
from neural_kernels.solvers.criteria import VALIDATION, Criterion
from neural_kernels.solvers.solution import Record

NEURAL, PRECOMPUTED = "neural", "precomputed"
CROSS_BYTES = 2**28
"""Of the kernel between new inputs and training examples, at a time."""
ASYMMETRY = 1e-5
"""Of a precomputed kernel, relative to its largest entry: what rounding leaves in float32."""


@contextlib.contextmanager
def value_errors() -> Iterator[None]:
    """What the package refuses, as scikit-learn's users expect it."""
    try:
        yield
    except UserError as error:
        raise ValueError(str(error)) from None


class NeuralKernelModel(BaseEstimator):  # type: ignore[misc]
    """Kernel regression onto targets of mean zero; see ``NeuralKernelRegressor`` and ``NeuralKernelClassifier``."""

    dual_coef_: np.ndarray
    solve_: Record
    ridge_: float
    # Of one kernel or of a sum, each with features and an architecture of its own.
    _x: Any
    features_: Any
    architecture_: Any
    weights_: tuple[float, ...]
    # An array, or None where nothing was left out.
    loo_predictions_: Any
    n_features_in_: int

    def __init__(
        self,
        architecture: Any = None,
        *,
        kind: str = "ntk",
        kernel: str = NEURAL,
        ridge: float | str = "loo",
        ridges: Any = None,
        inputs: str = "auto",
        sequence_length: int | None = None,
        preprocessing: Any = "auto",
        weights: str | None = None,
        precision: str = "float64",
        engine: str = "auto",
        store: Any = None,
        memory: float | None = None,
        validation_fraction: float = 0.2,
        random_state: Any = None,
    ) -> None:
        self.architecture = architecture
        self.kind = kind
        self.kernel = kernel
        self.ridge = ridge
        self.ridges = ridges
        self.inputs = inputs
        self.sequence_length = sequence_length
        self.preprocessing = preprocessing
        self.weights = weights
        self.precision = precision
        self.engine = engine
        self.store = store
        self.memory = memory
        self.validation_fraction = validation_fraction
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.pairwise = self.kernel == PRECOMPUTED
        tags.input_tags.three_d_array = True
        return tags

    # ------------------------------------------------------------------------- fitting

    def _fit_examples(self, X: Any) -> Examples | Several:
        """The training examples as they were read, or the precomputed kernel."""
        positions = self.sequence_length
        if positions is not None and not (_is_number(positions) and positions == int(positions) > 0):
            raise ValueError(f"sequence_length is {positions!r}, expected a positive whole number or None")
        if self.kernel not in (NEURAL, PRECOMPUTED):
            raise ValueError(f"kernel is {self.kernel!r}, expected {NEURAL!r} or {PRECOMPUTED!r}")
        for name, value, known in (
            ("kind", self.kind, ("ntk", "nngp")),
            ("precision", self.precision, get_args(Precision)),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}, expected {' or '.join(map(repr, known))}")
        if self.kernel == PRECOMPUTED:
            if self.store is not None:
                raise ValueError("store is given, but a precomputed kernel is in memory already")
            matrix = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
            return _symmetric(matrix)
        self._terms = terms_for(self.architecture, X, self.inputs, self.preprocessing)
        if is_table(self._terms):
            X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        views = [read(X, term.columns, term.inputs, self.sequence_length) for term in self._terms]
        self._encodings = tuple(encoding for encoding, _ in views)
        if not is_table(self._terms):
            self.n_features_in_ = sum(map(numbers_in, self._encodings))
        examples: Examples | Several = side_by_side([view for _, view in views])
        if len(examples) < 2:
            raise ValueError(f"X has n_samples = {len(examples)}, expected at least 2")
        return examples

    def _solve(self, examples: Examples | Several, targets: np.ndarray) -> None:
        """Fit to targets (n, C) float64 of mean about zero, NaN where one is missing."""
        choice, budget = self._choice(len(examples)), memory_budget(self.memory)
        order = np.arange(len(examples))
        if self.store is not None:
            # The same whatever the ridge is chosen by, so that blocks are the same.
            fixed = 0 if self.random_state is None else self.random_state
            order = check_random_state(fixed).permutation(len(examples))
        elif choice.held_out:
            order = check_random_state(self.random_state).permutation(len(examples))
        seed = self.random_state if isinstance(self.random_state, int) else 0
        # In the order in which they are solved with, the held out ones last.
        self._order, targets = order, np.ascontiguousarray(targets[order])
        if self.kernel == PRECOMPUTED:
            assert isinstance(examples, np.ndarray)
            matrix = np.ascontiguousarray(examples[np.ix_(order, order)])
            # Nobody says in what it was computed.
            system = System(targets, choice, budget, seed)
            self._training = solve_matrix(matrix, system, "float32", foreign=True)
        else:
            self._training = self._solve_neural(examples[order], targets, choice, budget, seed)
        self._targets = targets
        self.solve_ = self._training.solution.record
        self.ridge_ = self.solve_.ridge
        self.dual_coef_ = self._restored(self._training.solution.coefficients)
        self.amplitude_ = self._amplitudes()

    def _solve_neural(
        self, examples: Examples | Several, targets: np.ndarray, choice: Choice, budget: int, seed: int
    ) -> Training:
        views = examples.parts if isinstance(examples, Several) else (examples,)
        how = How(cast(Kind, self.kind), self.engine, cast(Precision, self.precision))
        features, self._x, self.preprocessing_ = fit_views(self._terms, self._encodings, views, how)
        system = System(targets, choice, budget, seed, self._weighing())
        if self.store is not None:
            self.features_, training = solve_in_store(Path(self.store), features, self._x, system)
        else:
            self.features_, training = solve_in_memory(features, self._x, system)
        if isinstance(self.features_, SummedFeatures):
            self.weights_ = self.features_.weights
            self.architecture_ = Composite(self._terms).with_weights(self.weights_)
        else:
            self.weights_, self.architecture_ = (1.0,), self._terms[0].architecture
        return training

    def _weighing(self) -> By | None:
        """What chooses the weights of a sum of kernels; None where they are as they are written."""
        if self.weights not in (None, "loo", "likelihood"):
            raise ValueError(f"weights is {self.weights!r}, expected 'loo', 'likelihood' or None")
        if self.weights is None and self.architecture is None:
            return "likelihood" if self.ridge == "likelihood" else "loo"
        return cast(By | None, self.weights)

    def _choice(self, n: int) -> Choice:
        asked = self.ridge
        if isinstance(asked, str):
            if asked not in get_args(Criterion):
                raise ValueError(
                    f"ridge is {asked!r}, expected a number, 'loo', 'gcv', 'likelihood' or 'validation'"
                )
            held_out = 0
            if asked == VALIDATION:
                if not (_is_number(self.validation_fraction) and 0 < self.validation_fraction < 1):
                    raise ValueError(
                        f"validation_fraction is {self.validation_fraction!r}, expected between 0 and 1"
                    )
                held_out = min(max(1, round(self.validation_fraction * n)), n - 1)
            usual = RIDGES_OF_ANY_MATRIX if self.kernel == PRECOMPUTED else RIDGES
            ridges = usual if self.ridges is None else tuple(map(float, np.ravel(self.ridges)))
            if not ridges or not all(np.isfinite(ridge) and ridge >= 0 for ridge in ridges):
                raise ValueError(f"ridges is {self.ridges!r}, expected finite numbers, none negative")
            return Choice(ridges, asked, held_out)  # type: ignore[arg-type]
        try:
            ridge = float(asked)
        except TypeError:
            ridge = np.nan
        if not (np.isfinite(ridge) and ridge >= 0):
            raise ValueError(f"ridge is {asked!r}, expected a finite number that is not negative")
        return Choice((ridge,), "loo")

    def _amplitudes(self) -> np.ndarray:
        """s^2 of each column of targets, (C,): of the largest likelihood, or of the best leave-one-out predictions."""
        training = self._training
        coefficients = training.solution.coefficients
        if training.inverse is None or self.ridge == "likelihood":
            return posterior.amplitudes(self._targets, coefficients)
        return posterior.leave_one_out_amplitudes(coefficients, training.inverse.diagonal)

    @property
    def X_fit_(self) -> Any:
        """Features of the training examples, in the order of X, as ``dual_coef_`` are."""
        check_is_fitted(self)
        return self._x[np.argsort(self._order)]

    def _restored(self, rows: np.ndarray) -> np.ndarray:
        """Rows in the order of ``X``, from those in the order in which they were solved."""
        out = np.empty_like(rows)
        out[self._order] = rows
        return out

    def _judge(self) -> None:
        """Set what follows from leaving examples out."""
        raise NotImplementedError

    def _take_scaling(self, scaling: dict[str, Any] | None) -> None:
        """Take over how a study scaled its targets; classes have no scale."""

    @classmethod
    def from_study(
        cls,
        study: str | Path,
        kernel: str | None = None,
        *,
        results: str | Path = "results",
        size: int | None = None,
    ) -> Self:
        """The estimator that a study has solved already.

        Args:
            study: its file, as "config/mine.yaml".
            kernel: its name there; None where the study has one.
            results: the folder of results.
            size: training size, the kernel's largest where None.

        Raises:
            ValueError: something of the study is not there yet, or its task is the other estimator's.

        Its ``amplitude_`` is that of the largest likelihood, as ``neural-kernels predict`` has it.
        """
        with value_errors():
            self = cls()
            scaling = opened(self, Path(study), kernel, Path(results), size, classes=is_classifier(self))
            self._take_scaling(scaling)
            self._judge()
            return self

    # ------------------------------------------------------------------------- new inputs

    def read(self, X: Any) -> NewInputs:
        """New inputs read and prepared once, for several calls: ``predict(model.read(X))`` is ``predict(X)``."""
        with value_errors():
            return NewInputs(self._new(X))

    def _new(self, X: Any) -> Any:
        """Features of new inputs, or the rows of a precomputed kernel."""
        check_is_fitted(self)
        if isinstance(X, NewInputs):
            return X.features
        if self.kernel == PRECOMPUTED:
            rows = validate_data(self, X, dtype=np.float64, reset=False)
            return np.ascontiguousarray(rows[:, self._order])
        if is_table(self._terms):
            X = validate_data(self, X, dtype=np.float64, reset=False)
        return self.features_.of(X)

    def _cross(self, x: Any) -> Iterator[tuple[slice, np.ndarray]]:
        """The kernel between new inputs and training examples, (rows, n) float64, some rows at a time."""
        count, n = len(x), len(self._targets)
        rows = max(1, min(CHUNK, CROSS_BYTES // (8 * n)))
        for first in range(0, count, rows):
            chunk = slice(first, min(first + rows, count))
            if self.kernel == PRECOMPUTED:
                yield chunk, cast(np.ndarray, x[chunk])
            else:
                yield chunk, self.features_.kernel(x[chunk], self._x)

    def _mean(self, x: Any) -> np.ndarray:
        """(m, C) predictions of the targets."""
        coefficients = self._training.solution.coefficients
        mean = np.empty((len(x), coefficients.shape[1]))
        for chunk, cross in self._cross(x):
            # Row by row, so that one's last bits do not follow from how many others there are.
            mean[chunk] = np.einsum("ij,jk->ik", cross, coefficients)
        return mean

    def nearest(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """The training example that the kernel finds most alike: its place (m,), and their correlation (m,).

        Raises:
            ValueError: a precomputed kernel, which lacks that of each input with itself.
        """
        with value_errors():
            x = self._new(X)
            if self.kernel == PRECOMPUTED:
                raise ValueError(
                    "likeness needs the kernel of inputs with themselves, which a precomputed one lacks"
                )
            return self._nearest(x, None)

    def neighbours(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As ``nearest``, of training examples by their places (k,), each without itself."""
        solved = np.argsort(self._order)[places]
        return self._nearest(self._x[solved], solved)

    def _nearest(self, x: Any, without: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        own, theirs = self.features_.variances(x), self.features_.variances(self._x)
        places, correlations = np.empty(len(x), np.intp), np.empty(len(x))
        for chunk, cross in self._cross(x):
            passed = None if without is None else without[chunk]
            found, correlations[chunk] = most_alike(cross, own[chunk], theirs, passed)
            places[chunk] = self._order[found]
        return places, correlations

    def _ready(self) -> Training:
        """The training system with its kernel, which a pickle does not have."""
        training = self._training
        if training.matrix is None and training.store is None:
            self._training = training = replace(training, matrix=self.features_.kernel(self._x))
        return training

    def __getstate__(self) -> Any:
        state = dict(super().__getstate__())
        if "_training" in state:
            training = state["_training"].without_factors()
            state["_training"] = training if self.kernel == PRECOMPUTED else replace(training, matrix=None)
        return state


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"X has shape {matrix.shape}, expected a square kernel matrix (kernel='precomputed')"
        )
    if np.abs(matrix - matrix.T).max() > ASYMMETRY * np.abs(matrix).max():
        raise ValueError("X is not symmetric, expected a kernel matrix (kernel='precomputed')")
    return (matrix + matrix.T) / 2
