"""A kernel matrix in .npy files of any program: one array, a folder of blocks, or a store of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural_kernels.blocks.grid import Grid
from neural_kernels.blocks.inspection import block_fault
from neural_kernels.blocks.store import open_store
from neural_kernels.datasets import npy
from neural_kernels.errors import UserError

NAMED = re.compile(r"(?:(nngp|ntk)-)?(0|[1-9][0-9]{0,5})-(0|[1-9][0-9]{0,5})(?:\.npy)?")
"""What files of blocks are called: kind, block row and block column."""

EXPECTED = "<kind>-<i>-<j>.npy or <i>-<j>.npy, i and j from 0 and kind ntk or nngp"


@dataclass(frozen=True)
class KernelFiles:
    """A kernel matrix on disk, of which some blocks may not be there.

    Attributes:
        path: of the array, or of the folder.
        grid: how the matrix is cut into files; of one array there is one block.
        files: of each block that is there. What stands in (j, i) alone is taken for (i, j), too.
        dtype: of the entries in this machine's order of bytes; float64 where files differ.
    """

    path: Path
    grid: Grid
    files: Mapping[tuple[int, int], Path]
    dtype: np.dtype

    @property
    def rows(self) -> int:
        return self.grid.rows

    @property
    def columns(self) -> int:
        return self.grid.columns

    @property
    def examples(self) -> int:
        """How many examples have a row or a column."""
        return max(self.rows, self.columns)

    def lacking(self, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[int, int] | None:
        """The first block of these entries that is not there in either order, or None."""
        for i, j in self._touched(rows, columns):
            if (i, j) not in self.files and (j, i) not in self.files:
                return i, j
        # One array is not square where columns of other examples are not there.
        beyond = len(self.files) == 1 and (rows[1] > self.rows or columns[1] > self.columns)
        return (0, 0) if beyond else None

    def entries(self, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """Entries K[rows[0]:rows[1], columns[0]:columns[1]] as a new array of ``dtype``.

        Raises:
            UserError: a block is not there.
        """
        lacking = self.lacking(rows, columns)
        if lacking is not None:
            raise UserError(f"{self.path}: there is no block {lacking[0]}-{lacking[1]}, expected one")
        out = np.empty((rows[1] - rows[0], columns[1] - columns[0]), self.dtype)
        edge = self.grid.edge
        for i, j in self._touched(rows, columns):
            upper = (i, j) in self.files
            file = npy.open_array(self.files[i, j] if upper else self.files[j, i])
            block = file if upper else file.T
            (r0, r1), (c0, c1) = _overlap(i, edge, rows), _overlap(j, edge, columns)
            part = block[r0 - i * edge : r1 - i * edge, c0 - j * edge : c1 - j * edge]
            out[r0 - rows[0] : r1 - rows[0], c0 - columns[0] : c1 - columns[0]] = part
        return out

    def cuts(self, end: int, tile: int) -> list[int]:
        """From 0 to ``end``, by ``tile`` and at each edge of a block."""
        return sorted({*range(0, end, tile), *range(0, end, self.grid.edge), end})

    def _touched(self, rows: tuple[int, int], columns: tuple[int, int]) -> list[tuple[int, int]]:
        edge = self.grid.edge
        return [
            (i, j)
            for i in range(rows[0] // edge, -(-rows[1] // edge))
            for j in range(columns[0] // edge, -(-columns[1] // edge))
        ]


def open_kernel(path: Path, kind: str | None = None) -> KernelFiles:
    """The kernel matrix in ``path``; of its files, the headers are read.

    Args:
        kind: of a folder that has the blocks of two kernels, which one.

    Raises:
        UserError: nothing is there, files are no .npy arrays of floats, or their shapes do not fit together.
    """
    if path.is_file():
        return _of_array(path)
    if not path.is_dir():
        raise UserError(
            f"{path}: no such file or folder, expected a kernel: one .npy array or a folder of blocks"
        )
    if (path / "kernel.json").is_file():
        return _of_store(path)
    return _of_folder(path, kind)


def _of_array(path: Path) -> KernelFiles:
    array = _open_block(path)
    if 0 in array.shape:
        raise UserError(f"{path}: found an array {array.shape}, expected a kernel matrix with entries")
    rows, columns = array.shape
    return KernelFiles(
        path, Grid(rows, columns, max(rows, columns), False), {(0, 0): path}, _native(array.dtype)
    )


def _of_store(path: Path) -> KernelFiles:
    store = open_store(path)
    files = {block: file for block in store.grid.blocks() if (file := store.block_path(*block)).exists()}
    for block in files:
        fault = block_fault(store, *block)
        if fault is not None:
            raise UserError(f"{fault}, expected a sound block")
    return KernelFiles(path, store.grid, files, store.dtype)


def _of_folder(path: Path, kind: str | None) -> KernelFiles:
    files = _named_blocks(path, kind)
    if (0, 0) not in files:
        raise UserError(f"{path}: there is no block 0-0, expected the blocks of a kernel from 0-0 on")
    arrays = {block: _open_block(file) for block, file in files.items()}
    edge = arrays[0, 0].shape[0]
    if not edge:
        raise UserError(f"{files[0, 0]}: found an array {arrays[0, 0].shape}, expected a block with entries")
    last_row, last_column = max(i for i, _ in files), max(j for _, j in files)
    if len(files) == (last_row + 1) * (last_column + 1):
        rows = last_row * edge + arrays[last_row, 0].shape[0]
        columns = last_column * edge + arrays[0, last_column].shape[1]
    else:
        last = max(last_row, last_column)
        i, j = next(block for block in files if last in block)
        rows = columns = last * edge + arrays[i, j].shape[0 if i == last else 1]
    grid = Grid(rows, columns, edge, symmetric=False)
    for (i, j), array in arrays.items():
        if array.shape != grid.shape(i, j):
            raise UserError(
                f"{files[i, j]}: found an array {array.shape}, expected {grid.shape(i, j)} of block {i}-{j} of a "
                f"{rows} x {columns} kernel in blocks of edge {edge}"
            )
    itemsize = max(array.dtype.itemsize for array in arrays.values())
    return KernelFiles(path, grid, files, _native(np.dtype(f"f{itemsize}")))


def _named_blocks(path: Path, kind: str | None) -> dict[tuple[int, int], Path]:
    """Files of the blocks of one kernel, by block row and column."""
    found: dict[str | None, dict[tuple[int, int], Path]] = {}
    for file in sorted(path.iterdir()):
        match = NAMED.fullmatch(file.name)
        if match is None or not file.is_file():
            continue
        block = int(match[2]), int(match[3])
        other = found.setdefault(match[1], {}).setdefault(block, file)
        if other != file:
            raise UserError(
                f"{path}: found {other.name} and {file.name}, expected one file of block {match[2]}-{match[3]}"
            )
    if kind is not None:
        found = {prefix: files for prefix, files in found.items() if prefix in (kind, None)}
        if kind in found:
            found.pop(None, None)
    if not found:
        what = "" if kind is None else f" of the {kind} kernel"
        raise UserError(f"{path}: found no blocks{what}, expected files called {EXPECTED}")
    if len(found) > 1:
        raise UserError(
            f"{path}: found the blocks of {len(found)} kernels, expected those of one: {EXPECTED}"
        )
    (files,) = found.values()
    return files


def _open_block(path: Path) -> np.ndarray:
    array = npy.open_array(path)
    if array.ndim != 2 or array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise UserError(
            f"{path}: found an array {array.shape} of {array.dtype}, expected a matrix of float64, float32 or float16"
        )
    return array


def _native(dtype: np.dtype) -> np.dtype:
    """float64, or float32 of what is no longer."""
    return np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)


def _overlap(index: int, edge: int, interval: tuple[int, int]) -> tuple[int, int]:
    return max(index * edge, interval[0]), min((index + 1) * edge, interval[1])
