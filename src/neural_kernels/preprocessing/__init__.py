"""Preprocessing: from a study's examples to the float64 features and targets that kernels and solvers take.

Fitted once on the training set and applied to every part, so that a kernel block does not depend on the
training size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from neural_kernels.datasets.storage import atomic_array, remove_leftovers
from neural_kernels.errors import UserError
from neural_kernels.files import read_json, write_json
from neural_kernels.flip_symmetry import followed_by_flips
from neural_kernels.graphs import Examples, Graphs, is_graphs, open_examples, write_structure
from neural_kernels.preprocessing import channels, targets, transform, zca
from neural_kernels.preprocessing.transform import Fitted, SavedTransform
from neural_kernels.progress import progress

TRANSFORM_FILE = "transform.npz"
"""The fitted preprocessing, beside the features that it gave."""

# Enough rows to multiply matrices at full speed; the memory of one batch stays the same for any image size.
_BATCH_BYTES = 64 * 2**20

# Two fits of the same data differ by less, relative to the largest feature: by rounding, on another machine.
_SAME = 1e-8


def preprocess(options: Mapping[str, Any], data: Path, directory: Path) -> None:
    """Write features and targets of every part of ``data`` into ``directory``, ``features.json`` last.

    For each part: ``<part>.npy``, float64 of the examples' own shape, channels last, or the nodes of graphs
    and their structure beside them (``graphs.structure_files``); graphs are standardised over all nodes;
    ``<part>_targets.npy``, float64 (n, outputs), one-hot minus 1/classes, or standardised by the training
    set's statistics; ``<part>_labels.npy``, the labels or values as they came. ``transform.npz`` is the fitted
    preprocessing, for ``preprocess_inputs``. ``features.json`` holds the parts' sizes, the shape of an example,
    how many training images are followed by their flips, the scaling of the targets and a hash of each part's
    features.

    Args:
        options: a ``preprocessing`` entry of a study's config (workflow/schemas/preprocessing.schema.yaml).
        data: a folder written by ``neural_kernels.datasets.prepare_data``.

    Raises:
        UserError: ``data`` is incomplete, or its training set does not allow what ``options`` ask for.
    """
    summary = read_json(data / "data.json")
    parts: dict[str, int] = summary["parts"]
    input_shape = tuple(summary["input_shape"])
    examples = {part: _read_part(data, part, "x", count, input_shape) for part, count in parts.items()}
    labels = {part: np.asarray(_read_part(data, part, "y", count)) for part, count in parts.items()}
    used = applicable(options)
    encode, scaling = _target_encoding(summary, labels["train"])

    directory.mkdir(parents=True, exist_ok=True)
    features_file = directory / "features.json"
    # A summary beside arrays that it does not describe would be taken for finished features.
    features_file.unlink(missing_ok=True)
    remove_leftovers(directory)
    fitted = _fit(used, _fit_examples(used, examples["train"]))
    hashes = {}
    for part, x in examples.items():
        hashes[part] = _write_features(directory / f"{part}.npy", fitted, x, part)
        _write_copy(directory / f"{part}_targets.npy", encode(labels[part]))
        _write_copy(directory / f"{part}_labels.npy", labels[part])
    saved = SavedTransform(fitted, examples["train"].dtype.kind, hashes["train"])
    transform.save(directory / TRANSFORM_FILE, saved)
    described = {key: summary[key] for key in _PASSED_ON}
    write_json(
        features_file,
        described
        | {
            "target_scaling": scaling,
            "preprocessing": used,
            "feature_hashes": hashes,
            "flipped_images": _flipped_images(summary, directory),
        },
    )


def check_training_set(
    options: Mapping[str, Mapping[str, Any]], summary: Mapping[str, Any], labels: np.ndarray, source: str
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
        used = applicable(entry)
        _check_fit(used, graphs, train, f"preprocessing.{name}: ")


def add_transform(options: Mapping[str, Any], data: Path, directory: Path) -> None:
    """Write ``transform.npz`` beside features that an earlier version wrote without it, and nothing else.

    Fitting anew may change the last bits of features, and so the hash that finished kernel blocks belong to.

    Args:
        options, data, directory: as of ``preprocess``.

    Raises:
        UserError: as ``preprocess``, or what is fitted gives other training features than those there.
    """
    summary, described = read_json(data / "data.json"), read_json(directory / "features.json")
    used = {key: options[key] for key in _APPLICABLE[_method(options)] if key in options}
    shape, path = tuple(summary["input_shape"]), directory / "train.npy"
    train = _read_part(data, "train", "x", summary["parts"]["train"], shape)
    fitted = _fit(used, _fit_examples(used, train))
    rows, features = _rows(train), np.load(path, mmap_mode="r", allow_pickle=False)
    start = 0
    for batch in _batches(rows, "checking train"):
        values, stored = transform.apply(fitted, batch), features[start : start + len(batch)]
        start += len(batch)
        if values.shape != stored.shape or not np.abs(values - stored).max() <= _SAME * np.abs(stored).max():
            raise UserError(
                f"{data} and the config give other features than those in {path}: remove {directory} and make it again"
            )
    saved = SavedTransform(fitted, train.dtype.kind, described["feature_hashes"]["train"])
    transform.save(directory / TRANSFORM_FILE, saved)


def preprocess_inputs(saved: SavedTransform, x: Examples, path: Path) -> str:
    """Write the features of further examples as ``<part>.npy`` of ``preprocess``; returns their hash."""
    return _write_features(path, saved.fitted, x, "inputs")


def _flipped_images(summary: Mapping[str, Any], directory: Path) -> int:
    """Leading training features that are followed by their flips: 0 also where the fit broke the symmetry."""
    factor = summary.get("augmentation_factor", 1)
    if factor == 1:
        return 0
    images = summary["parts"]["train"] // factor
    features = np.load(directory / "train.npy", mmap_mode="r", allow_pickle=False)
    return images if followed_by_flips(features, images) else 0


_PASSED_ON = ("parts", "test_sets", "input_shape", "task", "outputs", "classes", "class_names")
_APPLICABLE = {
    "zca": ("method", "regularization", "per_image_normalization", "fit_examples"),
    "standardize": ("method", "fit_examples", "each_position"),
    "none": ("method",),
}


def applicable(options: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``options`` its method uses; a config's defaults give the keys of every method.

    Raises:
        UserError: an unknown method.
    """
    return {key: options[key] for key in _APPLICABLE[_method(options)] if key in options}


def _method(options: Mapping[str, Any]) -> str:
    method = options["method"]
    if method not in _APPLICABLE:
        raise UserError(f"preprocessing method is {method!r}, expected one of {', '.join(_APPLICABLE)}")
    return method


# ----------------------------------------------------------------------------- features


def _fit_examples(options: Mapping[str, Any], train: Examples) -> Examples:
    _check_fit(options, isinstance(train, Graphs), len(train))
    return train[: options.get("fit_examples")]


def _check_fit(options: Mapping[str, Any], graphs: bool, train: int, where: str = "") -> None:
    asked = options.get("fit_examples")
    if asked is not None and not 1 <= asked <= train:
        raise UserError(
            f"{where}preprocessing fit_examples is {asked}, expected 1 to {train} training examples"
        )
    if graphs and options.get("each_position", False):
        raise UserError(
            f"{where}preprocessing each_position is true, but the nodes of graphs have no positions"
        )
    if graphs and options["method"] == "zca":
        raise UserError(
            f"{where}preprocessing method is zca, but the examples are graphs: expected standardize or none"
        )


def _fit(options: Mapping[str, Any], train: Examples) -> Fitted:
    if options["method"] == "none":
        return None
    if options["method"] == "standardize":
        return channels.fit(_batches(_rows(train), "fitting"), options.get("each_position", False))
    return zca.fit(_image_batches(train), options["regularization"], options["per_image_normalization"])


def _image_batches(train: Examples) -> Callable[[], Iterator[np.ndarray]]:
    assert not isinstance(train, Graphs), "_check_fit refuses graphs"
    return partial(_batches, train, "fitting")


def _rows(x: Examples) -> np.ndarray:
    """What a transform acts on one at a time: examples, or the nodes of graphs."""
    return x.nodes if isinstance(x, Graphs) else x


def _batches(x: np.ndarray, what: str) -> Iterator[np.ndarray]:
    rows = max(1, _BATCH_BYTES // (8 * int(np.prod(x.shape[1:]))))
    with progress(total=len(x), description=what) as bar:
        for start in range(0, len(x), rows):
            batch = x[start : start + rows]
            yield batch
            bar.update(len(batch))


def _write_features(path: Path, fitted: Fitted, x: Examples, part: str) -> str:
    """Writes the features of ``x`` and returns their hash, over shape, values and a graph's structure."""
    rows = _rows(x)
    digest = hashlib.sha256(f"float64 {rows.shape}".encode())
    with atomic_array(path, rows.shape, np.float64) as features:
        start = 0
        for batch in _batches(rows, f"preprocessing {part}"):
            values = np.ascontiguousarray(transform.apply(fitted, batch))
            features[start : start + len(batch)] = values
            digest.update(values.data)
            start += len(batch)
    if isinstance(x, Graphs):
        for array in write_structure(path, x):
            digest.update(array.data)
    return digest.hexdigest()


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


def _read_part(
    data: Path, part: str, what: str, count: int, input_shape: tuple[int | None, ...] = ()
) -> Examples:
    path = data / f"{part}_{what}.npy"
    try:
        array = open_examples(path, input_shape)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected the output of prepare_data") from error
    if len(array) != count:
        raise UserError(f"{path}: found {len(array)} examples, expected {count} as in data.json")
    return array


def _read_labels(data: Path, part: str, count: int) -> np.ndarray:
    return cast(np.ndarray, _read_part(data, part, "y", count))


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
    options: Mapping[str, Any],
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
    summary = read_json(data / "data.json")
    used = applicable(options)
    for part, size in sizes.items():
        if size > summary["parts"].get(part, 0):
            raise UserError(f"{data} has {summary['parts'].get(part, 0)} examples of {part}, expected {size}")
    shape = tuple(summary["input_shape"])
    train = _read_part(data, "train", "x", summary["parts"]["train"], shape)
    encode, _ = _target_encoding(summary, _read_labels(data, "train", summary["parts"]["train"]))
    if spectrum is not None and used["method"] == "zca":
        fitted: Fitted = zca.whiten(spectrum, used["regularization"])
    else:
        fitted = _fit(used, _fit_examples(used, train))
    parts = {}
    for part, size in sizes.items():
        x = _read_part(data, part, "x", summary["parts"][part], shape)[:size]
        labels = np.array(_read_labels(data, part, summary["parts"][part])[:size])
        rows = np.ascontiguousarray(transform.apply(fitted, _rows(x)))
        features = replace(x, nodes=rows) if isinstance(x, Graphs) else rows
        parts[part] = Part(features, encode(labels), labels)
    return parts


def spectrum_of(options: Mapping[str, Any], data: Path) -> zca.Spectrum:
    """What every regularisation of zca shares that is fitted on the training set of ``data``."""
    summary = read_json(data / "data.json")
    shape = tuple(summary["input_shape"])
    train = _fit_examples(options, _read_part(data, "train", "x", summary["parts"]["train"], shape))
    return zca.decompose(_image_batches(train), options["per_image_normalization"])
