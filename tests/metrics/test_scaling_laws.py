from __future__ import annotations

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
    loss = (1 + LADDER / 60) ** -0.2
    everything = law(LADDER, loss, n_min=16)
    chosen = law(LADDER, loss)
    assert chosen.n_min > 60
    assert abs(chosen.alpha - 0.2) < 0.05 * 0.2 < abs(everything.alpha - 0.2)


def test_a_bend_at_the_other_end_is_no_shallow_start() -> None:
    x = np.log(LADDER.astype(float))
    y = np.where(LADDER <= 4096, -0.3 * x, -0.3 * np.log(4096) - 0.1 * (x - np.log(4096)))
    assert straight_from(x, y) == 0


def test_the_range_of_the_config_is_obeyed() -> None:
    loss = np.where(LADDER < 128, 0.09, 0.09 * (LADDER / 128) ** -0.25)
    fit = law(LADDER, loss, n_min=32, n_max=4096)
    assert (fit.n_min, fit.n_max, fit.points) == (32, 4096, 8)
    assert law(LADDER, loss, n_max=16384).n_max == 16384
    assert law(LADDER, loss, n_max=16384).n_min == 128


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-6, 1e6), st.integers(1, 1000))
def test_scales_of_loss_and_n_change_only_the_factor(seed: int, c: float, k: int) -> None:
    n = np.repeat(LADDER, 2)
    loss = noisy(n, 0.2, 0.02, seed)
    fit = law(n, loss, bootstrap=50)
    by_loss = law(n, c * loss, bootstrap=50)
    by_n = law(k * n, loss, bootstrap=50)
    assert by_loss.a == pytest.approx(c * fit.a, rel=1e-8)
    assert by_n.a == pytest.approx(fit.a * k**fit.alpha, rel=1e-8)
    assert (by_n.n_min, by_n.n_max) == (k * fit.n_min, k * fit.n_max)
    for other in (by_loss, by_n):
        for field in ("alpha", "alpha_low", "alpha_high", "r_squared"):
            assert getattr(other, field) == pytest.approx(getattr(fit, field), abs=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_the_order_of_the_points_does_not_matter_to_the_exponent(seed: int) -> None:
    n = np.repeat(LADDER, 3)
    loss = noisy(n, 0.2, 0.02, seed)
    order = np.random.default_rng(seed).permutation(len(n))
    assert law(n[order], loss[order], bootstrap=50).alpha == pytest.approx(law(n, loss, bootstrap=50).alpha)


@pytest.mark.parametrize(("draws", "resampled"), [(1, "residuals"), (3, "draws")])
@pytest.mark.parametrize("sizes", [4, 8])
def test_the_interval_covers_the_exponent_as_often_as_it_says(sizes: int, draws: int, resampled: str) -> None:
    n = np.repeat(LADDER[:sizes], draws)
    fits = [law(n, noisy(n, 0.2, 0.02, s), n_min=1, bootstrap=200, seed=s) for s in range(300)]
    assert {fit.resampled for fit in fits} == {resampled}
    covered = np.mean([fit.alpha_low <= 0.2 <= fit.alpha_high for fit in fits])
    assert 0.89 <= covered <= 0.99


def test_one_size_with_a_single_draw_makes_the_bootstrap_resample_residuals() -> None:
    n = np.append(np.repeat(LADDER[:-1], 3), LADDER[-1])
    assert law(n, noisy(n, 0.2, 0.02)).resampled == "residuals"


def test_each_size_counts_once_whatever_its_draws() -> None:
    loss = noisy(LADDER, 0.2, 0.05)
    copies = np.append(np.repeat(LADDER[:1], 9), LADDER[1:]), np.append(np.repeat(loss[:1], 9), loss[1:])
    assert law(*copies, n_min=1).alpha == pytest.approx(law(LADDER, loss, n_min=1).alpha, rel=1e-12)


def test_the_seed_decides_the_interval_and_nothing_else() -> None:
    loss = noisy(LADDER, 0.2, 0.05)
    assert law(LADDER, loss, seed=1) == law(LADDER, loss, seed=1)
    one, other = law(LADDER, loss, seed=1), law(LADDER, loss, seed=2)
    assert one.alpha == other.alpha
    assert one.alpha_low != other.alpha_low


def test_more_confidence_is_a_wider_interval() -> None:
    loss = noisy(LADDER, 0.2, 0.05)
    wide, narrow = law(LADDER, loss, confidence=0.99), law(LADDER, loss, confidence=0.5)
    assert wide.alpha_low < narrow.alpha_low < narrow.alpha < narrow.alpha_high < wide.alpha_high


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
