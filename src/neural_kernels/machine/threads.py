"""How many threads NumPy and SciPy compute with: one, where the threads are our own."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TypeVar

from threadpoolctl import ThreadpoolController

MOST_AT_ONCE = 16
"""Items under way: what each takes of memory, it takes so often."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def blas_threads(count: int) -> AbstractContextManager:
    """Within it, BLAS uses at most ``count`` threads."""
    return _controller().limit(limits=count, user_api="blas")


@functools.cache
def _controller() -> ThreadpoolController:
    # Looking for the loaded libraries takes milliseconds, as long as a product with the preconditioner.
    import scipy.linalg  # noqa: F401

    return ThreadpoolController()


def each_alone(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``function`` of each item, in order: with one BLAS thread each, as many at a time as BLAS may use threads.

    A product's rounding depends on how many threads share it: so it has the same bits whatever that number is.
    """
    libraries = [library for library in _controller().info() if library["user_api"] == "blas"]
    threads = min(MOST_AT_ONCE, max((library["num_threads"] for library in libraries), default=1))
    under_way: deque[Future[Result]] = deque()
    with blas_threads(1), ThreadPoolExecutor(threads) as pool:
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) == threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
