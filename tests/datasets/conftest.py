"""What the tests of data sets share."""

import functools

import cifar10_files
import numpy as np
import pytest

from neural_kernels import study
from neural_kernels.datasets import cifar10


@pytest.fixture
def small_batches(monkeypatch):
    """CIFAR-10's batches have a few rows instead of 10,000."""
    monkeypatch.setattr(cifar10, "BATCH_ROWS", cifar10_files.ROWS)


@pytest.fixture
def contents_of():
    """All examples of a pool, in the order of the pool."""

    def read(pool):
        x = np.empty((pool.count, *pool.input_shape), pool.dtype)
        y, seen = None, np.zeros(pool.count, int)
        for chunk in pool.chunks():
            here = slice(chunk.start, chunk.start + len(chunk.x))
            y = np.empty((pool.count, *chunk.y.shape[1:]), chunk.y.dtype) if y is None else y
            seen[here] += 1
            x[here], y[here] = chunk.x, chunk.y
        assert (seen == 1).all()
        return x, y

    return read


@pytest.fixture
def schemas_once(monkeypatch):
    """Schemas are read from their files once and not for every study: most of the time of a check of few bytes."""
    monkeypatch.setattr(study, "_schemas", functools.cache(study._schemas))
