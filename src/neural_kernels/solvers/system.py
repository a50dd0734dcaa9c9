"""What a solver is given, and what it provides: a solver is a file with a ``Solver``, and a line in ``registry``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from neural_kernels.blocks import KernelStore
from neural_kernels.solvers.communicator import Communicator
from neural_kernels.solvers.settings import CheckpointSettings, Settings
from neural_kernels.solvers.solution import Solution

Solve = Callable[[float, np.ndarray | None], Solution]
"""From a ridge and a first guess, (n, C) or None, to the solution for that ridge."""


@dataclass(frozen=True)
class System:
    """(K + ridge mean(diag K) I) X = B on the training examples ``window`` of a symmetric store.

    Attributes:
        targets: B, (n, C) float64; NaN where a label is missing.
        checkpoints: where an iteration is saved, None for nowhere.
        communicator: of the processes that solve; of one that does not share its work, this process alone.
    """

    store: KernelStore
    window: tuple[int, int]
    targets: np.ndarray
    settings: Settings
    checkpoints: CheckpointSettings | None
    communicator: Communicator

    @property
    def n(self) -> int:
        return self.window[1] - self.window[0]

    @property
    def columns(self) -> int:
        return self.targets.shape[1]

    @functools.cached_property
    def masks(self) -> int:
        """Different sets of examples that have a label; 0 where none is missing."""
        missing = np.isnan(self.targets)
        return len({column.tobytes() for column in np.packbits(missing, axis=0).T}) if missing.any() else 0


@dataclass(frozen=True)
class Opened:
    """A solver at work on one system.

    Attributes:
        solve: for one ridge after another; what they share is computed once.
        facts: what the record says of the whole solve, asked for at its end.
        finish: what the chosen solution becomes, where candidates are judged before they are solved to the tolerance.
    """

    solve: Solve
    facts: Callable[[], dict[str, Any]] = dict
    finish: Callable[[Solution], Solution] = lambda solution: solution


class Solver(Protocol):
    """What an entry of ``registry.SOLVERS`` provides."""

    @property
    def title(self) -> str:
        """What tables call its solutions."""

    @property
    def iterates(self) -> bool:
        """Whether it iterates: several processes may share it, and it leaves checkpoints."""

    @property
    def thrift(self) -> str:
        """What a config may change so that it takes less memory."""

    def working_bytes(self, n: int, columns: int, rank: int, masks: int, ridges: int) -> int:
        """Bytes that it holds at least.

        Args:
            rank: of the preconditioner.
            masks: different sets of examples that have a label; 0 where none is missing.
            ridges: candidates that are chosen from.
        """

    def open(self, system: System) -> Opened:
        """Everything before the first ridge.

        Raises:
            UserError: the memory budget is too small, or a block is damaged.
        """
