"""Many processes: the communicator over MPI (mpi4py), and how a mistake on one of them ends them all."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.solvers.communicator import row_range

T = TypeVar("T")


class MpiCommunicator:
    """Collective operations over an mpi4py communicator; see ``Communicator``."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()

    def sum(self, array: np.ndarray) -> np.ndarray:
        total = np.empty_like(array, order="C")
        self._comm.Allreduce(np.ascontiguousarray(array), total)
        return total

    def gather_rows(self, local: np.ndarray, n: int) -> np.ndarray:
        everything = np.empty((n, local.shape[1]))
        self._comm.Allgatherv(np.ascontiguousarray(local), [everything, self._counts(n, local.shape[1])])
        return everything

    def sum_rows(self, partial: np.ndarray) -> np.ndarray:
        n, k = partial.shape
        first, last = row_range(n, self.rank, self.size)
        own = np.empty((last - first, k))
        self._comm.Reduce_scatter(np.ascontiguousarray(partial), own, self._counts(n, k))
        return own

    def gather(self, value: Any) -> list[Any]:
        return self._comm.allgather(value)

    def abort(self) -> NoReturn:
        """End every process, with status 2."""
        self._comm.Abort(2)
        # Abort may return before the launcher's signal arrives; nothing more is to be said or done.
        os._exit(2)

    def _counts(self, n: int, columns: int) -> list[int]:
        ranges = [row_range(n, rank, self.size) for rank in range(self.size)]
        return [(last - first) * columns for first, last in ranges]


def world(expected: int | None = None) -> MpiCommunicator:
    """The communicator of all processes that the launcher started.

    Args:
        expected: how many they should be. A launcher of another MPI than mpi4py's starts that many
            processes, each of which believes to be alone: they would all do the same work.

    Raises:
        UserError: mpi4py is not there, or the number is another.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise UserError(
            f"mpi4py cannot be used ({error}): install the extra neural-kernels[mpi], or solve in one process"
        ) from None
    size = MPI.COMM_WORLD.Get_size()
    if expected is not None and size != expected:
        raise UserError(
            f"MPI joins {size} processes, expected {expected}: the launcher does not belong to the MPI of mpi4py "
            f"({MPI.Get_library_version().split(chr(10))[0].strip()}); set the one that does in the profile"
        )
    return MpiCommunicator(MPI.COMM_WORLD)


def together(communicator: MpiCommunicator, work: Callable[[], T]) -> T:
    """``work`` on every process; what fails on one ends all, with its sentence printed once.

    The others may be waiting for the failed one in a collective operation, which nothing else ends.
    """
    try:
        return work()
    except BaseException as error:
        # All processes often find the same mistake: the first is given time to speak for them.
        time.sleep(min(0.25 * communicator.rank, 2.0))
        if isinstance(error, UserError):
            print(f"error: {error}", file=sys.stderr, flush=True)
        else:
            sys.excepthook(type(error), error, error.__traceback__)
            sys.stderr.flush()
        communicator.abort()
