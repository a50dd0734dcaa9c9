"""How much of a memory budget is left: budgets are of the whole process, as the system counts its resident memory."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from neural_kernels.errors import UserError

# What libraries come to take once they compute: buffers of BLAS, stacks of threads, writers of tables.
LIBRARIES = 48 * 2**20

# Address space that threads and BLAS map on their first use, most of which never becomes resident.
ADDRESSES = 256 * 2**20


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
    room = _address_space()
    if room is not None and room <= 0:
        raise UserError(
            "the limit of this process's address space (ulimit -v) leaves nothing for a solve: raise it, to more than "
            f"{key}, {gib:g}"
        )
    if own >= budget:
        raise UserError(
            f"{key} is {gib:g}, {budget / 2**20:.0f} MiB, but the program and what it has read take "
            f"{own / 2**20:.0f} MiB: raise it to more than {own / 2**30:.2f}"
        )
    return budget - own if room is None else min(budget - own, room)


def _address_space() -> int | None:
    """Bytes that a limit of the address space leaves, None where there is none. BLAS hangs where it gets no buffers."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return None
    return limit - pages * os.sysconf("SC_PAGE_SIZE") - ADDRESSES


def gibibytes(count: float) -> str:
    """``count`` bytes for people."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30)):
        if count >= size / 2:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 2**20:,.1f} MiB"
