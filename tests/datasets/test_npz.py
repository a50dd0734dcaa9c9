"""Arrays inside .npz files: stored and compressed, whole and damaged."""

from __future__ import annotations

import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neural_kernels.datasets import npz
from neural_kernels.errors import UserError


def read(path: Path, key: str, count: int) -> np.ndarray:
    return np.concatenate([rows for _, rows in npz.rows(npz.open_member(path, key), count)])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    compressed=st.booleans(),
    shape=st.sampled_from([(7,), (7, 3), (5, 4, 2), (6, 2, 3, 1)]),
    dtype=st.sampled_from(["u1", "<f8", ">f4", "<i8"]),
    transposed=st.booleans(),
    count=st.integers(1, 9),
)
def test_rows_are_those_of_numpy(
    tmp_path: Path, compressed: bool, shape: tuple[int, ...], dtype: str, transposed: bool, count: int
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    array = np.asfortranarray(array) if transposed else array
    path = tmp_path / "file.npz"
    (np.savez_compressed if compressed else np.savez)(path, other=np.zeros(3), value=array)
    member = npz.open_member(path, "value")
    assert (member.shape, member.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(read(path, "value", count), array)
    np.testing.assert_array_equal(npz.load(member), array)


def test_stored_rows_are_views_of_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", value=np.ones((10, 4)))
    member = npz.open_member(tmp_path / "file.npz", "value")
    assert all(isinstance(rows, np.memmap) and not rows.flags.owndata for _, rows in npz.rows(member, 4))


def test_compressed_rows_are_never_all_in_memory(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 4, (4096, 1024), dtype=np.uint8)
    np.savez_compressed(tmp_path / "file.npz", value=array)
    member = npz.open_member(tmp_path / "file.npz", "value")
    tracemalloc.start()
    try:
        total = sum(int(rows.sum()) for _, rows in npz.rows(member, 128))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == array.sum()
    assert peak < array.nbytes / 4


def test_missing_key_names_what_there_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(UserError, match=r"found the keys a, b, expected X"):
        npz.open_member(tmp_path / "file.npz", "X")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_truncated_file(tmp_path: Path, save: Callable[..., Any], keep: float) -> None:
    path = tmp_path / "file.npz"
    save(path, X=np.arange(5000))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match=r"file\.npz: damaged or not an \.npz file"):
        npz.open_member(path, "X")


def test_changed_byte_in_a_compressed_member(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    np.savez_compressed(path, X=np.random.default_rng(0).integers(0, 256, 50_000, dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read(path, "X", 1000)


def test_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.npy", tmp_path / "file.npz"
    np.save(whole, np.zeros(100))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", whole.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"key X has 920 bytes, expected 928"):
        npz.open_member(path, "X")


def test_python_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", X=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="Python objects"):
        npz.open_member(tmp_path / "file.npz", "X")


def test_member_that_is_no_array(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "file.npz", "w") as archive:
        archive.writestr("X.npy", b"not an array")
    with pytest.raises(UserError, match="damaged or not an"):
        npz.open_member(tmp_path / "file.npz", "X")
