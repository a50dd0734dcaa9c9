"""Data sets: from a user's files to shuffled training, validation and test sets in one form.

A data set is a module with ``Options``, its keys of the section data, and ``open_dataset(options) -> Dataset`` (see
``pools``). A test set that other studies can add is a module with ``open_test(test_set) -> Pool``. New examples without
labels come from a function ``read(options, path) -> Inputs``.

Every job loads this package for what the section data says; what reads and writes files is loaded where it is called.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from neural_kernels import sealed_arrays
from neural_kernels.datasets.options import DataOptions, MeasuredOptions, TestSet
from neural_kernels.datasets.pools import Dataset, Pool, Task, joined
from neural_kernels.errors import UserError
from neural_kernels.graphs import TYPICAL_NODES, Examples, concatenate, is_graphs
from neural_kernels.names import TEST_SET_EXPECTED, is_test_set_name
from neural_kernels.sections import NamedBy
from neural_kernels.storage.files import read_json, write_json
from neural_kernels.storage.large_arrays import made_alone

if TYPE_CHECKING:
    from neural_kernels.datasets.augmentation import Augmentation
    from neural_kernels.datasets.inputs import Inputs, Reader

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Where a data set's code is, which is loaded where that data set is read: a job reads one of them.

    Attributes:
        module: has ``Options`` and ``open_dataset``.
        inputs: module and function that read new examples without labels; None where there are none.
    """

    module: str
    inputs: str | None = f"{__name__}.inputs:read_arrays"


DATASETS: dict[str, Source] = {
    "arrays": Source(f"{__name__}.arrays"),
    "cifar10": Source(f"{__name__}.cifar10"),
    "cifar5m": Source(f"{__name__}.cifar5m"),
    "digits": Source(f"{__name__}.digits"),
    "flip": Source(f"{__name__}.flip", f"{__name__}.flip:read_inputs"),
    "labels": Source(f"{__name__}.labels", f"{__name__}.labels:read_inputs"),
    "ogb": Source(f"{__name__}.ogb", f"{__name__}.smiles:read_inputs"),
    "smiles": Source(f"{__name__}.smiles", f"{__name__}.smiles:read_inputs"),
    "tiny_imagenet": Source(f"{__name__}.tiny_imagenet"),
}
# Test sets that other studies can add, by the modules that have open_test.
FURTHER_TESTS = {"cifar10": f"{__name__}.cifar10", "cifar10_1": f"{__name__}.cifar10_1"}


def options_of(name: str) -> type[DataOptions]:
    """The keys of the section data where it names the data set ``name``."""
    found: type[DataOptions] = importlib.import_module(DATASETS[name].module).Options
    return found


Data = Annotated[DataOptions, NamedBy("name", DataOptions, DATASETS.keys(), options_of)]


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


def check_data(options: DataOptions) -> DataSummary:
    """Everything that file names, headers and labels can tell before any work; no pixels are read.

    Of a compressed CIFAR-10 archive only the beginning is read; ``examine_data`` looks at the rest.

    Args:
        options: the ``data`` section of a study's config.

    Raises:
        UserError: a missing or damaged file, a wrong shape, dtype or label, or more examples asked for
            than there are.
    """
    return _open(options).summary


def stored_bytes(options: DataOptions) -> int:
    """Bytes of what ``prepare_data`` will write; of graphs about, by their typical size."""
    from neural_kernels.datasets import rows

    study = _open(options)
    example = math.prod(TYPICAL_NODES if length is None else length for length in study.train.input_shape)
    labels = 8 * (1 if study.dataset.task == "classification" else study.dataset.outputs)
    each = example * np.dtype(study.train.dtype).itemsize + labels + rows.BYTES
    return sum(study.summary.parts.values()) * each


def examine_data(options: DataOptions, seed: int) -> np.ndarray:
    """Look at every value of every file that the study draws from, a chunk at a time; nothing is written.

    What passes can be prepared. Also examples are looked at that the study leaves out.

    Returns:
        The labels or values of the training set that ``prepare_data`` would write, without augmented copies: (n,)
        integers, or (n, outputs) floats.

    Raises:
        UserError: as ``check_data``; NaN, infinite or huge features or values, labels out of range, a class without
            training examples, a damaged file, or one with fewer examples than it announced.
    """
    from neural_kernels.datasets.examination import examine

    study = _open(options)
    pools = {"train": study.train, "validation": study.validation, **study.tests}
    labels = examine(study.dataset, {name: pool for name, pool in pools.items() if pool})
    chosen, _ = _training_rows(study, seed)
    return labels[chosen]


def prepare_data(options: DataOptions, directory: Path, seed: int) -> None:
    """Write a study's examples into ``directory``: ``<part>_x.npy`` and ``<part>_y.npy``, then ``data.json``.

    Parts are train, validation and each test set. Features keep the dtype of their source, (n,
    *input_shape), channels last; of graphs they are the nodes, with ``graphs.structure_files`` beside them.
    Labels are int64 (n,), or float64 (n, tasks) for a regression.

    The training pool is shuffled once by ``seed``: the first ``validation_examples`` of the permutation
    are the validation set, the next ``train_examples`` the training set. So every smaller training set is
    a leading slice of a larger one. Where the data set has a validation split of its own, that is shuffled in
    the same way, and the training pool gives training examples alone; without a validation set it is part of
    the training pool. Where the data set's order is fixed, nothing is shuffled: the training set are the first examples
    of the pool, the validation set the last. Test sets are the first examples in file order, whatever the seed.

    With ``augmentation`` the training images are followed by their copies, factor by factor in the same order
    (``datasets.augmentation``), and ``train_copies.npy``, uint8 (n,), says which of ``copies`` in data.json
    each is. Validation and test sets are held out before, and are never augmented.

    ``rows.csv`` says which row of the user's files each example is (``datasets.rows``).

    Raises:
        UserError: as ``check_data``, and what only the content tells: NaN or infinite features, labels out
            of range, truncated files, a full disk.
    """
    from neural_kernels.datasets.writing import COPIES_FILE

    study = _open(options)
    summary_file = directory / "data.json"
    described = {
        "classes": study.summary.classes,
        "augmentation_factor": study.augmentation.factor,
        "copies": study.augmentation.copies,
        "source": options.plain(),
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


def read_inputs(options: DataOptions, path: Path, input_shape: tuple[int | None, ...], kind: str) -> Inputs:
    """The examples in the user's file ``path``, to predict with a study of this data.

    Args:
        options: as of ``check_data``.
        input_shape, kind: of a training example, its shape and the kind of its dtype.

    Raises:
        UserError: a data set that has no such files, or a bad file.
    """
    from pkgutil import resolve_name

    from neural_kernels.datasets.inputs import check_inputs

    reader = DATASETS[options.name].inputs
    if reader is None:
        known = ", ".join(name for name, source in DATASETS.items() if source.inputs)
        raise UserError(
            f"data.name is {options.name!r}, expected one that new examples can be read for: {known}"
        )
    read: Reader = resolve_name(reader)
    return check_inputs(read(options, path), input_shape, kind)


def leading_examples(options: DataOptions, seed: int, count: int) -> Examples:
    """The first so many training examples of a study, or all there are, in the order of ``prepare_data``, no copies.

    Raises:
        UserError: as ``check_data``.
    """
    study = _open(options)
    wanted = _training_rows(study, seed)[0][:count]
    ascending, rows, found = np.sort(wanted), [], []
    for chunk in study.train.chunks():
        low, high = np.searchsorted(ascending, [chunk.start, chunk.start + len(chunk.y)])
        if low < high:
            rows.append(ascending[low:high])
            found.append(chunk.x[rows[-1] - chunk.start])
    examples = concatenate(found) if is_graphs(study.train.input_shape) else np.concatenate(found)
    # Chunks come in any order: back to ascending rows, then to those that are wanted.
    return examples[np.argsort(np.concatenate(rows))[np.searchsorted(ascending, wanted)]]


def _training_rows(study: _Study, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training pool that the study trains on, and those that are held out before them."""
    held_out = study.summary.parts["validation"] if study.validation is None else 0
    images = study.summary.parts["train"] // study.augmentation.factor
    if study.dataset.in_order:
        return np.arange(images), np.arange(study.train.count - held_out, study.train.count)
    order = np.random.default_rng(seed).permutation(study.train.count)
    return order[held_out : held_out + images], order[:held_out]


# ----------------------------------------------------------------------------- opening


def open_dataset(options: DataOptions) -> Dataset:
    """The pools of the data set that ``options`` names; see ``check_data``."""
    found: Dataset = importlib.import_module(DATASETS[options.name].module).open_dataset(options)
    offset = options.log_offset if isinstance(options, MeasuredOptions) else None
    if offset is None:
        return found
    from neural_kernels.datasets.log_targets import of_logarithms

    return of_logarithms(found, offset)


def _open(options: DataOptions) -> _Study:
    from neural_kernels.datasets import augmentation

    dataset = open_dataset(options)
    asked = options.test_sets or {test: TestSet() for test in dataset.tests}
    tests = {test: _open_test(dataset, options.name, test, entry) for test, entry in asked.items()}
    train_pool, validation_pool = _pools(options, dataset)
    train, validation = _training_sizes(options, train_pool, validation_pool)
    augmented = options.augmentation or augmentation.NONE
    augmentation.check_images(augmented, dataset.train)
    parts = {"train": augmented.factor * train, "validation": validation}
    for test, pool in tests.items():
        parts[test] = _test_size(test, asked[test], pool)
    summary = DataSummary(
        parts, tuple(tests), dataset.train.input_shape, dataset.task, dataset.outputs, dataset.class_names
    )
    return _Study(dataset, train_pool, validation_pool, tests, augmented, summary)


def _open_test(dataset: Dataset, dataset_name: str, test: str, entry: TestSet) -> Pool:
    key = f"data.test_sets.{test}"
    if not is_test_set_name(test):
        raise UserError(f"{key}: {test!r} cannot name a test set, expected {TEST_SET_EXPECTED}")
    if test in dataset.tests:
        if entry.path:
            raise UserError(f"{key}.path is given, but {test} comes from data.path, expected no path")
        pool = dataset.tests[test]()
    elif test in FURTHER_TESTS:
        if not entry.path:
            raise UserError(f"{key}.path is not given, expected where the files of {test} are")
        from neural_kernels.datasets.cifar10 import CLASS_NAMES

        same_names = dataset.class_names in ((), CLASS_NAMES)
        if not same_names or dataset.task != "classification" or dataset.outputs != 10:
            raise UserError(f"{key}: its classes are CIFAR-10's, expected the same of {dataset_name}")
        pool = importlib.import_module(FURTHER_TESTS[test]).open_test(entry)
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


def _pools(options: DataOptions, dataset: Dataset) -> tuple[Pool, Pool | None]:
    """The training pool, and the validation pool where that is the data set's own."""
    asked, own = options.validation_examples, dataset.validation
    if own is None:
        if asked is None:
            raise UserError(
                f"data.validation_examples is null, but {options.name} has no validation split of its own: "
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


def _training_sizes(options: DataOptions, pool: Pool, own: Pool | None) -> tuple[int, int]:
    validation = options.validation_examples
    if validation is None:
        assert own is not None, "_pools refuses it"
        validation = own.count
    held_out = validation if own is None else 0
    train = options.train_examples
    if train is None:
        train = pool.count - held_out
    if train < 1 or train + held_out > pool.count:
        both = (
            f" and data.validation_examples {validation}, expected together" if own is None else ", expected"
        )
        raise UserError(
            f"data.train_examples is {options.train_examples}{both} at most the {pool.count} training "
            f"examples of {pool.source}"
        )
    return train, validation


def _test_size(test: str, entry: TestSet, pool: Pool) -> int:
    asked = entry.examples
    if asked is not None and asked > pool.count:
        raise UserError(
            f"data.test_sets.{test}.examples is {asked}, expected at most the {pool.count} of {pool.source}"
        )
    return pool.count if asked is None else asked


# ----------------------------------------------------------------------------- writing


def _write_parts(study: _Study, directory: Path, seed: int) -> dict[str, Any]:
    """Write every part; returns what the summary says of each file (``sealed_arrays``)."""
    from neural_kernels.datasets import rows
    from neural_kernels.datasets.writing import write_parts

    parts = study.summary.parts
    train, held_out = _training_rows(study, seed)
    selections = {"train": train}
    records: dict[str, Any] = {}
    known = {"train": study.train.rows(train)}
    if study.validation is None:
        selections["validation"] = held_out
        known["validation"] = study.train.rows(held_out)
    else:
        own_order = np.random.default_rng([seed, 1]).permutation(study.validation.count)
        own = {"validation": own_order[: parts["validation"]]}
        known["validation"] = study.validation.rows(own["validation"])
        records |= write_parts(study.dataset, study.validation, own, directory)
    records |= write_parts(study.dataset, study.train, selections, directory, study.augmentation, seed)
    for name, pool in study.tests.items():
        records |= write_parts(study.dataset, pool, {name: np.arange(parts[name])}, directory)
        known[name] = pool.rows(np.arange(parts[name]))
    rows.write(directory / rows.FILE, known)
    return records | {rows.FILE: sealed_arrays.record_of_file(directory / rows.FILE)}
