"""Whether a learning curve is a power law: a floor under it, loss(n) = a n^(-alpha) + c, and an exponent that changes.

Log losses are y = log a - alpha log n + log(1 + e^u n^alpha), with u = log(c / a), fitted by least squares. The
interval of alpha is the profile of that fit over every floor c >= 0: of a curve without a floor it says what the
exponent may be if one is there that the sizes do not show. Choosing one of the two models first, and taking its
interval for granted, covers the exponent far less often than it says where a floor is small (Leeb, Poetscher 2005,
"Model selection and inference").
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, stats

# An interval that goes beyond has no upper end: a curve that falls faster has reached its floor at the second size.
LARGEST_EXPONENT = 3.0
# Of the tests. A floor and an exponent that grows bend the curve in opposite ways: together they have the first. Where
# draws are as many at every size, a floor is found just where the line's exponent leaves the interval of 95 %.
LEVEL = 0.05
MISFIT_LEVEL = 0.01
# Degrees of freedom of the errors below which no interval is given: with one, Student's t is 13.
LEAST_FREEDOM = 2
# A floor is told from a falling exponent where one misses the points by so much less, in units of their variance.
TOLD_APART = 2.0
# Variance of the log loss that is rounding.
ROUNDING = 1e-12
# Logarithm of the largest ratio of what falls to a floor, at the last size, and of a floor to it, at the first.
FAINTEST = 14.0
MOST_STEPS = 40
CONVERGED = 1e-10
TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Errors:
    """Variance of the log loss of one draw, and what a mean over draws has of it.

    ``share`` (sizes,) float64 is one over the number of draws; ``variance`` is among draws of one size, with
    ``freedom`` degrees of freedom, NaN and 0 where every size has one.
    """

    share: np.ndarray
    variance: float
    freedom: int


@dataclass(frozen=True)
class FlooredLaw:
    """What the sizes say of loss(n) = a n^(-alpha) + c.

    Attributes:
        a, alpha, floor: the least squares fit; ``floor`` is 0 where none fits better.
        alpha_low, alpha_high: ends of the interval; infinity where a floor leaves the exponent without an upper end.
            Both NaN with too few sizes and draws.
        p_no_floor: of the test whether there is no floor, NaN with too few sizes and draws.
        objection: why the curve is no such law over these sizes, half a sentence; empty where it may be one.
        rival: what explains the points as well as a floor, half a sentence; empty where nothing does.
    """

    a: float
    alpha: float
    floor: float
    alpha_low: float
    alpha_high: float
    p_no_floor: float
    objection: str = ""
    rival: str = ""


def errors_of(draws: list[np.ndarray]) -> Errors:
    """From the log losses of each size's draws."""
    share = np.array([1 / len(values) for values in draws])
    freedom = sum(len(values) - 1 for values in draws)
    squares = sum(float(np.sum((values - values.mean()) ** 2)) for values in draws)
    return Errors(share, squares / freedom if freedom else np.nan, freedom)


def fit_floored_law(log_n: np.ndarray, y: np.ndarray, errors: Errors, confidence: float) -> FlooredLaw:
    """Least squares of a n^(-alpha) + c on the logarithms, each size once, and what tests say of it.

    Args:
        log_n: (sizes,) float64, increasing, at least 4.
        y: (sizes,) float64, the mean log loss of each size.
        errors: see ``errors_of``; the variance of a draw is taken to be the same at every size.
        confidence: of the interval, in (0, 1).
    """
    curve = _Curve(log_n - log_n[0], y)
    alpha, ratio, misfit = curve.best()
    spread = _Spread(curve.tangents(alpha, ratio), errors, misfit)
    level = float(np.mean(y - curve.shape(alpha, ratio)))
    a, floor = float(np.exp(level + alpha * log_n[0])), float(np.exp(level + ratio))
    if spread.freedom < LEAST_FREEDOM:
        return FlooredLaw(a, alpha, floor, np.nan, np.nan, np.nan)
    p_no_floor = spread.p_without(2, curve.line_misfit - misfit)
    limit = spread.scale(1) * float(stats.f.ppf(confidence, 1, spread.freedom))
    low, high = curve.interval(alpha, misfit, limit)
    law = FlooredLaw(a, alpha, floor, low, high, p_no_floor)
    return _compared(curve, law, misfit, errors, spread)


def _compared(curve: _Curve, law: FlooredLaw, misfit: float, errors: Errors, spread: _Spread) -> FlooredLaw:
    """With what a parabola through the logarithms, an exponent that changes, says against the law."""
    bent = np.stack([np.ones_like(curve.x), curve.x, curve.x**2], axis=1)
    coefficients = np.linalg.lstsq(bent, curve.y, rcond=None)[0]
    bent_misfit = float(np.sum((curve.y - bent @ coefficients) ** 2))
    bent_spread = _Spread(bent, errors, bent_misfit)
    first, last = (-(coefficients[1] + 2 * coefficients[2] * end) for end in (0.0, curve.x[-1]))
    exponents = f"from {first:.2f} to {last:.2f}"
    if coefficients[2] < 0 and bent_spread.p_without(2, curve.line_misfit - bent_misfit) < LEVEL:
        return replace(law, objection=f"the exponent still grows, {exponents}")
    if max(spread.lack_of_fit, bent_spread.lack_of_fit) < MISFIT_LEVEL:
        return replace(law, objection="the sizes are further off any smooth curve than their draws are apart")
    better = (misfit - bent_misfit) / bent_spread.of_points
    if spread.lack_of_fit < MISFIT_LEVEL or (law.p_no_floor < LEVEL and better > TOLD_APART):
        return replace(law, objection=f"the exponent falls, {exponents}, and not as towards a floor")
    if law.p_no_floor < LEVEL and bent_misfit - misfit < TOLD_APART * spread.of_points:
        return replace(law, rival=f"an exponent that falls, {exponents}, fits as well")
    return law


class _Spread:
    """What the errors of the points make of a least squares fit of three parameters.

    Args:
        tangents: (sizes, 3), the change of the fit with each parameter.
        errors: of the draws.
        misfit: sum of the squared residuals.
    """

    def __init__(self, tangents: np.ndarray, errors: Errors, misfit: float) -> None:
        left = len(tangents) - tangents.shape[1]
        scaled = tangents / np.abs(tangents).max(axis=0)
        self._influence = np.linalg.pinv(scaled)
        self._share = errors.share
        free = 1 - np.sum(scaled * self._influence.T, axis=1)
        # Residuals and draws both say what the variance of a draw is.
        of_residuals = misfit / max(float(errors.share @ free), TINY)
        drawn = errors.freedom * errors.variance if errors.freedom else 0.0
        self.freedom = left + errors.freedom
        self._variance = max((left * of_residuals + drawn) / self.freedom, ROUNDING)
        self.of_points = self._variance * float(errors.share.mean())
        self.lack_of_fit = 1.0
        if errors.freedom:
            ratio = max(of_residuals, ROUNDING) / max(errors.variance, ROUNDING)
            self.lack_of_fit = float(stats.f.sf(ratio, left, errors.freedom))

    def scale(self, parameter: int) -> float:
        """What the misfit rises by in the mean where one true value of a parameter is put in place of the best."""
        weights = self._influence[parameter] ** 2
        return self._variance * float(weights @ self._share / weights.sum())

    def p_without(self, parameter: int, gained: float) -> float:
        """Probability that a parameter without effect lowers the misfit by ``gained`` or more, with either sign."""
        return 2 * float(stats.t.sf(np.sqrt(max(gained, 0.0) / self.scale(parameter)), self.freedom))


class _Curve:
    """Log losses ``y`` at ``x`` = log n - log n_min, (sizes,) float64, and their misfit to laws with a floor.

    A law has the shape -alpha x + log(1 + e^(u + alpha x)) and any level; u = -inf is without a floor.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.x, self.y = x, y
        self._across = x - x.mean()
        self._squares = float(self._across @ self._across)
        self.slope = -float(self._across @ y) / self._squares
        self.line_misfit = self._line(self.slope)

    def shape(self, alpha: float, ratio: float) -> np.ndarray:
        """(sizes,) float64; ``ratio`` is u."""
        return -alpha * self.x + np.logaddexp(0.0, ratio + alpha * self.x)

    def tangents(self, alpha: float, ratio: float) -> np.ndarray:
        """(sizes, 3): of the level, of alpha, of the floor; float64, each up to a factor."""
        falling = np.exp(-np.logaddexp(0.0, ratio + alpha * self.x))
        growth = np.exp(alpha * (self.x - self.x[-1]))
        return np.stack([falling, -self.x * falling, growth * falling], axis=1)

    def best(self) -> tuple[float, float, float]:
        """Exponent, u and misfit of the best law."""
        straight = self.slope, -np.inf, self.line_misfit
        if self.slope <= 0:
            return straight
        grid = np.geomspace(self.slope, max(LARGEST_EXPONENT, 2 * self.slope), 12)
        at = int(np.argmin([self.misfit(alpha)[0] for alpha in grid]))
        ends = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
        found = optimize.minimize_scalar(
            lambda alpha: self.misfit(alpha)[0], bounds=ends, method="bounded", options={"xatol": 1e-9}
        )
        alpha = float(found.x)
        misfit, ratio = self.misfit(alpha)
        return (alpha, ratio, misfit) if misfit < self.line_misfit else straight

    def misfit(self, alpha: float) -> tuple[float, float]:
        """Sum of squared residuals with the best floor for this exponent, and the u of that floor."""
        best, ratio = self._line(alpha), -np.inf
        if alpha <= 0:
            return best, ratio
        rise = alpha * self.x
        straight = self.y + rise
        low, high = -FAINTEST - rise[-1], FAINTEST
        grid = np.linspace(low, high, 17)
        residuals = straight - np.logaddexp(0.0, grid[:, None] + rise)
        at = float(grid[np.argmin(residuals.var(axis=1))])
        for _ in range(MOST_STEPS):
            floored = np.logaddexp(0.0, at + rise)
            own = straight - floored
            own -= own.sum() / len(own)
            squares = float(own @ own)
            if squares < best:
                best, ratio = squares, at
            # Gauss-Newton in c, in which the curve is straighter than in its logarithm where a floor is faint.
            change = np.exp(at + rise - floored)
            change -= change.sum() / len(change)
            step = float(change @ own) / max(float(change @ change), TINY)
            last, at = at, min(max(at + math.log1p(min(max(step, -0.9), 9.0)), low), high)
            if abs(at - last) < CONVERGED:
                break
        return best, ratio

    def interval(self, alpha: float, misfit: float, limit: float) -> tuple[float, float]:
        """Exponents around ``alpha`` of which the best law has a misfit above ``misfit`` by ``limit`` at most."""

        def beyond(other: float) -> float:
            return self.misfit(other)[0] - misfit - limit

        # A floor makes a law shallower: below the line's slope by this much, none is near enough.
        lowest = self.slope - 1.01 * float(np.sqrt((limit + misfit) / self._squares))
        low = float(optimize.brentq(beyond, lowest, alpha, xtol=1e-12))
        highest = max(LARGEST_EXPONENT, 2 * alpha)
        if beyond(highest) <= 0:
            return low, np.inf
        return low, float(optimize.brentq(beyond, alpha, highest, xtol=1e-12))

    def _line(self, alpha: float) -> float:
        """Misfit of the line with this exponent."""
        residuals = self.y + alpha * self.x
        residuals = residuals - residuals.sum() / len(residuals)
        return float(residuals @ residuals)
