"""Checkpoints of a Krylov space: each block of its basis is written once, what K is in it with every checkpoint.

``krylov.json`` names the files that belong together with their checksums, and is replaced last. The processes that
resume may be more or fewer than those that wrote.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.solvers.block_lanczos import KrylovSpace
from neural_kernels.solvers.checkpoint import fault_of, read_record
from neural_kernels.solvers.communicator import Communicator
from neural_kernels.solvers.krylov_basis import KrylovBasis, block_path, owners
from neural_kernels.storage import checksums
from neural_kernels.storage.files import set_aside, write_atomically, write_json, write_npy

log = logging.getLogger(__name__)

RECORD = "krylov.json"


class KrylovCheckpoint:
    """The checkpoint of one problem in a folder of its own, which its basis uses as well."""

    def __init__(self, directory: Path, problem: str, seconds: float, communicator: Communicator) -> None:
        """
        Args:
            problem: its fingerprint.
            seconds: least time between two checkpoints.
        """
        self._directory, self._problem, self._interval = directory, problem, seconds
        self._communicator = communicator
        self._last = time.monotonic()

    def keep(self, space: KrylovSpace, facts: dict[str, Any]) -> None:
        """Save if it is time to; every process calls it after every pass."""
        due = time.monotonic() - self._last >= self._interval
        # The first process's clock decides for all.
        if self._communicator.gather(due)[0]:
            self.save(space, facts)

    def save(self, space: KrylovSpace, facts: dict[str, Any]) -> None:
        """Save now, ``facts`` as plain data with the rest."""
        sums = self._communicator.gather(space.basis.saved())
        if self._communicator.rank == 0:
            path = self._directory / f"projection{space.passes}.npz"
            arrays = {f"diagonal{j}": block for j, block in enumerate(space.diagonal)}
            arrays |= {f"below{j}": block for j, block in enumerate(space.below)}
            write_atomically(
                path, lambda file: np.savez(file, allow_pickle=False, start=space.start, **arrays)
            )
            record = {"fingerprint": self._problem, "passes": space.passes, "facts": facts}
            record |= {"projection": checksums.of_file(path), "blocks": sums}
            write_json(self._directory / RECORD, record)
            for other in self._directory.glob("projection*.npz"):
                if other != path:
                    other.unlink(missing_ok=True)
        self._communicator.gather(None)
        self._last = time.monotonic()

    def load(self, basis: KrylovBasis, rows: tuple[int, int]) -> tuple[KrylovSpace, dict[str, Any]] | None:
        """The saved space and facts, None where there is none of this problem; all processes load the same or none.

        Args:
            basis: an empty one, which is filled.
            rows: this process's own.
        """
        first = self._communicator.rank == 0
        record = read_record(self._directory / RECORD, self._problem) if first else None
        found = self._communicator.gather(record)[0]
        if found is None:
            return None
        written = owners(len(found["blocks"]))
        # Each process reads for itself; one that finds damage speaks for all.
        faults = self._communicator.gather(self._faults(found, written))
        files = sorted({file for each in faults for file in each})
        if files:
            if self._communicator.rank == 0:
                for file in files:
                    log.warning(
                        "checkpoint %s is damaged and has been set aside: the solve starts anew", file
                    )
                    set_aside(Path(file))
                set_aside(self._directory / RECORD)
            self._communicator.gather(None)
            return None
        own = owners(self._communicator.size)[self._communicator.rank]
        for j, sums in enumerate(zip(*found["blocks"], strict=True)):
            if len(written) == self._communicator.size:
                block, sum_ = self._load(j, own), sums[self._communicator.rank]
            else:
                block = np.concatenate([self._load(j, owner) for owner in written])[slice(*rows)]
                write_npy(block_path(self._directory, j, own), block)
                sum_ = checksums.of_file(block_path(self._directory, j, own))
            basis.take_over(block, sum_)
        passes = found["passes"]
        with np.load(self._directory / f"projection{passes}.npz", allow_pickle=False) as saved:
            space = KrylovSpace(
                basis,
                saved["start"],
                [saved[f"diagonal{j}"] for j in range(passes)],
                [saved[f"below{j}"] for j in range(passes)],
            )
        log.info("%s: resuming after %d passes", self._directory, passes)
        return space, found["facts"]

    def _load(self, j: int, owner: str) -> np.ndarray:
        return np.asarray(np.load(block_path(self._directory, j, owner), allow_pickle=False))

    def _faults(self, found: dict[str, Any], written: Any) -> list[str]:
        """Files of a checkpoint that cannot be used."""
        expected = {self._directory / f"projection{found['passes']}.npz": found["projection"]}
        for owner, sums in zip(written, found["blocks"], strict=True):
            expected |= {block_path(self._directory, j, owner): sum_ for j, sum_ in enumerate(sums)}
        return [str(path) for path, sum_ in expected.items() if fault_of(path, sum_) is not None]
