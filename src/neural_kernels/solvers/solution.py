"""What a solve returns: dual coefficients, and a record that says how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.solvers.criteria import InverseFacts
from neural_kernels.solvers.estimates import InverseSums
from neural_kernels.storage import checksums, sealed_parquet
from neural_kernels.storage.files import damaged, read_json, write_json, write_npy

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-6
"""Of the true relative residual, where nothing else is asked for."""

StoppedBy = Literal["direct", "tolerance", "max_iterations", "stagnation", "indefinite"]


@dataclass(frozen=True)
class Record:
    """How a solve of (K + ridge mean(diag K) I) X = B went.

    Attributes:
        solver: a name in ``registry.SOLVERS``.
        n: training examples.
        ridge: relative to the mean diagonal.
        shift: what was added to the diagonal, ridge times the mean diagonal.
        column_iterations: of each column of B, 0 where nothing had to be iterated.
        column_residuals: true relative residual |b - A x| / |b| of each column, recomputed from the matrix.
        column_stops: what ended each column.
        seconds: wall-clock time of the solve for this ridge.
        tolerance: of the relative residual; None in direct solves by earlier versions, which ``TOLERANCE`` judges.
        validation_loss: of this solution, None where the ridge was not chosen by it.
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
    recomputed from the matrix, seconds). It is empty for a direct solve. ``inverse`` is there where the solution is to
    be judged by itself, and is not saved.
    """

    coefficients: np.ndarray
    record: Record
    history: Sequence[tuple[int, int, float, bool, float]] = field(default=(), compare=False)
    inverse: InverseFacts | InverseSums | None = field(default=None, compare=False)

    def save(self, directory: Path, problem: str = "") -> None:
        """Write coefficients.npy, history.parquet and, last, record.json, which never stands beside others.

        Args:
            problem: fingerprint of everything that the solution follows from, kept in the record.
        """
        (directory / RECORD).unlink(missing_ok=True)
        write_npy(directory / COEFFICIENTS, self.coefficients)
        write_history(directory / HISTORY, self.history)
        sums = {name: checksums.of_file(directory / name) for name in (COEFFICIENTS, HISTORY)}
        write_json(directory / RECORD, self.record.as_json() | {"problem": problem, "files": sums})


COEFFICIENTS, HISTORY, RECORD = "coefficients.npy", "history.parquet", "record.json"


def load_solution(directory: Path, *vouching: Path, problem: str | None = None) -> Solution:
    """The solution that ``Solution.save`` wrote, but for its history.

    Args:
        vouching: files that say that it is whole, set aside with what is missing or damaged of it.
        problem: that it has to be of, any where None.

    Raises:
        UserError: it is of another problem.
        DamagedFile: a file is missing, or is not what was written; it has been set aside.
    """
    record, kept = _read_record(directory, *vouching)
    if problem is not None and kept["problem"] != problem:
        raise UserError(f"{directory} has the solution of another problem")
    path = directory / COEFFICIENTS
    # A file that fits its checksum is as it was saved, whatever NumPy's parser would make of another one.
    _check_file(path, kept, directory / RECORD, *vouching)
    coefficients = np.load(path, allow_pickle=False)
    shape = (record.n, len(record.column_residuals))
    if coefficients.shape != shape or coefficients.dtype != np.float64:
        fault = f"is {coefficients.shape} {coefficients.dtype}, expected {shape} float64"
        raise damaged(path, fault, directory / RECORD, *vouching)
    return Solution(coefficients, record)


def load_history(directory: Path, *vouching: Path) -> pd.DataFrame:
    """The history of a saved solution, as ``write_history`` has it; arguments and errors as of ``load_solution``."""
    _, kept = _read_record(directory, *vouching)
    _check_file(directory / HISTORY, kept, directory / RECORD, *vouching)
    return sealed_parquet.read(directory / HISTORY, directory / RECORD, *vouching)


def _read_record(directory: Path, *vouching: Path) -> tuple[Record, dict[str, Any]]:
    """The record, and what stands in its file beside it: "problem" and the checksums of "files"."""
    path = directory / RECORD
    if not path.exists():
        raise damaged(path, "is missing", *vouching)
    facts = read_json(path, *vouching)
    for key in SUMMARIES:
        facts.pop(key, None)
    try:
        kept = {"problem": facts.pop("problem"), "files": facts.pop("files")}
        record = Record(**facts)
    except (KeyError, TypeError) as error:
        raise damaged(path, f"is not the record of a solve ({error})", *vouching) from None
    if not set(record.column_stops) <= set(get_args(StoppedBy)):
        fault = f"has the column_stops {record.column_stops}, expected {', '.join(get_args(StoppedBy))}"
        raise damaged(path, fault, *vouching)
    return record, kept


def _check_file(path: Path, kept: dict[str, Any], *vouching: Path) -> None:
    if not path.exists():
        raise damaged(path, "is missing", *vouching)
    if checksums.of_file(path) != kept["files"].get(path.name):
        raise damaged(path, "is damaged: its checksum is not that in record.json", *vouching)


def write_history(path: Path, history: Sequence[tuple[int, int, float, bool, float]]) -> None:
    """A Parquet file with the columns iteration, column, residual, recomputed and seconds."""
    import pandas as pd

    types: dict[str, Any] = {
        "iteration": np.int64,
        "column": np.int64,
        "residual": np.float64,
        "recomputed": np.bool_,
        "seconds": np.float64,
    }
    columns = list(zip(*history, strict=True)) or [()] * len(types)
    table = {
        name: np.array(values, kind) for values, (name, kind) in zip(columns, types.items(), strict=True)
    }
    sealed_parquet.write(path, pd.DataFrame(table))
