from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_kernels.blocks import Grid, KernelStore, declare_store, write_block
from neural_kernels.blocks.cross_product import predict
from neural_kernels.errors import UserError


def store_of(directory: Path, matrix: np.ndarray, edge: int) -> KernelStore:
    rows, columns = matrix.shape
    store = declare_store(directory, Grid(rows, columns, edge, symmetric=False), "float64", {})
    for i, j in store.grid.blocks():
        block = matrix[slice(*store.grid.row_range(i)), slice(*store.grid.column_range(j))]
        write_block(store, i, j, block, {})
    return store


@given(st.integers(1, 12), st.data())
def test_predictions_are_the_product_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory, edge: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(7, 11))
    store = store_of(tmp_path_factory.mktemp("store"), matrix, edge)
    rows = data.draw(st.integers(1, 7))
    starts = data.draw(st.lists(st.integers(0, 10), min_size=1, max_size=3))
    windows = [(start, data.draw(st.integers(start + 1, 11))) for start in starts]
    coefficients = [rng.normal(size=(end - start, 2)) for start, end in windows]
    for prediction, (start, end), alpha in zip(
        predict(store, rows, windows, coefficients), windows, coefficients, strict=True
    ):
        np.testing.assert_allclose(prediction, matrix[:rows, start:end] @ alpha, atol=1e-12)


def test_a_missing_block_is_named_before_anything_is_read(tmp_path: Path) -> None:
    store = store_of(tmp_path, np.ones((4, 4)), 2)
    store.block_path(1, 0).unlink()
    with pytest.raises(UserError, match=r"1-0\.npy is missing"):
        predict(store, 4, [(0, 4)], [np.ones((4, 1))])
