"""Checkpoints of conjugate gradients: every few minutes, whole or not at all, and only for the same problem.

Each process writes its own rows to ``<number>.<rank>.npz``; when all have, ``checkpoint.json`` is replaced
to name these files with their checksums, and those of the one before are removed. A kill at any moment leaves a
``checkpoint.json`` whose files are there. The processes that resume may be more or fewer than those that wrote.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from neural_kernels.errors import DamagedFile
from neural_kernels.solvers.block_conjugate_gradients import BlockState
from neural_kernels.solvers.communicator import Communicator
from neural_kernels.solvers.conjugate_gradients import State
from neural_kernels.storage import checksums
from neural_kernels.storage.files import read_json, set_aside, write_atomically, write_json

log = logging.getLogger(__name__)

AnyState = TypeVar("AnyState", State, BlockState)

RECORD = "checkpoint.json"


def fingerprint(problem: list[Any], targets: np.ndarray) -> str:
    """SHA-256 of everything that the answer depends on: plain JSON data, and the targets' bytes."""
    digest = hashlib.sha256(json.dumps(problem, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(targets).tobytes())
    return digest.hexdigest()


class Checkpoint:
    """The checkpoint of one problem in a directory of its own."""

    def __init__(self, directory: Path, problem: str, seconds: float, communicator: Communicator) -> None:
        """
        Args:
            problem: its fingerprint.
            seconds: least time between two checkpoints.
        """
        self._directory = directory
        self._problem = problem
        self._interval = seconds
        self._communicator = communicator
        self._last = time.monotonic()
        self._number = 0

    def keep(self, state: AnyState) -> None:
        """Save the state if it is time to; every process calls it in every iteration."""
        due = time.monotonic() - self._last >= self._interval
        # The first process's clock decides for all.
        if self._communicator.gather(due)[0]:
            self.save(state)

    def save(self, state: AnyState) -> None:
        """Save the state now."""
        arrays = {
            f.name: getattr(state, f.name) for f in fields(state) if f.name not in ("stopped_by", "history")
        }
        arrays["stopped_by"] = np.array([reason or "" for reason in state.stopped_by], "U16")
        arrays["history"] = np.array(state.history, np.float64).reshape(-1, 5)
        # The files that checkpoint.json names stay as they are until it names others.
        self._number += 1
        path = self._directory / f"{self._number}.{self._communicator.rank}.npz"
        write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
        sums = self._communicator.gather(checksums.of_file(path))
        if self._communicator.rank == 0:
            facts = {"fingerprint": self._problem, "iteration": state.iteration}
            facts |= {"number": self._number, "checksums": sums}
            write_json(self._directory / RECORD, facts)
            for other in self._directory.iterdir():
                if other.suffix != ".rejected" and not other.name.startswith((RECORD, f"{self._number}.")):
                    other.unlink(missing_ok=True)
        self._communicator.gather(None)
        self._last = time.monotonic()

    def load(self, kind: type[AnyState], rows: tuple[int, int]) -> AnyState | None:
        """The saved state with the rows ``rows`` of its vectors, or None where there is none of this problem.

        All processes load the same one, or none. A damaged one is set aside, and the log says so.
        """
        found = self._read_record() if self._communicator.rank == 0 else None
        found = self._communicator.gather(found)[0]
        if found is None:
            return None
        self._number, sums = found
        files = [self._directory / f"{self._number}.{rank}.npz" for rank in range(len(sums))]
        # Each process reads for itself, and one that finds damage speaks for all.
        found_by_each = self._communicator.gather([fault_of(*pair) for pair in zip(files, sums, strict=True)])
        faults = [next(filter(None, found), None) for found in zip(*found_by_each, strict=True)]
        if any(faults):
            if self._communicator.rank == 0:
                self._set_aside(files, faults)
            self._communicator.gather(None)
            return None
        parts = [dict(np.load(file, allow_pickle=False)) for file in files]
        values: dict[str, Any] = parts[0]
        for name in kind.ROWS:
            values[name] = np.concatenate([part[name] for part in parts])[slice(*rows)]
        values = {name: value if value.ndim else value.item() for name, value in values.items()}
        values["stopped_by"] = [str(reason) or None for reason in values["stopped_by"]]
        values["history"] = [(int(i), int(c), r, bool(t), s) for i, c, r, t, s in values["history"].tolist()]
        log.info("%s: resuming at iteration %d", self._directory, values["iteration"])
        return kind(**values)

    def _read_record(self) -> tuple[int, list[str]] | None:
        """Number of the checkpoint and the checksums of its files, None where there is none of this problem."""
        facts = read_record(self._directory / RECORD, self._problem)
        return None if facts is None else (facts["number"], facts["checksums"])

    def _set_aside(self, files: list[Path], faults: list[str | None]) -> None:
        for file, fault in zip(files, faults, strict=True):
            if fault is not None:
                log.warning("checkpoint %s %s and has been set aside: the solve starts anew", file, fault)
                set_aside(file)
        set_aside(self._directory / RECORD)


def read_record(path: Path, problem: str) -> dict[str, Any] | None:
    """What the record of a checkpoint says, None where there is none of ``problem``; the log says why."""
    if not path.exists():
        return None
    try:
        facts = read_json(path)
    except DamagedFile:
        log.warning("%s is damaged and has been set aside: the solve starts anew", path)
        return None
    if facts.get("fingerprint") != problem:
        log.warning("%s belongs to another problem and is not used", path)
        return None
    return facts


def fault_of(path: Path, checksum: str) -> str | None:
    """Why a file of a checkpoint cannot be used, None for one that can."""
    try:
        return None if checksums.of_file(path) == checksum else "is damaged"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def discard(directory: Path, but: str | None = None) -> None:
    """Remove a folder of checkpoints with everything in it, once their solution is saved.

    Args:
        but: the name of an entry that stays.
    """
    if not directory.exists():
        return
    for path in [directory] if but is None else [p for p in directory.iterdir() if p.name != but]:
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:
            log.warning("%s is of no more use, but cannot be removed (%s)", path, error.strerror)
