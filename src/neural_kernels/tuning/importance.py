"""Which hyperparameters mattered."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from neural_kernels.metrics.objectives import Objective
from neural_kernels.tuning.records import TrialRecord
from neural_kernels.tuning.space import Choices, Hyperparameter, SearchSpace

FEWEST = 20
"""Complete trials below which nothing is said."""


def importances(
    space: SearchSpace, records: Sequence[TrialRecord], objective: Objective
) -> dict[str, float] | None:
    """Importance of each hyperparameter that every trial has, the largest first; together 1.

    Functional ANOVA (Hutter, Hoos and Leyton-Brown 2014): the share of the variance of the objective, as a
    random forest sees it over the whole space, that a hyperparameter explains by itself. Hyperparameters with
    a condition are left out. (PED-ANOVA, Optuna's default, looks at the few best trials only, and with fifty
    of them mistook noise for an effect.)

    Returns:
        None where fewer than ``FEWEST`` trials are complete.
    """
    complete = [record for record in records if record.assessment is not None]
    if len(complete) < FEWEST:
        return None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=objective.direction)
    known = {h.name: h for h in space.hyperparameters}
    for record in complete:
        assert record.assessment is not None
        drawn = {name: value for name, value in record.hyperparameters.items() if not known[name].when}
        trial = optuna.trial.create_trial(
            value=record.assessment.value,
            params={name: _internal(known[name], value) for name, value in drawn.items()},
            distributions={name: _distribution(known[name]) for name in drawn},
        )
        study.add_trial(trial)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _internal(hyperparameter: Hyperparameter, value: object) -> object:
    domain = hyperparameter.domain
    return domain.labels[domain.values.index(value)] if isinstance(domain, Choices) else value


def _distribution(hyperparameter: Hyperparameter) -> BaseDistribution:
    domain = hyperparameter.domain
    if isinstance(domain, Choices):
        return CategoricalDistribution(domain.labels)
    if domain.integer:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)
