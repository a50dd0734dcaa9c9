"""What a solve returns: dual coefficients, and a record that says how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.files import read_json, write_atomically, write_json, write_npy

TOLERANCE = 1e-6
"""Of the true relative residual, where nothing else is asked for."""

StoppedBy = Literal["direct", "tolerance", "max_iterations", "stagnation", "indefinite"]


@dataclass(frozen=True)
class Record:
    """How a solve of (K + ridge mean(diag K) I) X = B went.

    Attributes:
        solver: "cholesky", "conjugate_gradients" or "block_conjugate_gradients".
        n: training examples.
        ridge: relative to the mean diagonal.
        shift: what was added to the diagonal, ridge times the mean diagonal.
        column_iterations: of each column of B, 0 where nothing had to be iterated.
        column_residuals: true relative residual |b - A x| / |b| of each column, recomputed from the matrix.
        column_stops: what ended each column.
        seconds: wall-clock time of the solve for this ridge.
        tolerance: of the relative residual; None in direct solves by earlier versions, which ``TOLERANCE`` judges.
        validation_loss: of this solution, None where there was no validation data.
        details: what belongs to one solver alone: preconditioner, passes over the store, ridge sweep.
    """

    solver: str
    n: int
    ridge: float
    shift: float
    column_iterations: list[int]
    column_residuals: list[float]
    column_stops: list[StoppedBy]
    seconds: float
    tolerance: float | None = None
    validation_loss: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def iterations(self) -> int:
        """Of the slowest column."""
        return max(self.column_iterations, default=0)

    @property
    def residual(self) -> float:
        """The largest true relative residual of any column."""
        return max(self.column_residuals, default=0.0)

    @property
    def stopped_by(self) -> StoppedBy:
        """What ended the solve: of what ended its columns, the worst."""
        order: list[StoppedBy] = ["indefinite", "stagnation", "max_iterations", "tolerance", "direct"]
        return next((reason for reason in order if reason in self.column_stops), "direct")

    @property
    def converged(self) -> bool:
        """Whether the true residual of every column is at most the tolerance, solved directly or not."""
        tolerance = TOLERANCE if self.tolerance is None else self.tolerance
        solved = all(residual <= tolerance for residual in self.column_residuals)
        return solved and self.stopped_by in ("direct", "tolerance")

    @property
    def ridges_passed_over(self) -> list[float]:
        """Candidates at which the kernel was singular to rounding, the largest first."""
        return list(self.details.get("ridge_choice", {}).get("passed_over", []))

    def as_json(self) -> dict[str, Any]:
        """Plain data, with the summaries over columns spelled out for whoever reads the file."""
        return {**asdict(self), **{key: getattr(self, key) for key in SUMMARIES}}


SUMMARIES = ("iterations", "residual", "stopped_by", "converged")


@dataclass(frozen=True)
class Solution:
    """Dual coefficients, (n, C) float64, and the record of their solve.

    ``history`` has a row for each iteration and column: (iteration, column, relative residual, whether it was
    recomputed from the matrix, seconds). It is empty for a direct solve.
    """

    coefficients: np.ndarray
    record: Record
    history: Sequence[tuple[int, int, float, bool, float]] = field(default=(), compare=False)

    def save(self, directory: Path) -> None:
        """Write coefficients.npy, history.parquet and, last, record.json, which never stands beside others."""
        (directory / "record.json").unlink(missing_ok=True)
        write_npy(directory / "coefficients.npy", self.coefficients)
        write_history(directory / "history.parquet", self.history)
        write_json(directory / "record.json", self.record.as_json())


def load_solution(directory: Path) -> Solution:
    """The solution that ``Solution.save`` wrote.

    Raises:
        UserError: a file is missing, or does not hold what it should.
    """
    path = directory / "record.json"
    facts = read_json(path)
    for key in SUMMARIES:
        facts.pop(key, None)
    try:
        record = Record(**facts)
    except TypeError as error:
        raise UserError(f"{path} is not the record of a solve ({error})") from None
    if not set(record.column_stops) <= set(get_args(StoppedBy)):
        raise UserError(
            f"{path}: column_stops are {record.column_stops}, expected {', '.join(get_args(StoppedBy))}"
        )
    path = directory / "coefficients.npy"
    try:
        coefficients = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (ValueError, EOFError):
        raise UserError(f"{path} is truncated or is no .npy file") from None
    shape = (record.n, len(record.column_residuals))
    if coefficients.shape != shape or coefficients.dtype != np.float64:
        raise UserError(f"{path} is {coefficients.shape} {coefficients.dtype}, expected {shape} float64")
    return Solution(coefficients, record)


def write_history(path: Path, history: Sequence[tuple[int, int, float, bool, float]]) -> None:
    """A Parquet file with the columns iteration, column, residual, recomputed and seconds."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = list(zip(*history, strict=True)) or [(), (), (), (), ()]
    types = {
        "iteration": pa.int64(),
        "column": pa.int64(),
        "residual": pa.float64(),
        "recomputed": pa.bool_(),
        "seconds": pa.float64(),
    }
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types.values(), strict=True)]
    table = pa.table(dict(zip(types, arrays, strict=True)))
    write_atomically(path, lambda file: parquet.write_table(table, file))
