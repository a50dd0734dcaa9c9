"""Blocks that appear whole or not at all, and that are kept where Snakemake does not look."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.blocks.inspection import _entries_fault, _set_aside, content_fault
from neural_kernels.blocks.store import KernelStore
from neural_kernels.storage.checksums import Strips
from neural_kernels.storage.files import (
    flush_folder,
    write_json,
    write_npy,
)

log = logging.getLogger(__name__)


NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)
"""What a file system answers that has no hard links."""


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
