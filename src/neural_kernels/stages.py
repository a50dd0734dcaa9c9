"""The stages of a study up to its kernels, one function each: what a rule of the workflow runs.

A stage reads the files of the stages before it under ``results/<study>`` and writes its own:

    data/                                raw examples in their fixed order
    features/<preprocessing>/            features, targets
    kernels/<kernel>/<part>/             kernel.json, blocks/<i>-<j>.npy

``solution_stages`` and ``approximation_stages`` go on from there. Solvers, tables and plots are imported there
alone: a study starts some ten thousand of these stages, most of them blocks, and pandas alone would double
the time that one takes to start.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from neural_kernels import (
    block_computation,
    blocks,
    datasets,
    engines,
    kernel_features,
    planning,
    preprocessing,
    sealed_arrays,
)
from neural_kernels.blocks import Grid, KernelStore
from neural_kernels.data_fit import check_fit
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.files import read_json
from neural_kernels.flip_symmetry import is_flip_symmetric
from neural_kernels.progress import progress
from neural_kernels.reports.plan import describe
from neural_kernels.sealed_arrays import SealedFolder
from neural_kernels.study import Kernel, Study

log = logging.getLogger(__name__)


# ------------------------------------------------------------------------------------------- paths


def data_folder(study: Study, results: Path) -> Path:
    return results / study.owner / "data"


def features_folder(study: Study, results: Path, kernel: Kernel) -> Path:
    return results / study.owner / "features" / kernel.preprocessing


def open_features_folder(study: Study, results: Path, kernel: Kernel) -> SealedFolder:
    """The folder of the features, targets and labels that a kernel is made of and solved for."""
    return sealed_arrays.open_folder(features_folder(study, results, kernel) / "features.json")


def store_folder(study: Study, results: Path, kernel: str, part: str) -> Path:
    return results / study.owner / "kernels" / kernel / part


def solution_folder(study: Study, results: Path, kernel: str, n: int) -> Path:
    return results / study.name / "solutions" / kernel / study.method(n) / f"n{n}"


def kernel_named(study: Study, name: str) -> Kernel:
    if name not in study.kernels:
        raise UserError(
            f"study {study.name} has no kernel {name!r}, expected one of {', '.join(study.kernels)}"
        )
    return study.kernels[name]


# -------------------------------------------------------------------------------------------- data


def check(study: Study, results: Path) -> datasets.DataSummary:
    """Everything that can be known before work starts: files and all that is in them, architectures, engines,
    disk.

    Returns:
        What the data will be.

    Raises:
        UserError: the first thing that would stop the study.
    """
    summary = datasets.check_data(study.config["data"])
    for part, count in study.part_sizes.items():
        if summary.parts[part] < count:
            raise UserError(
                f"config/{study.name}.yaml asks for {count} examples of {part}, but there are {summary.parts[part]}"
            )
    check_fit(study, summary)
    prepared = (data_folder(study, results) / "data.json").exists()
    data = 0 if prepared else datasets.stored_bytes(study.config["data"])
    planning.check_disk(study, summary.input_shape, summary.outputs, results, data)
    # Last, since it may take minutes: the files are read whole.
    labels = datasets.examine_data(study.config["data"], study.config["seed"])
    if study.owner == study.name:  # another study's seed chose its training set
        used = {name: study.config["preprocessing"][name] for name in _preprocessings(study)}
        source = study.config["data"].get("path") or study.config["data"]["name"]
        preprocessing.check_training_set(used, asdict(summary), labels, str(source))
    log.info("study %s: config, data, engines and disk are in order", study.name)
    return summary


def _preprocessings(study: Study) -> list[str]:
    return sorted({kernel.preprocessing for kernel in study.kernels.values()})


def prepare(study: Study, results: Path) -> None:
    """Raw files to examples in their fixed order, once all that is known beforehand has been checked."""
    _check_owner(study)
    check(study, results)
    datasets.prepare_data(study.config["data"], data_folder(study, results), study.config["seed"])


def preprocess(study: Study, results: Path, name: str) -> None:
    """Examples to features and targets."""
    _check_owner(study)
    if name not in study.config["preprocessing"]:
        known = ", ".join(study.config["preprocessing"])
        raise UserError(f"study {study.name} has no preprocessing {name!r}, expected one of {known}")
    folder = results / study.owner / "features" / name
    data = data_folder(study, results)
    described = read_json(data / "data.json")
    needed = planning.feature_bytes(study, described["input_shape"], described["outputs"], results, name)
    planning.check_room(folder, needed, "its features")
    preprocessing.preprocess(study.config["preprocessing"][name], data, folder)


def _check_owner(study: Study) -> None:
    if study.owner != study.name:
        raise UserError(
            f"study {study.name} takes its data and kernels from {study.owner}: ask for those of {study.owner}"
        )


def plan(
    study: Study,
    results: Path,
    input_shape: tuple[int, ...] | None = None,
    rates: Mapping[str | None, float] = MappingProxyType({}),
    node_memory: float | None = None,
    outputs: int = 10,
) -> str:
    """What the study will take, as text; nothing is written.

    Args:
        input_shape: shape of an example where the data is not at hand.
        rates: pairs per second of one node by kernel, under None for the others; what is left out is
            measured on this machine.
        node_memory: bytes of memory of one node; this machine's where it is None.
        outputs: classes or regression tasks where the data is not at hand.
    """
    at_hand = input_shape is None
    if input_shape is None:
        summary = datasets.check_data(study.config["data"])
        input_shape, outputs = summary.input_shape, summary.outputs
    plans = []
    for kernel in study.kernels.values():
        rate, engine = rates.get(kernel.name, rates.get(None)), None
        if rate is None:
            examples = None
            if at_hand and (features_folder(study, results, kernel) / "features.json").exists():
                folder = open_features_folder(study, results, kernel)
                edge = min(study.block_edge(kernel.name), folder.summary["parts"]["train"])
                examples = folder.examples("train.npy", (0, edge))
            engine, rate = planning.calibrate(study, kernel, input_shape, features=examples)
        sizes = planning.kernel_sizes(study, kernel.name, outputs)
        plans.append(planning.plan_kernel(sizes, engine, rate))
    features = planning.feature_bytes(study, input_shape, outputs)
    return describe(study, plans, features, results, node_memory)


# ----------------------------------------------------------------------------------------- kernels


def declare_kernel(study: Study, results: Path, kernel_name: str, part: str) -> KernelStore:
    """Write ``kernel.json`` of one part: the training kernel, or a test set's rows against it.

    Raises:
        UserError: blocks of another kernel are there already, or the disk cannot hold the study.
    """
    _check_owner(study)
    kernel = kernel_named(study, kernel_name)
    folder = open_features_folder(study, results, kernel)
    features = folder.summary
    planning.check_disk(study, features["input_shape"], features["outputs"], results)
    if part not in features["parts"]:
        raise UserError(
            f"study {study.name} has no part {part!r}, expected one of {', '.join(features['parts'])}"
        )
    rows, columns = features["parts"][part], features["parts"]["train"]
    directory = store_folder(study, results, kernel_name, part)
    known = kernel_features.recognized(directory, part, folder)
    description = {
        "architecture": kernel.architecture.describe(),
        "architecture_name": kernel.architecture.name,
        "kind": kernel.kind,
        "rows": {"part": part, "hash": known.sides["rows"].hash},
        "columns": {"part": "train", "hash": known.sides["columns"].hash},
    }
    grid = Grid(rows, columns, study.block_edge(kernel_name), symmetric=part == "train")
    store = blocks.declare_store(directory, grid, study.config["precision"], description)
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
) -> None:
    """Compute one block; tiles, and a whole block, that an earlier run finished are kept.

    Args:
        force: compute a block that is there whole again, too.
    """
    _check_owner(study)
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
    if part != "train" or not is_flip_symmetric(kernel.architecture):
        flipped_images = 0
    with engines.thread_limit(threads):
        block_computation.compute_block(
            store,
            i,
            j,
            kernel.architecture,
            features.examples(f"{part}.npy", store.grid.row_range(i)),
            features.examples("train.npy", store.grid.column_range(j)),
            kind=kernel.kind,
            engine=study.config["engine"],
            tile=study.config["blocks"].get("tile"),
            flipped_images=flipped_images,
            force=force,
        )


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
