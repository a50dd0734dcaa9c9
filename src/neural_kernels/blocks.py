"""The block grid and the store: naming, atomic write, verification, reading.

A store is a directory that holds one kernel matrix, K[rows, columns], cut into blocks of one edge:

    kernel.json         what the matrix is: architecture, kind, precision, sizes, hashes of the data
    blocks/<i>-<j>.npy  block row i, block column j: plain .npy, readable by NumPy alone
    blocks/<i>-<j>.json its fingerprint, engine and time

A symmetric matrix (the training kernel) stores only i <= j. A block's JSON is written before its .npy
appears, so a .npy without it, or with another kernel's fingerprint, is foreign and is never used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neural_kernels.errors import UserError
from neural_kernels.files import read_json, write_json, write_npy


@dataclass(frozen=True)
class Grid:
    """How a (rows, columns) matrix is cut into blocks of at most ``edge`` x ``edge``."""

    rows: int
    columns: int
    edge: int
    symmetric: bool

    @property
    def block_rows(self) -> int:
        return -(-self.rows // self.edge)

    @property
    def block_columns(self) -> int:
        return -(-self.columns // self.edge)

    def row_range(self, i: int) -> tuple[int, int]:
        """First row of block row ``i``, and the first row after it."""
        return i * self.edge, min((i + 1) * self.edge, self.rows)

    def column_range(self, j: int) -> tuple[int, int]:
        """First column of block column ``j``, and the first column after it."""
        return j * self.edge, min((j + 1) * self.edge, self.columns)

    def shape(self, i: int, j: int) -> tuple[int, int]:
        (r0, r1), (c0, c1) = self.row_range(i), self.column_range(j)
        return r1 - r0, c1 - c0

    def blocks(self, rows: int | None = None, columns: int | None = None) -> Iterator[tuple[int, int]]:
        """The stored blocks (i, j) that the leading ``rows`` x ``columns`` submatrix touches."""
        block_rows = -(-(self.rows if rows is None else rows) // self.edge)
        block_columns = -(-(self.columns if columns is None else columns) // self.edge)
        for i in range(block_rows):
            for j in range(i if self.symmetric else 0, block_columns):
                yield i, j

    def count(self, rows: int, columns: int) -> int:
        """How many blocks ``blocks(rows, columns)`` gives."""
        block_rows, block_columns = -(-rows // self.edge), -(-columns // self.edge)
        if not self.symmetric:
            return block_rows * block_columns
        return sum(block_columns - i for i in range(min(block_rows, block_columns)))

    def window_blocks(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """The stored blocks that the principal submatrix of rows ``first`` to ``end`` touches."""
        touched = range(first // self.edge, -(-end // self.edge))
        for i in touched:
            for j in range(i, touched.stop):
                yield i, j


@dataclass(frozen=True)
class KernelStore:
    """One kernel matrix on disk. ``description`` is what its fingerprint is taken of."""

    directory: Path
    grid: Grid
    dtype: np.dtype
    description: dict[str, Any]
    fingerprint: str

    @property
    def largest_block_bytes(self) -> int:
        """Bytes of the entries of the first block, which is the largest."""
        rows, columns = self.grid.shape(0, 0)
        return rows * columns * self.dtype.itemsize

    def block_path(self, i: int, j: int) -> Path:
        return self.directory / "blocks" / f"{i}-{j}.npy"

    def record_path(self, i: int, j: int) -> Path:
        return self.directory / "blocks" / f"{i}-{j}.json"

    def read_record(self, i: int, j: int) -> dict[str, Any]:
        """Engine, seconds and fingerprint of a block."""
        return read_json(self.record_path(i, j))


def declare_store(directory: Path, grid: Grid, precision: str, description: dict[str, Any]) -> KernelStore:
    """Write ``kernel.json`` of a store, new or there already with the same kernel.

    Args:
        description: everything that decides the matrix's entries, as plain JSON data.

    Raises:
        UserError: the directory already holds another kernel.
    """
    store = _store(directory, grid, precision, description)
    path = directory / "kernel.json"
    # Snakemake deletes a declared output before it runs the job, so the blocks are asked as well.
    record_of_a_block = next(directory.glob("blocks/*.json"), None)
    for present in filter(None, (record_of_a_block, path if path.exists() else None)):
        found = str(read_json(present).get("fingerprint"))
        if found != store.fingerprint and record_of_a_block is not None:
            raise UserError(
                f"{directory} holds blocks of another kernel (fingerprint {found[:12]}, expected "
                f"{store.fingerprint[:12]}): the data, preprocessing, architecture or block edge changed; "
                "move the folder away or give the kernel another name"
            )
    record = {"fingerprint": store.fingerprint, "rows": grid.rows, "columns": grid.columns}
    record |= {"block_edge": grid.edge, "symmetric": grid.symmetric, "dtype": precision}
    write_json(path, record | {"description": description})
    return store


def open_store(directory: Path) -> KernelStore:
    """The store that ``kernel.json`` in ``directory`` describes.

    Raises:
        UserError: ``kernel.json`` is missing, incomplete or does not match its own fingerprint.
    """
    path = directory / "kernel.json"
    record = read_json(path)
    try:
        grid = Grid(record["rows"], record["columns"], record["block_edge"], record["symmetric"])
        store = _store(directory, grid, record["dtype"], record["description"])
        present = record["fingerprint"]
    except KeyError as error:
        raise UserError(f"{path} has no key {error}, expected the description of a kernel store") from None
    if present != store.fingerprint:
        raise UserError(f"{path} was edited: its fingerprint does not match what it describes")
    return store


def _store(directory: Path, grid: Grid, precision: str, description: dict[str, Any]) -> KernelStore:
    identity = [grid.rows, grid.columns, grid.edge, grid.symmetric, precision, description]
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return KernelStore(directory, grid, np.dtype(precision), description, fingerprint)


def write_block(store: KernelStore, i: int, j: int, block: np.ndarray, facts: dict[str, Any]) -> None:
    """Store block (i, j); ``facts`` (engine, seconds, ...) go into its record.

    Raises:
        ValueError: wrong shape or dtype, or entries that are not finite: such a block never reaches disk.
    """
    if block.shape != store.grid.shape(i, j) or block.dtype != store.dtype:
        expected = f"{store.grid.shape(i, j)} {store.dtype}"
        raise ValueError(f"block {i}-{j} is {block.shape} {block.dtype}, expected {expected}")
    if not np.isfinite(block).all():
        raise ValueError(f"block {i}-{j} of {store.directory} has entries that are not finite")
    write_json(store.record_path(i, j), {"fingerprint": store.fingerprint, **facts})
    write_npy(store.block_path(i, j), block)


def block_fault(store: KernelStore, i: int, j: int) -> str | None:
    """What is wrong with a stored block, from its header, size and record alone, or None."""
    path = store.block_path(i, j)
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read_header = np.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = read_header(file)
            expected_size = file.tell() + int(np.prod(shape)) * dtype.itemsize
        size = path.stat().st_size
    except FileNotFoundError:
        return f"{path} is missing"
    except (ValueError, EOFError):
        return f"{path} is truncated or is no .npy file"
    if shape != store.grid.shape(i, j) or dtype != store.dtype or fortran_order:
        expected = f"{store.grid.shape(i, j)} {store.dtype}"
        return f"{path} is {shape} {dtype}, expected {expected}"
    if size != expected_size:
        return f"{path} is truncated: {size} bytes, expected {expected_size}"
    try:
        record = store.read_record(i, j)
    except UserError as error:
        return f"{path} has no record of the kernel that it belongs to ({error})"
    if record.get("fingerprint") != store.fingerprint:
        found = str(record.get("fingerprint"))[:12]
        return f"{path} belongs to another kernel (fingerprint {found}, expected {store.fingerprint[:12]})"
    return None


def set_aside_faulty(store: KernelStore, blocks: Iterable[tuple[int, int]]) -> None:
    """Check blocks before they are used; rename those that cannot be.

    A faulty ``i-j.npy`` becomes ``i-j.npy.rejected``, so that the next run computes it again.

    Raises:
        UserError: some block is faulty; all of them are named.
    """
    faults = [(i, j, fault) for i, j in blocks if (fault := block_fault(store, i, j)) is not None]
    for i, j, _ in faults:
        _set_aside(store, i, j)
    if faults:
        raise UserError(_rejection([fault for _, _, fault in faults]))


def read_block(store: KernelStore, i: int, j: int) -> np.ndarray:
    """Block (i, j), checked: shape, dtype, size, fingerprint, and every entry finite.

    Raises:
        UserError: the block is missing, truncated, foreign or not finite; it is set aside, never used.
    """
    fault = block_fault(store, i, j)
    if fault is None:
        block = np.load(store.block_path(i, j), allow_pickle=False)
        # A sum is finite only if every entry is, and needs no temporary of the block's size.
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(np.sum(block)) or bool(np.isfinite(block).all())
        if finite:
            return block
        fault = f"{store.block_path(i, j)} has entries that are not finite"
    _set_aside(store, i, j)
    raise UserError(_rejection([fault]))


def _set_aside(store: KernelStore, i: int, j: int) -> None:
    path = store.block_path(i, j)
    if path.exists():
        path.replace(path.with_name(path.name + ".rejected"))


def _rejection(faults: list[str]) -> str:
    return f"{'; '.join(faults)}; run the same command again to compute {'it' if len(faults) == 1 else 'them'} anew"


def read_submatrix(
    store: KernelStore,
    rows: tuple[int, int],
    columns: tuple[int, int],
    dtype: npt.DTypeLike | None = None,
) -> np.ndarray:
    """Entries K[rows[0]:rows[1], columns[0]:columns[1]] gathered from their blocks.

    A symmetric store serves both triangles. Returns a new array of ``dtype``, the store's where it is None; besides it
    two blocks are in memory.
    """
    grid = store.grid
    out = np.empty((rows[1] - rows[0], columns[1] - columns[0]), store.dtype if dtype is None else dtype)
    for i in range(rows[0] // grid.edge, -(-rows[1] // grid.edge)):
        for j in range(columns[0] // grid.edge, -(-columns[1] // grid.edge)):
            upper = i <= j or not grid.symmetric
            block = read_block(store, i, j) if upper else read_block(store, j, i).T
            (r0, r1), (c0, c1) = _overlap(i, grid.edge, rows), _overlap(j, grid.edge, columns)
            part = block[r0 - i * grid.edge : r1 - i * grid.edge, c0 - j * grid.edge : c1 - j * grid.edge]
            out[r0 - rows[0] : r1 - rows[0], c0 - columns[0] : c1 - columns[0]] = part
    return out


def _overlap(index: int, edge: int, interval: tuple[int, int]) -> tuple[int, int]:
    return max(index * edge, interval[0]), min((index + 1) * edge, interval[1])
