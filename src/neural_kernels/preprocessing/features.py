"""Preprocessing: from a study's examples to the float64 features and targets that kernels and solvers take.

Fitted once on the training set and applied to every part, so that a kernel block does not depend on the
training size.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import sealed_arrays
from neural_kernels.datasets.horizontal_flips import followed_by_flips
from neural_kernels.datasets.rows import FILE as ROWS
from neural_kernels.errors import UserError
from neural_kernels.graphs import Examples, Graphs, is_graphs, structure_files, write_structure
from neural_kernels.machine.threads import blas_threads, each_alone
from neural_kernels.preprocessing import channels, sketch, targets, transform, zca
from neural_kernels.preprocessing.options import AsItIs, Preprocessing, Standardize, Zca
from neural_kernels.preprocessing.sketch import Sketching, sketch_file
from neural_kernels.preprocessing.transform import Fitted, SavedTransform
from neural_kernels.progress import progress
from neural_kernels.sealed_arrays import SealedFolder, record_of
from neural_kernels.storage import checksums
from neural_kernels.storage.checksums import StripsInPassing
from neural_kernels.storage.files import read_json, write_json
from neural_kernels.storage.large_arrays import atomic_array, made_alone

log = logging.getLogger(__name__)

TRANSFORM_FILE = "transform.npz"
"""The fitted preprocessing, beside the features that it gave."""

# Enough rows to multiply matrices at full speed; the memory of one batch stays the same for any image size.
_BATCH_BYTES = 64 * 2**20

Check = Callable[[int, int], None]
"""Checks rows, from the first to the one after the last, before they are used."""


def preprocess(options: Preprocessing, data: Path, directory: Path) -> None:
    """Write features and targets of every part of ``data`` into ``directory``, ``features.json`` last.

    For each part: ``<part>.npy``, float64 of the examples' own shape, channels last, or the nodes of graphs
    and their structure beside them (``graphs.structure_files``); graphs are standardised over all nodes;
    ``<part>_targets.npy``, float64 (n, outputs), one-hot minus 1/classes, or standardised by the training
    set's statistics; ``<part>_labels.npy``, the labels or values as they came. ``transform.npz`` is the fitted
    preprocessing, for ``preprocess_inputs``. ``features.json`` holds the parts' sizes, the shape of an example,
    how many training images are followed by their flips, the scaling of the targets, a hash of each part's
    features, and checksums of every file (``sealed_arrays``). ``<part>.sketch.npy`` is by what features that were made
    anew are known again (``sketch``).

    Where another job is at the same folder, this one waits, and takes what that one finished if it is the same.

    Args:
        options: a ``preprocessing`` entry of a study's config.
        data: a folder written by ``neural_kernels.datasets.prepare_data``.

    Raises:
        UserError: ``data`` is incomplete or damaged, or its training set does not allow what ``options`` ask for.
    """
    raw = sealed_arrays.open_folder(data / "data.json")
    summary = raw.summary
    features_file = directory / "features.json"
    with made_alone(features_file, f"the features in {directory}") as made:
        if made and _is_of(read_json(features_file), options, summary):
            log.info("%s was made by another job meanwhile", features_file)
            return
        # A summary beside arrays that it does not describe would be taken for finished features.
        features_file.unlink(missing_ok=True)
        write_json(features_file, _write_all(options, raw, directory))


def _is_of(described: Mapping[str, Any], options: Preprocessing, data: Mapping[str, Any]) -> bool:
    """Whether features.json describes what ``options`` make of ``data``."""
    return described["preprocessing"] == options.plain() and described["data_checksums"] == _data_checksums(
        data
    )


def are_of(described: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    """Whether features.json says that it was made from the data of this data.json, with or without ``rows.csv``."""
    arrays = {name: record for name, record in data[sealed_arrays.KEY].items() if name != ROWS}
    both = (data, {sealed_arrays.KEY: arrays})
    return described.get("data_checksums") in [_data_checksums(summary) for summary in both]


def _data_checksums(data: Mapping[str, Any]) -> str:
    return checksums.of_bytes(json.dumps(data[sealed_arrays.KEY], sort_keys=True).encode())


def _write_all(options: Preprocessing, raw: SealedFolder, directory: Path) -> dict[str, Any]:
    """Write every file but features.json; returns what that says."""
    summary = raw.summary
    parts: dict[str, int] = summary["parts"]
    labels = {part: raw.load(f"{part}_y.npy") for part in parts}
    encode, scaling = _target_encoding(summary, labels["train"])
    examples = {part: _read_part(raw, part) for part in parts}
    train, check = examples["train"]
    fitted = _fit(options, _fit_examples(options, train), check)
    hashes, structures, records = {}, {}, {}
    for part, (x, check) in examples.items():
        path = directory / f"{part}.npy"
        hashes[part], sketched, written = _write_features(path, fitted, x, part, check)
        structures[part] = sketch.structure(x)
        arrays = {
            directory / f"{part}_targets.npy": encode(labels[part]),
            directory / f"{part}_labels.npy": labels[part],
            sketch_file(path): sketched,
        }
        for file, array in arrays.items():
            _write_copy(file, array)
            records[file.name] = record_of(array)
        records |= written
    saved = SavedTransform(fitted, train.dtype.kind, hashes["train"])
    transform.save(directory / TRANSFORM_FILE, saved)
    records[TRANSFORM_FILE] = sealed_arrays.record_of_file(directory / TRANSFORM_FILE)
    return {key: summary[key] for key in _PASSED_ON} | {
        "target_scaling": scaling,
        "preprocessing": options.plain(),
        "data_checksums": _data_checksums(summary),
        "feature_hashes": hashes,
        "structures": structures,
        "rounding": sketch.tolerance(
            options.regularization if isinstance(options, Zca) else None, _size(train)
        ),
        "flipped_images": _flipped_images(summary, directory),
        sealed_arrays.KEY: records,
    }


def check_training_set(
    options: Mapping[str, Preprocessing], summary: Mapping[str, Any], labels: np.ndarray, source: str
) -> None:
    """Refuse, before any work, what ``preprocess`` would refuse of a training set for its targets and its sizes.

    Args:
        options: entries of a study's config by their names.
        summary: as in data.json: parts, input_shape and task.
        labels: of the training set, without augmented copies: (n,) integers or (n, outputs) floats.
        source: of the data, for errors.

    Raises:
        UserError: values to learn that are all the same or all missing, more examples to fit on than there are, or a
            method that the examples do not allow.
    """
    if summary["task"] != "classification":
        try:
            targets.fit_scaling(labels, labels=summary["task"] == "multilabel")
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
    graphs, train = is_graphs(tuple(summary["input_shape"])), summary["parts"]["train"]
    for name, entry in options.items():
        _check_fit(entry, graphs, train, f"preprocessing.{name}: ")


def _size(x: Examples) -> int:
    """Numbers in one example, or node."""
    return int(np.prod(_rows(x).shape[1:]))


def preprocess_inputs(saved: SavedTransform, x: Examples, path: Path) -> str:
    """Write the features of further examples as ``<part>.npy`` of ``preprocess``; returns their hash."""
    return _write_features(path, saved.fitted, x, "inputs", _unchecked)[0]


def _flipped_images(summary: Mapping[str, Any], directory: Path) -> int:
    """Leading training features that are followed by their flips: 0 also where the fit broke the symmetry."""
    factor = summary.get("augmentation_factor", 1)
    if factor == 1:
        return 0
    images = summary["parts"]["train"] // factor
    features = np.load(directory / "train.npy", mmap_mode="r", allow_pickle=False)
    return images if followed_by_flips(features, images) else 0


_PASSED_ON = ("parts", "test_sets", "input_shape", "task", "outputs", "classes", "class_names")


# ----------------------------------------------------------------------------- features


def _fit_examples(options: Preprocessing, train: Examples) -> Examples:
    _check_fit(options, isinstance(train, Graphs), len(train))
    return train if isinstance(options, AsItIs) else train[: options.fit_examples]


def _check_fit(options: Preprocessing, graphs: bool, train: int, where: str = "") -> None:
    asked = None if isinstance(options, AsItIs) else options.fit_examples
    if asked is not None and not 1 <= asked <= train:
        raise UserError(
            f"{where}preprocessing fit_examples is {asked}, expected 1 to {train} training examples"
        )
    if graphs and isinstance(options, Standardize) and options.each_position:
        raise UserError(
            f"{where}preprocessing each_position is true, but the nodes of graphs have no positions"
        )
    if graphs and isinstance(options, Zca):
        raise UserError(
            f"{where}preprocessing method is zca, but the examples are graphs: expected standardize or none"
        )


def _fit(options: Preprocessing, train: Examples, check: Check) -> Fitted:
    match options:
        case AsItIs():
            return None
        case Standardize():
            return channels.fit(_batches(_rows(train), "fitting", check), bool(options.each_position))
        case Zca():
            images = _image_batches(train, check)
            return zca.fit(images, options.regularization, options.per_image_normalization)


def _image_batches(train: Examples, check: Check) -> Callable[[], Iterator[np.ndarray]]:
    assert not isinstance(train, Graphs), "_check_fit refuses graphs"
    return partial(_batches, train, "fitting", check)


def _rows(x: Examples) -> np.ndarray:
    """What a transform acts on one at a time: examples, or the nodes of graphs."""
    return x.nodes if isinstance(x, Graphs) else x


def _batches(x: np.ndarray, what: str, check: Check) -> Iterator[np.ndarray]:
    rows = max(1, _BATCH_BYTES // (8 * int(np.prod(x.shape[1:]))))
    with progress(total=len(x), description=what) as bar:
        for start in range(0, len(x), rows):
            batch = x[start : start + rows]
            check(start, start + len(batch))
            yield batch
            bar.update(len(batch))


def _write_features(
    path: Path, fitted: Fitted, x: Examples, part: str, check: Check
) -> tuple[str, np.ndarray, dict[str, Any]]:
    """Writes the features of ``x``.

    Returns:
        Their hash, over shape, values and a graph's structure; their sketch; what a summary says of each file.
    """
    rows = _rows(x)
    digest, sketching = hashlib.sha256(f"float64 {rows.shape}".encode()), Sketching(x)
    with atomic_array(path, rows.shape, np.float64) as features:
        strips, start = StripsInPassing(features), 0
        batches = _batches(rows, f"preprocessing {part}", check)
        for values in each_alone(partial(transform.apply, fitted), batches):
            features[start : start + len(values)] = values
            digest.update(values.data)
            strips.add(values)
            sketching.add(values)
            start += len(values)
        records = {path.name: record_of(features, strips.strips())}
    if isinstance(x, Graphs):
        for file, array in zip(structure_files(path).values(), write_structure(path, x), strict=True):
            digest.update(array.data)
            records[file.name] = record_of(array)
    return digest.hexdigest(), sketching.sketch(), records


# ----------------------------------------------------------------------------- targets


def _target_encoding(
    summary: Mapping[str, Any], train: np.ndarray
) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, list[float]] | None]:
    """What turns labels into targets, and the scaling that undoes it for a regression."""
    if summary["task"] == "classification":
        return partial(targets.one_hot, classes=summary["classes"]), None
    scaling = targets.fit_scaling(np.asarray(train), labels=summary["task"] == "multilabel")
    described = {"mean": scaling.mean.tolist(), "scale": scaling.scale.tolist()}
    return partial(targets.standardize, scaling), described


# ----------------------------------------------------------------------------- files


def _read_part(raw: SealedFolder, part: str) -> tuple[Examples, Check]:
    """The examples of a part, memory-mapped, and what checks rows of them, or nodes, before they are used."""
    examples, rows = raw.unchecked(f"{part}_x.npy")
    return examples, rows.check


def _unchecked(first: int, end: int) -> None:
    """The check of rows that are no stage's: a user's file."""


def _write_copy(path: Path, values: np.ndarray) -> None:
    with atomic_array(path, values.shape, values.dtype) as copy:
        copy[:] = values


# ----------------------------------------------------------------------------- in memory


@dataclass(frozen=True)
class Part:
    """Leading examples of one part: features, graphs or (n, *input_shape), and targets (n, outputs), both
    float64; the labels or values (n, ...) as they came.
    """

    features: Examples
    targets: np.ndarray
    labels: np.ndarray


def leading_parts(
    options: Preprocessing,
    data: Path,
    sizes: Mapping[str, int],
    spectrum: zca.Spectrum | None = None,
) -> dict[str, Part]:
    """What ``preprocess`` writes, of the first so many examples of some parts, in memory.

    Args:
        options, data: as of ``preprocess``; fitted on the whole training set as there.
        sizes: examples of each part.
        spectrum: of the training images by ``spectrum_of`` for the same options, which saves the fit of zca.

    Raises:
        UserError: as ``preprocess``, or fewer examples than asked for.
    """
    raw = sealed_arrays.open_folder(data / "data.json")
    summary = raw.summary
    for part, size in sizes.items():
        if size > summary["parts"].get(part, 0):
            raise UserError(f"{data} has {summary['parts'].get(part, 0)} examples of {part}, expected {size}")
    encode, _ = _target_encoding(summary, raw.load("train_y.npy"))
    if spectrum is not None and isinstance(options, Zca):
        fitted: Fitted = zca.whiten(spectrum, options.regularization)
    else:
        train, check = _read_part(raw, "train")
        fitted = _fit(options, _fit_examples(options, train), check)
    parts = {}
    for part, size in sizes.items():
        x = raw.examples(f"{part}_x.npy", (0, size))[:size]
        labels = raw.load(f"{part}_y.npy", size)
        with blas_threads(1):
            parts[part] = Part(features_of(fitted, x), encode(labels), labels)
    return parts


def fit_to(options: Preprocessing, train: Examples) -> Fitted:
    """What ``preprocess`` learns of training examples, from examples in memory; ``features_of`` applies it.

    Raises:
        UserError: ``train`` does not allow what ``options`` ask for.
    """
    return _fit(options, _fit_examples(options, train), _unchecked)


def features_of(fitted: Fitted, x: Examples) -> Examples:
    """Features, float64, of examples in memory."""
    rows = transform.apply(fitted, _rows(x))
    return replace(x, nodes=rows) if isinstance(x, Graphs) else rows


def spectrum_of(options: Zca, data: Path) -> zca.Spectrum:
    """What every regularisation of zca shares that is fitted on the training set of ``data``."""
    train, check = _read_part(sealed_arrays.open_folder(data / "data.json"), "train")
    images = _image_batches(_fit_examples(options, train), check)
    return zca.decompose(images, options.per_image_normalization)
