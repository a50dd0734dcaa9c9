"""What a float can hold: examples on their way into an engine, entries on their way out.

Engines make every entry of an example NaN whose variances, somewhere in the network, are too large or too small
for their formulas. Whoever hands entries on asks ``untrusted`` first.
"""

from __future__ import annotations

import numpy as np

from neural_kernels.engines import Precision
from neural_kernels.errors import UserError


def rounded(x: np.ndarray, precision: Precision) -> np.ndarray:
    """``x`` in ``precision``: too large a number becomes infinite, too small a one the smallest normal one.

    A number that became zero would pass for one, and so would its example; the engines see that the square of
    the smallest normal number is lost.
    """
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(x, dtype=precision)
    smallest = np.finfo(precision).tiny
    lost = (np.abs(values) < smallest) & (np.asarray(x) != 0)
    return np.where(lost, np.copysign(smallest, x).astype(precision), values) if lost.any() else values


def untrusted(entries: np.ndarray, first_row: int = 0, first_column: int = 0) -> str | None:
    """The example or pair with which ``entries`` (rows, columns) are not finite, or None where all are.

    Args:
        first_row: the number of the first row, and ``first_column`` that of the first column.
    """
    finite = np.isfinite(entries)
    if finite.all():
        return None
    rows, columns = (np.flatnonzero(~finite.any(axis=axis)) for axis in (1, 0))
    if len(rows) and entries.shape[1] > 1:
        return f"row {first_row + rows[0]} with every column"
    if len(columns) and entries.shape[0] > 1:
        return f"column {first_column + columns[0]} with every row"
    i, j = np.argwhere(~finite)[0]
    return f"row {first_row + i} with column {first_column + j}"


def refuse_untrusted(entries: np.ndarray, precision: Precision) -> None:
    """Raises a UserError that names the row and column of an entry that is not finite."""
    which = untrusted(entries)
    if which is not None:
        raise UserError(f"the kernel of {which} is not finite; {expectation(precision)}")


def expectation(precision: Precision) -> str:
    return f"expected features whose variances, layer by layer, {precision} can hold"
