from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels.metrics.learning_curves import (
    equivalent_shift,
    predicted_loss,
    spectrum,
    working_bytes,
)


def made_up(
    n: int, tests: int, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Kernel, targets, kernel rows of the tests and their targets: Gaussian features with eigenvalues k^-1.5."""
    rng = np.random.default_rng(seed)
    scales = np.arange(1, 1501) ** -0.75
    features = rng.standard_normal((n + tests, 1500)) * scales
    weights = rng.standard_normal((1500, 2)) * np.arange(1, 1501)[:, None] ** -0.3
    targets = features @ (weights / np.linalg.norm(scales[:, None] * weights, axis=0))
    targets += noise * rng.standard_normal(targets.shape)
    kernel = features @ features[:n].T
    return kernel[:n], targets[:n], kernel[n:], targets[n:]


def kernel_of(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((n, n)) * np.exp(rng.uniform(-4, 1, n))
    return factor @ factor.T, rng.standard_normal((n, 3))


@pytest.mark.parametrize(("noise", "shift"), [(0.0, 0.1), (0.3, 0.1), (0.3, 1e-3), (1.0, 1.0)])
def test_ridge_regression_on_fewer_examples_has_the_error_that_is_predicted(
    noise: float, shift: float
) -> None:
    n = 600
    kernel, targets, rows, test_targets = made_up(n, 1500, noise)
    whole = spectrum(kernel.copy(), targets)
    for m in (100, 200, 300, 600):
        losses = []
        for draw in range(n // m):
            own = slice(draw * m, (draw + 1) * m)
            dual = np.linalg.solve(kernel[own, own] + shift * np.eye(m), targets[own])
            losses.append(np.mean((rows[:, own] @ dual - test_targets) ** 2))
        assert predicted_loss(whole, m, shift) == pytest.approx(np.mean(losses), rel=0.1)


def test_with_all_examples_it_is_the_error_of_leaving_one_out() -> None:
    kernel, targets, _, _ = made_up(60, 1, 0.3)
    whole = spectrum(kernel.copy(), targets)
    errors = []
    for left in range(60):
        kept = np.arange(60) != left
        dual = np.linalg.solve(kernel[np.ix_(kept, kept)] + 0.2 * np.eye(59), targets[kept])
        errors.append((kernel[left, kept] @ dual - targets[left]) ** 2)
    assert predicted_loss(whole, 60, 0.2) == pytest.approx(np.mean(errors), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.floats(1e-6, 1e3), st.data())
def test_the_equivalent_shift_makes_learnabilities_add_up_to_the_examples(
    seed: int, n: int, shift: float, data: st.DataObject
) -> None:
    m = data.draw(st.integers(1, n))
    eigenvalues = np.sort(np.exp(np.random.default_rng(seed).uniform(-8, 4, n)))
    same = equivalent_shift(eigenvalues, m, shift)
    kappa = 1 / np.sum(1 / (eigenvalues + same))
    assert same >= shift
    assert np.sum(eigenvalues / (eigenvalues + same)) + shift / kappa == pytest.approx(m, rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.integers(1, 20))
def test_units_of_kernel_and_targets_do_not_matter(seed: int, unit: float, scale: float, m: int) -> None:
    kernel, targets = kernel_of(seed, 20)
    loss = predicted_loss(spectrum(kernel.copy(), targets), m, 0.5)
    other = predicted_loss(spectrum(unit * kernel, scale * targets), m, 0.5 * unit)
    assert other == pytest.approx(scale**2 * loss, rel=1e-6)


def test_a_huge_ridge_predicts_the_mean_square_of_the_targets() -> None:
    kernel, targets = kernel_of(0, 50)
    for m in (1, 10, 50):
        assert predicted_loss(spectrum(kernel.copy(), targets), m, 1e12) == pytest.approx(np.mean(targets**2))


def test_bytes_are_of_the_matrix_and_its_eigenvectors() -> None:
    assert 16 * 1000**2 < working_bytes(1000, 10) < 18 * 1000**2


def test_wrong_input_is_refused() -> None:
    kernel, targets = kernel_of(0, 5)
    with pytest.raises(ValueError, match="expected float64"):
        spectrum(kernel[:4], targets)
    with pytest.raises(ValueError, match="not finite"):
        spectrum(kernel.copy(), np.full((5, 1), np.nan))
    whole = spectrum(kernel.copy(), targets)
    with pytest.raises(ValueError, match="1 <= m <= 5"):
        predicted_loss(whole, 6, 1.0)
    with pytest.raises(ValueError, match="shift -1"):
        predicted_loss(whole, 3, -1.0)
    with pytest.raises(ValueError, match="not positive definite"):
        predicted_loss(spectrum(np.zeros((5, 5)), targets), 3, 0.0)
