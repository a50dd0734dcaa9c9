from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neural_kernels.blocks import (
    Grid,
    KernelStore,
    adopt_block,
    block_fault,
    declare_store,
    open_store,
    read_block,
    read_submatrix,
    seal_block,
    set_aside_faulty,
    write_block,
)
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.storage.checksums import Strips
from neural_kernels.storage.files import read_json, write_json


def symmetric_store(
    directory: Path,
    n: int = 10,
    edge: int = 4,
    description: dict[str, Any] | None = None,
    dtype: str = "float64",
) -> tuple[KernelStore, np.ndarray]:
    """A store filled with a random symmetric matrix, and the matrix."""
    matrix = np.random.default_rng(0).normal(size=(n, n))
    matrix = (matrix + matrix.T).astype(dtype)
    store = declare_store(directory, Grid(n, n, edge, True), dtype, description or {"kind": "ntk"})
    for i, j in store.grid.blocks():
        (r0, r1), (c0, c1) = store.grid.row_range(i), store.grid.column_range(j)
        write_block(store, i, j, matrix[r0:r1, c0:c1], {"engine": "test"})
    return store, matrix


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 15))
def test_blocks_tile_the_matrix_exactly(rows: int, columns: int, edge: int) -> None:
    grid = Grid(rows, columns, edge, symmetric=False)
    covered = np.zeros((rows, columns), int)
    for i, j in grid.blocks():
        covered[slice(*grid.row_range(i)), slice(*grid.column_range(j))] += 1
        assert grid.shape(i, j) == covered[slice(*grid.row_range(i)), slice(*grid.column_range(j))].shape
    assert (covered == 1).all()


@given(st.integers(1, 40), st.integers(1, 15), st.data())
def test_symmetric_blocks_cover_the_upper_triangle_of_any_leading_part(
    n: int, edge: int, data: st.DataObject
) -> None:
    grid = Grid(n, n, edge, symmetric=True)
    part = data.draw(st.integers(1, n))
    covered = np.zeros((n, n), bool)
    for i, j in grid.blocks(part, part):
        assert i <= j
        covered[slice(*grid.row_range(i)), slice(*grid.column_range(j))] = True
    assert covered[np.triu_indices(part)].all()


@given(st.data())
def test_any_submatrix_is_gathered_from_the_upper_blocks(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store, matrix = symmetric_store(tmp_path_factory.mktemp("store"))
    r0, r1, c0, c1 = (data.draw(st.integers(0, 9)) for _ in range(4))
    rows, columns = (min(r0, r1), max(r0, r1) + 1), (min(c0, c1), max(c0, c1) + 1)
    np.testing.assert_array_equal(read_submatrix(store, rows, columns), matrix[slice(*rows), slice(*columns)])


def test_a_block_is_plain_npy_with_a_record(tmp_path: Path) -> None:
    store, matrix = symmetric_store(tmp_path)
    np.testing.assert_array_equal(
        np.load(tmp_path / "blocks" / "0-1.npy", allow_pickle=False), matrix[:4, 4:8]
    )
    record = read_json(tmp_path / "blocks" / "0-1.json")
    assert record == {
        "fingerprint": store.fingerprint,
        "block": [0, 1],
        "engine": "test",
        **Strips.of(matrix[:4, 4:8]).as_json(),
    }


def test_a_store_is_found_again_and_refuses_another_kernel(tmp_path: Path) -> None:
    store, _ = symmetric_store(tmp_path)
    assert open_store(tmp_path).fingerprint == store.fingerprint
    assert declare_store(tmp_path, store.grid, "float64", {"kind": "ntk"}) == open_store(tmp_path)
    with pytest.raises(UserError, match="another kernel"):
        declare_store(tmp_path, store.grid, "float64", {"kind": "nngp"})
    # Snakemake deletes a declared output before it runs the job: the blocks alone must tell.
    (tmp_path / "kernel.json").unlink()
    with pytest.raises(UserError, match="another kernel"):
        declare_store(tmp_path, store.grid, "float64", {"kind": "nngp"})


def test_an_edited_description_is_noticed(tmp_path: Path) -> None:
    symmetric_store(tmp_path)
    path = tmp_path / "kernel.json"
    path.write_text(path.read_text().replace('"ntk"', '"nngp"'))
    with pytest.raises(UserError, match="was edited"):
        open_store(tmp_path)


def test_an_edited_description_without_a_checksum_is_noticed_by_its_fingerprint(tmp_path: Path) -> None:
    symmetric_store(tmp_path)
    path = tmp_path / "kernel.json"
    record = json.loads(path.read_text().replace('"ntk"', '"nngp"'))
    del record["checksum"]
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="was edited"):
        open_store(tmp_path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def other_shape(path: Path) -> None:
    np.save(path, np.zeros((3, 4)))


def other_dtype(path: Path) -> None:
    np.save(path, np.zeros((4, 4), np.float32))


def not_finite(path: Path) -> None:
    block = np.load(path)
    block[1, 2] = np.nan
    np.save(path, block)


def foreign(path: Path) -> None:
    write_json(path.with_suffix(".json"), {"fingerprint": "0123456789abcdef"})


def zeros(path: Path) -> None:
    np.save(path, np.zeros((4, 4)))


def transposed(path: Path) -> None:
    np.save(path, np.ascontiguousarray(np.load(path).T))


def neighbour_with_its_record(path: Path) -> None:
    path.write_bytes(path.with_name("0-0.npy").read_bytes())
    path.with_suffix(".json").write_bytes(path.with_name("0-0.json").read_bytes())


def a_digit_of_the_record(path: Path) -> None:
    record = path.with_suffix(".json")
    record.write_text(record.read_text().replace('"strip_rows": 5', '"strip_rows": 6'))


def without_checksums(path: Path) -> None:
    record = read_json(path.with_suffix(".json"))
    del record["checksums"]
    write_json(path.with_suffix(".json"), record)


def no_record(path: Path) -> None:
    path.with_suffix(".json").unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (truncate, "truncated"),
        (cut_header, "truncated"),
        (other_shape, r"is \(3, 4\) float64, expected \(4, 4\) float64"),
        (other_dtype, "float32, expected"),
        (not_finite, "is damaged"),
        (foreign, "another kernel"),
        (no_record, "no record"),
        (zeros, r"is damaged: the entries from row 0 on"),
        (transposed, "is damaged"),
        (neighbour_with_its_record, r"has the record of block \[0, 0\]"),
        (a_digit_of_the_record, "checksum does not match"),
        (without_checksums, "without checksums"),
    ],
)
def test_a_faulty_block_is_named_and_set_aside_never_used(
    tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    store, _ = symmetric_store(tmp_path)
    path = store.block_path(0, 1)
    damage(path)
    with pytest.raises(UserError, match=sentence) as caught:
        read_block(store, 0, 1)
    assert str(path) in str(caught.value)
    assert not path.exists()
    assert path.with_name("0-1.npy.rejected").exists()


def test_all_faulty_blocks_are_named_at_once(tmp_path: Path) -> None:
    store, _ = symmetric_store(tmp_path)
    truncate(store.block_path(0, 1))
    store.block_path(1, 2).unlink()
    with pytest.raises(UserError, match=r"0-1\.npy is truncated.*1-2\.npy is missing.*compute them anew"):
        set_aside_faulty(store, store.grid.blocks())
    assert block_fault(store, 0, 0) is None


def test_a_pickled_block_is_refused(tmp_path: Path) -> None:
    store, _ = symmetric_store(tmp_path)
    np.save(store.block_path(0, 0), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="object"):
        read_block(store, 0, 0)


def test_a_block_that_is_not_finite_never_reaches_the_disk(tmp_path: Path) -> None:
    store, matrix = symmetric_store(tmp_path)
    block = matrix[:4, 4:8].copy()
    block[0, 0] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        write_block(store, 0, 1, block, {})
    with pytest.raises(ValueError, match="expected"):
        write_block(store, 0, 1, matrix[:3, 4:8], {})
    np.testing.assert_array_equal(read_block(store, 0, 1), matrix[:4, 4:8])


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**30), st.integers(0, 7), st.booleans())
def test_no_flipped_bit_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int, of_record: bool
) -> None:
    store, matrix = symmetric_store(tmp_path_factory.mktemp("store"))
    path = store.record_path(0, 1) if of_record else store.block_path(0, 1)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        block = read_block(store, 0, 1)
    except DamagedFile:
        assert not store.block_path(0, 1).exists()
    else:
        # A blank in the header or between the words of the record is nothing that is read.
        assert position % len(content) < 128 or of_record
        np.testing.assert_array_equal(block, matrix[:4, 4:8])


def test_a_diagonal_block_that_is_not_symmetric_is_refused(tmp_path: Path) -> None:
    store, matrix = symmetric_store(tmp_path)
    block = matrix[:4, :4].copy()
    block[1, 2] = np.nextafter(block[1, 2], 2)
    with pytest.raises(ValueError, match="not symmetric"):
        write_block(store, 0, 0, block, {})
    # One that another program put there, with a record that vouches for it.
    np.save(store.block_path(0, 0), block)
    write_json(store.record_path(0, 0), store.read_record(0, 0) | Strips.of(block).as_json())
    with pytest.raises(UserError, match="on the diagonal, but not symmetric"):
        read_block(store, 0, 0)


def test_a_deleted_block_is_adopted_from_its_kept_name(tmp_path: Path) -> None:
    store, _ = symmetric_store(tmp_path)
    path = store.block_path(0, 1)
    content, number = path.read_bytes(), path.stat().st_ino
    path.unlink()
    assert adopt_block(store, 0, 1)
    assert path.read_bytes() == content
    assert path.stat().st_ino == number


def test_a_damaged_block_is_not_adopted_under_either_name(tmp_path: Path) -> None:
    store, _ = symmetric_store(tmp_path)
    path = store.block_path(0, 1)
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    assert not adopt_block(store, 0, 1)
    assert not path.exists()
    assert not store.kept_path(0, 1).exists()


def test_swapped_blocks_are_adopted_from_their_kept_names(tmp_path: Path) -> None:
    store, matrix = symmetric_store(tmp_path)
    first, second = store.block_path(0, 1), store.block_path(0, 2)
    content = first.read_bytes()
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    with pytest.raises(DamagedFile):
        read_block(store, 0, 1)
    assert adopt_block(store, 0, 1)
    assert first.read_bytes() == content
    np.testing.assert_array_equal(read_block(store, 0, 1), matrix[:4, 4:8])


def test_without_hard_links_a_block_has_one_name_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_links(source: str, target: str) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    store, matrix = symmetric_store(tmp_path)
    np.testing.assert_array_equal(read_block(store, 0, 1), matrix[:4, 4:8])
    assert not store.kept_path(0, 1).exists()
    assert "no hard links" in caplog.text


def earlier_version(store: KernelStore, i: int, j: int) -> None:
    """Make the record of a block what it was before records had checksums."""
    store.record_path(i, j).write_text(json.dumps({"fingerprint": store.fingerprint, "engine": "native"}))


def test_a_block_of_an_earlier_version_is_neither_used_nor_thrown_away(tmp_path: Path) -> None:
    store, matrix = symmetric_store(tmp_path)
    earlier_version(store, 0, 1)
    with pytest.raises(UserError, match="verify-blocks --seal"):
        read_block(store, 0, 1)
    assert store.block_path(0, 1).exists()
    seal_block(store, 0, 1)
    np.testing.assert_array_equal(read_block(store, 0, 1), matrix[:4, 4:8])
    assert store.read_record(0, 1)["engine"] == "native"


def test_sealing_refuses_what_no_kernel_has(tmp_path: Path) -> None:
    store, _ = symmetric_store(tmp_path)
    earlier_version(store, 0, 0)
    block = np.load(store.block_path(0, 0))
    block[0, 1] += 1
    np.save(store.block_path(0, 0), block)
    with pytest.raises(UserError, match="not symmetric"):
        seal_block(store, 0, 0)
