"""The section ``tuning`` of a study, as values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from neural_kernels.architectures.section import SearchedArchitecture
from neural_kernels.errors import UserError
from neural_kernels.metrics.objective_names import ObjectiveName
from neural_kernels.preprocessing.options import Method
from neural_kernels.sections import (
    NUMBER,
    WHOLE,
    Examples,
    Listed,
    Name,
    Section,
    SeveralExamples,
    Thousand,
)
from neural_kernels.tuning.candidate import Candidate
from neural_kernels.tuning.space import SearchSpace, parse_space

# What of the section changes the value of a trial, or what a trial draws.
_IDENTITY = ("objective", "judge_by", "training_examples", "validation_examples", "space")

_Trials = Annotated[int, Field(ge=1, le=100_000), WHOLE]


class Transfer(Section):
    """A second look at some trials with another number of training examples (paper, Fig. 5)."""

    training_examples: SeveralExamples = Field(description="Training examples of the second look.")
    trials: _Trials = Field(
        20, description="How many trials, evenly over their ranking, the best and the worst among them."
    )


class SearchedPreprocessing(Section):
    """As an entry of the study's section preprocessing; of zca, regularization can be searched."""

    method: Method = Field(description="zca, standardize or none.")
    regularization: Annotated[float, Field(ge=0, le=10**6), *NUMBER] | dict[str, Any] = Field(
        0.1,
        union_mode="left_to_right",
        description="zca only. Added to the covariance's diagonal, relative to its mean eigenvalue.",
    )
    per_image_normalization: bool = Field(
        True, description="zca only. Subtract each image's mean and scale it to unit norm before whitening."
    )
    fit_examples: Examples | None = Field(
        None, description="zca and standardize. Fit on the first so many training examples. null is all."
    )


class SpaceSection(Section):
    """What is searched; ``tuning.space`` says what each value may be."""

    architecture: SearchedArchitecture = Field(
        description="Name of a family and its parameters (docs/how-to/own-architecture.md)."
    )
    kind: str | dict[str, Any] = Field("ntk", description="ntk or nngp, or choices of them.")
    preprocessing: SearchedPreprocessing = Field(
        description="As an entry of the study's section preprocessing; of zca, regularization can be searched."
    )


class TuningSection(Section):
    """The study searches the hyperparameters of one architecture family (paper, Appendix C).

    results/<study>_tuning.pdf, and results/<study>/tuned.yaml, which other studies can name. Test sets have no part in
    the search.
    """

    training_examples: SeveralExamples = Field(
        1280, description="Training examples of a trial, the first so many of the training set."
    )
    validation_examples: SeveralExamples | None = Field(
        None,
        description="Validation examples that judge a trial, the first so many. null is the whole validation set.",
    )
    objective: ObjectiveName = Field(
        "loss",
        description="What judges a trial and chooses its ridge (judge_by): loss (mean squared error) "
        "or accuracy of a classification, mse of a regression, average_precision (the mean over labels) or mse of a "
        "multilabel task.",
    )
    judge_by: Literal["validation", "loo"] = Field(
        "validation",
        description="What the objective is taken of: predictions of the validation examples, or of each training "
        "example by all others (leave-one-out, exact). The validation examples are predicted and recorded anyway.",
    )
    trials: _Trials = Field(100, description="Number of trials; more can be asked for later.")
    sampler: Literal["tpe", "random"] = Field(
        "tpe", description="Optuna's tree-structured Parzen estimator, or random search."
    )
    startup_trials: _Trials = Field(
        10,
        description="Finished trials before tpe goes by what it has seen; those before are drawn at random.",
    )
    first_trials: Listed[Annotated[dict[str, Any], Field(min_length=1)]] = Field(
        (),
        max_length=1000,
        description="Hyperparameters by name that the first trials take, one entry a trial, in place of drawing them: "
        "a known good setting to start from. Those that an entry leaves out are drawn.",
    )
    attempts: Thousand = Field(
        3,
        description="How often a trial is begun before it is recorded as failed; a killed one is taken up again.",
    )
    largest_seconds: Annotated[float, Field(gt=0, le=10**9), *NUMBER] | None = Field(
        None,
        description="A trial whose kernel would take longer, by the rate measured where it runs, is recorded as "
        "pruned. null lets every trial run. Which ones are pruned depends on the machine.",
    )
    baseline: Name = Field(description="Name of a kernel of the study that the winner is compared with.")
    transfer: Transfer | None = Field(
        None,
        description="Some trials and the baseline again with more or fewer training examples: does the objective carry "
        "over (paper, Fig. 5)? Left out, it is not asked.",
    )
    space: SpaceSection = Field(
        description="What is searched. Each value is fixed, or {choices: [...]}, or {low: , high: } with log and "
        "integer; the latter two with {when: {<hyperparameter>: <its choice or choices>}} where they only exist then. "
        "The ridge is no part of it: each trial takes the best of the study's candidates, which costs no kernel "
        "entries."
    )


@dataclass(frozen=True)
class Tuning:
    """How a study is tuned: the section, with its space and its baseline parsed.

    Attributes:
        space: what a trial draws.
        baseline: the candidate that the winner is compared with, and ``baseline_name``, its name in the study.
        validation_examples: None for the whole validation set.
        first_trials: hyperparameters that the first trials take in place of drawing them.
        identity: what has to be the same for two trials to be comparable, in plain data.
    """

    space: SearchSpace
    baseline: Candidate
    baseline_name: str
    objective: str
    judge_by: Literal["validation", "loo"]
    training_examples: int
    validation_examples: int | None
    trials: int
    sampler: str
    startup_trials: int
    first_trials: tuple[Mapping[str, Any], ...]
    attempts: int
    largest_seconds: float | None
    transfer: Transfer | None
    identity: dict[str, Any]

    def check_sizes(self, where: str, available: Mapping[str, int]) -> None:
        """Refuse more examples than the parts train and validation have; ``where`` starts the sentence."""
        asked = [
            ("training_examples", self.training_examples, "train"),
            ("validation_examples", self.validation_examples, "validation"),
        ]
        if self.transfer is not None:
            asked.append(("transfer.training_examples", self.transfer.training_examples, "train"))
        for key, size, part in asked:
            if size is not None and size > available[part]:
                raise UserError(
                    f"{where}.{key} is {size}, but the section data gives {available[part]} examples of {part}"
                )


def parse_tuning(
    where: str, section: TuningSection, baseline: Candidate, identity: Mapping[str, Any]
) -> Tuning:
    """The section of a study with its space parsed.

    Args:
        where: starts the sentence of an error: the config and the section.
        baseline: the kernel of the study that the section names.
        identity: what the study's other sections say that changes the value of a trial, in plain data.

    Raises:
        UserError: a space that cannot be, see ``parse_space``.
    """
    plain = section.plain()
    space = parse_space(f"{where}.space", plain["space"])
    first_trials = tuple(
        space.check(f"{where}.first_trials, entry {number}", values)
        for number, values in enumerate(section.first_trials)
    )
    own = {f"tuning.{key}": plain.get(key) for key in _IDENTITY}
    return Tuning(
        space=space,
        baseline=baseline,
        baseline_name=section.baseline,
        objective=section.objective,
        judge_by=section.judge_by,
        training_examples=section.training_examples,
        validation_examples=section.validation_examples,
        trials=section.trials,
        sampler=section.sampler,
        startup_trials=section.startup_trials,
        first_trials=first_trials,
        attempts=section.attempts,
        largest_seconds=section.largest_seconds,
        transfer=section.transfer,
        identity=json.loads(json.dumps({**identity, **own})),
    )
