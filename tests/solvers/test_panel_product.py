from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from neural_kernels.solvers import panel_product as module
from neural_kernels.solvers.panel_product import panel_product, transposed_product
from neural_kernels.solvers.panels import aligned_bytes


@pytest.fixture(params=["compiled", "numpy"])
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(module, "library", lambda: None)
    elif module.library() is None:
        pytest.skip("the compiled library is not built here")


@pytest.mark.usefixtures("build")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("height", "width", "k"),
    [
        (1, 1, 1),
        (7, 9, 3),
        (16, 256, 12),
        (17, 257, 13),
        (70, 1100, 10),
        (33, 520, 25),
        (270, 130, 64),
        (40, 300, 200),
    ],
)
def test_both_products_agree_with_matmul(dtype: DTypeLike, height: int, width: int, k: int) -> None:
    rng = np.random.default_rng(0)
    # A panel that is part of wider rows, as where a window cuts a block.
    entries = rng.standard_normal((height, width + 5)).astype(dtype)[:, 2 : 2 + width]
    across, down = rng.standard_normal((k, width)), rng.standard_normal((height, k))
    for_rows, for_columns = panel_product(entries, across, down)
    exact = entries.astype(np.float64)
    assert for_columns is not None
    np.testing.assert_allclose(for_rows, exact @ across.T, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(for_columns, (exact.T @ down).T, rtol=1e-12, atol=1e-11)
    np.testing.assert_array_equal(transposed_product(entries, down), for_columns)
    alone, nothing = panel_product(entries, across, None)
    np.testing.assert_array_equal(alone, for_rows)
    assert nothing is None


@given(st.integers(1, 60), st.integers(1, 600), st.integers(1, 80), st.integers(0, 2**31))
def test_any_shape(height: int, width: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    entries = rng.integers(-4, 5, (height, width)).astype(np.float64)
    across = rng.integers(-4, 5, (k, width)).astype(np.float64)
    down = rng.integers(-4, 5, (height, k)).astype(np.float64)
    for_rows, for_columns = panel_product(entries, across, down)
    # Small integers: every order of summation is exact.
    np.testing.assert_array_equal(for_rows, entries @ across.T)
    np.testing.assert_array_equal(for_columns, (entries.T @ down).T)


def test_not_finite_entries_reach_the_product() -> None:
    entries = np.ones((20, 300))
    entries[3, 277] = np.nan
    for_rows, for_columns = panel_product(entries, np.ones((2, 300)), np.ones((20, 2)))
    assert np.isnan(for_rows[3]).all()
    assert np.isfinite(np.delete(for_rows, 3, axis=0)).all()
    assert for_columns is not None
    assert np.isnan(for_columns[:, 277]).all()


def test_wrong_layout_is_refused() -> None:
    if module.library() is None:
        pytest.skip("NumPy takes any layout")
    with pytest.raises(ValueError, match="contiguous"):
        panel_product(np.ones((6, 4)).T, np.ones((2, 6)), None)
    with pytest.raises(ValueError, match="int64"):
        panel_product(np.ones((4, 6), np.int64), np.ones((2, 6)), None)


def test_buffers_begin_on_a_cache_line() -> None:
    for size in (1, 63, 64, 1000):
        buffer = aligned_bytes(size)
        assert buffer.ctypes.data % 64 == 0
        assert buffer.nbytes == size
