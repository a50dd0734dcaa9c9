"""From what ``fit`` would fit to a study that fits the same on a cluster: ``fit --write-config``.

The rows that can be used are written anew, as the study's data set reads them, so that nothing is decided twice:

    config/<study>.yaml      architecture, preprocessing, precision and ridges of the fit
    data/<study>.npz, .csv   the rows, a tenth of which test, since a study has a test set
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import architectures
from neural_kernels.errors import UserError
from neural_kernels.estimators.defaults import RIDGES, named_architecture, preprocessing_for
from neural_kernels.estimators.examples import KINDS, Kind, learned
from neural_kernels.stages.init import check_new, head, quoted, smallest_size, write_checked
from neural_kernels.storage.files import write_atomically

DATA = Path("data")
"""In the working directory, from which a study's paths are."""
HELD_OUT = 10
"""One row in so many tests."""


@dataclass(frozen=True)
class Learned:
    """What is learned from what, row by row.

    Attributes:
        inputs: "table", "strings" or "molecules".
        x: numbers (n, columns), sequences or SMILES.
        y: numbers (n,) or (n, targets), NaN where one is missing; of classes, texts (n,).
    """

    inputs: str
    x: Any
    y: np.ndarray
    targets: tuple[str, ...]
    classes: bool


def write_study(path: Path, results: Path, table: str, rows: Learned, architecture: str | None) -> str:
    """Write the study and its data, and return what to run next.

    Args:
        path: config/<study>.yaml, which must not be there yet.
        table: the name of the table, for the title.
        architecture: a name; None is what suits the inputs.

    Raises:
        UserError: a name that is taken, or a fit that no study is: classes of sequences or molecules, gaps among the
            targets of sequences, molecules as three things at once.
    """
    check_new(path)
    _refuse_what_no_study_is(rows, architecture)
    kind: Kind = next(name for name in KINDS if name == rows.inputs)
    name, parameters = named_architecture(kind)
    if architecture is not None:
        architectures.build(architecture)
        name, parameters = architecture, {}
    data = DATA / f"{path.stem}{'.npz' if kind == 'table' else '.csv'}"
    if data.exists():
        raise UserError(f"{data} is there already, expected a new name of the study")
    tests = _held_out(rows)
    section, write = _DATA_SETS[kind](data, rows, tests)
    method = preprocessing_for("auto", kind).method
    count = int((~tests).sum())
    text = (
        head(path.stem, f"What neural-kernels fit would fit to {table}", "scaling")
        + f"""# Rows of {table} that can be used, written by neural-kernels fit: {count:,} train, {tests.sum():,} test.
data:
{section}  validation_examples: 0          # every other row trains

preprocessing:
  prepared: {{method: {method}}}

kernels:
  {name}:
    architecture: {quoted({"name": name, **parameters})}
    preprocessing: prepared

precision: float64
blocks: {{edge: 2000}}
# The last one is every row that trains, as in the fit.
training_sizes: {{sizes: {_ladder(count)}}}

# By leave-one-out, among the candidates of the fit.
ridge: {{choose_by: loo, candidates: {quoted(list(map(float, RIDGES)))}}}
solver: {{direct_up_to: 8192, memory_gib: 4}}
"""
    )
    data.parent.mkdir(parents=True, exist_ok=True)
    write(data)
    try:
        write_checked(path, results, text)
    except UserError:
        data.unlink()
        raise
    return (
        f"{path} and {data} are written: {count:,} rows train, {tests.sum():,} test. Next: neural-kernels plan {path}, "
        f"then snakemake --profile slurm {results}/{path.stem}_scaling.pdf, or --profile default on this machine"
    )


def _refuse_what_no_study_is(rows: Learned, architecture: str | None) -> None:
    if rows.inputs == "molecules" and architecture is None:
        raise UserError(
            "molecules are fitted as graphs, fingerprints and descriptors together, which no study has: expected "
            "--architecture, as SimpleGNN"
        )
    if rows.inputs != "table" and rows.classes:
        raise UserError(
            f"{', '.join(rows.targets)} has classes, which a study of {_CALLED[rows.inputs]} does not learn: expected "
            "numbers, or --task regression"
        )
    if rows.inputs == "strings" and np.isnan(rows.y).any():
        raise UserError(
            f"{', '.join(rows.targets)} have blanks, which a study of sequences does not take: write a study for each"
        )


def _held_out(rows: Learned) -> np.ndarray:
    """Which rows test, (n,) bool: a tenth, drawn at random; one of each class stays to train."""
    n = len(rows.y)
    stay = np.unique(rows.y, return_index=True)[1] if rows.classes else np.empty(0, int)
    drawn = np.setdiff1d(np.random.default_rng(0).permutation(n)[: max(2, n // HELD_OUT)], stay)
    tests = np.zeros(n, bool)
    tests[drawn] = True
    return tests


def _ladder(count: int) -> list[int]:
    """Sizes that double, and all."""
    sizes = [smallest_size(count)]
    while 2 * sizes[-1] < count:
        sizes.append(2 * sizes[-1])
    return [*sizes, count]


# ----------------------------------------------------------------------------- as data sets read it


_Written = tuple[str, Callable[[Path], None]]
_CALLED = {"strings": "sequences", "molecules": "molecules"}


def _arrays(data: Path, rows: Learned, tests: np.ndarray) -> _Written:
    x, y, more = np.asarray(rows.x, np.float64), rows.y, {}
    if rows.classes:
        names, y = np.unique(rows.y, return_inverse=True)
        more = {"class_names": names.astype(str)}
    parts = {"x_train": x[~tests], "y_train": y[~tests], "x_test": x[tests], "y_test": y[tests], **more}
    section = f"  name: arrays\n  path: {quoted(str(data))}\n"
    return section, lambda path: write_atomically(path, lambda file: np.savez(file, **parts))


def _sequences(data: Path, rows: Learned, tests: np.ndarray) -> _Written:
    encoding, _ = learned(rows.x, "strings")
    section = (
        f"  name: flip\n  path: {quoted(str(data))}\n  targets: {quoted(list(rows.targets))}\n"
        f"  alphabet: {quoted(encoding.letters)}\n  sequence_length: {encoding.shape[0]}\n"
    )
    return section, _table("sequence", rows, tests)


def _molecules(data: Path, rows: Learned, tests: np.ndarray) -> _Written:
    section = (
        f"  name: smiles\n  path: {quoted(str(data))}\n  task_columns: {quoted(list(rows.targets))}\n"
        "  task: regression\n  split: {method: column, column: set}\n"
    )
    return section, _table("smiles", rows, tests)


def _table(column: str, rows: Learned, tests: np.ndarray) -> Callable[[Path], None]:
    values = rows.y.reshape(len(rows.y), -1)
    if {column, "set"} & set(rows.targets):
        raise UserError(f"{column} and set are columns of the study's table, expected other names of targets")

    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column, *rows.targets, "set"])
    for own, numbers, test in zip(rows.x, values.tolist(), tests, strict=True):
        fields = ["" if np.isnan(number) else repr(number) for number in numbers]
        writer.writerow([own, *fields, "test" if test else "train"])
    return lambda path: write_atomically(path, lambda file: file.write(text.getvalue().encode()))


_DATA_SETS: dict[str, Callable[[Path, Learned, np.ndarray], _Written]] = {
    "table": _arrays,
    "strings": _sequences,
    "molecules": _molecules,
}
