"""Kernel regression with an infinitely wide network, as an estimator."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import check_array, check_consistent_length

from neural_kernels.estimators.model import PRECOMPUTED, NeuralKernelModel, value_errors
from neural_kernels.metrics.calibration import conformal_quantile
from neural_kernels.prediction import posterior
from neural_kernels.preprocessing.targets import TargetScaling, fit_scaling, standardize
from neural_kernels.solvers.cholesky import tasks_by_mask
from neural_kernels.solvers.criteria import InverseFacts, leave_one_out_predictions, negative_log_likelihood
from neural_kernels.solvers.quadratic_forms import MOST_SOLVED, drawn


class NeuralKernelRegressor(RegressorMixin, NeuralKernelModel):  # type: ignore[misc]
    """Kernel ridge regression, or a Gaussian process, with the kernel of an infinitely wide network.

    Args:
        architecture: a name in ``architectures.FAMILIES`` as "FC3" or "Conv1D", an ``Architecture``, a list of layers,
            a sum of kernels (``0.7 * build("Conv1D") + 0.3 * build("FC3").on(columns)``), or None for what suits the
            inputs: of molecules, a sum of kernels on graphs, fingerprints and descriptors, whose weights are chosen.
        kind: "ntk", the kernel of training, or "nngp", that of the network at initialisation.
        kernel: "neural", or "precomputed" where X is a kernel matrix.
        ridge: what is added to the kernel's diagonal, relative to its mean, or how that is chosen among ``ridges``: by
            "loo" (leave-one-out error, exact), "gcv" (generalised cross-validation), "likelihood" or "validation" (on
            ``validation_fraction`` of the examples, after which all are fitted on).
        ridges: candidates; None is every power of ten from 1e-8 to 100, and to 1e6 of a precomputed kernel, which may
            be indefinite: ridges that leave it so are passed over, with a warning.
        inputs: what X is, "table", "sequences", "images", "strings", "molecules" or "graphs", or "auto" to go by it.
            A table is (n, features), sequences of vectors (n, length, channels), images (n, height, width, channels);
            strings are letters, one a position; molecules are SMILES or RDKit's, as graphs, or by "fingerprints" or
            "descriptors"; graphs are ``Graphs``, or a list of pairs (nodes, edges).
        sequence_length: letters that strings are filled up to, where longer ones than those fitted on will come; None
            is as many as the longest has.
        preprocessing: "zca", "standardize" or "none", with keys as a dict ({"method": "zca", "regularization": 0.01}),
            or "auto" for what suits the inputs; fitted on what is fitted.
        weights: of a sum of kernels: None as they are written, or chosen by "loo" or "likelihood", each kernel having a
            multiple of a quarter of the whole; no kernel is computed again.
        precision: "float64" or "float32", of the kernel's computation.
        engine: "auto", "native", "jax", "neural_tangents", "cuda" or "cuda_mixed".
        store: a folder for the kernel's blocks, from which an interrupted fit goes on, and from which a kernel larger
            than memory is solved. None is memory alone.
        memory: GiB that a fit may take; None is half of the machine's.
        validation_fraction: held out where ``ridge`` is "validation".
        random_state: of what is held out, and of random columns where a kernel is solved out of memory.

    Attributes:
        ridge_: the ridge, relative to the mean diagonal.
        dual_coef_: (n, outputs) dual coefficients, for standardised targets.
        loo_predictions_: what each example is predicted by all others, in y's shape and units; None where the kernel
            was solved out of memory. The mean of y and the scales of features, prepared before, have seen the example.
        log_marginal_likelihood_value_: of the standardised targets, in nats, at the likeliest amplitude; None likewise.
        amplitude_: (outputs,) by which the kernel is multiplied to be the prior covariance of the standardised
            targets: the likeliest where ``ridge`` is "likelihood", that of the likeliest leave-one-out predictions
            elsewhere.
        solve_: the record of the solve: residuals, candidates and what each was worth, seconds.
        architecture_: what was used, a sum with its weights.
        preprocessing_: what was used, one for each kernel.
        weights_: (kernels,) by which each kernel was multiplied.
        features_: what makes features and kernel entries of inputs.
        n_features_in_: numbers in an example, or in a node of a graph.

    ``predict`` gives the posterior mean of the Gaussian process with the kernel as covariance and noise of variance
    ridge; y may have several columns, and NaN where a value is missing.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any) -> NeuralKernelRegressor:
        """Fit to values y, (n,) or (n, outputs), NaN where one is missing.

        Raises:
            ValueError: inputs or parameters other than described, in one sentence.
        """
        with value_errors():
            examples = self._fit_examples(X)
            if y is None:
                raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
            values = check_array(
                y, ensure_2d=False, dtype=np.float64, ensure_all_finite="allow-nan", input_name="y"
            )
            check_consistent_length(examples, values)
            if values.ndim > 2:
                raise ValueError(f"y has shape {values.shape}, expected (n,) or (n, outputs)")
            empty = np.flatnonzero(np.isnan(values.reshape(len(values), -1)).all(axis=0))
            if empty.size:
                raise ValueError(f"y has no value in column {empty[0]}, expected some that are not NaN")
            self._single = values.ndim == 1
            columns = values.reshape(len(values), -1)
            self._scaling = fit_scaling(columns, labels=True)
            self._solve(examples, standardize(self._scaling, columns))
            self._judge()
        return self

    def _judge(self) -> None:
        training = self._ready()
        self.loo_predictions_ = self.log_marginal_likelihood_value_ = None
        coefficients, facts = training.solution.coefficients, training.facts()
        if facts is None:
            return
        left_out = leave_one_out_predictions(self._targets, coefficients, facts.diagonal)
        left_out[np.isnan(self._targets)] = np.nan
        self.loo_predictions_ = self._in_units(self._restored(left_out))
        # A column that does not vary has no part in it.
        used = np.nansum(self._targets * coefficients, axis=0) > 0
        labels = int((~np.isnan(self._targets[:, used])).sum())
        each = negative_log_likelihood(self._targets, coefficients, facts.log_determinant)
        self.log_marginal_likelihood_value_ = -each * labels

    def predict(self, X: Any, return_std: bool = False, noise: bool = True) -> Any:
        """Predictions, (m,) or (m, outputs) as y had columns.

        Args:
            return_std: give the standard deviation as well, in the shape and units of the predictions.
            noise: of a new measurement, which has noise; False is that of the function alone.
        """
        with value_errors():
            x = self._new(X)
            mean = self._in_units(self._mean(x))
            if not return_std:
                return mean
            std = self._shaped(self._function_std(x))
            return mean, np.hypot(std, self.noise_std_) if noise else std

    def score(self, X: Any, y: Any) -> float:
        """R squared, the mean over the columns of y of those values that are not NaN."""
        values = np.asarray(y, np.float64).reshape(len(X), -1)
        found = np.asarray(self.predict(X)).reshape(len(X), -1)
        known = [~np.isnan(column) for column in values.T]
        return float(np.mean([r2_score(values[k, c], found[k, c]) for c, k in enumerate(known) if k.any()]))

    def predict_interval(self, X: Any, coverage: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Where a new measurement lies with probability ``coverage``: lower and upper ends, shaped as predictions.

        Conformal: the spread is multiplied by what as large a share of the left-out predictions needed (normalised
        scores, Papadopoulos et al. 2002, with leave-one-out in place of a held-out set), so that the share of
        measurements inside is right whether or not the Gaussian process' own spread is.

        Raises:
            ValueError: ``coverage`` not between 0 and 1, or a kernel that was solved out of memory.
        """
        reach = self.interval_reach(coverage)
        mean, std = self.predict(X, return_std=True)
        return mean - reach * std, mean + reach * std

    def interval_reach(self, coverage: float = 0.95) -> Any:
        """How many standard deviations of a new measurement ``predict_interval`` reaches to each side, by column of y.

        Raises:
            ValueError: as ``predict_interval``.
        """
        if not 0 < coverage < 1:
            raise ValueError(f"coverage is {coverage!r}, expected between 0 and 1")
        scores = np.abs(self._left_out_scores())
        reach = np.array([conformal_quantile(column[~np.isnan(column)], coverage) for column in scores.T])
        return reach[0] if self._single else reach

    @property
    def noise_std_(self) -> Any:
        """Standard deviation of a measurement around the function, by column of y and in its units."""
        noise = np.sqrt(self.amplitude_ * self._training.shift) * self._scaling.scale
        return noise[0] if self._single else noise

    def _left_out_scores(self) -> np.ndarray:
        """(n, outputs) errors of what was left out over their spread, in the order in which they were solved."""
        facts = self._facts()
        coefficients = self._training.solution.coefficients
        # The error a / d, d the diagonal of A^-1, over the root of s^2 / d; none where the values do not vary.
        spread = np.sqrt(self.amplitude_ * facts.diagonal)
        return np.divide(coefficients, spread, out=np.where(spread == 0, 0.0, np.nan), where=spread > 0)

    def _facts(self) -> InverseFacts:
        facts = self._ready().facts()
        if facts is None:
            raise ValueError("left-out predictions take a kernel that is solved in memory")
        return facts

    def best_values(self) -> np.ndarray:
        """The largest value of each column of y, (outputs,)."""
        return np.asarray(self._scaling.mean + self._scaling.scale * np.nanmax(self._targets, axis=0))

    def loo_spread(self) -> np.ndarray:
        """Standard deviation that each left-out measurement is expected within, in y's shape and units.

        Raises:
            ValueError: a kernel that was solved out of memory.
        """
        facts = self._facts()
        spread = np.sqrt(self.amplitude_ / facts.diagonal) * self._scaling.scale
        return self._shaped(self._restored(spread))

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = 0) -> np.ndarray:
        """Functions drawn from the joint posterior at ``X``, (m, n_samples) or (m, outputs, n_samples).

        Args:
            random_state: an integer, or what ``numpy.random.default_rng`` takes.
        """
        with value_errors():
            x = self._new(X)
            if self.kernel == PRECOMPUTED:
                raise ValueError(
                    "samples need the kernel among the new inputs, which kernel='precomputed' does not have"
                )
            rng = np.random.default_rng(random_state)
            mean, prior = self._mean(x), self.features_.kernel(x)
            scale = float(np.diag(prior).mean())
            drawn = np.empty((*mean.shape, n_samples))
            for known, tasks in self._masks():
                covariance = prior.copy()
                if known.any():
                    cross = np.concatenate([rows[:, known] for _, rows in self._cross(x)])
                    covariance -= cross @ self._ready().solve(known, np.ascontiguousarray(cross.T))
                root = posterior.root((covariance + covariance.T) / 2, scale)
                for task in tasks:
                    drawn[:, task] = posterior.draws(
                        mean[:, task], root, float(self.amplitude_[task]), n_samples, rng
                    )
            drawn = self._scaling.mean[:, None] + self._scaling.scale[:, None] * drawn
            return drawn[:, 0] if self._single else drawn

    def _function_std(self, x: Any) -> np.ndarray:
        if self.kernel == PRECOMPUTED:
            raise ValueError(
                "a spread needs the kernel of each new input with itself, which kernel='precomputed' lacks"
            )
        prior, training = self.features_.variances(x), self._ready()
        variance = np.empty((len(x), self._targets.shape[1]))
        for known, tasks in self._masks():
            explained = np.zeros(len(x))
            if known.all() and not training.direct and len(x) > MOST_SOLVED:
                explained = self._explained_by_one_space(x, prior)
            elif known.any():
                for chunk, cross in self._cross(x):
                    rows = cross[:, known]
                    solved = training.solve(known, np.ascontiguousarray(rows.T))
                    explained[chunk] = posterior.explained(rows, solved)
            for task in tasks:
                variance[:, task] = posterior.variances(prior, explained, float(self.amplitude_[task]))
        return np.sqrt(variance) * self._scaling.scale

    def _explained_by_one_space(self, x: Any, prior: np.ndarray) -> np.ndarray:
        """What the data explain of each variance, (m,), where a solve for each input would take too long."""
        chosen = drawn(len(x))
        rows = np.concatenate([cross for _, cross in self._cross(x[chosen])])
        explained = np.empty(len(x))
        with tempfile.TemporaryDirectory() as folder:
            forms = self._ready().forms(np.ascontiguousarray(rows.T), prior[chosen], Path(folder))
            for chunk, cross in self._cross(x):
                explained[chunk] = forms(np.ascontiguousarray(cross.T)).value
        return explained

    def _masks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return tasks_by_mask(~np.isnan(self._targets))

    def _in_units(self, targets: np.ndarray) -> np.ndarray:
        return self._shaped(self._scaling.mean + self._scaling.scale * targets)

    def _shaped(self, columns: np.ndarray) -> np.ndarray:
        return columns[:, 0] if self._single else columns

    def _take_scaling(self, scaling: dict[str, Any] | None) -> None:
        count = self._targets.shape[1]
        if scaling is None:
            scaling = {"mean": np.zeros(count), "scale": np.ones(count)}
        self._scaling = TargetScaling(np.asarray(scaling["mean"]), np.asarray(scaling["scale"]))
        self._single = count == 1
