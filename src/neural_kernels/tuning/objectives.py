"""What a trial is judged by, from its predictions on the validation examples. A new objective is an entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.evaluation import Task, top_accuracy
from neural_kernels.solvers.ridge import mean_squared_error


@dataclass(frozen=True)
class Objective:
    """``value`` of predictions (m, C) and targets (m, C) float64, NaN where a label is missing."""

    name: str
    task: Task
    direction: Literal["minimize", "maximize"]
    value: Callable[[np.ndarray, np.ndarray], float]

    def cost(self, value: float) -> float:
        """``value`` so that lower is better."""
        return value if self.direction == "minimize" else -value

    def loss(self, predictions: np.ndarray, targets: np.ndarray) -> float:
        """The objective so that lower is better, which also chooses the ridge."""
        return self.cost(self.value(predictions, targets))


def _accuracy(predictions: np.ndarray, targets: np.ndarray) -> float:
    # NaN is above and below nothing, so that it would count as right.
    if not np.isfinite(predictions).all():
        return float("nan")
    return top_accuracy(predictions, targets.argmax(axis=1), 1)


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("loss", "classification", "minimize", mean_squared_error),
        Objective("accuracy", "classification", "maximize", _accuracy),
        Objective("mse", "regression", "minimize", mean_squared_error),
    )
}


def objective_named(name: str, task: Task) -> Objective:
    """The objective ``name`` of a study whose data is of ``task``.

    Raises:
        UserError: an objective of the other task.
    """
    objective = OBJECTIVES[name]
    if objective.task != task:
        known = ", ".join(o.name for o in OBJECTIVES.values() if o.task == task)
        raise UserError(f"tuning.objective is {name!r}, but the data is a {task}: expected one of {known}")
    return objective
