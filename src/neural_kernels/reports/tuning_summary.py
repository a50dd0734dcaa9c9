"""What a tuning study has computed, and how its numbers are called for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neural_kernels.metrics.objectives import Objective
from neural_kernels.reports.scaling_summary import KIND_NAMES
from neural_kernels.reports.style import PERCENT
from neural_kernels.tuning.records import TrialRecord, ranked
from neural_kernels.tuning.settings import Tuning
from neural_kernels.tuning.space import Choices, Hyperparameter

OBJECTIVE_NAMES = {"loss": "loss", "accuracy": "accuracy (%)", "mse": "mean squared error"}
OBJECTIVE_NAMES["average_precision"] = "mean average precision"
WINNER = "Best trial"


@dataclass(frozen=True)
class Results:
    """All records of one tuning study.

    Attributes:
        trials: by number.
        tested: "tuned" and "baseline", with the scores of the test sets.
        transferred: with another number of training examples: the baseline, then the trials that were chosen.
        importances: of hyperparameters, None where there are too few trials.
        test_examples: examples of each test set by name.
    """

    study: str
    title: str
    tuning: Tuning
    objective: Objective
    trials: list[TrialRecord]
    tested: Mapping[str, TrialRecord]
    transferred: list[TrialRecord]
    importances: Mapping[str, float] | None
    test_examples: Mapping[str, int]

    @property
    def ranking(self) -> list[TrialRecord]:
        """The complete trials, the best first."""
        return ranked(self.trials, self.objective)

    @property
    def baseline(self) -> TrialRecord:
        return self.tested["baseline"]

    def value(self, record: TrialRecord) -> float:
        """The objective of a complete record, as it is shown."""
        assert record.assessment is not None
        return record.assessment.value * scale(self.objective.name)

    def objective_label(self) -> str:
        return f"Validation {OBJECTIVE_NAMES[self.objective.name]}"

    def baseline_label(self) -> str:
        return f"{self.tuning.baseline_name} {KIND_NAMES[self.tuning.baseline.kind]} (baseline)"


def scale(metric: str) -> float:
    return 100.0 if metric in PERCENT else 1.0


def text_of(value: Any) -> str:
    """A hyperparameter's value as a person would type it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def range_of(hyperparameter: Hyperparameter) -> str:
    """What was searched."""
    domain = hyperparameter.domain
    if isinstance(domain, Choices):
        text = ", ".join(map(text_of, domain.values))
    else:
        scale_name = ", logarithmic" if domain.log else ""
        text = f"{text_of(domain.low)} to {text_of(domain.high)}{scale_name}"
    conditions = [
        f"{name} {' or '.join(map(text_of, allowed))}" for name, allowed in hyperparameter.when.items()
    ]
    return f"{text}; only with {' and '.join(conditions)}" if conditions else text


def drawn(record: TrialRecord) -> str:
    """What a trial drew, in one line."""
    return ", ".join(f"{name} {text_of(value)}" for name, value in record.hyperparameters.items())


def judged_on(record: TrialRecord) -> str:
    """What the value of a trial is the objective of."""
    if record.judged_by == "loo":
        return "by what each training example is predicted by all others"
    return "on the validation examples"
