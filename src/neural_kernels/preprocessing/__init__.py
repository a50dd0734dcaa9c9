"""Preprocessing: from a study's examples to the float64 features and targets that kernels and solvers take.

Fitted once on the training set and applied to every part, so that a kernel block does not depend on the
training size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.datasets.storage import atomic_array, remove_leftovers
from neural_kernels.errors import UserError
from neural_kernels.files import read_json, write_json
from neural_kernels.flip_symmetry import followed_by_flips
from neural_kernels.preprocessing import channels, targets, zca
from neural_kernels.progress import progress

Transform = Callable[[np.ndarray], np.ndarray]

# Enough rows to multiply matrices at full speed; the memory of one batch stays the same for any image size.
_BATCH_BYTES = 64 * 2**20


def preprocess(options: Mapping[str, Any], data: Path, directory: Path) -> None:
    """Write features and targets of every part of ``data`` into ``directory``, ``features.json`` last.

    For each part: ``<part>.npy``, float64 of the examples' own shape, channels last;
    ``<part>_targets.npy``, float64 (n, outputs), one-hot minus 1/classes, or standardised by the training
    set's statistics; ``<part>_labels.npy``, the labels or values as they came. ``features.json`` holds
    the parts' sizes, the shape of an example, how many training images are followed by their flips,
    the scaling of the targets and a hash of each part's features.

    Args:
        options: a ``preprocessing`` entry of a study's config (workflow/schemas/preprocessing.schema.yaml).
        data: a folder written by ``neural_kernels.datasets.prepare_data``.

    Raises:
        UserError: ``data`` is incomplete, or its training set does not allow what ``options`` ask for.
    """
    summary = read_json(data / "data.json")
    parts: dict[str, int] = summary["parts"]
    examples = {part: _read_part(data, part, "x", count) for part, count in parts.items()}
    labels = {part: _read_part(data, part, "y", count) for part, count in parts.items()}
    used = {key: options[key] for key in _APPLICABLE[_method(options)] if key in options}
    encode, scaling = _target_encoding(summary, labels["train"])

    directory.mkdir(parents=True, exist_ok=True)
    features_file = directory / "features.json"
    # A summary beside arrays that it does not describe would be taken for finished features.
    features_file.unlink(missing_ok=True)
    remove_leftovers(directory)
    transform = _fit(used, _fit_examples(used, examples["train"]))
    hashes = {}
    for part, x in examples.items():
        hashes[part] = _write_features(directory / f"{part}.npy", transform, x, part)
        _write_copy(directory / f"{part}_targets.npy", encode(np.asarray(labels[part])))
        _write_copy(directory / f"{part}_labels.npy", labels[part])
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
    "standardize": ("method", "fit_examples"),
    "none": ("method",),
}


def _method(options: Mapping[str, Any]) -> str:
    method = options["method"]
    if method not in _APPLICABLE:
        raise UserError(f"preprocessing method is {method!r}, expected one of {', '.join(_APPLICABLE)}")
    return method


# ----------------------------------------------------------------------------- features


def _fit_examples(options: Mapping[str, Any], train: np.ndarray) -> np.ndarray:
    asked = options.get("fit_examples")
    if asked is not None and not 1 <= asked <= len(train):
        raise UserError(
            f"preprocessing fit_examples is {asked}, expected 1 to {len(train)} training examples"
        )
    return train[:asked]


def _fit(options: Mapping[str, Any], train: np.ndarray) -> Transform:
    if options["method"] == "none":
        return partial(np.asarray, dtype=np.float64)
    batches = partial(_batches, train, "fitting")
    if options["method"] == "standardize":
        return partial(channels.apply, channels.fit(batches()))
    fitted = zca.fit(batches, options["regularization"], options["per_image_normalization"])
    return partial(zca.apply, fitted)


def _batches(x: np.ndarray, what: str) -> Iterator[np.ndarray]:
    rows = max(1, _BATCH_BYTES // (8 * int(np.prod(x.shape[1:]))))
    with progress(total=len(x), description=what) as bar:
        for start in range(0, len(x), rows):
            batch = x[start : start + rows]
            yield batch
            bar.update(len(batch))


def _write_features(path: Path, transform: Transform, x: np.ndarray, part: str) -> str:
    """Writes the features of ``x`` and returns their hash, over shape and values."""
    digest = hashlib.sha256(f"float64 {x.shape}".encode())
    with atomic_array(path, x.shape, np.float64) as features:
        start = 0
        for batch in _batches(x, f"preprocessing {part}"):
            values = np.ascontiguousarray(transform(batch))
            features[start : start + len(batch)] = values
            digest.update(values.data)
            start += len(batch)
    return digest.hexdigest()


# ----------------------------------------------------------------------------- targets


def _target_encoding(
    summary: Mapping[str, Any], train: np.ndarray
) -> tuple[Transform, dict[str, list[float]] | None]:
    """What turns labels into targets, and the scaling that undoes it for a regression."""
    if summary["task"] == "classification":
        return partial(targets.one_hot, classes=summary["classes"]), None
    scaling = targets.fit_scaling(np.asarray(train))
    described = {"mean": scaling.mean.tolist(), "scale": scaling.scale.tolist()}
    return partial(targets.standardize, scaling), described


# ----------------------------------------------------------------------------- files


def _read_part(data: Path, part: str, what: str, count: int) -> np.ndarray:
    path = data / f"{part}_{what}.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected the output of prepare_data") from error
    if len(array) != count:
        raise UserError(f"{path}: found {len(array)} examples, expected {count} as in data.json")
    return array


def _write_copy(path: Path, values: np.ndarray) -> None:
    with atomic_array(path, values.shape, values.dtype) as copy:
        copy[:] = values


# ----------------------------------------------------------------------------- in memory


@dataclass(frozen=True)
class Part:
    """Leading examples of one part: features (n, *input_shape) and targets (n, outputs), both float64; the
    labels or values (n, ...) as they came.
    """

    features: np.ndarray
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
    used = {key: options[key] for key in _APPLICABLE[_method(options)] if key in options}
    for part, size in sizes.items():
        if size > summary["parts"].get(part, 0):
            raise UserError(f"{data} has {summary['parts'].get(part, 0)} examples of {part}, expected {size}")
    train = {what: _read_part(data, "train", what, summary["parts"]["train"]) for what in ("x", "y")}
    encode, _ = _target_encoding(summary, train["y"])
    if spectrum is not None and used["method"] == "zca":
        transform: Transform = partial(zca.apply, zca.whiten(spectrum, used["regularization"]))
    else:
        transform = _fit(used, _fit_examples(used, train["x"]))
    parts = {}
    for part, size in sizes.items():
        x = _read_part(data, part, "x", summary["parts"][part])[:size]
        labels = np.array(_read_part(data, part, "y", summary["parts"][part])[:size])
        parts[part] = Part(np.ascontiguousarray(transform(x)), encode(labels), labels)
    return parts


def spectrum_of(options: Mapping[str, Any], data: Path) -> zca.Spectrum:
    """What every regularisation of zca shares that is fitted on the training set of ``data``."""
    summary = read_json(data / "data.json")
    train = _fit_examples(options, _read_part(data, "train", "x", summary["parts"]["train"]))
    return zca.decompose(partial(_batches, train, "fitting"), options["per_image_normalization"])
