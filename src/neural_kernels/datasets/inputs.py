"""New examples without labels, read from a user's file: what predictions are made for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neural_kernels.datasets import npy, npz
from neural_kernels.datasets.options import DataOptions
from neural_kernels.datasets.pools import CHUNK_ROWS, check_example, check_finite, is_file, no_file
from neural_kernels.errors import UserError
from neural_kernels.graphs import Examples, Graphs

if TYPE_CHECKING:
    # Every job that computes a block loads the data sets, and none of them should wait for pandas.
    import pandas as pd

KEY = "x"


@dataclass(frozen=True)
class Inputs:
    """Examples to predict, in the form that the data set's own examples have before preprocessing.

    Attributes:
        source: of the examples, for messages.
        examples: (n, *input_shape), of the kind of dtype of the training examples and possibly memory-mapped,
            or n ``Graphs``.
        identifiers: a row for each example, and the columns that the table of predictions begins with: those of the
            user's table, or the row in the file.
        left_out: the line of each row that no example could be made of, and why. Such rows have no example and no
            identifier.
    """

    source: str
    examples: Examples
    identifiers: pd.DataFrame
    left_out: tuple[tuple[int, str], ...] = ()


Reader = Callable[[Any, Path], Inputs]
"""From the ``data`` section of a study and a file of the user's to ``Inputs``; UserError for a bad file."""


def read_arrays(options: DataOptions, path: Path) -> Inputs:
    """Arrays (n, *input_shape) of a .npy file, or under the key ``x`` of an .npz file; identified by row.

    Raises:
        UserError: no such file, another kind of file, or an array of something else than numbers.
    """
    import pandas as pd

    if not is_file(path):
        raise no_file(path, f"a .npy file of examples or an .npz file with the key {KEY}")
    if path.suffix == ".npy":
        source, x = str(path), npy.open_array(path)
    elif path.suffix == ".npz":
        member = npz.open_member(path, KEY)
        source, x = member.source, npz.load(member)
    else:
        raise UserError(f"{path}: found a file ending in {path.suffix!r}, expected .npy or .npz")
    if x.dtype.type not in (np.uint8, np.float32, np.float64):
        raise UserError(f"{source}: found an array of {x.dtype}, expected uint8, float32 or float64")
    if not x.ndim:
        raise UserError(f"{source}: found a single number, expected an array of examples")
    check_example(source, x.shape, x.dtype)
    return Inputs(source, x, pd.DataFrame({"row": np.arange(len(x))}))


def check_inputs(inputs: Inputs, input_shape: tuple[int | None, ...], kind: str) -> Inputs:
    """``inputs``, where they are like the training examples and every number is finite.

    Args:
        input_shape: of one training example; of a graph (None, features).
        kind: of the training examples' dtype, as ``np.dtype.kind``.

    Raises:
        UserError: no examples, or examples of another shape or kind, or one that is not finite.
    """
    x = inputs.examples
    found, expected = tuple(x.shape[1:]), tuple(input_shape)
    if found != expected or x.dtype.kind != kind:
        raise UserError(
            f"{inputs.source}: found examples of shape {_shown(found)} and dtype {x.dtype}, expected "
            f"{_shown(expected)} of {_KINDS.get(kind, kind)} as in the training set"
        )
    if len(x) == 0:
        raise UserError(f"{inputs.source}: found no examples, expected at least one")
    if len(inputs.identifiers) != len(x):
        raise ValueError(f"{len(inputs.identifiers)} identifiers for {len(x)} examples")
    if isinstance(x, Graphs):
        x.check(inputs.source)
        check_finite(inputs.source, x.nodes, np.repeat(np.arange(len(x)), x.node_counts), "a node feature")
        return inputs
    for start in range(0, len(x), CHUNK_ROWS):
        few = x[start : start + CHUNK_ROWS]
        check_finite(inputs.source, few, np.arange(start, start + len(few)), "a feature")
    return inputs


_KINDS = {"u": "unsigned integers", "i": "integers", "f": "floats", "b": "booleans"}


def _shown(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
