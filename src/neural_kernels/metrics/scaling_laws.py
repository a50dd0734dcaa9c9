"""Power laws loss(n) = a n^(-alpha) of the test loss in the number of training examples.

The paper's section 3: the smallest training sets show a lower slope, which is no part of the law, so the
fit is over a range that excludes that shallow start (``straight_from``), or over one that the user gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

# Slope and intercept take two, and an interval from what is left needs more than one.
MIN_SIZES = 4
# A start that is bent by less than this is taken for noise, not for the shallow start.
SHALLOWER = 0.8
# Squared relative loss below which differences are rounding; keeps the logarithm of a perfect fit finite.
ROUNDING = 1e-12


@dataclass(frozen=True)
class PowerLaw:
    """loss(n) = a n^(-alpha) for n_min <= n <= n_max.

    ``alpha_low`` and ``alpha_high`` are the ends of the bootstrap interval, ``r_squared`` is of the log
    losses, ``points`` counts the distinct n, and ``resampled`` says what the bootstrap drew again:
    "draws" or "residuals".
    """

    a: float
    alpha: float
    alpha_low: float
    alpha_high: float
    r_squared: float
    n_min: int
    n_max: int
    points: int
    resampled: str

    def loss(self, n: np.ndarray | float) -> np.ndarray:
        """The law at ``n``, inside its range or beyond it; float64, the shape of ``n``."""
        return self.a * np.asarray(n, dtype=np.float64) ** -self.alpha


@dataclass(frozen=True)
class NoFit:
    """Why there is no power law, as half a sentence for people."""

    reason: str


def fit_power_law(
    n: np.ndarray,
    loss: np.ndarray,
    *,
    n_min: int | None = None,
    n_max: int | None = None,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PowerLaw | NoFit:
    """Least squares of log loss on log n, and a bootstrap interval of the exponent.

    Several points of one n are draws of the training set: their log losses are averaged first, so that
    each n counts once. Where every n in the range has two draws or more, the bootstrap resamples draws
    within n; otherwise it resamples residuals, each divided by sqrt(1 - leverage). Both are small
    samples, so the percentiles are stretched by the ratio of Student's t to the normal quantile
    (Hesterberg 2015, "What teachers should know about the bootstrap", on their narrowness). Resampled
    draws say how much the exponent depends on the draw, and nothing about a curve that is no power law:
    R^2 does.

    Args:
        n: (points,) training sizes, at least 1.
        loss: (points,) float64.
        n_min: first size of the fit; None excludes the shallow start by ``straight_from``.
        n_max: last size of the fit; None for the largest there is.
        bootstrap: number of resamples.
        confidence: of the interval, in (0, 1).
        seed: of the bootstrap.

    Returns:
        The law; or why there is none: fewer than ``MIN_SIZES`` sizes in the range, a loss of zero, or one
        that does not change.

    Raises:
        ValueError: shapes that differ, a loss that is negative or not finite, n below 1, or a
            ``bootstrap`` or ``confidence`` out of range.
    """
    n, loss = np.asarray(n), np.asarray(loss, dtype=np.float64)
    _check(n, loss, bootstrap, confidence)
    inside = (n >= (n_min or 1)) & (n <= (n_max or np.inf))
    n, loss = n[inside], loss[inside]
    sizes = np.unique(n)
    if len(sizes) < MIN_SIZES:
        return NoFit(f"a fit needs {MIN_SIZES} training sizes, its range has {len(sizes)}")
    if np.any(loss == 0):
        return NoFit(f"the loss is zero at n = {n[loss == 0][0]}")
    draws = [np.log(loss[n == size]) for size in sizes]
    y = np.array([values.mean() for values in draws])
    x = np.log(sizes.astype(np.float64))
    start = straight_from(x, y) if n_min is None else 0
    x, y, draws, sizes = x[start:], y[start:], draws[start:], sizes[start:]
    total = float(np.sum((y - y.mean()) ** 2))
    if total <= ROUNDING * len(y):
        return NoFit("the loss does not change over the range")

    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    slope = float(weights @ y)
    intercept = float(y.mean() - slope * x.mean())
    residuals = y - intercept - slope * x
    rng = np.random.default_rng(seed)
    if all(len(values) >= 2 for values in draws):
        resampled, freedom = "draws", sum(len(values) - 1 for values in draws)
        noise = _resampled_draws(draws, bootstrap, rng)
    else:
        resampled, freedom = "residuals", len(x) - 2
        noise = _resampled_residuals(x, residuals, bootstrap, rng)
    tail = (1 - confidence) / 2
    stretch = stats.t.ppf(1 - tail, freedom) / stats.norm.ppf(1 - tail)
    low, high = stretch * np.quantile(-(noise @ weights), [tail, 1 - tail])
    return PowerLaw(
        a=float(np.exp(intercept)),
        alpha=-slope,
        alpha_low=float(-slope + low),
        alpha_high=float(-slope + high),
        r_squared=1.0 - float(residuals @ residuals) / total,
        n_min=int(sizes[0]),
        n_max=int(sizes[-1]),
        points=len(sizes),
        resampled=resampled,
    )


def straight_from(x: np.ndarray, y: np.ndarray) -> int:
    """Index of the first point after the shallow start, 0 where there is none.

    A line through all points is compared with two lines that meet at one of them and the better one by
    the Bayesian information criterion, n log(RSS / n) + p log n, is kept; p counts slopes, the intercept
    and the place of the bend. Only bends where the line before is shallower, by ``SHALLOWER``, and that
    leave ``MIN_SIZES`` points after count. What is after the bend is judged again, until a line is best.

    Args:
        x: (points,) log n, increasing.
        y: (points,) log loss.
    """
    start = 0
    while True:
        bend = _bend(x[start:], y[start:])
        if bend == 0:
            return start
        start += bend


def _bend(x: np.ndarray, y: np.ndarray) -> int:
    ones = np.ones_like(x)
    best, criterion = 0, _information(np.stack([ones, x], axis=1), y, parameters=2)[0]
    for index in range(1, len(x) - MIN_SIZES + 1):
        from_bend = x - x[index]
        lines = np.stack([ones, np.minimum(from_bend, 0), np.maximum(from_bend, 0)], axis=1)
        candidate, (_, before, after) = _information(lines, y, parameters=4)
        if after < 0 and before > SHALLOWER * after and candidate < criterion:
            best, criterion = index, candidate
    return best


def _information(design: np.ndarray, y: np.ndarray, parameters: int) -> tuple[float, np.ndarray]:
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    mean_square = max(float(np.mean((y - design @ coefficients) ** 2)), ROUNDING)
    return len(y) * np.log(mean_square) + parameters * np.log(len(y)), coefficients


def _resampled_draws(draws: list[np.ndarray], times: int, rng: np.random.Generator) -> np.ndarray:
    """(times, sizes) errors of the mean log loss of each size."""
    errors = np.empty((times, len(draws)))
    for column, values in enumerate(draws):
        k = len(values)
        again = values[rng.integers(k, size=(times, k))].mean(axis=1) - values.mean()
        # The variance among k values around their own mean is (k - 1) / k of that around the true one.
        errors[:, column] = again * np.sqrt(k / (k - 1))
    return errors


def _resampled_residuals(
    x: np.ndarray, residuals: np.ndarray, times: int, rng: np.random.Generator
) -> np.ndarray:
    """(times, sizes) errors of the log loss, independent of n."""
    centred = x - x.mean()
    leverage = 1 / len(x) + centred**2 / np.sum(centred**2)
    scaled = residuals / np.sqrt(1 - leverage)
    return (scaled - scaled.mean())[rng.integers(len(x), size=(times, len(x)))]


def _check(n: np.ndarray, loss: np.ndarray, bootstrap: int, confidence: float) -> None:
    if n.ndim != 1 or n.shape != loss.shape:
        raise ValueError(f"n has shape {n.shape} and loss {loss.shape}, expected one loss for each n")
    if len(n) and n.min() < 1:
        raise ValueError(f"the smallest n is {n.min()}, expected at least 1")
    if not np.all(np.isfinite(loss)) or np.any(loss < 0):
        raise ValueError("a loss is negative or not finite")
    if bootstrap < 1 or not 0 < confidence < 1:
        raise ValueError(f"bootstrap is {bootstrap} and confidence {confidence}, expected >= 1 and in (0, 1)")
