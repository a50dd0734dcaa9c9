"""What each trial leaves: one JSON file, whatever came of it; and what all of them say together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from neural_kernels import __version__
from neural_kernels.errors import UserError
from neural_kernels.metrics.objectives import Objective
from neural_kernels.storage.files import damaged, read_json
from neural_kernels.tuning.assessment import Assessment
from neural_kernels.tuning.candidate import Candidate

State = Literal["complete", "pruned", "failed", "skipped"]


@dataclass(frozen=True)
class TrialRecord:
    """One candidate and what came of it.

    Attributes:
        name: of the trial, its number; "baseline" or "tuned" for those two.
        state: complete; pruned because of its cost; failed; skipped, where there was nothing to compute.
        reason: of any state but complete.
        hyperparameters: those that were drawn, by name; empty for a baseline.
        candidate: None where it was skipped.
        assessment: None but for complete.
        identity: what makes its value comparable with others' (``Tuning.identity``).
        judged_by: "validation" or "loo", what the value is the objective of.
    """

    name: str
    state: State
    reason: str | None
    hyperparameters: dict[str, Any]
    candidate: Candidate | None
    assessment: Assessment | None
    objective: str
    training_examples: int
    validation_examples: int
    precision: str
    identity: dict[str, Any]
    judged_by: str = "validation"
    version: str = __version__

    @property
    def number(self) -> int:
        """Of a trial; not of the baseline."""
        return int(self.name)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_record(path: Path, identity: dict[str, Any]) -> TrialRecord:
    """The record in ``path``.

    Raises:
        UserError: the file is missing, or is of other settings than ``identity``.
        DamagedFile: it is not what was written, or of another version; it has been set aside.
    """
    content = read_json(path)
    try:
        candidate, assessment = content["candidate"], content["assessment"]
        content["candidate"] = None if candidate is None else Candidate(**candidate)
        content["assessment"] = None if assessment is None else Assessment(**assessment)
        record = TrialRecord(**content)
    except (TypeError, KeyError) as error:
        raise damaged(path, f"is not the record of a trial ({error})") from None
    if record.state not in get_args(State) or (record.state == "complete") != (record.assessment is not None):
        raise damaged(path, f"is not the record of a trial (state {record.state!r})")
    check_identity(path, record.identity, identity)
    return record


def check_identity(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse what was made with other settings: values would not be comparable."""
    for key, value in expected.items():
        if found.get(key) != value:
            raise UserError(
                f"{path} was made with other settings: {key} was {_short(found.get(key))} and is {_short(value)}; "
                "give the study another name, or delete its folder tuning"
            )


def _short(value: Any, most: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def ranked(records: Iterable[TrialRecord], objective: Objective) -> list[TrialRecord]:
    """The complete trials, the best first; of equals by the loss, then the earlier one."""

    def key(record: TrialRecord) -> tuple[float, float, int]:
        assessment = record.assessment
        assert assessment is not None
        scores = assessment.scores["validation"]
        tie = scores.get("loss", scores.get("mse", 0.0))
        return objective.cost(assessment.value), tie, record.number

    return sorted((record for record in records if record.state == "complete"), key=key)


def spread(ranking: Sequence[TrialRecord], count: int) -> list[TrialRecord]:
    """``count`` trials evenly over the ranking, the best and the worst among them; all where there are fewer."""
    if count >= len(ranking):
        return list(ranking)
    if count == 1:
        return [ranking[0]]
    return [ranking[place] for place in np.round(np.linspace(0, len(ranking) - 1, count)).astype(int)]
