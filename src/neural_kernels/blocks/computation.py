"""One block of a kernel, computed tile by tile, so that a killed job resumes at its tile.

Finished tiles live in ``partial/<i>-<j>.npy`` beside a record of which they are, at paths that
Snakemake does not declare (it deletes declared outputs before a job and after a failure). The
record says which kernel, engine and tile size they belong to; anything else is started afresh. It
holds a checksum of each tile, so a tile whose data a crash of the machine lost is computed again.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

import neural_kernels
from neural_kernels import engines
from neural_kernels.architectures import Architecture
from neural_kernels.blocks import KernelStore, adopt_block, publish_block, read_block, write_block
from neural_kernels.blocks.flip_symmetry import is_symmetric_block, same_block
from neural_kernels.errors import UserError
from neural_kernels.graphs import Examples
from neural_kernels.progress import progress
from neural_kernels.storage import checksums, disk
from neural_kernels.storage.files import write_atomically
from neural_kernels.storage.locks import alone
from neural_kernels.triangles import mirror_upper

log = logging.getLogger(__name__)

PANEL_TILES = 8
"""Columns of tiles whose examples are prepared together."""

Tile = tuple[int, int]


def compute_block(
    store: KernelStore,
    i: int,
    j: int,
    architecture: Architecture,
    rows: Examples,
    columns: Examples,
    *,
    kind: engines.Kind,
    engine: str = "auto",
    tile: int | None = None,
    flipped_images: int = 0,
    force: bool = False,
) -> None:
    """Put block (i, j) in the store: one that is finished already where it is whole, else compute it.

    Where another process is at the same block, this one waits and takes what that one finished.

    Args:
        rows: features of every row of the store, (n_rows, *input_shape) float64 or graphs; memory maps will do.
        columns: features of every column.
        flipped_images: so many leading rows are followed by their horizontal flips (``flip_symmetry``).
        tile: edge of a tile, by default ``default_tile``. Results don't depend on it.
        force: compute a block that is there whole again; it is replaced once the new one is whole.

    Raises:
        UserError: no engine covers the architecture, or entries that are not finite.
    """
    with _alone(store, i, j):
        if not force and _adopt(store, i, j):
            return
        if force or not store.grid.symmetric or not _copy_same_block(store, i, j, flipped_images):
            _compute(store, i, j, architecture, rows, columns, kind, engine, tile, flipped_images)


def adopt(store: KernelStore, i: int, j: int) -> bool:
    """Whether block (i, j) is finished, after waiting for whoever is at it and putting it in its place."""
    with _alone(store, i, j):
        return _adopt(store, i, j)


def _alone(store: KernelStore, i: int, j: int) -> AbstractContextManager[None]:
    return alone(store.partial_path(i, j).with_suffix(".lock"), f"block {i}-{j} of {store.directory}")


def _adopt(store: KernelStore, i: int, j: int) -> bool:
    if not adopt_block(store, i, j):
        return False
    log.info("block %d-%d is there already, whole: nothing to compute", i, j)
    for leftover in (store.partial_path(i, j), store.partial_path(i, j).with_suffix(".tiles")):
        leftover.unlink(missing_ok=True)
    return True


def _compute(
    store: KernelStore,
    i: int,
    j: int,
    architecture: Architecture,
    rows: Examples,
    columns: Examples,
    kind: engines.Kind,
    engine: str,
    tile: int | None,
    flipped_images: int,
) -> None:
    """Compute block (i, j) tile by tile, those that are there left out."""
    # A job that finds its block whole must not wait for these.
    from neural_kernels.engines import common_windows, representable
    from neural_kernels.engines.rate import default_tile

    precision: engines.Precision = "float64" if store.dtype == np.float64 else "float32"
    engine_name, chosen = engines.select(engine, architecture, rows.shape[1:])
    (r0, r1), (c0, c1) = store.grid.row_range(i), store.grid.column_range(j)
    diagonal = store.grid.symmetric and i == j
    sets = [rows[r0:r1]] if diagonal else [rows[r0:r1], columns[c0:c1]]
    pairs = (r1 - r0) * (c1 - c0) // (3 - len(sets))
    chosen = common_windows.cheapest(chosen, architecture, kind, precision, sets, pairs)
    shape = common_windows.equivalent_shape(chosen, rows)
    tile = tile or default_tile(architecture, shape, engines.tile_entries(engine_name))
    symmetric = is_symmetric_block(store.grid, i, j, flipped_images)
    tiles = _tiles((r1 - r0, c1 - c0), tile, symmetric)
    identity = f"{store.fingerprint} {engine_name} tile {tile}{common_windows.description(chosen)}"

    partial = store.partial_path(i, j)
    block, done, seconds_before = _open_partial(partial, store, store.grid.shape(i, j), identity, tile)
    todo = [t for t in tiles if t not in done]
    if done:
        log.info("block %d-%d resumes with %d of %d tiles done", i, j, len(done), len(tiles))
    started = time.monotonic()
    record = partial.with_suffix(".tiles").open("a", buffering=1)
    bar = progress(total=len(tiles), description=f"block {i}-{j}", initial=len(done))

    def prepare(examples: Examples, first: int, last: int) -> Any:
        return chosen.prepare(architecture, examples[first : min(first + tile, last)], precision)

    # What an example needs once is computed once for the columns of a panel, and once a panel for
    # the rows: a block of any size takes the memory of one panel.
    for _, panel_tiles in _by(todo, lambda t: t[1] // (PANEL_TILES * tile)):
        right = {c: prepare(columns, c0 + c, c1) for c in sorted({c for _, c in panel_tiles})}
        for r, row_tiles in _by(panel_tiles, lambda t: t[0]):
            left = right[r] if diagonal and r in right else prepare(rows, r0 + r, r1)
            for _, c in row_tiles:
                other = None if diagonal and r == c else right[c]
                entries = chosen.kernel(architecture, kind, left, other, precision)
                which = representable.untrusted(entries, r0 + r, c0 + c)
                if which is not None:
                    raise UserError(
                        f"block {i}-{j} of {store.directory}: the kernel of {which} of this tile is not "
                        f"finite; {representable.expectation(precision)}"
                    )
                block[r : r + entries.shape[0], c : c + entries.shape[1]] = entries
                seconds = seconds_before + time.monotonic() - started
                record.write(f"{r} {c} {_checksum(entries)} {seconds:.3f}\n")
                bar.update()
    bar.close()
    record.close()
    if symmetric:
        mirror_upper(block)
    facts = {
        "engine": engine_name,
        **engines.provenance(engine_name),
        "seconds": round(seconds_before + time.monotonic() - started, 3),
        "tiles": len(tiles),
        "tile": tile,
        "version": neural_kernels.__version__,
    }
    block.flush()
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    publish_block(store, i, j, block, facts)
    partial.with_suffix(".tiles").unlink()


def _copy_same_block(store: KernelStore, i: int, j: int, flipped_images: int) -> bool:
    """Store block (i, j) as a copy of the block that the flip symmetry makes equal, if that is there."""
    first_i, first_j, transposed = same_block(store.grid, i, j, flipped_images)
    if (first_i, first_j) == (i, j) or not store.block_path(first_i, first_j).exists():
        return False
    block = read_block(store, first_i, first_j)
    facts = store.read_record(first_i, first_j) | {"seconds": 0.0, "copy_of": f"{first_i}-{first_j}"}
    write_block(store, i, j, np.ascontiguousarray(block.T) if transposed else block, facts)
    log.info("block %d-%d is block %d-%d of the flipped images", i, j, first_i, first_j)
    return True


def _by(tiles: list[Tile], key: Callable[[Tile], int]) -> Iterator[tuple[int, list[Tile]]]:
    for value, group in itertools.groupby(sorted(tiles, key=lambda t: (key(t), t)), key):
        yield value, list(group)


def _tiles(shape: tuple[int, int], edge: int, upper: bool) -> list[Tile]:
    return [(r, c) for r in range(0, shape[0], edge) for c in range(r if upper else 0, shape[1], edge)]


def _open_partial(
    partial: Path, store: KernelStore, shape: tuple[int, int], identity: str, tile: int
) -> tuple[np.memmap, set[Tile], float]:
    """The partial block, the tiles in it, and the seconds they took."""
    record = partial.with_suffix(".tiles")
    block = _there(partial, shape, store.dtype)
    if block is not None and record.exists():
        identity_line, *lines = record.read_text(errors="replace").split("\n")
        if identity_line == identity:
            # A kill can cut the last line short: what follows the last newline is not used.
            sound = _sound_tiles(block, lines[:-1], tile)
            text = "\n".join([identity, *(line for line, _ in sound.values())]) + "\n"
            write_atomically(record, lambda file: file.write(text.encode()))
            return block, set(sound), max((seconds for _, seconds in sound.values()), default=0.0)
        log.info("%s belongs to another kernel, engine or tile size: started afresh", partial)
    partial.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    block = disk.new_array(partial, shape, store.dtype)
    record.write_text(identity + "\n")
    return block, set(), 0.0


def _there(partial: Path, shape: tuple[int, int], dtype: np.dtype) -> np.memmap | None:
    """The partial block in a file that may be damaged, None where it is not what it should be."""
    if not partial.exists():
        return None
    try:
        block = np.lib.format.open_memmap(partial, mode="r+")
    except Exception:  # a damaged header can fail in NumPy's parser in many ways
        log.info("%s is damaged: started afresh", partial)
        return None
    # An earlier version may have made it without taking its room.
    disk.reserve(partial, partial.stat().st_size)
    same = block.shape == shape and block.dtype == dtype and block.flags.c_contiguous
    return block if same else None


def _sound_tiles(block: np.ndarray, lines: list[str], tile: int) -> dict[Tile, tuple[str, float]]:
    """The tiles whose data is as it was when their line of the record was written: the line, and the seconds in it."""
    sound = {}
    for line in lines:
        match = TILE_LINE.fullmatch(line)
        if match is None:
            continue
        r, c, checksum, seconds = int(match[1]), int(match[2]), match[3], float(match[4])
        place = r < block.shape[0] and c < block.shape[1] and r % tile == 0 and c % tile == 0
        if place and _checksum(block[r : r + tile, c : c + tile]) == checksum:
            sound[r, c] = line, seconds
    return sound


TILE_LINE = re.compile(r"(\d{1,9}) (\d{1,9}) ([0-9a-f]{16}) (\d{1,12}\.\d{3})", re.ASCII)
"""First row, first column, checksum and seconds since the block was begun."""


def _checksum(entries: np.ndarray) -> str:
    return checksums.of_bytes(np.ascontiguousarray(entries))
