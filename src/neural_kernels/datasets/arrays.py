"""Anybody's own data: one .npz file of training and named test sets.

Keys: ``x_train`` and ``y_train``; ``x_<name>`` and ``y_<name>`` for every test set; optionally
``class_names``, an array of strings.

Features are (n, features), (n, length, channels) or (n, height, width, channels), uint8, float32 or
float64. Integer labels (n,) make a classification: 0 to C-1, each of them in ``y_train``; names of classes are
given by ``class_names``, not as labels. Float labels (n,) or (n, tasks) make a regression.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from neural_kernels.datasets import npz, pools
from neural_kernels.datasets.options import MeasuredOptions
from neural_kernels.datasets.pools import (
    Chunk,
    Dataset,
    Pool,
    check_example,
    check_finite,
    check_labels,
    check_lengths,
    require_file,
)
from neural_kernels.errors import UserError
from neural_kernels.sections import Path as PathText

log = logging.getLogger(__name__)

ORIGIN = "you: an .npz file with x_train, y_train, x_<name> and y_<name> (numpy.savez writes one)"


class Options(MeasuredOptions):
    """Your own .npz file.

    Integer labels 0 to C-1, of which y_train has each, make a classification, floats a regression; of several targets
    (n, C), NaN is one that was not measured.
    """

    name: Literal["arrays"] = Field("arrays", description="The data set arrays.")
    path: PathText = Field(description="The .npz file, relative to the working directory.")


def open_dataset(options: Options) -> Dataset:
    """The arrays of the file ``path``. All labels are read and checked; of the features, only the headers."""
    path = require_file(Path(options.path), ORIGIN)
    present = npz.keys(path)
    names = [key.removeprefix("x_") for key in present if key.startswith("x_") and key != "x_train"]
    x, y = npz.open_member(path, "x_train"), npz.open_member(path, "y_train")
    if not names:
        capital = next((key for key in present if key.startswith("X_")), None)
        hint = f": {capital} is spelled otherwise" if capital else ""
        raise UserError(f"{path}: found no test set, expected x_<name> and y_<name> beside x_train{hint}")
    check_lengths(y.source, x.shape, y.shape)
    labels = npz.load(y)
    class_names = _class_names(path)
    if labels.dtype.kind == "f":
        if class_names:
            raise UserError(
                f"{y.source}: found labels of {labels.dtype} beside class_names, expected integers from 0 to "
                f"{len(class_names) - 1}"
            )
        outputs = labels.shape[1] if labels.ndim == 2 else 1
        check = partial(_check_targets, outputs=outputs)
        check(y.source, labels)
        gaps = int(np.isnan(labels).sum())
        if gaps:
            log.warning("%s: %d of %d values are NaN and taken as missing", y.source, gaps, labels.size)
        if (labels == np.round(labels)).all():
            log.warning(
                "%s: whole numbers of %s, which make a regression: classes are labelled by integers",
                y.source,
                y.dtype,
            )
        train = _pool(path, "train", check)
        tests = {name: partial(_pool, path, name, check) for name in names}
        return Dataset(train, tests, "regression", outputs)
    # Without names, a label beyond the number of examples is taken for a slip, not for a class.
    check_labels(f"{path}, key y_train", labels, classes=len(class_names) or len(labels))
    classes = len(class_names) or int(labels.max()) + 1
    if classes < 2:
        raise UserError(f"{path}: every label of y_train is 0, expected at least two classes")
    if 2 * classes > len(labels) and not class_names:
        raise UserError(
            f"{y.source}: found labels up to {classes - 1} for {len(labels)} examples, expected at least two examples "
            "a class on average, or class_names"
        )
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
    check_example(member.source, member.shape, member.dtype)
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
    # Of several targets one may not have been measured; a single one that is missing is a slip.
    missing = np.isnan(y) if outputs > 1 else np.zeros(y.shape, bool)
    check_finite(source, np.where(missing, y.dtype.type(0), y), np.arange(len(y)), "the target")
    if missing.any():
        empty = np.flatnonzero(missing.all(axis=0))
        if len(empty):
            raise UserError(
                f"{source}: target {empty[0]} has no value at all, expected one, NaN where it is missing"
            )


def _class_names(path: Path) -> tuple[str, ...]:
    if "class_names" not in npz.keys(path):
        return ()
    member = npz.open_member(path, "class_names")
    if member.dtype.kind != "U" or len(member.shape) != 1:
        raise UserError(
            f"{member.source}: found an array {member.shape} of {member.dtype}, expected strings, one a class"
        )
    try:
        names = tuple(map(str, npz.load(member)))
    except ValueError as error:
        raise UserError(f"{member.source}: damaged ({error}), expected strings") from error
    for name, times in Counter(names).items():
        if times > 1 or not name.strip() or not name.isprintable():
            found = f"{name!r} {times} times" if times > 1 else repr(name)
            raise UserError(f"{member.source}: found {found}, expected printable names that differ")
    return names
