"""The block grid and the store: naming, atomic write, verification, reading.

A store is a directory that holds one kernel matrix, K[rows, columns], cut into blocks of one edge:

    kernel.json         what the matrix is: architecture, kind, precision, sizes, hashes of the data
    blocks/<i>-<j>.npy  block row i, block column j: plain .npy, readable by NumPy alone
    blocks/<i>-<j>.json its kernel's fingerprint, its place, checksums of its entries, engine and time
    kept/<i>-<j>.npy    another name (hard link) of the same file
    partial/            blocks that are being computed

A symmetric matrix (the training kernel) stores only i <= j. A block's JSON is written before its .npy
appears, so a .npy without it, of another kernel, of another place or with other entries is never used.

Snakemake deletes ``blocks/<i>-<j>.npy``, an output that a rule declares, before it runs that rule's job and
after a failure. The name in ``kept/`` it does not know: a block that was finished once is taken from there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neural_kernels.checksums import Strips, let_go
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.files import (
    SEAL,
    damaged,
    flush_folder,
    read_json,
    set_aside,
    write_json,
    write_npy,
)

log = logging.getLogger(__name__)

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
"""What a file system answers that has no hard links."""


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

    def kept_path(self, i: int, j: int) -> Path:
        """The name of a finished block that Snakemake does not know."""
        return self.directory / "kept" / f"{i}-{j}.npy"

    def partial_path(self, i: int, j: int) -> Path:
        """Where a block is computed."""
        return self.directory / "partial" / f"{i}-{j}.npy"

    def read_record(self, i: int, j: int) -> dict[str, Any]:
        """Engine, seconds, checksums and fingerprint of a block."""
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
    found = _fingerprint_of_blocks(directory)
    if found is not None and found != store.fingerprint:
        raise UserError(
            f"{directory} holds blocks of another kernel (fingerprint {found[:12]}, expected "
            f"{store.fingerprint[:12]}): the data, preprocessing, architecture or block edge changed; "
            "move the folder away or give the kernel another name"
        )
    record = {"fingerprint": store.fingerprint, "rows": grid.rows, "columns": grid.columns}
    record |= {"block_edge": grid.edge, "symmetric": grid.symmetric, "dtype": precision}
    write_json(path, record | {"description": description})
    return store


def _fingerprint_of_blocks(directory: Path) -> str | None:
    """The fingerprint of the kernel that the folder has blocks of, None where it has none."""
    for path in directory.glob("blocks/*.json"):
        try:
            return str(read_json(path, unsealed=True).get("fingerprint"))
        except DamagedFile as error:
            log.warning("%s", error)
    return None


def open_store(directory: Path) -> KernelStore:
    """The store that ``kernel.json`` in ``directory`` describes.

    Raises:
        UserError: ``kernel.json`` is missing, incomplete or does not match its own fingerprint.
    """
    path = directory / "kernel.json"
    # Its fingerprint is of all that it says, so that it needs no checksum.
    record = read_json(path, unsealed=True)
    try:
        grid = Grid(record["rows"], record["columns"], record["block_edge"], record["symmetric"])
        store = _store(directory, grid, record["dtype"], record["description"])
        present = record["fingerprint"]
    except (KeyError, TypeError) as error:
        raise damaged(path, f"does not describe a kernel store ({error})") from None
    if present != store.fingerprint:
        raise damaged(path, "was edited: its fingerprint does not match what it describes")
    return store


def _store(directory: Path, grid: Grid, precision: str, description: dict[str, Any]) -> KernelStore:
    identity = [grid.rows, grid.columns, grid.edge, grid.symmetric, precision, description]
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return KernelStore(directory, grid, np.dtype(precision), description, fingerprint)


# ------------------------------------------------------------------------------------------ writing


def write_block(store: KernelStore, i: int, j: int, block: np.ndarray, facts: dict[str, Any]) -> None:
    """Store block (i, j); ``facts`` (engine, seconds, ...) go into its record.

    Raises:
        ValueError: wrong shape or dtype, entries that are not finite, or a diagonal block that is not symmetric: such
            a block never reaches the disk.
    """
    if block.shape != store.grid.shape(i, j) or block.dtype != store.dtype:
        expected = f"{store.grid.shape(i, j)} {store.dtype}"
        raise ValueError(f"block {i}-{j} is {block.shape} {block.dtype}, expected {expected}")
    fault = _entries_fault(store, i, j, block)
    if fault is not None:
        raise ValueError(f"block {i}-{j} of {store.directory} {fault}")
    write_npy(store.partial_path(i, j), block)
    publish_block(store, i, j, block, facts)


def publish_block(store: KernelStore, i: int, j: int, entries: np.ndarray, facts: dict[str, Any]) -> None:
    """Put the whole block at ``partial_path`` in its place by renaming it.

    Args:
        entries: what is in that file, which has reached the disk.
        facts: engine, seconds, ...
    """
    place = {"fingerprint": store.fingerprint, "block": [i, j]}
    write_json(store.record_path(i, j), {**facts, **place, **Strips.of(entries).as_json()})
    kept = store.kept_path(i, j)
    kept.parent.mkdir(exist_ok=True)
    os.replace(store.partial_path(i, j), kept)
    flush_folder(kept.parent)
    _put_in_place(store, i, j)


def adopt_block(store: KernelStore, i: int, j: int) -> bool:
    """Whether block (i, j) is there whole, after putting it in place where only the name in ``kept/`` is left.

    Every entry is read. What is damaged is set aside.
    """
    path, kept = store.block_path(i, j), store.kept_path(i, j)
    if path.exists():
        fault = content_fault(store, i, j, path)
        if fault is None:
            if not kept.exists():
                _link(path, kept)
            return True
        log.warning("%s %s", path, fault)
        _set_aside(store, i, j)
    if not kept.exists():
        return False
    fault = content_fault(store, i, j, kept)
    if fault is not None:
        log.warning("%s %s", kept, fault)
        kept.unlink()
        return False
    _put_in_place(store, i, j)
    return True


def _put_in_place(store: KernelStore, i: int, j: int) -> None:
    """Give the finished block in ``kept/`` its name among the blocks."""
    path, kept = store.block_path(i, j), store.kept_path(i, j)
    temporary = path.with_name(f".{path.name}.link")
    temporary.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if _link(kept, temporary):
        os.replace(temporary, path)
        # Of two names of one file, a rename leaves both.
        temporary.unlink(missing_ok=True)
    else:
        os.replace(kept, path)
    flush_folder(path.parent)


def _link(path: Path, other: Path) -> bool:
    """Give a file another name; False, and a word in the log, where the file system has no hard links."""
    other.parent.mkdir(exist_ok=True)
    try:
        os.link(path, other)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        log.warning(
            "this file system has no hard links: what Snakemake deletes of %s has to be made again", path
        )
        return False
    return True


# ----------------------------------------------------------------------------------------- checking


@dataclass(frozen=True)
class StoredBlock:
    """Where a block's entries begin in its file, in bytes, and their checksums."""

    offset: int
    strips: Strips


def inspect_block(store: KernelStore, i: int, j: int, path: Path | None = None) -> StoredBlock | str:
    """A stored block's header, size and record, or what is wrong with them; its entries are not read.

    Args:
        path: of the file, where it is not at its place.
    """
    path = store.block_path(i, j) if path is None else path
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read_header = np.lib.format.read_array_header_2_0
            shape, fortran_order, dtype = read_header(file)
            offset = file.tell()
        size = path.stat().st_size
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except Exception:  # a damaged header can fail in NumPy's parser in many ways
        return "is truncated or is no .npy file"
    if shape != store.grid.shape(i, j) or dtype != store.dtype or fortran_order:
        return f"is {shape} {dtype}, expected {store.grid.shape(i, j)} {store.dtype}"
    expected_size = offset + int(np.prod(shape)) * dtype.itemsize
    if size != expected_size:
        return f"is truncated: {size} bytes, expected {expected_size}"
    if is_of_an_earlier_version(store, i, j):
        return "is of a version that wrote no checksums"
    try:
        record = store.read_record(i, j)
    except UserError as error:
        return f"has no record of the kernel that it belongs to ({error})"
    if record.get("fingerprint") != store.fingerprint:
        found = str(record.get("fingerprint"))[:12]
        return f"belongs to another kernel (fingerprint {found}, expected {store.fingerprint[:12]})"
    if record.get("block") != [i, j]:
        return f"has the record of block {record.get('block')}, expected that of {[i, j]}"
    strips = Strips.from_json(record, shape[0])
    return "has a record without checksums" if strips is None else StoredBlock(offset, strips)


def block_fault(store: KernelStore, i: int, j: int) -> str | None:
    """What is wrong with a stored block, from its header, size and record alone, or None."""
    found = inspect_block(store, i, j)
    return f"{store.block_path(i, j)} {found}" if isinstance(found, str) else None


def content_fault(store: KernelStore, i: int, j: int, path: Path | None = None) -> str | None:
    """What is wrong with a stored block, every entry read, or None.

    Args:
        path: of the file, where it is not at its place.
    """
    path = store.block_path(i, j) if path is None else path
    found = inspect_block(store, i, j, path)
    if isinstance(found, str):
        return found
    return _content_fault(store, i, j, np.load(path, mmap_mode="r", allow_pickle=False), found.strips)


def _content_fault(store: KernelStore, i: int, j: int, block: np.ndarray, strips: Strips) -> str | None:
    row = strips.damaged(block)
    if row is not None:
        return f"is damaged: the entries from row {row} on are not those that were computed (checksum)"
    return _entries_fault(store, i, j, block)


def _entries_fault(store: KernelStore, i: int, j: int, block: np.ndarray, strip: int = 512) -> str | None:
    """What no block of a kernel may have, whatever vouches for it."""
    symmetric = store.grid.symmetric and i == j
    for first in range(0, len(block), strip):
        rows = block[first : first + strip]
        # A sum is finite only if every entry is, and needs no temporary of the strip's size.
        with np.errstate(over="ignore", invalid="ignore"):
            if not (np.isfinite(np.sum(rows)) or np.isfinite(rows).all()):
                return "has entries that are not finite"
        if symmetric and not np.array_equal(rows[:, first:], block[first:, first : first + strip].T):
            return "is on the diagonal, but not symmetric"
        let_go(block)
    return None


def check_changed_since(store: KernelStore, blocks: Iterable[tuple[int, int]], result: Path) -> None:
    """Read whole those blocks whose files are newer than ``result``, which was computed from them.

    A result that is taken over was computed from sound blocks; whoever touched one since is still told what it is.

    Raises:
        UserError: some are faulty; all of them are named and set aside.
    """
    then, faults = result.stat().st_mtime_ns, []
    for i, j in blocks:
        try:
            status = store.block_path(i, j).stat()
        except FileNotFoundError:
            continue
        if max(status.st_mtime_ns, status.st_ctime_ns) > then:
            fault = content_fault(store, i, j)
            if fault is not None:
                faults.append((i, j, f"{store.block_path(i, j)} {fault}"))
    raise_faults(store, faults)


def set_aside_faulty(store: KernelStore, blocks: Iterable[tuple[int, int]]) -> None:
    """Check headers, sizes and records of blocks before they are used; rename those that cannot be.

    A faulty ``i-j.npy`` becomes ``i-j.npy.rejected``, so that the next run computes it again.

    Raises:
        UserError: some block is faulty; all of them are named.
    """
    raise_faults(store, [(i, j, fault) for i, j in blocks if (fault := block_fault(store, i, j)) is not None])


def raise_faults(store: KernelStore, faults: list[tuple[int, int, str]]) -> None:
    """Set blocks aside and say what is wrong with them, if there are any.

    Raises:
        UserError: there are.
    """
    if not faults:
        return
    earlier = next(((i, j) for i, j, _ in faults if is_of_an_earlier_version(store, i, j)), None)
    if earlier is not None:
        raise UserError(
            f"{store.block_path(*earlier)} and maybe others are of a version that wrote no checksums: once you are "
            "sure of them, 'neural-kernels verify-blocks --seal' writes some"
        )
    for i, j, _ in faults:
        _set_aside(store, i, j)
    sentences = "; ".join(fault for _, _, fault in faults)
    them = "it" if len(faults) == 1 else "them"
    raise DamagedFile(f"{sentences}; run the same command again to compute {them} anew")


def is_of_an_earlier_version(store: KernelStore, i: int, j: int) -> bool:
    """Whether a block of this kernel has a record as they were before they held checksums."""
    try:
        content = store.record_path(i, j).read_bytes()
        record = {} if SEAL.encode() in content else json.loads(content)
    except (OSError, ValueError, RecursionError):
        return False
    return (
        isinstance(record, dict) and record.get("fingerprint") == store.fingerprint and "block" not in record
    )


def seal_block(store: KernelStore, i: int, j: int) -> None:
    """Write the checksums of a block of an earlier version as it is now, after checking what can be checked.

    Raises:
        UserError: the block is no .npy file of the right shape and dtype, is not finite, or is not symmetric where it
            has to be.
    """
    path = store.block_path(i, j)
    record = read_json(store.record_path(i, j), unsealed=True)
    try:
        block = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read ({error})") from None
    if block.shape != store.grid.shape(i, j) or block.dtype != store.dtype:
        raise UserError(
            f"{path} is {block.shape} {block.dtype}, expected {store.grid.shape(i, j)} {store.dtype}"
        )
    fault = _entries_fault(store, i, j, block)
    if fault is not None:
        raise UserError(f"{path} {fault}")
    write_json(store.record_path(i, j), record | {"block": [i, j]} | Strips.of(block).as_json())


def read_block(store: KernelStore, i: int, j: int) -> np.ndarray:
    """Block (i, j), checked: place, shape, dtype, size, fingerprint, checksums, every entry finite, the diagonal's
    blocks symmetric.

    Raises:
        UserError: the block is missing, truncated, foreign or damaged; it is set aside, never used.
    """
    found, path = inspect_block(store, i, j), store.block_path(i, j)
    if isinstance(found, str):
        fault: str | None = found
    else:
        block = np.load(path, allow_pickle=False)
        fault = _content_fault(store, i, j, block, found.strips)
        if fault is None:
            return block
    raise_faults(store, [(i, j, f"{path} {fault}")])
    raise AssertionError


def _set_aside(store: KernelStore, i: int, j: int) -> None:
    path, kept = store.block_path(i, j), store.kept_path(i, j)
    # Two names of one file have the same fault; two files may not.
    with contextlib.suppress(FileNotFoundError):
        if path.samefile(kept):
            kept.unlink()
    set_aside(path)


# ------------------------------------------------------------------------------------------- reading


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
