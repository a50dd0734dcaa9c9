from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_kernels import architectures
from neural_kernels.architectures import is_flip_symmetric
from neural_kernels.blocks import Grid, declare_store, read_block
from neural_kernels.blocks.computation import compute_block
from neural_kernels.blocks.flip_symmetry import (
    is_symmetric_block,
    same_block,
)
from neural_kernels.datasets.horizontal_flips import flip, followed_by_flips
from neural_kernels.engines import Kind, kernel_matrix
from neural_kernels.preprocessing import zca

IMAGES = np.random.default_rng(0).normal(size=(6, 8, 8, 2))
CLOSED = np.concatenate([IMAGES, flip(IMAGES)])


@given(half=st.integers(1, 5), edge=st.integers(1, 4), further=st.integers(0, 9))
def test_blocks_that_are_called_the_same_are(half: int, edge: int, further: int) -> None:
    rng = np.random.default_rng(half * 10 + edge)
    images = half * edge
    a, b = (rng.normal(size=(images, images)) for _ in range(2))
    a, b = a + a.T, b + b.T
    matrix = rng.normal(size=(2 * images + further, 2 * images + further))
    matrix = matrix + matrix.T
    matrix[: 2 * images, : 2 * images] = np.block([[a, b], [b, a]])
    grid = Grid(len(matrix), len(matrix), edge, symmetric=True)

    def block(i: int, j: int) -> np.ndarray:
        return matrix[slice(*grid.row_range(i)), slice(*grid.column_range(j))]

    computed = set()
    for i, j in grid.blocks():
        first_i, first_j, transposed = same_block(grid, i, j, images)
        assert first_i <= first_j
        assert same_block(grid, first_i, first_j, images) == (first_i, first_j, False)
        first = block(first_i, first_j)
        np.testing.assert_array_equal(block(i, j), first.T if transposed else first)
        if is_symmetric_block(grid, i, j, images):
            np.testing.assert_array_equal(block(i, j), block(i, j).T)
        if j < 2 * half:
            computed.add((first_i, first_j))
        else:
            assert (first_i, first_j) == (i, j)
    # Two quarters of the matrix of images and flips, each by its upper triangle.
    assert len(computed) == half * (half + 1)


def test_an_edge_that_does_not_divide_the_images_turns_it_off() -> None:
    grid = Grid(12, 12, 4, symmetric=True)
    for images in (0, 6):
        assert all(same_block(grid, i, j, images) == (i, j, False) for i, j in grid.blocks())
        assert [block for block in grid.blocks() if is_symmetric_block(grid, *block, images)] == [
            (0, 0), (1, 1), (2, 2)
        ]  # fmt: skip


@pytest.mark.parametrize("name", ["FC3", "CV8", "Myrtle5"])
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_the_reference_has_the_symmetry(name: str, kind: Kind) -> None:
    architecture = architectures.build(name)
    assert is_flip_symmetric(architecture)
    full = kernel_matrix(architecture, CLOSED, kind=kind, engine="neural_tangents")
    a, b = full[:6, :6], full[:6, 6:]
    # Equal images have correlation 1, where the reference itself has some nine digits.
    np.testing.assert_allclose(full, np.block([[a, b], [b, a]]), rtol=1e-8)
    np.testing.assert_allclose(b, b.T, rtol=1e-10)


def test_graphs_have_no_left_and_right() -> None:
    assert not is_flip_symmetric(architectures.build("SimpleGNN"))


def whitened(fitted_on: np.ndarray) -> np.ndarray:
    transform = zca.fit(lambda: iter([fitted_on]), regularization=1e-3)
    return zca.apply(transform, CLOSED)


def test_whitening_keeps_the_symmetry_only_where_it_was_fitted_on_a_closed_set() -> None:
    assert followed_by_flips(CLOSED, 6)
    assert followed_by_flips(np.concatenate([CLOSED, IMAGES]), 6)
    assert followed_by_flips(whitened(CLOSED), 6)
    assert not followed_by_flips(whitened(IMAGES), 6)
    assert not followed_by_flips(CLOSED, 3)
    assert not followed_by_flips(CLOSED[:-1], 6)
    assert not followed_by_flips(CLOSED.reshape(12, -1), 6)


@pytest.mark.parametrize("name", ["CV8", "Myrtle5"])
def test_blocks_by_symmetry_are_the_blocks_computed_in_full(tmp_path: Path, name: str) -> None:
    architecture = architectures.build(name)
    grid = Grid(14, 14, 3, symmetric=True)
    features = np.concatenate([whitened(CLOSED), np.random.default_rng(1).normal(size=(2, 8, 8, 2))])
    stores = {}
    for flips in (False, True):
        stores[flips] = declare_store(tmp_path / str(flips), grid, "float64", {})
        for i, j in grid.blocks():
            compute_block(
                stores[flips], i, j, architecture, features, features, kind="ntk", tile=2,
                flipped_images=6 if flips else 0,
            )  # fmt: skip
    copies = 0
    for i, j in grid.blocks():
        np.testing.assert_allclose(
            read_block(stores[True], i, j), read_block(stores[False], i, j), rtol=1e-10
        )
        copies += "copy_of" in stores[True].read_record(i, j)
    assert copies == 10 - 6


def test_a_block_whose_twin_is_not_there_is_computed(tmp_path: Path) -> None:
    architecture = architectures.build("FC3")
    store = declare_store(tmp_path, Grid(12, 12, 3, symmetric=True), "float64", {})
    compute_block(store, 2, 3, architecture, CLOSED, CLOSED, kind="ntk", flipped_images=6)
    assert "copy_of" not in store.read_record(2, 3)
    expected = kernel_matrix(architecture, CLOSED[6:9], CLOSED[9:12])
    np.testing.assert_allclose(read_block(store, 2, 3), expected, rtol=1e-12)
