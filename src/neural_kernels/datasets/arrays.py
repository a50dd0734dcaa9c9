"""Anybody's own data: one .npz file of training and named test sets.

Keys: ``x_train`` and ``y_train``; ``x_<name>`` and ``y_<name>`` for every test set; optionally
``class_names``, an array of strings.

Features are (n, features), (n, length, channels) or (n, height, width, channels), uint8, float32 or
float64. Integer labels (n,), from 0, make a classification; float labels (n,) or (n, tasks) a regression.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.datasets import npz, pools
from neural_kernels.datasets.pools import (
    Chunk,
    Dataset,
    Pool,
    check_finite,
    check_labels,
    check_lengths,
    require_file,
)
from neural_kernels.errors import UserError

ORIGIN = "you: an .npz file with x_train, y_train, x_<name> and y_<name> (numpy.savez writes one)"


def open_dataset(options: Mapping[str, Any]) -> Dataset:
    """The arrays of the file ``path``. All labels are read and checked; of the features, only the headers."""
    path = require_file(Path(options["path"]), ORIGIN)
    names = [key.removeprefix("x_") for key in npz.keys(path) if key.startswith("x_") and key != "x_train"]
    if not names:
        raise UserError(f"{path}: found no test set, expected x_<name> and y_<name> beside x_train")
    labels = npz.load(npz.open_member(path, "y_train"))
    if labels.dtype.kind == "f":
        outputs = labels.shape[1] if labels.ndim == 2 else 1
        check = partial(_check_targets, outputs=outputs)
        train = _pool(path, "train", check)
        tests = {name: partial(_pool, path, name, check) for name in names}
        return Dataset(train, tests, "regression", outputs)
    class_names = _class_names(path)
    # Without names, a label beyond the number of examples is taken for a slip, not for a class.
    check_labels(f"{path}, key y_train", labels, classes=len(class_names) or len(labels))
    classes = len(class_names) or int(labels.max()) + 1
    if classes < 2:
        raise UserError(f"{path}: every label of y_train is 0, expected at least two classes")
    check = partial(_check_classes, classes=classes)
    train = _pool(path, "train", check)
    tests = {name: partial(_pool, path, name, check) for name in names}
    return Dataset(train, tests, "classification", classes, class_names)


def _pool(path: Path, name: str, check: Any) -> Pool:
    member = npz.open_member(path, f"x_{name}")
    if member.dtype.type not in (np.uint8, np.float32, np.float64) or not 2 <= len(member.shape) <= 4:
        raise UserError(
            f"{member.source}: found an array {member.shape} of {member.dtype}, "
            "expected (n, features), (n, length, channels) or (n, height, width, channels) "
            "of uint8, float32 or float64"
        )
    label_member = npz.open_member(path, f"y_{name}")
    check_lengths(label_member.source, member.shape, label_member.shape)
    y = npz.load(label_member)
    check(label_member.source, y)
    if y.dtype.kind == "f":
        y = y.reshape(len(y), -1)

    def chunks() -> Iterator[Chunk]:
        for start, x in npz.rows(member, pools.CHUNK_ROWS):
            yield Chunk(start, x, y[start : start + len(x)], member.source, start)

    return Pool(str(path), member.shape[0], member.shape[1:], np.dtype(member.dtype.type), chunks)


def _check_classes(source: str, y: np.ndarray, classes: int) -> None:
    check_labels(source, y, classes)


def _check_targets(source: str, y: np.ndarray, outputs: int) -> None:
    if y.dtype.kind != "f" or y.ndim not in (1, 2) or y.size != len(y) * outputs or not outputs:
        expected = "(n,)" if outputs <= 1 else f"(n, {outputs})"
        raise UserError(f"{source}: found {y.shape} of {y.dtype}, expected {expected} floats as in y_train")
    check_finite(source, y, np.arange(len(y)), "the target")


def _class_names(path: Path) -> tuple[str, ...]:
    if "class_names" not in npz.keys(path):
        return ()
    member = npz.open_member(path, "class_names")
    if member.dtype.kind != "U" or len(member.shape) != 1:
        raise UserError(
            f"{member.source}: found an array {member.shape} of {member.dtype}, expected strings, one a class"
        )
    return tuple(map(str, npz.load(member)))
