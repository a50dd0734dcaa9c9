"""What every data set looks like: pools of examples that are read a chunk at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.graphs import Examples

# In a multilabel task each output is a label of its own, 0 or 1.
Task = Literal["classification", "regression", "multilabel"]

# 16,384 images of 32x32x3 bytes are 50 MB: large enough to read fast, small beside any job's memory.
CHUNK_ROWS = 16_384

LARGEST_EXAMPLE = 128 * 2**20
"""Bytes of one example: 2,300 times an image of 224x224 of uint8 colours."""

LARGEST_MAGNITUDE = 1e15
"""Of a feature or a target. The squares of larger ones, summed over an example, exceed what float32 holds, and those of
their standardisation float64."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive examples of a pool.

    ``x`` is (m, *input_shape), of the pool's dtype and possibly memory-mapped, or ``Graphs``; ``y`` is (m,)
    integers for classification, (m, outputs) floats otherwise, NaN where a value or label is missing;
    those of a multilabel task are 0 and 1. ``source`` is the file they come from,
    and ``first_row`` the place of the chunk's first example in that file, both for error messages.
    """

    start: int
    x: Any
    y: np.ndarray
    source: str
    first_row: int


@dataclass(frozen=True)
class Pool:
    """Examples of which a study takes some.

    ``chunks`` reads them from the files; chunks may come in any order, each example once, and only one is
    in memory at a time (of graphs, all are). ``input_shape`` is of one example, channels last; that of graphs
    is (None, features), as of ``Graphs.shape``. ``known`` goes from places (m,) in the pool to what the user knows
    these examples by, some of ``rows.COLUMNS``; None where the place is the row in the source.
    """

    source: str
    count: int
    input_shape: tuple[int, ...]
    dtype: np.dtype
    chunks: Callable[[], Iterator[Chunk]]
    known: Callable[[np.ndarray], Mapping[str, np.ndarray]] | None = None

    def rows(self, places: np.ndarray) -> Mapping[str, np.ndarray]:
        """``known``, or the places as rows."""
        return {"row": places} if self.known is None else self.known(places)


@dataclass(frozen=True)
class Dataset:
    """A training pool and the named test pools, each opened when it is asked for.

    ``outputs`` is the number of classes or of regression tasks or labels; ``class_names`` names these and may
    be empty. ``validation`` is the data set's own validation split, None where it has none and a study
    holds examples out of the training pool. ``in_order`` says that the order of the training pool is fixed.
    """

    train: Pool
    tests: Mapping[str, Callable[[], Pool]]
    task: Task
    outputs: int
    class_names: tuple[str, ...] = ()
    validation: Pool | None = None
    in_order: bool = False


def in_memory(source: str, x: Examples, y: np.ndarray, rows: np.ndarray | None = None) -> Pool:
    """A pool of arrays or graphs that are already in memory or memory-mapped.

    Args:
        rows: (n,) of the source, which they are; None where they are all of its rows.
    """

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(x), CHUNK_ROWS):
            stop = start + CHUNK_ROWS
            yield Chunk(start, x[start:stop], y[start:stop], source, start)

    known = None if rows is None else partial(known_by, row=rows)
    return Pool(source, len(x), x.shape[1:], x.dtype, chunks, known)


def known_by(places: np.ndarray, **columns: np.ndarray) -> dict[str, np.ndarray]:
    """For ``Pool.known``: columns of all examples of a pool at these places."""
    return {name: values[places] for name, values in columns.items()}


def joined(first: Pool, second: Pool) -> Pool:
    """The examples of ``first``, then those of ``second``, of the same shape and dtype."""

    def chunks() -> Iterator[Chunk]:
        yield from first.chunks()
        for chunk in second.chunks():
            yield replace(chunk, start=first.count + chunk.start)

    def known(places: np.ndarray) -> dict[str, np.ndarray]:
        early = places < first.count
        ours, theirs = first.rows(places[early]), second.rows(places[~early] - first.count)
        columns = {name: np.empty(len(places), values.dtype) for name, values in ours.items()}
        for name, values in columns.items():
            values[early], values[~early] = ours[name], theirs[name]
        return columns

    return replace(first, count=first.count + second.count, chunks=chunks, known=known)


# ----------------------------------------------------------------------------- checks at the door


def is_file(path: Path) -> bool:
    """As ``path.is_file()``; also where the path is longer than the system allows, or may not be looked at."""
    return os.path.isfile(path)


def is_folder(path: Path) -> bool:
    """As ``is_file``, of folders."""
    return os.path.isdir(path)


def no_file(path: Path, expected: str) -> UserError:
    """The error of a file that is not there."""
    if is_folder(path):
        return UserError(f"{path}: is a folder, expected {expected}")
    if os.path.lexists(path) and not os.path.islink(path):
        return UserError(f"{path}: is no regular file, expected {expected}")
    return UserError(f"{path}: no such file, expected {expected}")


def require_file(path: Path, origin: str) -> Path:
    """``path`` where it is a file; ``origin`` says where to get it from."""
    if not is_file(path):
        raise no_file(path, f"data from {origin}")
    return path


def check_images(source: str, shape: tuple[int, ...], dtype: np.dtype, expected: tuple[int, ...]) -> None:
    """Refuse anything but (n, *expected) uint8."""
    if len(shape) != 1 + len(expected) or tuple(shape[1:]) != expected or dtype != np.uint8:
        raise UserError(
            f"{source}: found an array {tuple(shape)} of {dtype}, expected (n, {_commas(expected)}) of uint8"
        )


def check_example(source: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuse arrays (n, ...) whose examples have no values, or more than memory is meant for."""
    size = math.prod(shape[1:])
    if not size:
        raise UserError(f"{source}: found an array {shape}, expected at least one value in an example")
    if size * dtype.itemsize > LARGEST_EXAMPLE:
        raise UserError(
            f"{source}: found examples of {size * dtype.itemsize:,} bytes, expected at most {LARGEST_EXAMPLE:,}"
        )


def check_lengths(source: str, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> None:
    """Refuse labels that are not as many as the examples, and a file without examples."""
    if not x_shape:
        raise UserError(f"{source}: found a single number for the examples, expected an array of them")
    if not y_shape or x_shape[0] != y_shape[0]:
        found = f"an array of shape {tuple(y_shape)}" if not y_shape else f"{y_shape[0]} labels"
        raise UserError(f"{source}: found {found}, expected one for each of the {x_shape[0]} examples")
    if x_shape[0] == 0:
        raise UserError(f"{source}: found no examples, expected at least one")


def check_labels(source: str, y: np.ndarray, classes: int, first_row: int = 0) -> None:
    """Refuse labels that are not (n,) integers from 0 to ``classes`` - 1."""
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise UserError(
            f"{source}: found labels of shape {y.shape} and dtype {y.dtype}, expected (n,) integers"
        )
    wrong = np.flatnonzero((y < 0) | (y >= classes))
    if wrong.size:
        raise UserError(
            f"{source}: the label of example {first_row + wrong[0]} is {y[wrong[0]]}, "
            f"expected an integer from 0 to {classes - 1}"
        )


def check_finite(source: str, values: np.ndarray, rows: np.ndarray, what: str) -> None:
    """Refuse NaN, infinity and magnitudes above ``LARGEST_MAGNITUDE``.

    Args:
        values: (m, ...), of any kind of numbers.
        rows: (m,) places of the examples of ``values`` in the file.
        what: of the example the values are, as "a feature".
    """
    if values.dtype.kind != "f" or not values.size:
        return
    # Both are NaN where any value is; nothing as large as the values is made.
    # As float64, since the bound is infinite in float16.
    lowest, highest = float(values.min()), float(values.max())
    if lowest >= -LARGEST_MAGNITUDE and highest <= LARGEST_MAGNITUDE:
        return
    with np.errstate(over="ignore"):
        sound = np.abs(values.astype(np.float64)) <= LARGEST_MAGNITUDE
    wrong = np.flatnonzero(~sound.reshape(len(values), -1).all(axis=1))[0]
    found = values[wrong][~sound[wrong]].flat[0] if values.ndim > 1 else values[wrong]
    expected = "a finite number"
    if np.isfinite(found):
        expected = f"a magnitude of at most {LARGEST_MAGNITUDE:g}"
    raise UserError(f"{source}: {what} of example {rows[wrong]} is {found}, expected {expected}")


def _commas(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
