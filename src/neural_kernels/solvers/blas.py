"""How many threads NumPy and SciPy compute with: one, where the threads are our own."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

from threadpoolctl import ThreadpoolController


def blas_threads(count: int) -> AbstractContextManager:
    """Within it, BLAS uses at most ``count`` threads."""
    return _controller().limit(limits=count, user_api="blas")


@functools.cache
def _controller() -> ThreadpoolController:
    # Looking for the loaded libraries takes milliseconds, as long as a product with the preconditioner.
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()
