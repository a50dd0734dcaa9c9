"""Many processes: the communicator over MPI (mpi4py), and how a mistake on one of them ends them all."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.machine import exhaustion
from neural_kernels.machine.interruption import Ended
from neural_kernels.solvers.communicator import row_range

T = TypeVar("T")

# Seconds in which all processes that find the same mistake have found it.
PATIENCE = 2.0
# Seconds in which a launcher passes on what was printed, before it is told to end everything.
FORWARDING = 1.0


class MpiCommunicator:
    """Collective operations over an mpi4py communicator; see ``Communicator``."""

    def __init__(self, comm: Any) -> None:
        self._comm = comm
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        # Of its own, since a process that failed calls nothing else that the others may be waiting in.
        self._failed = comm.Dup()

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

    def all_failed(self, patience: float) -> bool:
        """Whether every process calls this within ``patience`` seconds, as each does that has failed."""
        everyone = self._failed.Ibarrier()
        deadline = time.monotonic() + patience
        while not everyone.Test():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

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

    A mistake that all processes find is spoken by the first, and they end as any program does. Where only
    some fail, the others may be waiting for them in a collective operation, which nothing but an abort ends.
    """
    try:
        return work()
    except BaseException as error:
        common = communicator.all_failed(PATIENCE)
        ended = isinstance(error, Ended | KeyboardInterrupt)
        if common and ended:
            # The launcher hands a signal on to all of them.
            raise
        if communicator.rank == 0 or not common:
            said = str(error) if isinstance(error, UserError) else exhaustion.sentence(error, "solve")
            if ended:
                print(
                    f"process {communicator.rank}: {error or 'ended by SIGINT'}", file=sys.stderr, flush=True
                )
            elif said is not None:
                print(f"error: {said}", file=sys.stderr, flush=True)
            else:
                sys.excepthook(type(error), error, error.__traceback__)
                sys.stderr.flush()
        if common:
            raise SystemExit(2) from None
        time.sleep(FORWARDING)
        communicator.abort()
