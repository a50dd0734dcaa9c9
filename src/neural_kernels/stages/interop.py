"""Kernels of other programs, and ours for them: the verbs import-blocks, export and compare-kernels."""

from __future__ import annotations

import logging
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from neural_kernels import blocks
from neural_kernels.blocks import KernelStore, importing
from neural_kernels.blocks.comparison import Difference, compare
from neural_kernels.blocks.kernel_files import KernelFiles, open_kernel
from neural_kernels.datasets import labels as labels_of_rows
from neural_kernels.datasets.options import LABELS as LABELS_ALONE
from neural_kernels.errors import UserError
from neural_kernels.planning import costs as planning
from neural_kernels.progress import progress
from neural_kernels.stages.check import check_study
from neural_kernels.stages.data import prepare_data, preprocess_data
from neural_kernels.stages.kernels import compute_block, declare_kernel
from neural_kernels.storage import disk
from neural_kernels.storage.files import flush_folder, write_atomically, write_npy
from neural_kernels.storage.large_arrays import atomic_array
from neural_kernels.study import config_files
from neural_kernels.study.folders import store_folder
from neural_kernels.study.study import Study, kernel_named, load_study

log = logging.getLogger(__name__)

ROWS = "rows"
"""The preprocessing of examples that are rows of a kernel: none."""

LABELS = "labels.npy"
EDGE = 5000
"""Of the blocks that one array is cut into."""


def import_blocks(
    path: Path,
    results: Path,
    kernel: str,
    source: Path,
    labels: Path | None,
    kind: str,
    validation: int,
    test: int,
) -> None:
    """Make a study of another program's kernel: the file ``path`` and, below ``results``, its blocks and targets.

    Everything is checked before anything is written. What a killed import left is completed by the same command, or by
    the workflow.

    Args:
        path: the study to write, config/<study>.yaml.
        kernel: its name in the study.
        source: a folder of blocks or one array: rows of training, then validation, then test examples.
        labels: .npy file of the labels of all rows; ``labels.npy`` beside the blocks where it is None.
        validation, test: examples at the end; those before them are the training set.

    Raises:
        UserError: a study of that name is there; blocks, labels and sizes that do not fit together; or entries that no
            kernel has (``blocks.importing.check_kernel``).
    """
    if config_files.kind(path) != "study":
        raise UserError(f"{path}: expected a study, config/<study>.yaml, to write")
    found = open_kernel(source, kind)
    labels = (source if source.is_dir() else source.parent) / LABELS if labels is None else labels
    train = _training_examples(found, labels, validation, test)
    text = _config(path, found, kernel, kind, labels, (train, validation, test))
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name
        draft.write_text(text)
        study = load_study(draft)
    _check_free(path, results, study, text)
    check_study(study, results)
    asymmetry = importing.check_kernel(found, train)
    log.info("%s: %d examples, as a kernel has them; at most %.1e apart on both sides of the diagonal",
             source, found.examples, asymmetry)  # fmt: skip
    write_atomically(path, lambda file: file.write(text.encode()))
    study = load_study(path)
    prepare_data(study, results)
    preprocess_data(study, results, ROWS)
    stores = {
        part: declare_kernel(study, results, kernel, part) for part, size in study.part_sizes.items() if size
    }
    todo = [(part, block) for part, store in stores.items() for block in store.grid.blocks()]
    for part, block in progress(todo, total=len(todo), description="importing blocks"):
        compute_block(study, results, kernel, part, block, threads=None)
    log.info("%s: %d blocks; snakemake --profile default results/%s_scaling.pdf goes on from them",
             path, len(todo), study.name)  # fmt: skip


def _training_examples(source: KernelFiles, labels: Path, validation: int, test: int) -> int:
    """Examples that validation and test sets leave."""
    if not labels.is_file():
        raise UserError(
            f"{labels}: no such file, expected the labels of the {source.examples} rows (--labels)"
        )
    found = len(labels_of_rows.read(labels))
    if found != source.examples:
        raise UserError(
            f"{labels}: found {found} labels, expected one for each of the {source.examples} rows of {source.path}"
        )
    train = source.examples - validation - test
    if train < 2:
        raise UserError(
            f"--validation {validation} and --test {test} leave {train} training examples of the {source.examples} "
            f"rows of {source.path}, expected at least 2"
        )
    return train


def _config(
    path: Path, source: KernelFiles, kernel: str, kind: str, labels: Path, sizes: tuple[int, int, int]
) -> str:
    """The text of the study's file."""
    train, validation, test = sizes
    one_array = len(source.files) == 1
    study: dict[str, Any] = {
        "title": f"{kernel}, imported",
        "data": {
            "name": LABELS_ALONE,
            "path": str(labels),
            "train_examples": train,
            "validation_examples": validation,
            "test_sets": {"test": {"examples": test}},
        },
        "preprocessing": {ROWS: {"method": "none"}},
        "kernels": {kernel: {"imported": str(source.path), "kind": kind, "preprocessing": ROWS}},
        "precision": source.dtype.name,
        "blocks": {"edge": min(EDGE, source.examples) if one_array else source.grid.edge},
        "training_sizes": {"smallest": min(16, train)},
    }
    if not validation:
        study["ridge"] = {"choose_by": "loo"}
    target = f"#     snakemake --profile default results/{path.stem}_scaling.pdf"
    head = (
        f"# A kernel that another program computed, written by neural-kernels import-blocks.\n#\n{target}\n"
    )
    return head + yaml.safe_dump(study, sort_keys=False, allow_unicode=True)


def _check_free(path: Path, results: Path, study: Study, text: str) -> None:
    """Refuse a name that is taken by anything but the same import."""
    if os.path.lexists(path):
        if path.is_file() and path.read_bytes() == text.encode():
            return
        raise UserError(f"{path} is there already, expected the name of a study that is not")
    folder = results / study.name
    if folder.exists():
        raise UserError(f"{folder} is there already, expected the name of a study without results")


def export_kernel(study: Study, results: Path, kernel_name: str, part: str, output: Path) -> None:
    """Write the kernel matrix of one part for another program: ``<kind>-<i>-<j>.npy`` in a new folder, or one array.

    Args:
        output: an array where it ends in .npy, else a folder. Of the training kernel, an array has both triangles, a
            folder the blocks with i <= j.

    Raises:
        UserError: something is at ``output``, blocks are missing or damaged, or the disk has no room.
    """
    kernel = kernel_named(study, kernel_name)
    if part not in study.part_sizes:
        known = ", ".join(study.part_sizes)
        raise UserError(f"study {study.name} has no part {part!r}, expected one of {known}")
    store = blocks.open_store(store_folder(study, results, kernel_name, part))
    if os.path.lexists(output):
        raise UserError(f"{output} is there already, expected a place where nothing is")
    disk.check_folder("--output", output.parent, writes=True)
    every = list(store.grid.blocks())
    blocks.set_aside_faulty(store, every)
    whole = output.suffix == ".npy"
    shapes = (
        [(store.grid.rows, store.grid.columns)] if whole else [store.grid.shape(*block) for block in every]
    )
    planning.check_room(
        output.parent, store.dtype.itemsize * sum(map(math.prod, shapes)), "the kernel's entries"
    )
    if whole:
        _export_array(store, output)
    else:
        _export_folder(store, output, kernel.kind)
    log.info("%s: kernel %s, %s, %d x %d", output, kernel_name, part, store.grid.rows, store.grid.columns)


def _export_array(store: KernelStore, output: Path) -> None:
    grid = store.grid
    every = list(grid.blocks())
    with atomic_array(output, (grid.rows, grid.columns), store.dtype) as array:
        for i, j in progress(every, total=len(every), description=f"writing {output.name}"):
            block = blocks.read_block(store, i, j)
            rows, columns = slice(*grid.row_range(i)), slice(*grid.column_range(j))
            array[rows, columns] = block
            if grid.symmetric and i != j:
                array[columns, rows] = block.T


def _export_folder(store: KernelStore, output: Path, kind: str) -> None:
    temporary = output.with_name(f".{output.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    every = list(store.grid.blocks())
    try:
        temporary.mkdir(parents=True)
        for i, j in progress(every, total=len(every), description=f"writing {output.name}"):
            write_npy(temporary / f"{kind}-{i}-{j}.npy", blocks.read_block(store, i, j))
        temporary.rename(output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_folder(output.parent)


def compare_kernels(one: Path, results: Path, other: Path) -> str:
    """How far two kernels are from each other, as text: stores, folders of blocks or arrays.

    Raises:
        UserError: see ``open_kernel`` and ``compare``.
    """
    found = compare(open_kernel(one), open_kernel(other))
    rows, columns = found.shape

    def said(what: str, largest: Difference) -> str:
        if largest.value == 0:
            return f"largest {what} difference: 0"
        (i, j), (a, b) = largest.place, largest.entries
        return f"largest {what} difference: {largest.value:.3g}, at ({i}, {j}): {a:.9g} and {b:.9g}"

    correlation = "none, of a constant" if np.isnan(found.correlation) else f"{found.correlation:.12f}"
    return "\n".join([
        f"{one} and {other}: {rows} x {columns}, {found.entries:,} entries compared",
        said("absolute", found.absolute),
        said("relative", found.relative),
        f"correlation of the entries: {correlation}",
    ])  # fmt: skip
