"""How many threads compute: ours, those of BLAS under NumPy and SciPy, and those of XLA under JAX.

``--threads`` becomes ``thread_limit``; every engine, solver and reader of files asks ``thread_count``. BLAS has one
thread where the threads are our own.

Supported are Linux, where the processors that this process may use are counted (an affinity that a cluster sets is
kept to), and macOS, which knows no such limit, so that all processors are. Tested is Linux.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from neural_kernels.errors import UserError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

THREADS_VARIABLE = "NEURAL_KERNELS_THREADS"

XLA_THREADS_VARIABLE = "NPROC"
"""XLA reads it when JAX looks for its devices, and has so many threads on a CPU from then on."""

MOST_AT_ONCE = 16
"""Items under way: what each takes of memory, it takes so often."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count() -> int:
    """Threads to compute with: ``NEURAL_KERNELS_THREADS``, or the processors that this process may use.

    Raises:
        UserError: the variable is not a positive whole number.
    """
    text = os.environ.get(THREADS_VARIABLE)
    if text is None:
        return available_threads()
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{THREADS_VARIABLE} is {text!r}, expected a positive whole number")
    return int(text)


@contextlib.contextmanager
def thread_limit(threads: int | None) -> Iterator[None]:
    """Within it, at most ``threads`` threads compute; None leaves it at every core this process may use."""
    if threads is None:
        yield
        return
    # A job that finds its work done must not wait for it.
    from threadpoolctl import threadpool_limits

    with environment(THREADS_VARIABLE, str(threads)), threadpool_limits(threads):
        yield


@contextlib.contextmanager
def environment(variable: str, value: str) -> Iterator[None]:
    """Within it, the environment's ``variable`` is ``value``."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def blas_threads(count: int) -> AbstractContextManager[Any]:
    """Within it, BLAS uses at most ``count`` threads."""
    return _controller().limit(limits=count, user_api="blas")


@functools.cache
def _controller() -> ThreadpoolController:
    # Looking for the loaded libraries takes milliseconds, as long as a product with the preconditioner.
    import scipy.linalg  # noqa: F401
    from threadpoolctl import ThreadpoolController

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
