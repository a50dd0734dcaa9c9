"""Data sets: from a user's files to shuffled training, validation and test sets in one form.

A data set is a module with ``open_dataset(options) -> Dataset`` (see ``pools``). A test set that other
studies can add is a module with ``open_test(options) -> Pool``. New examples without labels come from a
function ``read(options, path) -> Inputs``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import sealed_arrays
from neural_kernels.datasets import (
    arrays,
    augmentation,
    cifar5m,
    cifar10,
    cifar10_1,
    digits,
    flip,
    inputs,
    ogb,
    smiles,
    tiny_imagenet,
)
from neural_kernels.datasets.augmentation import Augmentation
from neural_kernels.datasets.inputs import Inputs
from neural_kernels.datasets.pools import Dataset, Pool, Task, check_finite, check_labels, joined
from neural_kernels.datasets.storage import atomic_array, made_alone
from neural_kernels.errors import UserError
from neural_kernels.files import read_json, write_json, write_npy
from neural_kernels.graphs import Graphs, concatenate, is_graphs, structure_files, write_structure
from neural_kernels.progress import progress

log = logging.getLogger(__name__)

DATASETS: dict[str, Callable[[Mapping[str, Any]], Dataset]] = {
    "arrays": arrays.open_dataset,
    "cifar10": cifar10.open_dataset,
    "cifar5m": cifar5m.open_dataset,
    "digits": digits.open_dataset,
    "flip": flip.open_dataset,
    "ogb": ogb.open_dataset,
    "smiles": smiles.open_dataset,
    "tiny_imagenet": tiny_imagenet.open_dataset,
}
# How new examples without labels are read, which are in the form of the data set's own.
INPUTS: dict[str, inputs.Reader] = {
    "arrays": inputs.read_arrays,
    "cifar10": inputs.read_arrays,
    "cifar5m": inputs.read_arrays,
    "digits": inputs.read_arrays,
    "flip": flip.read_inputs,
    "ogb": smiles.read_inputs,
    "smiles": smiles.read_inputs,
    "tiny_imagenet": inputs.read_arrays,
}
FURTHER_TESTS: dict[str, Callable[[Mapping[str, Any]], Pool]] = {
    "cifar10": cifar10.open_test,
    "cifar10_1": cifar10_1.open_test,
}

# A test set's name becomes part of file names, beside those of the training and validation sets.
TEST_SET_NAME = re.compile(r"(?!(train|validation)$)(?!.*_(targets|labels)$)[A-Za-z0-9][A-Za-z0-9_-]*")

# What each example of an augmented training set is.
COPIES_FILE = "train_copies.npy"


@dataclass(frozen=True)
class DataSummary:
    """What a study's data will be.

    ``parts`` gives the examples of train, validation and each test set; ``outputs`` the number of classes
    or of regression tasks; ``input_shape`` the shape of one example, channels last.
    """

    parts: dict[str, int]
    test_sets: tuple[str, ...]
    input_shape: tuple[int, ...]
    task: Task
    outputs: int
    class_names: tuple[str, ...]

    @property
    def classes(self) -> int | None:
        """Number of classes, None in any other task."""
        return self.outputs if self.task == "classification" else None


@dataclass(frozen=True)
class _Study:
    """The pools that a study draws from, and how many examples it takes of each.

    ``validation`` is None where the validation set is held out of ``train``.
    """

    dataset: Dataset
    train: Pool
    validation: Pool | None
    tests: dict[str, Pool]
    augmentation: Augmentation
    summary: DataSummary


def check_data(options: Mapping[str, Any]) -> DataSummary:
    """Everything that file names, headers and labels can tell before any work; no pixels are read.

    Of a compressed CIFAR-10 archive only the beginning is read; ``prepare_data`` checks the rest.

    Args:
        options: the ``data`` section of a study's config (workflow/schemas/data.schema.yaml).

    Raises:
        UserError: a missing or damaged file, a wrong shape, dtype or label, or more examples asked for
            than there are.
    """
    return _open(options).summary


def prepare_data(options: Mapping[str, Any], directory: Path, seed: int) -> None:
    """Write a study's examples into ``directory``: ``<part>_x.npy`` and ``<part>_y.npy``, then ``data.json``.

    Parts are train, validation and each test set. Features keep the dtype of their source, (n,
    *input_shape), channels last; of graphs they are the nodes, with ``graphs.structure_files`` beside them.
    Labels are int64 (n,), or float64 (n, tasks) for a regression.

    The training pool is shuffled once by ``seed``: the first ``validation_examples`` of the permutation
    are the validation set, the next ``train_examples`` the training set. So every smaller training set is
    a leading slice of a larger one. Where the data set has a validation split of its own, that is shuffled in
    the same way, and the training pool gives training examples alone; without a validation set it is part of
    the training pool. Test sets are the first examples in file order, whatever the seed.

    With ``augmentation`` the training images are followed by their copies, factor by factor in the same order
    (``datasets.augmentation``), and ``train_copies.npy``, uint8 (n,), says which of ``copies`` in data.json
    each is. Validation and test sets are held out before, and are never augmented.

    Raises:
        UserError: as ``check_data``, and what only the content tells: NaN or infinite features, labels out
            of range, truncated files, a full disk.
    """
    study = _open(options)
    summary_file = directory / "data.json"
    described = {
        "classes": study.summary.classes,
        "augmentation_factor": study.augmentation.factor,
        "copies": study.augmentation.copies,
        "source": dict(options),
        "seed": seed,
    }
    described = json.loads(json.dumps(asdict(study.summary) | described))
    with made_alone(summary_file, f"the data in {directory}") as made:
        if made and described.items() <= read_json(summary_file).items():
            log.info("%s was made by another job meanwhile", summary_file)
            return
        # A summary beside arrays that it does not describe would be taken for a finished data set.
        summary_file.unlink(missing_ok=True)
        (directory / COPIES_FILE).unlink(missing_ok=True)
        records = _write_parts(study, directory, seed)
        write_json(summary_file, described | {sealed_arrays.KEY: records})


def read_inputs(
    options: Mapping[str, Any], path: Path, input_shape: tuple[int | None, ...], kind: str
) -> Inputs:
    """The examples in the user's file ``path``, to predict with a study of this data.

    Args:
        options: as of ``check_data``.
        input_shape, kind: of a training example, its shape and the kind of its dtype.

    Raises:
        UserError: a data set that has no such files, or a bad file.
    """
    name = options["name"]
    if name not in INPUTS:
        raise UserError(
            f"data.name is {name!r}, expected one that new examples can be read for: {', '.join(INPUTS)}"
        )
    return inputs.check_inputs(INPUTS[name](options, path), input_shape, kind)


# ----------------------------------------------------------------------------- opening


def _open(options: Mapping[str, Any]) -> _Study:
    name = options["name"]
    if name not in DATASETS:
        raise UserError(f"data.name is {name!r}, expected one of {', '.join(sorted(DATASETS))}")
    if name != "digits" and not options.get("path"):
        raise UserError(f"data.path is not given, expected where the files of {name} are")
    if name != "cifar5m" and options.get("train_parts"):
        raise UserError(f"data.train_parts is given for {name}, expected only with cifar5m")
    for key in ("table", "targets", "alphabet", "sequence_length"):
        if name != "flip" and options.get(key):
            raise UserError(f"data.{key} is given for {name}, expected only with flip")
    if name != "tiny_imagenet" and options.get("image_size"):
        raise UserError(f"data.image_size is given for {name}, expected only with tiny_imagenet")
    for key in smiles.KEYS:
        if name != "smiles" and options.get(key) is not None:
            raise UserError(f"data.{key} is given for {name}, expected only with smiles")
    dataset = DATASETS[name](options)
    asked = options.get("test_sets") or {test: {} for test in dataset.tests}
    tests = {test: _open_test(dataset, name, test, entry or {}) for test, entry in asked.items()}
    train_pool, validation_pool = _pools(options, dataset)
    train, validation = _training_sizes(options, train_pool, validation_pool)
    augmented = augmentation.from_options(options)
    augmentation.check_images(augmented, dataset.train)
    parts = {"train": augmented.factor * train, "validation": validation}
    for test, pool in tests.items():
        parts[test] = _test_size(test, asked[test] or {}, pool)
    summary = DataSummary(
        parts, tuple(tests), dataset.train.input_shape, dataset.task, dataset.outputs, dataset.class_names
    )
    return _Study(dataset, train_pool, validation_pool, tests, augmented, summary)


def _open_test(dataset: Dataset, dataset_name: str, test: str, entry: Mapping[str, Any]) -> Pool:
    key = f"data.test_sets.{test}"
    if not TEST_SET_NAME.fullmatch(test):
        raise UserError(
            f"{key}: {test!r} cannot name a test set, expected letters, digits, - and _, "
            "not train or validation and not ending in _targets or _labels"
        )
    if test in dataset.tests:
        if entry.get("path"):
            raise UserError(f"{key}.path is given, but {test} comes from data.path, expected no path")
        pool = dataset.tests[test]()
    elif test in FURTHER_TESTS:
        if not entry.get("path"):
            raise UserError(f"{key}.path is not given, expected where the files of {test} are")
        same_names = dataset.class_names in ((), cifar10.CLASS_NAMES)
        if not same_names or dataset.task != "classification" or dataset.outputs != 10:
            raise UserError(f"{key}: its classes are CIFAR-10's, expected the same of {dataset_name}")
        pool = FURTHER_TESTS[test](entry)
    else:
        known = ", ".join(sorted({*dataset.tests, *FURTHER_TESTS}))
        raise UserError(f"{key}: no such test set, expected one of {known}")
    train = dataset.train
    if pool.input_shape != train.input_shape or pool.dtype.kind != train.dtype.kind:
        raise UserError(
            f"{pool.source}: examples of test set {test} are {pool.input_shape} of {pool.dtype}, "
            f"expected {train.input_shape} of {train.dtype} as in the training set"
        )
    return pool


def _pools(options: Mapping[str, Any], dataset: Dataset) -> tuple[Pool, Pool | None]:
    """The training pool, and the validation pool where that is the data set's own."""
    asked, own = options["validation_examples"], dataset.validation
    if own is None:
        if asked is None:
            raise UserError(
                f"data.validation_examples is null, but {options['name']} has no validation split of its own: "
                "expected how many training examples to hold out"
            )
        return dataset.train, None
    if asked == 0:
        return joined(dataset.train, own), None
    if asked is not None and asked > own.count:
        raise UserError(
            f"data.validation_examples is {asked}, expected at most the {own.count} of the validation split of "
            f"{own.source}"
        )
    return dataset.train, own


def _training_sizes(options: Mapping[str, Any], pool: Pool, own: Pool | None) -> tuple[int, int]:
    validation = options["validation_examples"]
    if own is not None and validation is None:
        validation = own.count
    held_out = validation if own is None else 0
    train = options.get("train_examples")
    if train is None:
        train = pool.count - held_out
    if train < 1 or train + held_out > pool.count:
        both = (
            f" and data.validation_examples {validation}, expected together" if own is None else ", expected"
        )
        raise UserError(
            f"data.train_examples is {options.get('train_examples')}{both} at most the {pool.count} training "
            f"examples of {pool.source}"
        )
    return train, validation


def _test_size(test: str, entry: Mapping[str, Any], pool: Pool) -> int:
    asked = entry.get("examples")
    if asked is not None and asked > pool.count:
        raise UserError(
            f"data.test_sets.{test}.examples is {asked}, expected at most the {pool.count} of {pool.source}"
        )
    return pool.count if asked is None else asked


# ----------------------------------------------------------------------------- writing


def _write_parts(study: _Study, directory: Path, seed: int) -> dict[str, Any]:
    """Write every part; returns what the summary says of each file (``sealed_arrays``)."""
    parts = study.summary.parts
    order = np.random.default_rng(seed).permutation(study.train.count)
    held_out = parts["validation"] if study.validation is None else 0
    images = parts["train"] // study.augmentation.factor
    selections = {"train": order[held_out : held_out + images]}
    records: dict[str, Any] = {}
    if study.validation is None:
        selections["validation"] = order[:held_out]
    else:
        own_order = np.random.default_rng([seed, 1]).permutation(study.validation.count)
        own = {"validation": own_order[: parts["validation"]]}
        records |= _write(study.dataset, study.validation, own, directory)
    records |= _write(study.dataset, study.train, selections, directory, study.augmentation, seed)
    for name, pool in study.tests.items():
        records |= _write(study.dataset, pool, {name: np.arange(parts[name])}, directory)
    return records


def _write(
    dataset: Dataset,
    pool: Pool,
    selections: Mapping[str, np.ndarray],
    directory: Path,
    augmented: Augmentation = augmentation.NONE,
    seed: int = 0,
) -> dict[str, Any]:
    """The examples ``selections[part]`` of ``pool``, in that order, in one pass over its chunks.

    Those of the training set are followed by their augmented copies.

    Returns:
        What the summary says of each file.
    """
    if is_graphs(pool.input_shape):
        return _write_graphs(dataset, pool, selections, directory)
    label_shape = () if dataset.task == "classification" else (dataset.outputs,)
    label_dtype = np.int64 if dataset.task == "classification" else np.float64
    written: dict[str, np.ndarray] = {}
    with ExitStack() as files:
        targets = []
        for part, order in selections.items():
            count = augmented.factor * len(order) if part == "train" else len(order)
            x_shape, y_shape = (count, *pool.input_shape), (count, *label_shape)
            x = files.enter_context(atomic_array(directory / f"{part}_x.npy", x_shape, pool.dtype))
            y = files.enter_context(atomic_array(directory / f"{part}_y.npy", y_shape, label_dtype))
            targets.append((order, x, y))
            written |= {f"{part}_x.npy": x, f"{part}_y.npy": y}
        _gather(dataset, pool, targets, "+".join(selections))
        if augmented.factor > 1:
            rows, x, y = dict(zip(selections, targets, strict=True))["train"]
            copies = files.enter_context(atomic_array(directory / COPIES_FILE, (len(x),), np.uint8))
            copies[:] = augmentation.expand(augmented, seed, rows, x)
            for copy in range(1, augmented.factor):
                y[copy * len(rows) : (copy + 1) * len(rows)] = y[: len(rows)]
            written[COPIES_FILE] = copies
        return {name: sealed_arrays.record_of(array) for name, array in written.items()}


def _write_graphs(
    dataset: Dataset, pool: Pool, selections: Mapping[str, np.ndarray], directory: Path
) -> dict[str, Any]:
    """As ``_write``, with all graphs of the pool in memory at once."""
    chunks = sorted(pool.chunks(), key=lambda chunk: chunk.start)
    parts: list[Graphs] = [chunk.x.check(chunk.source, chunk.first_row) for chunk in chunks]
    for chunk, part in zip(chunks, parts, strict=True):
        if dataset.task == "classification":
            check_labels(chunk.source, chunk.y, dataset.outputs, chunk.first_row)
        graph_of_node = np.repeat(np.arange(len(part)) + chunk.first_row, part.node_counts)
        check_finite(chunk.source, part.nodes, graph_of_node, "a node feature")
    x, y = concatenate(parts), np.concatenate([chunk.y for chunk in chunks])
    if len(x) != pool.count:
        raise UserError(f"{pool.source}: found {len(x)} graphs, expected {pool.count} as its files announced")
    records: dict[str, Any] = {}
    for part_name, order in selections.items():
        path, chosen = directory / f"{part_name}_x.npy", x[order]
        written = {path: chosen.nodes, directory / f"{part_name}_y.npy": y[order]}
        written = {file: np.ascontiguousarray(array) for file, array in written.items()}
        for file, array in written.items():
            write_npy(file, array)
        written |= zip(structure_files(path).values(), write_structure(path, chosen), strict=True)
        records |= {file.name: sealed_arrays.record_of(array) for file, array in written.items()}
    return records


def _gather(
    dataset: Dataset, pool: Pool, targets: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], name: str
) -> None:
    """Scatter each chunk's rows to their places: ``x[k]`` becomes the pool's example ``order[k]``."""
    sorted_targets = []
    for order, x, y in targets:
        places = np.argsort(order)
        sorted_targets.append((order[places], places, x, y))
    left = sum(len(order) for order, _, _ in targets)
    with progress(total=left, description=f"preparing {name}") as bar:
        for chunk in pool.chunks():
            if dataset.task == "classification":
                check_labels(chunk.source, chunk.y, dataset.outputs, chunk.first_row)
            for order, places, x, y in sorted_targets:
                low, high = np.searchsorted(order, [chunk.start, chunk.start + len(chunk.y)])
                if low == high:
                    continue
                rows = order[low:high] - chunk.start
                taken = chunk.x[rows]
                check_finite(chunk.source, taken, rows + chunk.first_row, "a feature")
                x[places[low:high]] = taken
                y[places[low:high]] = chunk.y[rows]
                left -= len(rows)
                bar.update(len(rows))
            if left == 0:
                return
    raise UserError(f"{pool.source}: {left} examples fewer than its files announced, expected {pool.count}")
