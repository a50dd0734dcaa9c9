"""A kernel matrix as a directory of blocks: what it is, and where each block lies."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.blocks.grid import Grid
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.storage.files import (
    damaged,
    read_json,
    write_json,
)

log = logging.getLogger(__name__)


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
