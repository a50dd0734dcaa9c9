import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_kernels.blocks import (
    Grid,
    block_fault,
    declare_store,
    open_store,
    read_block,
    read_submatrix,
    set_aside_faulty,
    write_block,
)
from neural_kernels.errors import UserError


def symmetric_store(directory, n=10, edge=4, description=None, dtype="float64"):
    """A store filled with a random symmetric matrix, and the matrix."""
    matrix = np.random.default_rng(0).normal(size=(n, n))
    matrix = (matrix + matrix.T).astype(dtype)
    store = declare_store(directory, Grid(n, n, edge, True), dtype, description or {"kind": "ntk"})
    for i, j in store.grid.blocks():
        (r0, r1), (c0, c1) = store.grid.row_range(i), store.grid.column_range(j)
        write_block(store, i, j, matrix[r0:r1, c0:c1], {"engine": "test"})
    return store, matrix


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 15))
def test_blocks_tile_the_matrix_exactly(rows, columns, edge):
    grid = Grid(rows, columns, edge, symmetric=False)
    covered = np.zeros((rows, columns), int)
    for i, j in grid.blocks():
        covered[slice(*grid.row_range(i)), slice(*grid.column_range(j))] += 1
        assert grid.shape(i, j) == covered[slice(*grid.row_range(i)), slice(*grid.column_range(j))].shape
    assert (covered == 1).all()


@given(st.integers(1, 40), st.integers(1, 15), st.data())
def test_symmetric_blocks_cover_the_upper_triangle_of_any_leading_part(n, edge, data):
    grid = Grid(n, n, edge, symmetric=True)
    part = data.draw(st.integers(1, n))
    covered = np.zeros((n, n), bool)
    for i, j in grid.blocks(part, part):
        assert i <= j
        covered[slice(*grid.row_range(i)), slice(*grid.column_range(j))] = True
    assert covered[np.triu_indices(part)].all()


@given(st.data())
def test_any_submatrix_is_gathered_from_the_upper_blocks(tmp_path_factory, data):
    store, matrix = symmetric_store(tmp_path_factory.mktemp("store"))
    r0, r1, c0, c1 = (data.draw(st.integers(0, 9)) for _ in range(4))
    rows, columns = (min(r0, r1), max(r0, r1) + 1), (min(c0, c1), max(c0, c1) + 1)
    np.testing.assert_array_equal(read_submatrix(store, rows, columns), matrix[slice(*rows), slice(*columns)])


def test_a_block_is_plain_npy_with_a_record(tmp_path):
    store, matrix = symmetric_store(tmp_path)
    np.testing.assert_array_equal(
        np.load(tmp_path / "blocks" / "0-1.npy", allow_pickle=False), matrix[:4, 4:8]
    )
    record = json.loads((tmp_path / "blocks" / "0-1.json").read_text())
    assert record == {"fingerprint": store.fingerprint, "engine": "test"}


def test_a_store_is_found_again_and_refuses_another_kernel(tmp_path):
    store, _ = symmetric_store(tmp_path)
    assert open_store(tmp_path).fingerprint == store.fingerprint
    assert declare_store(tmp_path, store.grid, "float64", {"kind": "ntk"}) == open_store(tmp_path)
    with pytest.raises(UserError, match="another kernel"):
        declare_store(tmp_path, store.grid, "float64", {"kind": "nngp"})
    # Snakemake deletes a declared output before it runs the job: the blocks alone must tell.
    (tmp_path / "kernel.json").unlink()
    with pytest.raises(UserError, match="another kernel"):
        declare_store(tmp_path, store.grid, "float64", {"kind": "nngp"})


def test_an_edited_description_is_noticed(tmp_path):
    symmetric_store(tmp_path)
    path = tmp_path / "kernel.json"
    path.write_text(path.read_text().replace('"ntk"', '"nngp"'))
    with pytest.raises(UserError, match="was edited"):
        open_store(tmp_path)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-8])


def cut_header(path):
    path.write_bytes(path.read_bytes()[:20])


def other_shape(path):
    np.save(path, np.zeros((3, 4)))


def other_dtype(path):
    np.save(path, np.zeros((4, 4), np.float32))


def not_finite(path):
    block = np.load(path)
    block[1, 2] = np.nan
    np.save(path, block)


def foreign(path):
    path.with_suffix(".json").write_text('{"fingerprint": "0123456789abcdef"}')


def no_record(path):
    path.with_suffix(".json").unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (truncate, "truncated"),
        (cut_header, "truncated"),
        (other_shape, r"is \(3, 4\) float64, expected \(4, 4\) float64"),
        (other_dtype, "float32, expected"),
        (not_finite, "not finite"),
        (foreign, "another kernel"),
        (no_record, "no record"),
    ],
)
def test_a_faulty_block_is_named_and_set_aside_never_used(tmp_path, damage, sentence):
    store, _ = symmetric_store(tmp_path)
    path = store.block_path(0, 1)
    damage(path)
    with pytest.raises(UserError, match=sentence) as caught:
        read_block(store, 0, 1)
    assert str(path) in str(caught.value)
    assert not path.exists()
    assert path.with_name("0-1.npy.rejected").exists()


def test_all_faulty_blocks_are_named_at_once(tmp_path):
    store, _ = symmetric_store(tmp_path)
    truncate(store.block_path(0, 1))
    store.block_path(1, 2).unlink()
    with pytest.raises(UserError, match=r"0-1\.npy is truncated.*1-2\.npy is missing.*compute them anew"):
        set_aside_faulty(store, store.grid.blocks())
    assert block_fault(store, 0, 0) is None


def test_a_pickled_block_is_refused(tmp_path):
    store, _ = symmetric_store(tmp_path)
    np.save(store.block_path(0, 0), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="object"):
        read_block(store, 0, 0)


def test_a_block_that_is_not_finite_never_reaches_the_disk(tmp_path):
    store, matrix = symmetric_store(tmp_path)
    block = matrix[:4, 4:8].copy()
    block[0, 0] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        write_block(store, 0, 1, block, {})
    with pytest.raises(ValueError, match="expected"):
        write_block(store, 0, 1, matrix[:3, 4:8], {})
    np.testing.assert_array_equal(read_block(store, 0, 1), matrix[:4, 4:8])
