from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels.metrics.scaling_laws import NoFit, PowerLaw, fit_power_law, straight_from

LADDER = 2 ** np.arange(4, 17)


def law(n: np.ndarray, loss: np.ndarray, **options: Any) -> PowerLaw:
    fit = fit_power_law(n, loss, **options)
    assert isinstance(fit, PowerLaw), fit
    return fit


def noisy(n: np.ndarray, alpha: float, noise: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.3 * n**-alpha * np.exp(noise * rng.standard_normal(len(n)))


@pytest.mark.parametrize("alpha", [0.05, 0.25, 1.0, -0.1])
def test_an_exact_power_law_is_recovered(alpha: float) -> None:
    fit = law(LADDER, 0.3 * LADDER ** -float(alpha))
    assert fit.alpha == pytest.approx(alpha, abs=1e-12)
    assert fit.a == pytest.approx(0.3, rel=1e-12)
    assert (fit.alpha_low, fit.alpha_high) == pytest.approx((alpha, alpha), abs=1e-10)
    assert fit.r_squared == pytest.approx(1.0, abs=1e-12)
    assert (fit.n_min, fit.n_max, fit.points) == (16, 65536, 13)
    assert fit.loss(1e6) == pytest.approx(0.3 * 1e6**-alpha, rel=1e-10)


def test_the_shallow_start_is_excluded() -> None:
    loss = np.where(LADDER < 128, 0.09 * (LADDER / 128) ** -0.05, 0.09 * (LADDER / 128) ** -0.25)
    fit = law(LADDER, loss)
    assert fit.n_min == 128
    assert fit.alpha == pytest.approx(0.25, abs=1e-10)
    assert fit.points == 10


def test_a_gradual_start_biases_the_exponent_less_than_fitting_everything() -> None:
    loss = (1 + LADDER / 60) ** -0.2 * noisy(LADDER, 0.0, 0.005)
    everything = fit_power_law(LADDER, loss, n_min=16)
    assert isinstance(everything, NoFit)
    assert re.search(r"the exponent still grows, from 0\.1\d to 0\.2", everything.reason)
    chosen = law(LADDER, loss)
    assert chosen.n_min > 60
    assert abs(chosen.alpha - 0.2) < 0.05 * 0.2


def test_a_bend_at_the_other_end_is_no_shallow_start() -> None:
    x = np.log(LADDER.astype(float))
    y = np.where(LADDER <= 4096, -0.3 * x, -0.3 * np.log(4096) - 0.1 * (x - np.log(4096)))
    assert straight_from(x, y) == 0


def test_the_range_of_the_config_is_obeyed() -> None:
    loss = np.where(LADDER < 128, 0.09, 0.09 * (LADDER / 128) ** -0.25)
    fit = law(LADDER, 0.3 * LADDER**-0.25, n_min=32, n_max=4096)
    assert (fit.n_min, fit.n_max, fit.points) == (32, 4096, 8)
    assert isinstance(fit_power_law(LADDER, loss, n_min=32, n_max=4096), NoFit)
    assert law(LADDER, loss, n_max=16384).n_max == 16384
    assert law(LADDER, loss, n_max=16384).n_min == 128


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-6, 1e6), st.integers(1, 1000), st.sampled_from([0.0, 0.03]))
def test_scales_of_loss_and_n_change_only_the_factor_and_the_floor(
    seed: int, c: float, k: int, floor: float
) -> None:
    n = np.repeat(LADDER, 2)
    loss = noisy(n, 0.2, 0.02, seed) + floor
    fit = fit_power_law(n, loss, bootstrap=50)
    by_loss = fit_power_law(n, c * loss, bootstrap=50)
    by_n = fit_power_law(k * n, loss, bootstrap=50)
    if isinstance(fit, NoFit):
        for other in (by_loss, by_n):
            assert isinstance(other, NoFit)
            assert other.short == fit.short
        return
    assert isinstance(by_loss, PowerLaw)
    assert isinstance(by_n, PowerLaw)
    assert by_loss.a == pytest.approx(c * fit.a, rel=1e-5)
    assert by_n.a == pytest.approx(fit.a * k**fit.alpha, rel=1e-5)
    assert by_loss.floor == pytest.approx(c * fit.floor, rel=1e-5)
    assert by_n.floor == pytest.approx(fit.floor, rel=1e-5)
    assert (by_n.n_min, by_n.n_max) == (k * fit.n_min, k * fit.n_max)
    for other in (by_loss, by_n):
        for field in ("line_alpha", "line_low", "line_high"):
            assert getattr(other, field) == pytest.approx(getattr(fit, field), abs=1e-8)
        for field in ("alpha", "alpha_low", "alpha_high", "p_no_floor", "r_squared"):
            assert getattr(other, field) == pytest.approx(getattr(fit, field), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_the_order_of_the_points_does_not_matter_to_the_exponent(seed: int) -> None:
    n = np.repeat(LADDER, 3)
    loss = noisy(n, 0.2, 0.02, seed)
    order = np.random.default_rng(seed).permutation(len(n))
    fit, again = (fit_power_law(n[some], loss[some], bootstrap=50) for some in (slice(None), order))
    if isinstance(fit, NoFit):
        assert fit == again
        return
    assert isinstance(again, PowerLaw)
    for field in ("alpha", "alpha_low", "alpha_high", "floor"):
        assert getattr(again, field) == pytest.approx(getattr(fit, field), abs=1e-6)


def test_the_interval_covers_the_exponent_as_often_as_it_says_and_the_line_only_without_a_floor() -> None:
    covered: dict[float, list[tuple[bool, bool]]] = {0.0: [], 0.03: []}
    for floor, sizes, draws in itertools.product(covered, (6, 9), (1, 3)):
        n = np.repeat(LADDER[:sizes], draws)
        for seed in range(60):
            loss = (0.3 * n**-0.2 + floor) * noisy(n, 0.0, 0.01, seed)
            fit = fit_power_law(n, loss, n_min=1, bootstrap=200, seed=seed)
            if isinstance(fit, PowerLaw):
                assert fit.resampled == ("draws" if draws == 3 else "residuals")
                interval = fit.alpha_low <= 0.2 <= fit.alpha_high
                covered[floor].append((interval, fit.line_low <= 0.2 <= fit.line_high))
    shares = {floor: np.mean(found, axis=0) for floor, found in covered.items()}
    assert all(len(found) > 0.85 * 240 for found in covered.values())
    assert all(0.9 <= interval <= 0.985 for interval, _ in shares.values())
    assert 0.9 <= shares[0.0][1] <= 0.985
    assert shares[0.03][1] < 0.3


def test_one_size_with_a_single_draw_makes_the_bootstrap_resample_residuals() -> None:
    n = np.append(np.repeat(LADDER[:-1], 3), LADDER[-1])
    assert law(n, noisy(n, 0.2, 0.02)).resampled == "residuals"


def test_each_size_counts_once_whatever_its_draws() -> None:
    loss = noisy(LADDER, 0.2, 0.05)
    around = loss[0] * np.exp(0.05 * np.array([-1, 1, -1, 1, -1, 1]))
    copies = np.append(np.repeat(LADDER[:1], 6), LADDER[1:]), np.append(around, loss[1:])
    assert law(*copies, n_min=1).alpha == pytest.approx(law(LADDER, loss, n_min=1).alpha, rel=1e-12)


def test_the_seed_decides_the_interval_of_the_line_and_nothing_else() -> None:
    loss = noisy(LADDER, 0.2, 0.05)
    assert law(LADDER, loss, seed=1) == law(LADDER, loss, seed=1)
    one, other = law(LADDER, loss, seed=1), law(LADDER, loss, seed=2)
    assert one.alpha == other.alpha
    assert one.line_low != other.line_low
    assert (one.alpha_low, one.alpha_high) == (other.alpha_low, other.alpha_high)


def test_more_confidence_is_a_wider_interval() -> None:
    loss = noisy(LADDER, 0.2, 0.05)
    wide, narrow = law(LADDER, loss, confidence=0.99), law(LADDER, loss, confidence=0.5)
    assert wide.alpha_low < narrow.alpha_low < narrow.alpha < narrow.alpha_high < wide.alpha_high
    assert wide.line_low < narrow.line_low < narrow.alpha < narrow.line_high < wide.line_high


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-3])
def test_a_floor_is_no_confident_smaller_exponent(noise: float, draws: int) -> None:
    n = np.repeat(LADDER, draws)
    fit = law(n, (n**-0.3 + 0.1) * noisy(n, 0.0, noise) / 0.3)
    assert fit.alpha_low < 0.3 < fit.alpha_high
    assert fit.alpha_high - fit.alpha_low < 0.01
    assert fit.floor == pytest.approx(0.1, rel=0.02)
    assert fit.remark.startswith("no pure power law")
    assert fit.loss(1e12) == pytest.approx(0.1, rel=0.02)
    assert fit.line_alpha < 0.2
    assert fit.r_squared > 0.9999


def test_a_floor_that_a_falling_exponent_explains_as_well_is_said_to_be_one_of_two() -> None:
    fit = law(LADDER[:9], (LADDER[:9] ** -0.3 + 0.1) * noisy(LADDER[:9], 0.0, 0.01))
    assert fit.alpha_low < 0.3 < fit.alpha_high
    assert re.search(r"an exponent that falls, from 0\.2\d to 0\.1\d, fits as well", fit.remark)


def test_a_single_draw_of_four_sizes_gives_an_exponent_without_an_interval() -> None:
    n = LADDER[:4]
    fit = law(n, noisy(n, 0.2, 0.01), n_min=1)
    assert np.isnan([fit.alpha_low, fit.alpha_high, fit.p_no_floor]).all()
    assert fit.line_low < fit.alpha < fit.line_high
    assert "4 sizes with a draw each" in fit.remark
    twice = np.repeat(n, 2)
    assert np.isfinite(law(twice, noisy(twice, 0.2, 0.01), n_min=1).alpha_low)


@pytest.mark.parametrize(
    ("n", "loss", "reason"),
    [
        ([16, 32, 64], [0.3, 0.2, 0.1], "needs 4 training sizes, its range has 3"),
        ([16, 16, 16, 16, 32], [0.3, 0.2, 0.1, 0.1, 0.1], "its range has 2"),
        ([], [], "its range has 0"),
        ([16, 32, 64, 128], [0.3, 0.2, 0.0, 0.1], "zero at n = 64"),
        ([16, 32, 64, 128], [0.3, 0.3, 0.3, 0.3], "does not change"),
    ],
)
def test_no_fit_says_why(n: list[int], loss: list[float], reason: str) -> None:
    fit = fit_power_law(np.array(n, dtype=int), np.array(loss))
    assert isinstance(fit, NoFit)
    assert reason in fit.reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": np.ones(3)}, "one loss for each n"),
        ({"loss": np.array([1, 1, 1, np.nan])}, "not finite"),
        ({"loss": np.array([1, 1, 1, -1.0])}, "negative"),
        ({"n": np.array([0, 1, 2, 3])}, "smallest n is 0"),
        ({"bootstrap": 0}, "bootstrap is 0"),
        ({"confidence": 1.0}, "confidence 1.0"),
    ],
)
def test_wrong_input_is_refused(change: dict[str, Any], message: str) -> None:
    arguments = {"n": np.array([16, 32, 64, 128]), "loss": np.ones(4), **change}
    with pytest.raises(ValueError, match=message):
        fit_power_law(**arguments)
