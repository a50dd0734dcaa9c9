"""One block of a kernel, computed tile by tile, so that a killed job resumes at its tile.

Finished tiles live in ``partial/<i>-<j>.npy`` beside a record of which they are, at paths that
Snakemake does not declare (it deletes declared outputs before a job and after a failure). The
record says which kernel, engine and tile size they belong to; anything else is started afresh. It
holds a checksum of each tile, so a tile whose data a crash of the machine lost is computed again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import logging
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import __version__, disk, engines
from neural_kernels.architectures import Architecture, covariance_entries
from neural_kernels.blocks import KernelStore, read_block, write_block
from neural_kernels.engines import common_windows
from neural_kernels.errors import UserError
from neural_kernels.flip_symmetry import is_symmetric_block, same_block
from neural_kernels.graphs import Examples
from neural_kernels.progress import progress

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
) -> None:
    """Compute block (i, j) and put it in the store.

    Args:
        rows: features of every row of the store, (n_rows, *input_shape) float64 or graphs; memory maps will do.
        columns: features of every column.
        flipped_images: so many leading rows are followed by their horizontal flips (``flip_symmetry``).
        tile: edge of a tile, by default ``default_tile``. Results don't depend on it.

    Raises:
        UserError: another process is computing this block, or no engine covers the architecture.
    """
    if store.grid.symmetric and _copy_same_block(store, i, j, flipped_images):
        return
    precision: engines.Precision = "float64" if store.dtype == np.float64 else "float32"
    engine_name, chosen = engines.select(engine, architecture, rows.shape[1:])
    (r0, r1), (c0, c1) = store.grid.row_range(i), store.grid.column_range(j)
    diagonal = store.grid.symmetric and i == j
    sets = [rows[r0:r1]] if diagonal else [rows[r0:r1], columns[c0:c1]]
    pairs = (r1 - r0) * (c1 - c0) // (3 - len(sets))
    chosen = common_windows.cheapest(chosen, architecture, kind, precision, sets, pairs)
    tile = tile or default_tile(architecture, common_windows.equivalent_shape(chosen, rows))
    symmetric = is_symmetric_block(store.grid, i, j, flipped_images)
    tiles = _tiles((r1 - r0, c1 - c0), tile, symmetric)
    identity = f"{store.fingerprint} {engine_name} tile {tile}{common_windows.description(chosen)}"

    partial = store.directory / "partial" / f"{i}-{j}.npy"
    with _locked(partial.with_suffix(".lock"), f"block {i}-{j} of {store.directory}"):
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
                    if not np.isfinite(entries).all():
                        raise UserError(
                            f"block {i}-{j} of {store.directory}: the kernel of rows {r0 + r} to "
                            f"{r0 + r + entries.shape[0]} and columns {c0 + c} to {c0 + c + entries.shape[1]} is "
                            "not finite; expected features whose covariances a float can hold"
                        )
                    block[r : r + entries.shape[0], c : c + entries.shape[1]] = entries
                    seconds = seconds_before + time.monotonic() - started
                    record.write(f"{r} {c} {_checksum(entries)} {seconds:.3f}\n")
                    bar.update()
        bar.close()
        record.close()
        if symmetric:
            _mirror(block)
        facts = {
            "engine": engine_name,
            "seconds": round(seconds_before + time.monotonic() - started, 3),
            "tiles": len(tiles),
            "tile": tile,
            "version": __version__,
        }
        write_block(store, i, j, block, facts)
        partial.unlink()
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


def default_tile(architecture: Architecture, input_shape: tuple[int, ...]) -> int:
    """Edge of a tile that takes seconds to a minute, whatever the architecture costs: a power of two."""
    pairs = 2**30 // covariance_entries(architecture, input_shape)
    return int(min(max(2 ** (pairs.bit_length() // 2), 16), 2048))


def _by(tiles: list[Tile], key: Callable[[Tile], int]) -> Iterator[tuple[int, list[Tile]]]:
    for value, group in itertools.groupby(sorted(tiles, key=lambda t: (key(t), t)), key):
        yield value, list(group)


def _tiles(shape: tuple[int, int], edge: int, upper: bool) -> list[Tile]:
    return [(r, c) for r in range(0, shape[0], edge) for c in range(r if upper else 0, shape[1], edge)]


def _mirror(block: np.ndarray, strip: int = 1024) -> None:
    """Copy the upper triangle to the lower one, strip by strip: a block may be larger than memory."""
    n = block.shape[0]
    for first in range(0, n, strip):
        last = min(first + strip, n)
        block[last:, first:last] = block[first:last, last:].T
        corner = np.triu(block[first:last, first:last])
        block[first:last, first:last] = corner + np.triu(corner, 1).T


def _open_partial(
    partial: Path, store: KernelStore, shape: tuple[int, int], identity: str, tile: int
) -> tuple[np.memmap, set[Tile], float]:
    """The partial block, the tiles in it, and the seconds they took."""
    record = partial.with_suffix(".tiles")
    if partial.exists() and record.exists():
        identity_line, *lines = record.read_text().split("\n")
        if identity_line == identity:
            # An earlier version may have made it without.
            disk.reserve(partial, partial.stat().st_size)
            block = np.lib.format.open_memmap(partial, mode="r+")
            if block.shape == shape and block.dtype == store.dtype:
                # A kill can cut the last line short: what follows the last newline is not used.
                sound = _sound_tiles(block, lines[:-1], tile)
                record.write_text("\n".join([identity, *sound.values()]) + "\n")
                seconds = [float(line.split()[3]) for line in sound.values()]
                return block, set(sound), max(seconds, default=0.0)
        log.info("%s belongs to another kernel, engine or tile size: started afresh", partial)
    partial.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    block = disk.new_array(partial, shape, store.dtype)
    record.write_text(identity + "\n")
    return block, set(), 0.0


def _sound_tiles(block: np.ndarray, lines: list[str], tile: int) -> dict[Tile, str]:
    """The tiles whose data is as it was when their line of the record was written."""
    sound = {}
    for line in lines:
        r, c, checksum, _ = line.split()
        if _checksum(block[int(r) : int(r) + tile, int(c) : int(c) + tile]) == int(checksum):
            sound[int(r), int(c)] = line
    return sound


def _checksum(entries: np.ndarray) -> int:
    return zlib.crc32(entries.tobytes())


@contextlib.contextmanager
def _locked(path: Path, what: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{what} is being computed by another process (lock {path})") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            log.warning("this file system has no locks: nothing guards %s against a second job", what)
        if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
            raise UserError(f"{what} was just computed by another process")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
