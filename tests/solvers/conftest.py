"""What the tests of solvers share."""

import pytest

from neural_kernels.machine.threads import blas_threads


@pytest.fixture(autouse=True)
def one_thread():
    """Matrices here are small: more threads of BLAS would only wait for each other."""
    with blas_threads(1):
        yield
