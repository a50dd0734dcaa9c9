"""One solve, as a process of its own that the tests kill, or run several of at a time.

Usage: solve_program.py STORE TARGETS OUTPUT CHECKPOINTS PROCESSES [PRECONDITIONER [DAMAGED_RANK]]
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from neural_kernels.blocks import open_store
from neural_kernels.errors import UserError
from neural_kernels.solvers import (
    CheckpointSettings,
    PreconditionerSettings,
    Settings,
    Solution,
    Stopping,
    mpi,
    solve_system,
)
from neural_kernels.solvers.communicator import Communicator, SerialCommunicator

SETTINGS = Settings(
    [1e-2],
    method="conjugate_gradients",
    stopping=Stopping(tolerance=1e-12, residual_every=10),
    memory_budget=2**26,
    threads=1,
)
COLUMNS = "random columns"
SWEEP = "every ridge"
ROUNDED = "rounded panels"
"""In place of a preconditioner's name."""


def solve(
    store: str | Path,
    targets: str | Path,
    communicator: Communicator,
    checkpoints: CheckpointSettings | None = None,
    preconditioner: str = "none",
    block: bool = True,
) -> Solution:
    columns = {COLUMNS: 24, SWEEP: 40}.get(preconditioner, 0)
    plain = columns or preconditioner == ROUNDED
    preconditioning = PreconditionerSettings("none" if plain else preconditioner, 40)
    settings = replace(SETTINGS, preconditioner=preconditioning, random_columns=columns, block=block)
    if preconditioner == ROUNDED:
        settings = replace(settings, panels="float32")
    if preconditioner == SWEEP:
        settings = replace(settings, ridges=[1e-3, 1e-2, 1e-1], choose_by="loo")
    return solve_system(
        open_store(Path(store)),
        (20, 420),
        np.load(targets, allow_pickle=False),
        settings,
        checkpoints=checkpoints,
        communicator=communicator,
    )


def main(
    store: str,
    targets: str,
    output: str,
    checkpoints: str,
    processes: str,
    preconditioner: str = "none",
    damaged_rank: str | None = None,
) -> None:
    if processes == "0":
        print("ready", flush=True)
        often = CheckpointSettings(Path(checkpoints), 0.02)
        solve(store, targets, SerialCommunicator(), often, preconditioner).save(Path(output))
        return

    def work() -> Solution:
        if damaged_rank == str(communicator.rank):
            raise UserError("this process met a mistake")
        saved = None if checkpoints == "-" else CheckpointSettings(Path(checkpoints), 3600.0)
        return solve(store, targets, communicator, saved, preconditioner)

    communicator = mpi.world()
    if communicator.size != int(processes):
        communicator = mpi.world(expected=int(processes))
    solution = mpi.together(communicator, work)
    if communicator.rank == 0:
        solution.save(Path(output))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
