from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from neural_kernels.metrics.law_with_floor import Errors, FlooredLaw, errors_of, fit_floored_law

LADDER = 2.0 ** np.arange(4, 15)


def fit(
    curve: np.ndarray, noise: float, draws: int = 1, seed: int = 0, sizes: int = len(LADDER)
) -> FlooredLaw:
    """Of ``curve``, log losses at ``LADDER``, with errors."""
    rng = np.random.default_rng(seed)
    points = [y + noise * rng.standard_normal(draws) for y in curve[:sizes]]
    means = np.array([values.mean() for values in points])
    return fit_floored_law(np.log(LADDER[:sizes]), means, errors_of(points), 0.95)


def two_slopes(before: float, after: float) -> np.ndarray:
    x = np.log(LADDER)
    return -before * np.minimum(x - x[5], 0) - after * np.maximum(x - x[5], 0)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("floor", [1e-3, 0.1, 10.0])
def test_an_exact_law_with_a_floor_is_recovered(alpha: float, floor: float) -> None:
    found = fit(np.log(2 * LADDER**-alpha + floor), 0.0)
    assert found.alpha == pytest.approx(alpha, rel=1e-4)
    assert found.a == pytest.approx(2, rel=1e-3)
    assert found.floor == pytest.approx(floor, rel=1e-3)
    assert found.alpha_low < alpha < found.alpha_high
    assert found.p_no_floor < 1e-6
    assert found.objection == ""


@pytest.mark.parametrize("seed", range(5))
def test_the_fit_is_the_least_squares_fit_of_a_general_solver(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.log(LADDER**-0.3 + 0.05) + 0.01 * rng.standard_normal(len(LADDER))
    found = fit_floored_law(np.log(LADDER), y, Errors(np.ones(len(LADDER)), np.nan, 0), 0.95)

    def residuals(parameters: np.ndarray) -> np.ndarray:
        level, alpha, floor = parameters
        return y - np.log(np.exp(level) * LADDER**-alpha + np.exp(floor))

    peer = optimize.least_squares(residuals, [0.0, 0.3, np.log(0.05)], xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert [np.log(found.a), found.alpha, np.log(found.floor)] == pytest.approx(peer.x, abs=1e-4)


def test_a_loss_that_rises_has_no_floor() -> None:
    found = fit(0.1 * np.log(LADDER), 0.01)
    assert (found.floor, found.p_no_floor) == (0.0, 1.0)
    assert found.alpha_low < -0.1 < found.alpha_high < 0


def test_a_flat_noisy_curve_leaves_the_exponent_without_an_upper_end() -> None:
    found = fit(-0.05 * np.log(LADDER), 0.05, sizes=5)
    assert found.alpha_low < 0.05
    assert found.alpha_high == np.inf
    assert found.objection == ""


def test_an_exponent_that_grows_is_no_power_law() -> None:
    assert fit(two_slopes(0.1, 0.3), 0.01).objection.startswith("the exponent still grows, from 0.")


def test_an_exponent_that_falls_at_once_is_no_floor_where_the_draws_tell() -> None:
    assert "the exponent falls" in fit(two_slopes(0.5, 0.1), 0.002, draws=5).objection or (
        "further off any smooth curve" in fit(two_slopes(0.5, 0.1), 0.002, draws=5).objection
    )


def test_sizes_that_stray_further_than_their_draws_are_no_power_law() -> None:
    strayed = -0.2 * np.log(LADDER) + 0.05 * np.random.default_rng(1).standard_normal(len(LADDER))
    assert "further off any smooth curve" in fit(strayed, 0.001, draws=3).objection
    assert fit(strayed, 0.0).objection == ""


def test_with_one_degree_of_freedom_there_is_no_interval() -> None:
    found = fit(-0.2 * np.log(LADDER), 0.01, sizes=4)
    assert np.isnan([found.alpha_low, found.alpha_high, found.p_no_floor]).all()
    assert fit(-0.2 * np.log(LADDER), 0.01, sizes=4, draws=2).alpha_low > 0


def test_errors_are_those_within_sizes() -> None:
    errors = errors_of([np.array([1.0, 3.0]), np.array([5.0]), np.array([2.0, 2.0, 5.0])])
    np.testing.assert_allclose(errors.share, [1 / 2, 1, 1 / 3])
    assert errors.variance == pytest.approx((2 + 6) / 3)
    assert errors.freedom == 3
    assert np.isnan(errors_of([np.array([1.0])]).variance)
