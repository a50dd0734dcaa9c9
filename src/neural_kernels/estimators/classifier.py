"""Classification by kernel regression onto one-hot targets, as an estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import check_consistent_length
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from neural_kernels.estimators.calibration import probabilities, sharpness
from neural_kernels.estimators.model import NeuralKernelModel, value_errors
from neural_kernels.preprocessing.targets import one_hot
from neural_kernels.solvers.criteria import leave_one_out_predictions


class NeuralKernelClassifier(ClassifierMixin, NeuralKernelModel):  # type: ignore[misc]
    """Classes by kernel ridge regression onto centred one-hot targets, with the kernel of an infinitely wide network.

    Parameters are those of ``NeuralKernelRegressor``.

    Attributes:
        classes_: the labels, sorted.
        loo_predictions_: (n, classes) scores of each example by all others; None where the kernel was solved out of
            memory.
        ridge_, dual_coef_, solve_, architecture_, weights_, features_, n_features_in_: as of ``NeuralKernelRegressor``.

    ``predict_proba`` is a softmax of the scores whose temperature makes the labels likeliest that were left out, one at
    a time.
    """

    classes_: np.ndarray

    def fit(self, X: Any, y: Any) -> NeuralKernelClassifier:
        """Fit to labels y, (n,).

        Raises:
            ValueError: inputs or parameters other than described, in one sentence.
        """
        with value_errors():
            examples = self._fit_examples(X)
            if y is None:
                raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
            labels = column_or_1d(y, warn=True)
            check_classification_targets(labels)
            check_consistent_length(examples, labels)
            try:
                self.classes_, places = np.unique(labels, return_inverse=True)
            except TypeError:
                raise ValueError("y mixes labels that cannot be compared, as None and texts") from None
            if len(self.classes_) < 2:
                raise ValueError(f"y has one class, {self.classes_[0]!r}, expected at least 2 classes")
            self._solve(examples, one_hot(places, len(self.classes_)))
            self._judge()
        return self

    def _judge(self) -> None:
        training = self._ready()
        self.loo_predictions_ = self._sharpness = None
        facts = training.facts()
        if facts is None:
            return
        left_out = leave_one_out_predictions(self._targets, training.solution.coefficients, facts.diagonal)
        self._sharpness = sharpness(left_out, self._targets.argmax(axis=1))
        self.loo_predictions_ = self._restored(left_out) + 1 / len(self.classes_)

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores, (m, classes), near one for a class and near zero for none; of two classes, (m,), the second's less
        the first's.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Labels, (m,)."""
        scores = self._scores(X)
        return self.classes_[scores.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Calibrated probabilities, (m, classes).

        Raises:
            ValueError: the kernel was solved out of memory, where there are no scores of what was left out.
        """
        scores = self._scores(X)
        if self._sharpness is None:
            raise ValueError(
                "probabilities are calibrated by leaving examples out, which takes a kernel that is solved in memory"
            )
        return probabilities(scores, self._sharpness)

    def loo_probabilities(self) -> np.ndarray:
        """Probabilities of each example's classes by all others, (n, classes).

        Raises:
            ValueError: a kernel that was solved out of memory.
        """
        if self._sharpness is None or self.loo_predictions_ is None:
            raise ValueError("left-out predictions take a kernel that is solved in memory")
        return probabilities(self.loo_predictions_, self._sharpness)

    def _scores(self, X: Any) -> np.ndarray:
        with value_errors():
            x = self._new(X)
            return self._mean(x) + 1 / len(self.classes_)
