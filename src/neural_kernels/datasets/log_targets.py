"""A regression of the logarithms of its targets: what multiplies in the data then adds, and small values count.

Fitness, affinities and concentrations are ratios, of which a method that minimises squared errors otherwise sees the
largest alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from neural_kernels.datasets.pools import Chunk, Dataset, Pool
from neural_kernels.errors import UserError


def of_logarithms(dataset: Dataset, offset: float) -> Dataset:
    """``dataset`` with log(target + ``offset``), natural, in place of every target; missing ones stay so.

    Outputs are named for it, so that whoever reads a prediction is told.

    Raises:
        UserError: the data set is no regression; while chunks are read, a target that is not above -offset.
    """
    if dataset.task != "regression":
        raise UserError(
            f"data.log_offset is given, but {dataset.train.source} is a {dataset.task}, expected a regression"
        )
    numbered = ("target",) if dataset.outputs == 1 else tuple(f"target_{k}" for k in range(dataset.outputs))
    names = dataset.class_names or numbered
    return replace(
        dataset,
        train=_logged(dataset.train, offset),
        tests={name: _opened(opened, offset) for name, opened in dataset.tests.items()},
        validation=None if dataset.validation is None else _logged(dataset.validation, offset),
        class_names=tuple(name_of(name, offset) for name in names),
    )


def name_of(target: str, offset: float) -> str:
    """What the logarithm of a target is called."""
    return f"log({target} + {offset:g})" if offset else f"log({target})"


def _opened(opened: Callable[[], Pool], offset: float) -> Callable[[], Pool]:
    return lambda: _logged(opened(), offset)


def _logged(pool: Pool, offset: float) -> Pool:
    def chunks() -> Iterator[Chunk]:
        for chunk in pool.chunks():
            yield replace(chunk, y=_logarithms(chunk, offset))

    return replace(pool, chunks=chunks)


def _logarithms(chunk: Chunk, offset: float) -> np.ndarray:
    shifted = np.asarray(chunk.y, np.float64) + offset
    wrong = np.flatnonzero((shifted <= 0).any(axis=1))
    if len(wrong):
        row, found = wrong[0], chunk.y[wrong[0]]
        value = found[found + offset <= 0][0]
        raise UserError(
            f"{chunk.source}: a target of example {chunk.first_row + row} is {value:g}, expected more than "
            f"{-offset:g}, as data.log_offset is {offset:g}"
        )
    return np.log(shifted)
