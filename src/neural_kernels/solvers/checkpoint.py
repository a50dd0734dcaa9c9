"""Checkpoints of conjugate gradients: every few minutes, whole or not at all, and only for the same problem.

Each process writes its own rows to ``<iteration>.<rank>.npz``; when all have, ``checkpoint.json`` is replaced
to name that iteration, and the files of the one before are removed. A kill at any moment leaves a
``checkpoint.json`` whose files are there. The processes that resume may be more or fewer than those that wrote.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.files import read_json, write_atomically, write_json
from neural_kernels.solvers.block_conjugate_gradients import BlockState
from neural_kernels.solvers.communicator import Communicator
from neural_kernels.solvers.conjugate_gradients import State

log = logging.getLogger(__name__)

AnyState = TypeVar("AnyState", State, BlockState)


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
        name = f"{state.iteration}.{self._communicator.rank}.npz"
        write_atomically(self._directory / name, lambda file: np.savez(file, allow_pickle=False, **arrays))
        self._communicator.gather(None)
        if self._communicator.rank == 0:
            facts = {
                "fingerprint": self._problem,
                "iteration": state.iteration,
                "processes": self._communicator.size,
            }
            write_json(self._directory / "checkpoint.json", facts)
            for path in self._directory.glob("*.npz"):
                if path.name.split(".")[0] != str(state.iteration):
                    path.unlink(missing_ok=True)
        self._communicator.gather(None)
        self._last = time.monotonic()

    def load(self, kind: type[AnyState], rows: tuple[int, int]) -> AnyState | None:
        """The saved state with the rows ``rows`` of its vectors, or None where there is none of this problem."""
        path = self._directory / "checkpoint.json"
        if not path.exists():
            return None
        facts = read_json(path)
        if facts.get("fingerprint") != self._problem:
            log.warning("%s belongs to another problem and is not used", path)
            return None
        files = [self._directory / f"{facts['iteration']}.{rank}.npz" for rank in range(facts["processes"])]
        try:
            parts = [dict(np.load(file, allow_pickle=False)) for file in files]
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise UserError(f"{self._directory} holds a damaged checkpoint ({error}): remove it") from None
        values: dict[str, Any] = parts[0]
        for name in kind.ROWS:
            values[name] = np.concatenate([part[name] for part in parts])[slice(*rows)]
        values = {name: value if value.ndim else value.item() for name, value in values.items()}
        values["stopped_by"] = [str(reason) or None for reason in values["stopped_by"]]
        values["history"] = [(int(i), int(c), r, bool(t), s) for i, c, r, t, s in values["history"].tolist()]
        log.info("%s: resuming at iteration %d", self._directory, values["iteration"])
        return kind(**values)


def discard(directory: Path) -> None:
    """Remove checkpoints, once their solution is saved."""
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        elif path.name == "checkpoint.json" or path.suffix == ".npz":
            path.unlink()
    if directory.exists():
        directory.rmdir()
