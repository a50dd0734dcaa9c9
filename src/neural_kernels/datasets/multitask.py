"""Tables of values with gaps, a column a task: whether they are labels or numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neural_kernels.datasets.pools import LARGEST_MAGNITUDE, Task
from neural_kernels.errors import UserError


def task_of(source: str, values: np.ndarray, asked: str | None = None, names: Sequence[str] = ()) -> Task:
    """``multilabel`` where every known value is 0 or 1, and ``regression`` elsewhere.

    Args:
        values: (n, tasks) float64, NaN where one is missing.
        names: of the tasks, their numbers where there are none.
        asked: the one of both that the config asks for, None for neither.

    Raises:
        UserError: no value at all, an infinite or huge one, or one that is no label where labels are asked for.
    """

    def place(row: int, column: int) -> str:
        return f"{source}: the value of example {row} for task {names[column] if names else column}"

    if np.isnan(values).all():
        raise UserError(
            f"{source}: found no value in {len(values)} examples and {values.shape[1]} tasks, expected some"
        )
    huge = np.argwhere(np.abs(values) > LARGEST_MAGNITUDE)
    if len(huge):
        row, column = huge[0]
        expected = "a finite number"
        if np.isfinite(values[row, column]):
            expected = f"a magnitude of at most {LARGEST_MAGNITUDE:g}"
        raise UserError(f"{place(row, column)} is {values[row, column]}, expected {expected}")
    other = np.argwhere(~np.isnan(values) & (values != 0) & (values != 1))
    if asked == "multilabel" and len(other):
        row, column = other[0]
        raise UserError(
            f"{place(row, column)} is {values[row, column]:g}, expected the label 0 or 1, or nothing"
        )
    if asked is not None:
        return "multilabel" if asked == "multilabel" else "regression"
    return "regression" if len(other) else "multilabel"
