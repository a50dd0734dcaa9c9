"""The journal by which the jobs of a tuning study share what their trials drew and gave.

An Optuna journal storage: a file of JSON lines that is only ever appended to, under a lock file that works on
network file systems. Trial k of the study is the job k of the workflow, whatever number Optuna gives it. The
sampler learns from what the journal holds when a trial draws, so that with several jobs at once what is drawn
depends on who was first.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from neural_kernels.errors import UserError
from neural_kernels.tuning.records import TrialRecord, check_identity
from neural_kernels.tuning.settings import Tuning

log = logging.getLogger(__name__)

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Claim:
    """A trial that a job works on.

    Attributes:
        trial: draws hyperparameters; those that an earlier run of the job drew stay.
        starts: how often the trial was begun, this time included.
        finished: the journal knows its outcome already; only its record is to be made again.
    """

    trial: optuna.Trial | optuna.trial.FixedTrial
    number: int
    starts: int
    finished: bool


@dataclass(frozen=True)
class Journal:
    """An open journal of one study."""

    storage: JournalStorage
    study: optuna.Study

    def claim(self, job: int) -> Claim:
        """The trial of ``job``: a new one, or that of an earlier run of the same job, drawn as it was."""
        found = self._of_job(job)
        if found is None:
            # One line of the journal: a kill leaves a trial that knows its job, or none.
            running = optuna.trial.create_trial(
                state=TrialState.RUNNING, user_attrs={"job": job, "starts": 1}
            )
            self.study.add_trial(running)
            found = self._of_job(job)
            assert found is not None
            return Claim(self._live(found), found.number, 1, finished=False)
        starts = found.user_attrs["starts"]
        if found.state.is_finished():
            return Claim(optuna.trial.FixedTrial(found.params), found.number, starts, finished=True)
        live = self._live(found)
        live.set_user_attr("starts", starts + 1)
        return Claim(live, found.number, starts + 1, finished=False)

    def tell(self, claim: Claim, record: TrialRecord) -> None:
        """What came of a claimed trial, for the sampler."""
        if claim.finished:
            return
        value = None if record.assessment is None else record.assessment.value
        self.study.tell(claim.number, value, state=STATES[record.state], skip_if_finished=True)

    def _of_job(self, job: int) -> FrozenTrial | None:
        trials = self.study.get_trials(deepcopy=False)
        return next((trial for trial in trials if trial.user_attrs.get("job") == job), None)

    def _live(self, found: FrozenTrial) -> optuna.Trial:
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        return optuna.Trial(
            self.study, self.storage.get_trial_id_from_study_id_trial_number(study_id, found.number)
        )


def open_journal(
    path: Path,
    name: str,
    tuning: Tuning,
    direction: Literal["minimize", "maximize"],
    seed: int,
    job: int = 0,
) -> Journal:
    """The journal in ``path``, begun where there is none.

    Args:
        name: of the study.
        seed: of the study; together with ``job`` it seeds the sampler, so that jobs draw independently.

    Raises:
        UserError: the journal is damaged, or is of other settings.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileOpenLock(str(path))
    _check(path, lock)
    with _quiet():
        storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction=direction,
            load_if_exists=True,
            sampler=_sampler(tuning, int(np.random.SeedSequence([seed, job]).generate_state(1)[0])),
        )
        if "identity" not in study.user_attrs:
            study.set_user_attr("identity", tuning.identity)
    check_identity(path, study.user_attrs["identity"], tuning.identity)
    return Journal(storage, study)


def _sampler(tuning: Tuning, seed: int) -> optuna.samplers.BaseSampler:
    if tuning.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    # Trials that are running count as bad ones, so that jobs side by side do not draw the same.
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=tuning.startup_trials, multivariate=True, constant_liar=True
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's own messages are for notebooks: the logs have the trial's."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _check(path: Path, lock: JournalFileOpenLock) -> None:
    """Every line of the journal is whole: a line that a kill or a full disk cut short is taken back.

    Optuna would append to it, and could not read the journal ever after.
    """
    lock.acquire()
    try:
        if not path.exists():
            return
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            log.warning("%s: its last line was cut short by a kill or a full disk, and is taken back", path)
            with path.open("r+b") as file:
                file.truncate(whole)
    finally:
        lock.release()
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        if not _is_operation(line):
            raise UserError(
                f"{path}: line {number} is damaged, expected an operation of an Optuna journal; delete the journal "
                "to go on without what the sampler has learnt (the records of finished trials stay)"
            )


def _is_operation(line: bytes) -> bool:
    try:
        operation: Any = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return False
    return isinstance(operation, dict) and isinstance(operation.get("op_code"), int)
