"""ZCA against its formula, and the properties that whitening is meant for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels.errors import UserError
from neural_kernels.preprocessing import zca


def images(count: int = 60, shape: tuple[int, ...] = (4, 4, 3), seed: int = 0) -> np.ndarray:
    """Neighbouring pixels alike, as in photographs."""
    rng = np.random.default_rng(seed)
    smooth = rng.normal(size=(count, *shape)).cumsum(axis=1).cumsum(axis=2)
    return 100 + 20 * smooth + rng.normal(size=(count, *shape))


def fit(x: np.ndarray, size: int = 1000, **options: Any) -> zca.Zca:
    return zca.fit(lambda: (x[k : k + size] for k in range(0, len(x), size)), **options)


def normalised(train: np.ndarray, x: np.ndarray, per_image: bool) -> np.ndarray:
    """Straight from the definition, one step a line."""
    axes = (0, 1, 2)
    x = (x - train.mean(axis=axes)) / train.std(axis=axes)
    x = x.reshape(len(x), -1)
    if per_image:
        x = x - x.mean(axis=1, keepdims=True)
        x = x / np.sqrt((x**2).sum(axis=1, keepdims=True))
    return x


@pytest.mark.parametrize("per_image", [True, False])
@pytest.mark.parametrize("regularization", [1e-3, 0.1, 10.0])
def test_direct_formula(per_image: bool, regularization: float) -> None:
    train, test = images(), images(7, seed=1)
    x = normalised(train, train, per_image)
    dimension = x.shape[1]
    covariance = x.T @ x / len(x)
    shifted = covariance + regularization * np.trace(covariance) / dimension * np.eye(dimension)
    u, s, _ = np.linalg.svd(shifted)
    whitening = u @ np.diag(s**-0.5) @ u.T
    transform = fit(train, regularization=regularization, per_image_normalization=per_image)
    np.testing.assert_allclose(
        transform.whitening, whitening, rtol=1e-9, atol=1e-10 * np.abs(whitening).max()
    )
    expected = (normalised(train, test, per_image) @ whitening).reshape(test.shape)
    np.testing.assert_allclose(zca.apply(transform, test), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("per_image", [True, False])
def test_whitened_covariance_has_eigenvalues_s_over_s_plus_r(per_image: bool) -> None:
    train, regularization = images(count=200), 0.3
    x = normalised(train, train, per_image)
    covariance = x.T @ x / len(x)
    s, u = np.linalg.eigh(covariance)
    r = regularization * s.mean()
    transform = fit(train, regularization=regularization, per_image_normalization=per_image)
    white = zca.apply(transform, train).reshape(len(train), -1)
    found = white.T @ white / len(white)
    np.testing.assert_allclose(u.T @ found @ u, np.diag(s / (s + r)), atol=1e-12)


def test_without_regularisation_the_covariance_is_the_identity() -> None:
    train = images(count=200)
    transform = fit(train, regularization=0.0, per_image_normalization=False)
    white = zca.apply(transform, train).reshape(len(train), -1)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(white.shape[1]), atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 70), rows=st.integers(1, 60), per_image=st.booleans())
def test_batch_sizes_do_not_matter(size: int, rows: int, per_image: bool) -> None:
    train = images()
    options: dict[str, Any] = {"regularization": 0.1, "per_image_normalization": per_image}
    whole, split = fit(train, **options), fit(train, size, **options)
    expected = zca.apply(whole, train)
    found = np.concatenate([zca.apply(split, train[k : k + rows]) for k in range(0, len(train), rows)])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max())


def test_fit_on_a_set_closed_under_flips_commutes_with_flipping() -> None:
    x = images()
    transform = fit(np.concatenate([x, x[:, :, ::-1]]), regularization=0.1, per_image_normalization=True)
    np.testing.assert_allclose(
        zca.apply(transform, x[:, :, ::-1]), zca.apply(transform, x)[:, :, ::-1], atol=1e-10
    )


def test_vectors_and_bytes() -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 6), dtype=np.uint8)
    white = zca.apply(fit(x, regularization=0.1), x)
    assert (white.shape, white.dtype) == ((40, 6), np.dtype(np.float64))
    assert np.isfinite(white).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 77.7, 255.0])
def test_constant_images_pixels_and_channels_give_finite_features(value: float) -> None:
    x = images(shape=(5, 7, 1))
    x[3] = value
    x[:, 0, 0] = value
    white = zca.apply(fit(x, regularization=0.1), x)
    assert np.isfinite(white).all()
    assert (white[3] == 0).all()
    coloured = images()
    coloured[..., 2] = value
    assert np.isfinite(zca.apply(fit(coloured, regularization=0.1), coloured)).all()


def test_images_without_any_variance() -> None:
    with pytest.raises(UserError, match="all the same constant"):
        fit(np.full((5, 4, 4, 3), 0.1), regularization=0.1)


def test_singular_covariance_without_regularisation() -> None:
    with pytest.raises(UserError, match=r"regularization is 0\.0 and the covariance .* singular"):
        fit(images(count=20), regularization=0.0)


@settings(max_examples=10, deadline=None)
@given(st.floats(-4, 2), st.booleans())
def test_one_spectrum_serves_every_regularization(exponent: float, per_image: bool) -> None:
    train, regularization = images(count=30), 10**exponent
    spectrum = zca.decompose(lambda: [train], per_image)
    found, fitted = (
        zca.whiten(spectrum, regularization),
        fit(train, regularization=regularization, per_image_normalization=per_image),
    )
    scale = np.abs(fitted.whitening).max()
    np.testing.assert_allclose(found.whitening, fitted.whitening, rtol=1e-7, atol=1e-9 * scale)
    assert found.per_image_normalization == fitted.per_image_normalization


def test_a_spectrum_is_read_as_it_was_written(tmp_path: Path) -> None:
    train = images(count=30)
    spectrum = zca.decompose(lambda: [train], True)
    zca.save_spectrum(tmp_path / "s.npz", spectrum)
    again = zca.load_spectrum(tmp_path / "s.npz")
    np.testing.assert_array_equal(zca.whiten(again, 0.1).whitening, zca.whiten(spectrum, 0.1).whitening)
    np.testing.assert_array_equal(
        zca.apply(zca.whiten(again, 0.1), train), zca.apply(zca.whiten(spectrum, 0.1), train)
    )


def test_a_damaged_spectrum_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    zca.save_spectrum(path, zca.decompose(lambda: [images(count=30)], True))
    content = path.read_bytes()
    for damage in (b"", content[: len(content) // 2], b"\x80\x04pickle"):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=r"s\.npz: cannot be read"):
            zca.load_spectrum(path)
    np.savez(path, mean=np.zeros(1))
    with pytest.raises(UserError, match=r"s\.npz: cannot be read"):
        zca.load_spectrum(path)


def test_a_spectrum_needs_images_that_differ_and_a_regularization() -> None:
    with pytest.raises(UserError, match="all the same constant"):
        zca.decompose(lambda: [np.ones((5, 4, 4, 3))], True)
    spectrum = zca.decompose(lambda: [images(count=5)], True)
    with pytest.raises(UserError, match=r"regularization is 0\.0 and the covariance"):
        zca.whiten(spectrum, 0.0)
