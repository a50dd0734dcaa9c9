"""What a trial or a ridge is judged by, from predictions on the validation examples. A new objective is an entry
here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from neural_kernels.datasets.pools import Task
from neural_kernels.errors import UserError
from neural_kernels.metrics.evaluation import mean_average_precision, top_accuracy
from neural_kernels.metrics.losses import mean_squared_error


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


def _average_precision(predictions: np.ndarray, targets: np.ndarray) -> float:
    if not np.isfinite(predictions).all():
        return float("nan")
    return mean_average_precision(predictions, targets)


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("loss", "classification", "minimize", mean_squared_error),
        Objective("accuracy", "classification", "maximize", _accuracy),
        Objective("mse", "regression", "minimize", mean_squared_error),
        Objective("average_precision", "multilabel", "maximize", _average_precision),
    )
}


# Those of a name that is another task's as well.
ALSO = {("mse", "multilabel"): replace(OBJECTIVES["mse"], task="multilabel")}

# What a ridge is chosen by where the config does not say.
USUAL: dict[Task, str] = {"classification": "loss", "regression": "mse", "multilabel": "average_precision"}


def objective_named(name: str, task: Task, key: str = "tuning.objective") -> Objective:
    """The objective ``name`` of a study whose data is of ``task``; ``key`` of the config asks for it.

    Raises:
        UserError: an objective of another task.
    """
    objective = ALSO.get((name, task), OBJECTIVES[name])
    if objective.task != task:
        noun = task if task == "multilabel" else f"a {task}"
        known = [o.name for o in (*OBJECTIVES.values(), *ALSO.values()) if o.task == task]
        raise UserError(f"{key} is {name!r}, but the data is {noun}: expected one of {', '.join(known)}")
    return objective


def ridge_objective(name: str | None, task: Task) -> Objective:
    """What the ridge is chosen by: ``ridge.objective`` of a study, the usual one where that is None.

    Raises:
        UserError: an objective of another task.
    """
    return objective_named(name or USUAL[task], task, "ridge.objective")
