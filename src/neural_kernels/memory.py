"""How much of a memory budget is left: budgets are of the whole process, as the system counts its resident memory."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from neural_kernels.errors import UserError

# What libraries come to take once they compute: buffers of BLAS, stacks of threads, writers of tables.
LIBRARIES = 48 * 2**20


def resident() -> int:
    """Bytes of this process that are in memory now; where the system does not say, the most there have been."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def left(gib: float, key: str = "solver.memory_gib") -> int:
    """Bytes that a process may still take of a budget of ``gib``, so that its peak stays within it.

    Raises:
        UserError: the program itself takes as much.
    """
    own = resident() + LIBRARIES
    budget = int(gib * 2**30)
    if own >= budget:
        raise UserError(
            f"{key} is {gib:g}, {budget / 2**20:.0f} MiB, but the program and what it has read take "
            f"{own / 2**20:.0f} MiB: raise it to more than {own / 2**30:.2f}"
        )
    return budget - own
