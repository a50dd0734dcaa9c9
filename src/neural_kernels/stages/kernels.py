"""From features to blocks of kernels: the stages of the rules declare_kernel and compute_block.

A study starts some ten thousand of these, most of them blocks: solvers, tables and plots are imported by the stages
after these alone, since pandas alone would double the time that one takes to start, and what few of these need is
imported there.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import blocks, engines, sealed_arrays
from neural_kernels.architectures import is_flip_symmetric
from neural_kernels.blocks import Grid, KernelStore, kernel_features
from neural_kernels.blocks import computation as block_computation
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.machine.threads import thread_limit
from neural_kernels.progress import progress
from neural_kernels.sealed_arrays import SealedFolder
from neural_kernels.study.folders import features_folder, open_features_folder, store_folder
from neural_kernels.study.study import Kernel, Study, check_owner, kernel_named

log = logging.getLogger(__name__)


def declare_kernel(study: Study, results: Path, kernel_name: str, part: str) -> KernelStore:
    """Write ``kernel.json`` of one part: the training kernel, or a test set's rows against it.

    Raises:
        UserError: blocks of another kernel are there already, or the disk cannot hold the study.
    """
    from neural_kernels.planning.costs import check_disk

    check_owner(study)
    kernel = kernel_named(study, kernel_name)
    folder = open_features_folder(study, results, kernel)
    features = folder.summary
    check_disk(study, features["input_shape"], features["outputs"], results)
    if part not in features["parts"]:
        raise UserError(
            f"study {study.name} has no part {part!r}, expected one of {', '.join(features['parts'])}"
        )
    rows, columns = features["parts"][part], features["parts"]["train"]
    directory = store_folder(study, results, kernel_name, part)
    known = kernel_features.recognized(directory, part, folder)
    description: dict[str, Any] = {
        "architecture": kernel.architecture.describe(),
        "architecture_name": kernel.architecture.name,
        "kind": kernel.kind,
        "rows": {"part": part, "hash": known.sides["rows"].hash},
        "columns": {"part": "train", "hash": known.sides["columns"].hash},
    }
    if kernel.imported is not None:
        description["first_row"] = _first_row(kernel, folder, part)
    grid = Grid(rows, columns, study.block_edge(kernel_name), symmetric=part == "train")
    store = blocks.declare_store(directory, grid, study.precision, description)
    kernel_features.keep(store, part, folder, known)
    return store


def compute_block(
    study: Study,
    results: Path,
    kernel_name: str,
    part: str,
    block: tuple[int, int],
    threads: int | None,
    force: bool = False,
    require_accelerator: bool = False,
) -> None:
    """Compute one block; tiles, and a whole block, that an earlier run finished are kept.

    Args:
        force: compute a block that is there whole again, too.
        require_accelerator: refuse to compute on the processor, where it would take days that nobody asked for.
    """
    check_owner(study)
    kernel = kernel_named(study, kernel_name)
    store = blocks.open_store(store_folder(study, results, kernel_name, part))
    i, j = block
    if not (0 <= i < store.grid.block_rows and 0 <= j < store.grid.block_columns):
        shape = f"{store.grid.block_rows} x {store.grid.block_columns}"
        raise UserError(f"block {i}-{j} is outside the {shape} blocks of {store.directory}")
    if store.grid.symmetric and i > j:
        raise UserError(f"block {i}-{j} is below the diagonal of a symmetric kernel: ask for {j}-{i}")
    if store.description["architecture"] != json.loads(json.dumps(kernel.architecture.describe())):
        raise UserError(f"{store.directory}/kernel.json describes another architecture than the config")
    # A finished block needs no features, which may have been deleted since to make room.
    if not force and block_computation.adopt(store, i, j):
        return
    features = open_features_folder(study, results, kernel)
    flipped_images = kernel_features.check(store, part, features)
    if kernel.imported is not None:
        from neural_kernels.blocks import importing
        from neural_kernels.blocks.kernel_files import open_kernel

        if store.description["first_row"] != _first_row(kernel, features, part):
            raise UserError(
                f"{kernel.imported} holds another kernel than {store.directory} was declared with, expected the same"
            )
        rows, columns = (
            _source_rows(features, name, span)
            for name, span in ((part, store.grid.row_range(i)), ("train", store.grid.column_range(j)))
        )
        importing.import_block(store, i, j, open_kernel(kernel.imported, kernel.kind), rows, columns, force)
        return
    if part != "train" or not is_flip_symmetric(kernel.architecture):
        flipped_images = 0
    examples = features.examples(f"{part}.npy", store.grid.row_range(i))
    if require_accelerator:
        engines.check_accelerated(engines.select(study.engine, kernel.architecture, examples.shape[1:])[0])
    with thread_limit(threads):
        block_computation.compute_block(
            store,
            i,
            j,
            kernel.architecture,
            examples,
            features.examples("train.npy", store.grid.column_range(j)),
            kind=kernel.kind,
            engine=study.engine,
            tile=study.blocks.tile,
            flipped_images=flipped_images,
            force=force,
        )


def _first_row(kernel: Kernel, features: SealedFolder, part: str) -> str:
    """What tells the rows of ``part`` in the files of an imported kernel from those of another one."""
    from neural_kernels.blocks import importing
    from neural_kernels.blocks.kernel_files import open_kernel

    assert kernel.imported is not None
    source = open_kernel(kernel.imported, kernel.kind)
    row = int(_source_rows(features, part, (0, 1))[0])
    return importing.first_row(source, row, features.summary["parts"]["train"])


def _source_rows(features: SealedFolder, part: str, span: tuple[int, int]) -> np.ndarray:
    """(n,) which rows of an imported kernel some examples of ``part`` are: the one feature that these have."""
    return np.asarray(features.examples(f"{part}.npy", span)[slice(*span)]).reshape(-1)


def verify_blocks(study: Study, results: Path, kernel_name: str, part: str, seal: bool = False) -> None:
    """Read every block that is there whole, and the features and targets behind them; name what cannot be used.

    That is set aside.

    Args:
        seal: write checksums for blocks of a version that wrote none, as they are now.

    Raises:
        UserError: some blocks, features or targets cannot be used.
    """
    kernel = kernel_named(study, kernel_name)
    store = blocks.open_store(store_folder(study, results, kernel_name, part))
    every = list(store.grid.blocks())
    present = [block for block in every if store.block_path(*block).exists()]
    faults = []
    for i, j in progress(present, total=len(present), description="verifying blocks"):
        if seal and blocks.is_of_an_earlier_version(store, i, j):
            blocks.seal_block(store, i, j)
        fault = blocks.content_fault(store, i, j)
        if fault is not None:
            faults.append((i, j, f"{store.block_path(i, j)} {fault}"))
    damaged_features = _damaged_features(store, features_folder(study, results, kernel))
    if damaged_features is not None and faults:
        log.error("%s", damaged_features)
    blocks.raise_faults(store, faults)
    if damaged_features is not None:
        raise damaged_features
    log.info("%s: %d blocks of %d present, all sound, and so are the features and targets that are there",
             store.directory, len(present), len(every))  # fmt: skip


def _damaged_features(store: KernelStore, folder: Path) -> DamagedFile | None:
    """What is wrong with a file of features or targets, or of what the store keeps of them, every one read."""
    summaries = (folder / "features.json", kernel_features.file(store.directory))
    try:
        sealed = [sealed_arrays.open_folder(summary) for summary in summaries if summary.exists()]
        total = sum(part.strip_count(name) for part in sealed for name in part.names())
        steps = (step for part in sealed for name in part.names() for step in part.checking(name))
        for _ in progress(steps, total=total, description="verifying features"):
            pass
    except DamagedFile as error:
        return error
    return None
