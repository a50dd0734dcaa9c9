"""Power laws loss(n) = a n^(-alpha) of the test loss in the number of training examples.

The paper's section 3: the smallest training sets show a lower slope, which is no part of the law, so the
fit is over a range that excludes that shallow start (``straight_from``), or over one that the user gives. What is left
may be no power law all the same: loss(n) = n^(-0.3) + 0.1 looks like n^(-0.19) with R^2 = 0.99. So a floor is fitted
as well, c in a n^(-alpha) + c, and an exponent that changes is looked for (``law_with_floor``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from neural_kernels.metrics import law_with_floor
from neural_kernels.metrics.law_with_floor import FlooredLaw

# Slope and intercept take two, and an interval from what is left needs more than one.
MIN_SIZES = 4
# A start that is bent by less than this is taken for noise, not for the shallow start.
SHALLOWER = 0.8
# Squared relative loss below which differences are rounding; keeps the logarithm of a perfect fit finite.
ROUNDING = law_with_floor.ROUNDING
NO_POWER_LAW = "no power law"


@dataclass(frozen=True)
class PowerLaw:
    """loss(n) = a n^(-alpha) + floor for n_min <= n <= n_max.

    Attributes:
        a, alpha: of the straight line through the logarithms where no floor is found, else of the law with ``floor``.
        alpha_low, alpha_high: the interval of the exponent, whatever floor there may be; ``alpha_high`` is infinity
            where the sizes allow a floor of any size. NaN where it is withheld, as ``remark`` says.
        floor: what the loss goes to; 0 of a pure power law.
        line_alpha, line_low, line_high: exponent and bootstrap interval of the straight line, right without a floor.
        p_no_floor: of the test whether there is none; NaN where nothing is tested.
        r_squared: of the log losses.
        points: how many distinct n.
        resampled: what the bootstrap drew again, "draws" or "residuals".
        remark: a sentence for people where the law has a floor or no interval, else empty.
    """

    a: float
    alpha: float
    alpha_low: float
    alpha_high: float
    floor: float
    line_alpha: float
    line_low: float
    line_high: float
    p_no_floor: float
    r_squared: float
    n_min: int
    n_max: int
    points: int
    resampled: str
    remark: str = ""

    def loss(self, n: np.ndarray | float) -> np.ndarray:
        """The law at ``n``, inside its range or beyond it; float64, the shape of ``n``."""
        return self.a * np.asarray(n, dtype=np.float64) ** -self.alpha + self.floor


@dataclass(frozen=True)
class NoFit:
    """Why there is no power law, as half a sentence for people, and the same in two words."""

    reason: str
    short: str = "no fit"


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
    """Least squares of log loss on log n, with a floor where one is found, and intervals of the exponent.

    Several points of one n are draws of the training set: their log losses are averaged first, so that
    each n counts once. ``law_with_floor`` says whether the means are a power law, and within which interval its
    exponent lies if a floor may be there; docs/results.md has how often that interval covers it.

    The narrower interval of the straight line, for the case that there is no floor, is a bootstrap. Where every n in
    the range has two draws or more, it resamples draws within n; otherwise residuals, each divided by
    sqrt(1 - leverage). Both are small samples, so the percentiles are stretched by the ratio of Student's t to the
    normal quantile (Hesterberg 2015, "What teachers should know about the bootstrap", on their narrowness).

    Args:
        n: (points,) training sizes, at least 1.
        loss: (points,) float64.
        n_min: first size of the fit; None excludes the shallow start by ``straight_from``.
        n_max: last size of the fit; None for the largest there is.
        bootstrap: number of resamples.
        confidence: of the interval, in (0, 1).
        seed: of the bootstrap.

    Returns:
        The law; or why there is none: fewer than ``MIN_SIZES`` sizes in the range, a loss of zero, one
        that does not change, or a curve that is no power law with or without a floor.

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
    line = PowerLaw(
        a=float(np.exp(intercept)),
        alpha=-slope,
        alpha_low=float(-slope + low),
        alpha_high=float(-slope + high),
        floor=0.0,
        line_alpha=-slope,
        line_low=float(-slope + low),
        line_high=float(-slope + high),
        p_no_floor=np.nan,
        r_squared=1.0 - float(residuals @ residuals) / total,
        n_min=int(sizes[0]),
        n_max=int(sizes[-1]),
        points=len(sizes),
        resampled=resampled,
    )
    errors = law_with_floor.errors_of(draws)
    if float(residuals @ residuals) <= ROUNDING * len(y) and not errors.variance > ROUNDING:
        return line
    return _judged(line, law_with_floor.fit_floored_law(x, y, errors, confidence), x, y)


def interval(low: float, high: float) -> str:
    """For people: both ends, or what the exponent is at least."""
    return f"[{low:.3f}, {high:.3f}]" if np.isfinite(high) else f"at least {low:.3f}"


def _judged(line: PowerLaw, law: FlooredLaw, x: np.ndarray, y: np.ndarray) -> PowerLaw | NoFit:
    """The line, with the interval that allows for a floor; the law with a floor; or why neither is given."""
    if law.objection:
        return NoFit(
            f"no power law over n = {line.n_min:,} to {line.n_max:,}: {law.objection}", short=NO_POWER_LAW
        )
    if np.isnan(law.p_no_floor):
        remark = f"{line.points} sizes with a draw each do not tell whether there is a floor: no interval"
        return replace(line, alpha_low=np.nan, alpha_high=np.nan, remark=remark)
    low, high = law.alpha_low, law.alpha_high
    if law.p_no_floor >= law_with_floor.LEVEL:
        low, high = min(low, line.alpha), max(high, line.alpha)
        return replace(line, alpha_low=low, alpha_high=high, p_no_floor=law.p_no_floor)
    p = f"p = {law.p_no_floor:.1g}" if law.p_no_floor >= 1e-4 else "p < 0.0001"
    remark = f"no pure power law ({p}): the loss falls to a floor"
    fitted = replace(
        line,
        a=law.a,
        alpha=law.alpha,
        alpha_low=low,
        alpha_high=high,
        floor=law.floor,
        p_no_floor=law.p_no_floor,
        remark=f"{remark}; {law.rival}" if law.rival else remark,
    )
    misfit = np.sum((y - np.log(fitted.loss(np.exp(x)))) ** 2)
    return replace(fitted, r_squared=1.0 - float(misfit / np.sum((y - y.mean()) ** 2)))


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
