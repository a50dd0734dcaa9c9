"""What the tests of solvers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neural_kernels.machine.threads import blas_threads


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices here are small: more threads of BLAS would only wait for each other."""
    with blas_threads(1):
        yield
