"""The section ``tuning`` of a study, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neural_kernels.errors import UserError
from neural_kernels.preprocessing import applicable
from neural_kernels.tuning.candidate import Candidate
from neural_kernels.tuning.space import SearchSpace, parse_space

# What of the section changes the value of a trial, or what a trial draws.
_IDENTITY = ("objective", "training_examples", "validation_examples", "space")


@dataclass(frozen=True)
class Transfer:
    """A second look at some trials with another number of training examples (paper, Fig. 5)."""

    training_examples: int
    trials: int


@dataclass(frozen=True)
class Tuning:
    """How a study is tuned; keys as in workflow/schemas/tuning.schema.yaml.

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


def parse_tuning(where: str, config: Mapping[str, Any]) -> Tuning:
    """The tuning of a study's config, whose defaults are filled in.

    Args:
        where: starts the sentence of an error: the config and the section.

    Raises:
        UserError: a baseline that is no kernel, or a space that cannot be, see ``parse_space``.
    """
    section = config["tuning"]
    if section["baseline"] not in config["kernels"]:
        known = ", ".join(config["kernels"])
        raise UserError(f"{where}.baseline is {section['baseline']!r}, expected one of the kernels {known}")
    kernel = config["kernels"][section["baseline"]]
    baseline = Candidate(
        kernel["architecture"], kernel["kind"], applicable(config["preprocessing"][kernel["preprocessing"]])
    )
    transfer = section.get("transfer")
    # Where the files are and what is tested on changes no trial.
    data = {key: value for key, value in config["data"].items() if key not in ("path", "test_sets")}
    identity = {"data": data, **{key: config[key] for key in ("seed", "precision", "ridge")}}
    identity |= {f"tuning.{key}": section.get(key) for key in _IDENTITY}
    space = parse_space(f"{where}.space", section["space"])
    first_trials = tuple(
        space.check(f"{where}.first_trials, entry {number}", values)
        for number, values in enumerate(section["first_trials"])
    )
    return Tuning(
        space=space,
        baseline=baseline,
        baseline_name=section["baseline"],
        objective=section["objective"],
        training_examples=section["training_examples"],
        validation_examples=section.get("validation_examples"),
        trials=section["trials"],
        sampler=section["sampler"],
        startup_trials=section["startup_trials"],
        first_trials=first_trials,
        attempts=section["attempts"],
        largest_seconds=section.get("largest_seconds"),
        transfer=None if transfer is None else Transfer(**transfer),
        identity=json.loads(json.dumps(identity)),
    )
