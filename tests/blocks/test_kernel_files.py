"""Kernels in files of any program: which entries there are, and what is no kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from neural_kernels.blocks.kernel_files import open_kernel
from neural_kernels.errors import UserError

KERNEL = np.arange(49.0).reshape(7, 7)
KERNEL = KERNEL + KERNEL.T


def write(folder: Path, blocks: list[tuple[int, int]], name: str = "ntk-{}-{}.npy", edge: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    for i, j in blocks:
        block = KERNEL[i * edge : (i + 1) * edge, j * edge : (j + 1) * edge]
        np.save(folder / name.format(i, j), block)
    return folder


@pytest.mark.parametrize(
    "blocks",
    [
        [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)],
        [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2)],
        [(i, j) for i in range(3) for j in range(3)],
    ],
)
def test_either_triangle_is_the_whole_kernel(tmp_path: Path, blocks: list[tuple[int, int]]) -> None:
    found = open_kernel(write(tmp_path / "K", blocks))
    assert (found.rows, found.columns, found.examples) == (7, 7, 7)
    np.testing.assert_array_equal(found.entries((0, 7), (0, 7)), KERNEL)
    np.testing.assert_array_equal(found.entries((2, 7), (1, 4)), KERNEL[2:7, 1:4])


def test_blocks_that_are_not_there_are_named(tmp_path: Path) -> None:
    found = open_kernel(write(tmp_path / "K", [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)]))
    assert found.lacking((0, 7), (0, 6)) is None
    assert found.lacking((0, 7), (0, 7)) == (2, 2)
    with pytest.raises(UserError, match="there is no block 2-2"):
        found.entries((6, 7), (6, 7))


def test_one_row_of_blocks_serves_the_columns_of_its_examples(tmp_path: Path) -> None:
    found = open_kernel(write(tmp_path / "K", [(0, 0), (0, 1), (0, 2)]))
    assert (found.rows, found.columns, found.examples) == (3, 7, 7)
    np.testing.assert_array_equal(found.entries((0, 7), (0, 3)), KERNEL[:, :3])


def test_an_array_has_no_columns_beyond_its_own(tmp_path: Path) -> None:
    np.save(tmp_path / "K.npy", KERNEL[:, :4].astype(np.float16))
    found = open_kernel(tmp_path / "K.npy")
    assert (found.examples, found.dtype.name) == (7, "float32")
    assert found.lacking((0, 7), (0, 4)) is None
    assert found.lacking((0, 4), (0, 7)) == (0, 0)


def test_of_two_kernels_in_a_folder_one_has_to_be_asked_for(tmp_path: Path) -> None:
    folder = write(write(tmp_path / "K", [(0, 0)], edge=7), [(0, 0)], "nngp-{}-{}", edge=7)
    (folder / "README.txt").write_text("both kinds")
    (folder / "nngp-0-0.npy").rename(folder / "nngp-0-0")
    assert open_kernel(folder, "nngp").files == {(0, 0): folder / "nngp-0-0"}
    assert open_kernel(folder, "ntk").files == {(0, 0): folder / "ntk-0-0.npy"}
    with pytest.raises(UserError, match="found the blocks of 2 kernels, expected those of one"):
        open_kernel(folder)


def test_what_is_no_matrix_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "vector.npy", np.ones(3))
    np.save(tmp_path / "empty.npy", np.ones((0, 3)))
    with pytest.raises(UserError, match=r"vector.npy: found an array \(3,\) of float64, expected a matrix"):
        open_kernel(tmp_path / "vector.npy")
    with pytest.raises(
        UserError, match=r"empty.npy: found an array \(0, 3\), expected a kernel matrix with entries"
    ):
        open_kernel(tmp_path / "empty.npy")
