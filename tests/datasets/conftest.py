"""What the tests of data sets share."""

from __future__ import annotations

from typing import Any

import cifar10_files
import numpy as np
import pytest
from data_sections import Contents

from neural_kernels.datasets import cifar10
from neural_kernels.datasets.pools import Pool


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10's batches have a few rows instead of 10,000."""
    monkeypatch.setattr(cifar10, "BATCH_ROWS", cifar10_files.ROWS)


@pytest.fixture
def contents_of() -> Contents:
    """All examples of a pool, in the order of the pool."""

    def read(pool: Pool) -> tuple[Any, np.ndarray]:
        x = np.empty((pool.count, *pool.input_shape), pool.dtype)
        y: Any = None
        seen = np.zeros(pool.count, int)
        for chunk in pool.chunks():
            here = slice(chunk.start, chunk.start + len(chunk.x))
            y = np.empty((pool.count, *chunk.y.shape[1:]), chunk.y.dtype) if y is None else y
            seen[here] += 1
            x[here], y[here] = chunk.x, chunk.y
        assert (seen == 1).all()
        return x, y

    return read
