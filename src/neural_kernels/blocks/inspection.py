"""What may be wrong with a stored block; faulty ones are set aside and named."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural_kernels.blocks.store import KernelStore
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.storage.checksums import Strips, let_go
from neural_kernels.storage.files import (
    SEAL,
    read_json,
    set_aside,
    write_json,
)


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


def _set_aside(store: KernelStore, i: int, j: int) -> None:
    path, kept = store.block_path(i, j), store.kept_path(i, j)
    # Two names of one file have the same fault; two files may not.
    with contextlib.suppress(FileNotFoundError):
        if path.samefile(kept):
            kept.unlink()
    set_aside(path)
