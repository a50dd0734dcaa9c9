"""The kernel rows of new inputs, and what follows from them, a chunk of inputs at a time.

What is finished is kept in a folder beside the output, ``<output>.partial``, where the same command goes on after
a kill; the folder is removed once the output is there:

    job.json                what is computed: files of another job are never used
    inputs.npy              features of the new inputs, written anew by every run
    known.json, space/      where variances come from a Krylov space (``many_variances``)
    chunks/<first>/         store of one block, a chunk's inputs against the training examples; tile by tile
    chunks/<first>.npz      mean, explained variance and nearest training examples of the chunk, whose block is then
                            deleted
    chunks/<first>.json     says that the chunk is finished, of which job it is, and the checksums of its files
    chunks/<first>/solved-<group>.npy, own/     where samples are drawn: (K + shift I)^-1 times the chunk's rows,
                                                and the kernel among the new inputs
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import engines
from neural_kernels.architectures import Architecture
from neural_kernels.blocks import Grid, KernelStore, declare_store, read_block, stored_diagonal
from neural_kernels.blocks import computation as block_computation
from neural_kernels.blocks.cross_product import predict
from neural_kernels.engines import Kind, Precision
from neural_kernels.errors import UserError
from neural_kernels.graphs import Examples
from neural_kernels.prediction import posterior
from neural_kernels.prediction.likeness import most_alike
from neural_kernels.progress import progress
from neural_kernels.solvers.quadratic_forms import Forms
from neural_kernels.storage import checksums
from neural_kernels.storage.files import (
    damaged,
    read_json,
    read_json_if_sound,
    write_atomically,
    write_json,
    write_npy,
)
from neural_kernels.triangles import mirror_upper

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrossKernel:
    """How kernel entries between new inputs and training examples are computed.

    Attributes:
        description: of the training kernel, as in its kernel.json.
        stored: the training kernel, some blocks of which may be missing.
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
    stored: KernelStore
    train: Examples
    inputs: Examples
    inputs_hash: str


@dataclass(frozen=True)
class Group:
    """Tasks with the same labelled examples, which share the uncertainty of their predictions up to a factor.

    Attributes:
        known: (n,) bool, the labelled examples.
        solve: (labelled, k) to (K + shift I)^-1 of it, and the relative residuals (k,), None where it is direct.
        forms: (labelled, k) to what the data explain of k inputs, in place of ``solve``; None where each is solved for.
    """

    known: np.ndarray
    solve: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
    forms: Callable[[np.ndarray], Forms] | None = None


@dataclass(frozen=True)
class Predicted:
    """What was found for m new inputs, before amplitudes and in the units of the targets.

    Attributes:
        mean: (m, C) posterior mean.
        prior: (m,) k(x, x).
        explained: (m, groups), see ``posterior.explained``; as many groups as were given.
        least, most: (m, groups), between which it lies for 95 % of the inputs where it comes from ``Group.forms``.
        residuals: (m,) relative residual of an input's iterative solve, 0 where it is direct or there was none.
        nearest: (m,) place of the training example that the kernel finds most alike.
        likeness: (m,) their correlation.
    """

    mean: np.ndarray
    prior: np.ndarray
    explained: np.ndarray
    least: np.ndarray
    most: np.ndarray
    residuals: np.ndarray
    nearest: np.ndarray
    likeness: np.ndarray


PREDICTED = tuple(field.name for field in fields(Predicted))

STRIP_BYTES = 2**26
"""Of kernel rows in float64 in which the nearest training examples are looked for at a time, or one row."""


def fingerprint(identity: Mapping[str, Any]) -> str:
    """SHA-256 of plain JSON data."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def open_job(folder: Path, identity: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Begin a job in ``folder``, or go on with the same one; returns its fingerprint.

    Files that are there without a whole ``job.json`` are used only where they say themselves that they are of this job.

    Args:
        identity: plain JSON data, everything that the files in the folder depend on.
        asked: with ``identity``, everything that the output depends on.

    Raises:
        UserError: the folder holds another job, or something else.
    """
    record, own = folder / JOB, fingerprint(identity)
    found = read_job(folder)
    if found is not None and found.get("fingerprint") != own:
        raise UserError(
            f"{folder} holds unfinished predictions of other inputs, another solution or other options: finish them "
            "by their command, remove the folder, or give another output"
        )
    foreign = [path.name for path in folder.glob("*") if not path.name.startswith((".", *NAMES))]
    if foreign:
        raise UserError(f"{folder} holds {foreign[0]}, expected a folder of unfinished predictions or none")
    output = fingerprint({"identity": identity, "asked": asked})
    write_json(record, {"fingerprint": own, "output": output, "identity": identity})
    return own


OWN_EDGE = 2048
"""Rows in a block of the kernel among the new inputs, at most."""


JOB = "job.json"
NAMES = (JOB, "inputs.", "chunks", "own", "known.json", "space")
"""How the names in a job's folder begin."""


def under_way(folder: Path) -> str | None:
    """The fingerprint of identity and options of a job that is in ``folder``, None where there is none."""
    found = read_job(folder)
    return None if found is None else found.get("output")


def read_job(folder: Path) -> dict[str, Any] | None:
    """What ``open_job`` wrote into ``folder``, None where it is missing, or was damaged and has been set aside."""
    return read_json_if_sound(folder / JOB)


def compute(
    folder: Path,
    job: str,
    kernel: CrossKernel,
    coefficients: np.ndarray,
    groups: Sequence[Group],
    rows: int,
    keep: bool = False,
) -> Predicted:
    """Everything of ``Predicted`` for all inputs; chunks that an earlier run finished are read.

    Args:
        job: its fingerprint, of ``open_job``.
        coefficients: (n, C) float64 dual coefficients.
        groups: of the tasks whose variance is asked for; none for the mean alone.
        rows: inputs in a chunk.
        keep: leave what ``joint_covariance`` needs.
    """
    count = len(kernel.inputs)
    chunks = [(first, min(first + rows, count)) for first in range(0, count, rows)]
    left = [chunk for chunk in chunks if not _is_finished(folder, job, kernel, chunk[0], keep)]
    theirs = _training_variances(kernel) if left else np.empty(0)
    with progress(total=sum(end - first for first, end in left), description="predicting") as bar:
        for first, end in left:
            _finish(folder, job, kernel, (first, end), coefficients, groups, keep, theirs)
            bar.update(end - first)
    parts = [_load(folder, first) for first, _ in chunks]
    return Predicted(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def joint_covariance(
    folder: Path, kernel: CrossKernel, group: int, known: np.ndarray, rows: int, memory: int
) -> np.ndarray:
    """K(x, x') - k_x^T (K + shift I)^-1 k_x' between all inputs, (m, m) float64, symmetric.

    Arguments as of ``compute``, which was called with ``keep``; ``known`` is the mask of group number ``group``, and
    ``memory`` the bytes that may be taken beside three matrices of the result's size.
    """
    count = len(kernel.inputs)
    covariance = _own_kernel(folder, kernel)
    chunks = [(first, min(first + rows, count)) for first in range(0, count, rows)]
    # Each chunk's kernel rows are read once for every panel of solved chunks that is held.
    held = max(1, memory // (2 * 8 * len(kernel.train) * rows))
    panels = [chunks[first : first + held] for first in range(0, len(chunks), held)]
    total = sum(1 for panel in panels for chunk in chunks if chunk[0] <= panel[-1][0])
    with progress(total=total, description="joint covariance") as bar:
        for panel in panels:
            solved = [_load_solved(folder, first, group) for first, _ in panel]
            for here in chunks[: chunks.index(panel[-1]) + 1]:
                cross = _cross(folder, kernel, here)[:, known]
                for there, right in zip(panel, solved, strict=True):
                    if there >= here:
                        covariance[slice(*here), slice(*there)] -= cross @ right
                bar.update(1)
    for here in chunks:
        block = covariance[slice(*here), slice(*here)]
        block[:] = (block + block.T) / 2
    mirror_upper(covariance)
    return covariance


def _own_kernel(folder: Path, kernel: CrossKernel) -> np.ndarray:
    """K between all inputs, (m, m) float64."""
    count = len(kernel.inputs)
    # Halves at most: a block and its copies are not to take more than the covariance itself.
    grid = Grid(count, count, min(-(-count // 2), OWN_EDGE), symmetric=True)
    store = _declare(folder / "own", grid, kernel, {"columns": "inputs"})
    own = np.empty((count, count))
    wanted = [(i, j) for j in range(grid.block_columns) for i in range(j + 1)]
    for i, j in progress(wanted, total=len(wanted), description="kernel of the inputs"):
        _compute_block(store, i, j, kernel, kernel.inputs, kernel.inputs)
        own[slice(*grid.row_range(i)), slice(*grid.column_range(j))] = read_block(store, i, j)
    mirror_upper(own)
    return own


def close_job(folder: Path) -> None:
    """Remove a folder that ``open_job`` began."""
    shutil.rmtree(folder)


def _finish(
    folder: Path,
    job: str,
    kernel: CrossKernel,
    chunk: tuple[int, int],
    coefficients: np.ndarray,
    groups: Sequence[Group],
    keep: bool,
    theirs: np.ndarray,
) -> None:
    """Compute one chunk; write its .npz and, last, its .json. ``theirs``: k(x, x) of the training examples."""
    first, end = chunk
    _record_path(folder, first).unlink(missing_ok=True)
    files = [_chunk_path(folder, first)]
    store = _chunk_store(folder, kernel, chunk)
    _compute_block(store, 0, 0, kernel, kernel.inputs[first:end], kernel.train)
    (mean,) = predict(store, end - first, [(0, len(coefficients))], [coefficients])
    value, least, most = np.zeros((3, end - first, len(groups)))
    residuals = np.zeros(end - first)
    prior = _variances(kernel, kernel.inputs[first:end])
    cross = read_block(store, 0, 0)
    nearest, likeness = _nearest(cross, prior, theirs)
    if groups:
        cross = cross.astype(np.float64, copy=False)
        for number, group in enumerate(groups):
            if not group.known.any():
                continue
            known = cross if group.known.all() else cross[:, group.known]
            if group.forms is not None:
                value[:, number], least[:, number], most[:, number] = group.forms(
                    np.ascontiguousarray(known.T)
                )
                continue
            solved, relative = group.solve(np.ascontiguousarray(known.T))
            explained = posterior.explained(known, solved)
            value[:, number], least[:, number], most[:, number] = explained, explained, explained
            if relative is not None:
                residuals = np.maximum(residuals, relative)
            if keep:
                files.append(_solved_path(folder, first, number))
                write_npy(files[-1], solved)
    arrays = {"mean": mean, "prior": prior, "explained": value, "least": least, "most": most}
    arrays |= {"residuals": residuals, "nearest": nearest, "likeness": likeness}
    write_atomically(files[0], lambda file: np.savez(file, allow_pickle=False, **arrays))
    sums = {str(path.relative_to(folder / "chunks")): checksums.of_file(path) for path in files}
    facts = {"job": job, "inputs": kernel.inputs_hash, "arrays": list(PREDICTED), "files": sums}
    write_json(_record_path(folder, first), facts)
    if not keep:
        shutil.rmtree(store.directory)


def _variances(kernel: CrossKernel, x: Examples) -> np.ndarray:
    """k(x, x) of each example, (m,) float64."""
    return engines.variances(
        kernel.architecture, x, kind=kernel.kind, engine=kernel.engine, precision=kernel.precision
    ).astype(np.float64)


def _training_variances(kernel: CrossKernel) -> np.ndarray:
    """k(x, x) of each training example, (n,) float64."""
    # An engine takes several entries for each, which would cost a few inputs more than themselves.
    stored = stored_diagonal(kernel.stored, len(kernel.train))
    return _variances(kernel, kernel.train) if stored is None else stored


def _nearest(cross: np.ndarray, own: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As ``likeness.most_alike``, of which few rows are copied at a time."""
    places, likeness = np.empty(len(cross), np.int64), np.empty(len(cross))
    rows = max(1, STRIP_BYTES // (8 * cross.shape[1]))
    for first in range(0, len(cross), rows):
        strip = slice(first, first + rows)
        places[strip], likeness[strip] = most_alike(cross[strip], own[strip], theirs)
    return places, likeness


def _is_finished(folder: Path, job: str, kernel: CrossKernel, first: int, keep: bool) -> bool:
    """Whether an earlier run left this chunk of the same job whole."""
    chunks = folder / "chunks"
    facts = read_json_if_sound(_record_path(folder, first))
    if facts is None or (facts["job"], facts["inputs"]) != (job, kernel.inputs_hash):
        return False
    if facts.get("arrays") != list(PREDICTED):  # of another version, which kept less
        return False
    for name, checksum in facts["files"].items():
        if not (chunks / name).exists() or checksums.of_file(chunks / name) != checksum:
            log.warning("%s is missing or damaged: its chunk is computed again", chunks / name)
            return False
    return not keep or (chunks / str(first) / "blocks" / "0-0.npy").exists()


def _load(folder: Path, first: int) -> tuple[np.ndarray, ...]:
    path = _chunk_path(folder, first)
    _check(folder, first, path)
    with np.load(path, allow_pickle=False) as arrays:
        return tuple(arrays[name] for name in PREDICTED)


def _load_solved(folder: Path, first: int, group: int) -> np.ndarray:
    path = _solved_path(folder, first, group)
    _check(folder, first, path)
    return np.load(path, allow_pickle=False)


def _check(folder: Path, first: int, path: Path) -> None:
    """Raise DamagedFile where a file of a finished chunk is not what it was."""
    record = _record_path(folder, first)
    name = str(path.relative_to(folder / "chunks"))
    if checksums.of_file(path) != read_json(record)["files"].get(name):
        raise damaged(path, f"is damaged: its checksum is not that in {record.name}", record)


def _record_path(folder: Path, first: int) -> Path:
    return folder / "chunks" / f"{first}.json"


def _chunk_path(folder: Path, first: int) -> Path:
    return folder / "chunks" / f"{first}.npz"


def _solved_path(folder: Path, first: int, group: int) -> Path:
    return folder / "chunks" / str(first) / f"solved-{group}.npy"


def _chunk_store(folder: Path, kernel: CrossKernel, chunk: tuple[int, int]) -> KernelStore:
    """A store of one block: the inputs of the chunk against all training examples."""
    rows, columns = chunk[1] - chunk[0], len(kernel.train)
    grid = Grid(rows, columns, max(rows, columns), symmetric=False)
    about_columns = {"columns": kernel.description["columns"], "first": chunk[0]}
    return _declare(folder / "chunks" / str(chunk[0]), grid, kernel, about_columns)


def _declare(directory: Path, grid: Grid, kernel: CrossKernel, about_columns: dict[str, Any]) -> KernelStore:
    """The store in ``directory``; blocks of another kernel there, or of features with other bits, are removed."""
    description = _description(kernel, about_columns)
    try:
        return declare_store(directory, grid, kernel.precision, description)
    except UserError as error:
        log.warning("%s is begun anew: %s", directory, error)
        shutil.rmtree(directory)
        return declare_store(directory, grid, kernel.precision, description)


def _description(kernel: CrossKernel, columns: dict[str, Any]) -> dict[str, Any]:
    return kernel.description | {"rows": {"part": "inputs", "hash": kernel.inputs_hash}} | columns


def _cross(folder: Path, kernel: CrossKernel, chunk: tuple[int, int]) -> np.ndarray:
    return read_block(_chunk_store(folder, kernel, chunk), 0, 0).astype(np.float64, copy=False)


def _compute_block(
    store: KernelStore, i: int, j: int, kernel: CrossKernel, rows: Examples, columns: Examples
) -> None:
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
