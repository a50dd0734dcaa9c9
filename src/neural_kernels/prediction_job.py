"""The kernel rows of new inputs, and what follows from them, a chunk of inputs at a time.

What is finished is kept in a folder beside the output, ``<output>.partial``, where the same command goes on after
a kill; the folder is removed once the output is there:

    job.json                what is computed: files of another job are never used
    inputs.npy              features of the new inputs
    chunks/<first>/         store of one block, a chunk's inputs against the training examples; tile by tile
    chunks/<first>.npz      mean and explained variance of the chunk, whose block is then deleted
    chunks/<first>/solved-<group>.npy, own/     where samples are drawn: (K + shift I)^-1 times the chunk's rows,
                                                and the kernel among the new inputs
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import block_computation, engines, posterior
from neural_kernels.architectures import Architecture
from neural_kernels.blocks import Grid, KernelStore, declare_store, read_block
from neural_kernels.engines import Kind, Precision
from neural_kernels.errors import UserError
from neural_kernels.files import read_json, write_atomically, write_json, write_npy
from neural_kernels.graphs import Examples
from neural_kernels.prediction import predict
from neural_kernels.progress import progress


@dataclass(frozen=True)
class CrossKernel:
    """How kernel entries between new inputs and training examples are computed.

    Attributes:
        description: of the training kernel, as in its kernel.json.
        train: features of the training examples that were solved with.
        inputs: features of the new inputs.
        inputs_hash: of these features.
    """

    architecture: Architecture
    kind: Kind
    engine: str
    precision: Precision
    tile: int | None
    description: dict[str, Any]
    train: Examples
    inputs: Examples
    inputs_hash: str


@dataclass(frozen=True)
class Group:
    """Tasks with the same labelled examples, which share the uncertainty of their predictions up to a factor.

    Attributes:
        known: (n,) bool, the labelled examples.
        solve: (labelled, k) to (K + shift I)^-1 of it, and the relative residuals (k,), None where it is direct.
    """

    known: np.ndarray
    solve: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Predicted:
    """What was found for m new inputs, before amplitudes and in the units of the targets.

    Attributes:
        mean: (m, C) posterior mean.
        prior: (m,) k(x, x), or empty where no variance was asked for.
        explained: (m, groups), see ``posterior.explained``; as many groups as were given.
        residuals: (m,) relative residual of an input's iterative solve, 0 where it is direct.
    """

    mean: np.ndarray
    prior: np.ndarray
    explained: np.ndarray
    residuals: np.ndarray


def open_job(folder: Path, identity: dict[str, Any]) -> None:
    """Begin a job in ``folder``, or go on with the same one.

    Args:
        identity: plain JSON data, everything that the files in the folder depend on.

    Raises:
        UserError: the folder holds another job, or something else.
    """
    fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    record = folder / "job.json"
    # A kill or a full disk may have come before the record, and then nothing is in the folder but a temporary file.
    begun = folder.exists() and any(not path.name.startswith(".job.json.") for path in folder.iterdir())
    if begun and not (record.exists() and read_json(record).get("fingerprint") == fingerprint):
        raise UserError(
            f"{folder} holds unfinished predictions of other inputs, another solution or other options: finish them "
            "by their command, remove the folder, or give another output"
        )
    write_json(record, {"fingerprint": fingerprint, "identity": identity})


def compute(
    folder: Path,
    kernel: CrossKernel,
    coefficients: np.ndarray,
    groups: Sequence[Group],
    rows: int,
    keep: bool = False,
) -> Predicted:
    """Everything of ``Predicted`` for all inputs; chunks that an earlier run finished are read.

    Args:
        coefficients: (n, C) float64 dual coefficients.
        groups: of the tasks whose variance is asked for; none for the mean alone.
        rows: inputs in a chunk.
        keep: leave what ``joint_covariance`` needs.
    """
    count = len(kernel.inputs)
    chunks = [(first, min(first + rows, count)) for first in range(0, count, rows)]
    paths = [folder / "chunks" / f"{first}.npz" for first, _ in chunks]
    left = [chunk for chunk, path in zip(chunks, paths, strict=True) if not path.exists()]
    with progress(total=sum(end - first for first, end in left), description="predicting") as bar:
        for first, end in left:
            _finish(folder, kernel, (first, end), coefficients, groups, keep)
            bar.update(end - first)
    parts = map(_load, paths)
    return Predicted(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def joint_covariance(
    folder: Path, kernel: CrossKernel, group: int, known: np.ndarray, rows: int
) -> np.ndarray:
    """K(x, x') - k_x^T (K + shift I)^-1 k_x' between all inputs, (m, m) float64, symmetric.

    Arguments as of ``compute``, which was called with ``keep``; ``known`` is the mask of group number ``group``.
    """
    count = len(kernel.inputs)
    grid = Grid(count, count, rows, symmetric=True)
    store = declare_store(folder / "own", grid, kernel.precision, _description(kernel, {"columns": "inputs"}))
    covariance = np.empty((count, count))
    for j in progress(range(grid.block_columns), total=grid.block_columns, description="joint covariance"):
        columns = slice(*grid.column_range(j))
        solved = np.load(_solved_path(folder, columns.start, group), allow_pickle=False)
        for i in range(j + 1):
            _compute_block(store, i, j, kernel, kernel.inputs, kernel.inputs)
            here = slice(*grid.row_range(i))
            block = read_block(store, i, j).astype(np.float64)
            block -= _cross(folder, kernel, (here.start, here.stop))[:, known] @ solved
            covariance[here, columns] = block if i < j else (block + block.T) / 2
            covariance[columns, here] = covariance[here, columns].T
    return covariance


def close_job(folder: Path) -> None:
    """Remove a folder that ``open_job`` began."""
    shutil.rmtree(folder)


def _finish(
    folder: Path,
    kernel: CrossKernel,
    chunk: tuple[int, int],
    coefficients: np.ndarray,
    groups: Sequence[Group],
    keep: bool,
) -> None:
    """Compute one chunk and write its .npz."""
    first, end = chunk
    store = _chunk_store(folder, kernel, chunk)
    _compute_block(store, 0, 0, kernel, kernel.inputs[first:end], kernel.train)
    (mean,) = predict(store, end - first, [(0, len(coefficients))], [coefficients])
    explained, residuals = np.zeros((end - first, len(groups))), np.zeros(end - first)
    prior = np.empty(0)
    if groups:
        cross = read_block(store, 0, 0).astype(np.float64, copy=False)
        prior = engines.variances(
            kernel.architecture,
            kernel.inputs[first:end],
            kind=kernel.kind,
            engine=kernel.engine,
            precision=kernel.precision,
        ).astype(np.float64)
        for number, group in enumerate(groups):
            if not group.known.any():
                continue
            known = cross if group.known.all() else cross[:, group.known]
            solved, relative = group.solve(np.ascontiguousarray(known.T))
            explained[:, number] = posterior.explained(known, solved)
            if relative is not None:
                residuals = np.maximum(residuals, relative)
            if keep:
                write_npy(_solved_path(folder, first, number), solved)
    arrays = {"mean": mean, "prior": prior, "explained": explained, "residuals": residuals}
    write_atomically(
        folder / "chunks" / f"{first}.npz", lambda file: np.savez(file, allow_pickle=False, **arrays)
    )
    if not keep:
        shutil.rmtree(store.directory)


def _load(path: Path) -> tuple[np.ndarray, ...]:
    with np.load(path, allow_pickle=False) as arrays:
        return tuple(arrays[name] for name in ("mean", "prior", "explained", "residuals"))


def _solved_path(folder: Path, first: int, group: int) -> Path:
    return folder / "chunks" / str(first) / f"solved-{group}.npy"


def _chunk_store(folder: Path, kernel: CrossKernel, chunk: tuple[int, int]) -> KernelStore:
    """A store of one block: the inputs of the chunk against all training examples."""
    rows, columns = chunk[1] - chunk[0], len(kernel.train)
    grid = Grid(rows, columns, max(rows, columns), symmetric=False)
    description = _description(kernel, {"columns": kernel.description["columns"], "first": chunk[0]})
    return declare_store(folder / "chunks" / str(chunk[0]), grid, kernel.precision, description)


def _description(kernel: CrossKernel, columns: dict[str, Any]) -> dict[str, Any]:
    return kernel.description | {"rows": {"part": "inputs", "hash": kernel.inputs_hash}} | columns


def _cross(folder: Path, kernel: CrossKernel, chunk: tuple[int, int]) -> np.ndarray:
    return read_block(_chunk_store(folder, kernel, chunk), 0, 0).astype(np.float64, copy=False)


def _compute_block(
    store: KernelStore, i: int, j: int, kernel: CrossKernel, rows: Examples, columns: Examples
) -> None:
    if store.block_path(i, j).exists():
        return
    block_computation.compute_block(
        store,
        i,
        j,
        kernel.architecture,
        rows,
        columns,
        kind=kernel.kind,
        engine=kernel.engine,
        tile=kernel.tile,
    )
