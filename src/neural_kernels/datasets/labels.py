"""Examples of which the labels alone are known: rows of a kernel that another program computed.

The only feature of an example is its row in that kernel. The order is the kernel's: training examples, then validation
examples, then each test set.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
from pydantic import Field

from neural_kernels.datasets import npy
from neural_kernels.datasets.options import LABELS, DataOptions
from neural_kernels.datasets.pools import (
    Dataset,
    Pool,
    Task,
    check_finite,
    check_labels,
    in_memory,
    require_file,
)
from neural_kernels.errors import UserError
from neural_kernels.sections import Path as PathText

ORIGIN = "you: an .npy file of the labels of an imported kernel's rows"


class Options(DataOptions):
    """Labels of the rows of an imported kernel, in their order.

    Training examples come first, then validation examples, then each of test_sets, whose examples are given. Integer
    labels 0 to C-1 make a classification, floats a regression.
    """

    name: Literal["labels"] = Field("labels", description="The data set labels.")
    path: PathText = Field(description="The .npy file of the labels, relative to the working directory.")


def open_dataset(options: Options) -> Dataset:
    """Examples (n, 1) float64, each its row in the kernel; all labels are read and checked."""
    path = require_file(Path(options.path), ORIGIN)
    y = read(path)
    sizes = {}
    for name, test_set in options.test_sets.items():
        if test_set.examples is None:
            raise UserError(f"data.test_sets.{name}.examples is null, expected how many of the rows it has")
        sizes[name] = test_set.examples
    left = len(y) - sum(sizes.values())
    if not sizes or left < 1:
        raise UserError(
            f"data.test_sets take {sum(sizes.values())} examples, expected at least one, and fewer than the {len(y)} "
            f"labels of {path}"
        )
    rows = np.arange(len(y), dtype=np.float64)[:, np.newaxis]
    tests, first = {}, left
    for name, size in sizes.items():
        tests[name] = partial(_pool, path, rows, y, first, first + size)
        first += size
    task: Task = "regression" if y.dtype.kind == "f" else "classification"
    outputs = y.shape[1] if task == "regression" else int(y.max()) + 1
    return Dataset(_pool(path, rows, y, 0, left), tests, task, outputs, in_order=True)


def read(path: Path) -> np.ndarray:
    """The labels in an .npy file: (n,) int64, or (n, tasks) float64.

    Raises:
        UserError: no such file, or anything but (n,) integers from 0 or (n,) or (n, tasks) finite floats.
    """
    y = np.array(npy.open_array(path))
    if y.dtype.kind in "iu" and y.ndim == 1 and len(y):
        check_labels(str(path), y, classes=len(y))
        if not y.any():
            raise UserError(f"{path}: every label is 0, expected at least two classes")
        return y.astype(np.int64)
    if y.dtype.kind == "f" and y.ndim in (1, 2) and y.size:
        check_finite(str(path), y, np.arange(len(y)), "the target")
        return y.astype(np.float64).reshape(len(y), -1)
    raise UserError(
        f"{path}: found an array {y.shape} of {y.dtype}, expected labels: (n,) integers, or (n,) or (n, tasks) floats"
    )


def read_inputs(options: Options, path: Path) -> NoReturn:
    """An imported kernel has no rows of new examples."""
    raise UserError(
        f"{path}: data.name is {LABELS}, so that the kernel of new examples is not known here: expected a study whose "
        "kernels have architectures"
    )


def _pool(path: Path, rows: np.ndarray, y: np.ndarray, first: int, end: int) -> Pool:
    return in_memory(str(path), rows[first:end], y[first:end], np.arange(first, end))
